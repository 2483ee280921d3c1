"""What of a host may be shown to a stranger: what is known to be harmless; all else is left out. Pure.

The other way round, a list of what a secret looks like, always lacks one. So of a spec those keys are kept
that are listed here, of their texts those that are a path of the system, a flag or a plain word; whatever was
left out is then looked for in every other text, as runtimes put arguments and variables into their messages.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Optional

LEFT_OUT = "[left out]"

# A variable whose value says which GPUs, or which CUDA; every other is shown by its name.
_SHOWN_VARIABLES = re.compile(r"(?:NVIDIA|CUDA)_[A-Z0-9_]+")
_SHOWN_ANNOTATIONS = re.compile(
    r"dev\.gvisor\.(?:flag|internal)\.[\w.-]{1,64}|io\.kubernetes\.cri\.(?:container-type|sandbox-id)"
    r"|(?:[\w-]+\.)?cdi\.k8s\.io/[\w.-]{1,64}"
)
# One name in a path. Letters and digits side by side may be a token wherever they stand: those are listed.
_NAME = (
    r"(?:[A-Za-z]{1,24}(?:[._+-][A-Za-z]{1,24}){0,6}"
    r"|(?=[^/]{1,19}(?:/|$))(?:[A-Za-z]{1,16}|\d{1,10})(?:[._+:@-](?:[A-Za-z]{1,16}|\d{1,10})){0,6}"
    r"|lib[a-zA-Z][A-Za-z_+-]{0,40}\d{0,2}\.so(?:\.\d{1,6}){0,4}|lib(?:32|64)|x86_64"
    r"|(?:x86_64|i386|aarch64)-linux-gnu"
    r"|python\d(?:\.\d{1,2})?|X11|nvidia(?:-cap)?\d{1,4}|gpu\d{1,3}|card\d{1,3}|renderD\d{1,4}"
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}-[0-9a-f]{12}|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]"
    r"|(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)
_SYSTEM_PATH = re.compile(
    r"/(?:|(?:dev|proc|sys|usr|lib|lib32|lib64|bin|sbin|opt/gvisor|opt/nvproxy-wrapper|etc/nvidia[a-z-]{0,30}"
    r"|etc/nvproxy-wrapper|etc/ld\.so[a-z.]{0,20}|etc/vulkan|etc/OpenCL|etc/glvnd|etc/cdi|var/run/cdi"
    r"|var/log/nvproxy-wrapper|var/log/runsc|var/lib/nvproxy-fleet|(?:var/)?run/nvidia[a-z-]{0,30})"
    rf"(?:/{_NAME})*/?)"
)
# Words without digits, versions, numbers, devices, UUIDs of GPUs: a token is none of them.
_PLAIN_WORD = re.compile(
    r"[A-Za-z][a-z]{0,15}(?:[-_.,][A-Za-z]?[a-z]{0,15}){0,7}|[A-Z]{2,12}|\d{1,12}|0x[0-9a-f]{1,8}"
    r"|\d{1,10}(?:\.\d{1,10}){1,3}(?:-\d{1,3})?|[<>=]{1,2}|(?:all|none|void)"
    r"|[a-z]{1,16}(?:[A-Z][a-z]{1,15}){1,4}|CAP_[A-Z_]{3,24}|RLIMIT_[A-Z]{2,12}|\d{1,10}[kmg]|[a-z]{2,12}[<>]"
    r"|(?:\.\./){0,8}lib[a-zA-Z][\w+-]{0,40}\.so(?:\.\d+){0,4}|nvidia\d{0,3}"
    r"|(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?:nvidia|runtime\.nvidia)\.com/gpu|python3?(?:\.\d{1,2})?"
)
_FLAG = re.compile(r"--?[a-z][a-z0-9-]{0,60}")
# Between the pieces of one word: --flag=value, target::link, a list.
_PIECES = re.compile(r"(::|[=:,])")
_SECRET_NAME = re.compile(r"pass|token|secret|auth|key|credential|cookie|bearer|session|api", re.IGNORECASE)

# What may be in a text of a log whatever was learned: shapes that are secrets wherever they stand.
_SHAPES = (
    # scheme://user:password@host
    (re.compile(r"(\w+://)[^/\s@\"']+@"), r"\1" + LEFT_OUT + "@"),
    (
        re.compile(
            r"(?i)\b(authorization|bearer|basic|cookie)\b(\\?[\"']?\s*[:=]?\s*)(?:bearer\s+|basic\s+)?\S+"
        ),
        r"\1\2" + LEFT_OUT,
    ),
    (
        re.compile(
            r"(?i)([\w.-]*(?:pass|token|secret|auth|key|credential|session)[\w.-]*\\?[\"']?\s*[=:]\s*\\?[\"']?)"
            r"[^\s\"',;\\]+"
        ),
        r"\1" + LEFT_OUT,
    ),
    (
        re.compile(r"(?i)(--?[\w-]*(?:pass|token|secret|auth|key|credential)[\w-]*[\s\"',\\]+)[^\s\"',\\]+"),
        r"\1" + LEFT_OUT,
    ),
    # NAME=value of an environment, but for the variables that are shown.
    (re.compile(r"\b(?!(?:NVIDIA|CUDA|NVPROXY)_)([A-Z][A-Z0-9_]{2,})=[^\s\"',\\]+"), r"\1=" + LEFT_OUT),
)
_LONG = re.compile(r"[A-Za-z0-9+_=~-]{16,}")
_HARMLESS_LONG = re.compile(
    r"(?:GPU|MIG)-[0-9a-f-]{36}|[0-9a-f]{64}|[0-9a-f]{12}|[A-Za-z]?[a-z]+(?:[-_][a-z]+|[A-Z][a-z]+)*\d{0,2}"
    r"|(?:x86_64|aarch64|arm)-linux-gnu(?:eabihf)?|\d+(?:-\d+)*|\d{4}-\d\d-\d\dT?\d*"
)
_LEARNED_AT_LEAST = 5
# A secret may hold what separates words elsewhere.
_SPLITTERS = (re.compile(r"[\s\"']+"), re.compile(r"[\s\"'=,]+"), re.compile(r"[\s\"'=,;|&()<>]+"))
_ADDRESS = re.compile(r"[\s\"'=,:/@{}\[\]]+")
# Words of every message of the chain: to leave them out would leave nothing to read.
_OF_THE_CHAIN = frozenset(
    [
        "container",
        "create",
        "device",
        "driver",
        "error",
        "failed",
        "gvisor",
        "hooks",
        "nvidia",
        "nvproxy",
        "opening",
        "process",
        "root",
        "runsc",
        "runtime",
        "sandbox",
        "start",
        "version",
    ]
)


class Scrubber:
    """Takes out of texts what was left out elsewhere, and what is a secret by its shape."""

    def __init__(self) -> None:
        self._learned: Dict[str, None] = {}

    def learn(self, text: str) -> None:
        """Remember a text that was left out, and the words that it is made of."""
        words = [word for splitter in _SPLITTERS for word in splitter.split(text)]
        # Of an address, a password; its other parts are words of everybody's.
        parts = [part for part in _ADDRESS.split(text) if re.search(r"\d", part)]
        for word in [text, *words, *parts]:
            harmless = word in _OF_THE_CHAIN or (
                word != text and (_FLAG.fullmatch(word) or _SYSTEM_PATH.fullmatch(word))
            )
            if len(word) >= _LEARNED_AT_LEAST and not harmless:
                self._learned[word] = None

    def scrub(self, text: str) -> str:
        """The text without any of it."""
        # The longest first: one may be a part of another.
        for word in sorted(self._learned, key=len, reverse=True):
            text = text.replace(word, LEFT_OUT)
            # As JSON writes it into a message.
            escaped = word.encode("unicode_escape").decode("ascii").replace('"', '\\"')
            text = text.replace(escaped, LEFT_OUT) if escaped != word else text
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return _LONG.sub(_long, text)


def _long(match: "re.Match[str]") -> str:
    word = match.group(0)
    if not re.search(r"\d", word) or not re.search(r"[A-Za-z]", word) or _HARMLESS_LONG.fullmatch(word):
        return word
    return LEFT_OUT


def is_harmless(text: str) -> bool:
    """Whether a text is made of paths of the system, flags and plain words alone."""
    pieces = _PIECES.split(text)
    if len(pieces) > 1 and _SECRET_NAME.search(pieces[0]):
        return False
    if _LONG.sub(_long, text) != text:
        return False
    return all(
        not piece
        or (_FLAG.fullmatch(piece) and not re.search(r"\d{3}", piece))
        or _SYSTEM_PATH.fullmatch(piece)
        or _PLAIN_WORD.fullmatch(piece)
        for piece in pieces[::2]
    )


def harmless(value: Any, scrubber: Scrubber) -> Any:
    """A value of JSON with every text left out that is not harmless, keys included."""
    if isinstance(value, dict):
        return {_text(key, scrubber): harmless(item, scrubber) for key, item in value.items()}
    if isinstance(value, list):
        return [harmless(item, scrubber) for item in value]
    return _text(value, scrubber) if isinstance(value, str) else value


def _text(text: str, scrubber: Scrubber) -> str:
    if is_harmless(text):
        return text
    scrubber.learn(text)
    return LEFT_OUT


# Of a spec: the keys whose values are shown as far as they are harmless. What has no key here is left out.
_SHOWN: Dict[str, Any] = {
    "ociVersion": True,
    "root": {"path": True, "readonly": True},
    "process": {
        "terminal": True,
        "user": {"uid": True, "gid": True, "additionalGids": True},
        "cwd": True,
        "capabilities": True,
        "noNewPrivileges": True,
        "apparmorProfile": True,
        "rlimits": True,
        "oomScoreAdj": True,
    },
    "mounts": {"destination": True, "source": True, "type": True, "options": True},
    "hooks": {
        name: {"path": True, "args": True, "timeout": True}
        for name in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
    },
    "linux": {
        "devices": True,
        "namespaces": True,
        "resources": {"devices": True},
        "maskedPaths": True,
        "readonlyPaths": True,
        "rootfsPropagation": True,
        "uidMappings": True,
        "gidMappings": True,
    },
}


def shown_spec(spec: Any, scrubber: Scrubber) -> Any:
    """A container's spec as it may be shown; what is left out is learned.

    Variables are shown by name, and with their value where it says which GPUs or which CUDA.
    """
    if not isinstance(spec, dict):
        _learn_all(spec, scrubber)
        return LEFT_OUT
    shown = _shown(spec, _SHOWN, scrubber, {"process": {"env", "args"}, "": {"annotations"}})
    process, annotations = spec.get("process"), spec.get("annotations")
    if isinstance(process, dict):
        shown["process"] = {
            **(shown.get("process") if isinstance(shown.get("process"), dict) else {}),
            "args": _arguments(process.get("args"), scrubber),
            "env": [_variable(entry, scrubber) for entry in _list(process.get("env"), scrubber)],
        }
    if isinstance(annotations, dict):
        shown["annotations"] = _annotations(annotations, scrubber)
    return shown


def _shown(
    value: Any, keys: Any, scrubber: Scrubber, elsewhere: Optional[Dict[str, Any]] = None, name: str = ""
) -> Any:
    if keys is True:
        return harmless(value, scrubber)
    if isinstance(value, list):
        return [_shown(item, keys, scrubber) for item in value]
    if not isinstance(value, dict):
        _learn_all(value, scrubber)
        return LEFT_OUT
    done = (elsewhere or {}).get(name, ())
    shown = {}
    others = 0
    for key, item in value.items():
        if key in keys:
            shown[key] = _shown(item, keys[key], scrubber, elsewhere, key)
        elif key not in done:
            others += 1
            _learn_all(key, scrubber)
            _learn_all(item, scrubber)
    if others:
        shown[LEFT_OUT] = f"{others} more"
    return shown


def _arguments(value: Any, scrubber: Scrubber) -> List[str]:
    """The program, where that is harmless, and how many arguments it has: they say nothing about GPUs."""
    words = _list(value, scrubber)
    for word in words[1:]:
        _learn_all(word, scrubber)
    if not words:
        return []
    return [harmless(words[0], scrubber), *([f"[{len(words) - 1} more left out]"] if len(words) > 1 else [])]


def _variable(entry: Any, scrubber: Scrubber) -> str:
    if not isinstance(entry, str):
        _learn_all(entry, scrubber)
        return LEFT_OUT
    name, _, value = entry.partition("=")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) is None:
        scrubber.learn(entry)
        return LEFT_OUT
    if _SHOWN_VARIABLES.fullmatch(name) and not _SECRET_NAME.search(name) and is_harmless(value):
        return entry
    scrubber.learn(value)
    if not is_harmless(name.lower()):
        scrubber.learn(name)
    return f"{name if is_harmless(name.lower()) else LEFT_OUT}={LEFT_OUT if value else ''}"


def _annotations(annotations: Dict[str, Any], scrubber: Scrubber) -> Dict[str, Any]:
    shown: Dict[str, Any] = {}
    others = 0
    for key, value in annotations.items():
        if _SHOWN_ANNOTATIONS.fullmatch(key) and is_harmless(key.rsplit(".", 1)[-1].rsplit("/", 1)[-1]):
            shown[key] = harmless(value, scrubber)
        else:
            others += 1
            _learn_all(key, scrubber)
            _learn_all(value, scrubber)
    return {**shown, **({LEFT_OUT: f"{others} more"} if others else {})}


def _list(value: Any, scrubber: Scrubber) -> List[Any]:
    if isinstance(value, list):
        return value
    _learn_all(value, scrubber)
    return []


def _learn_all(value: Any, scrubber: Scrubber) -> None:
    if isinstance(value, str):
        scrubber.learn(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _learn_all(key, scrubber)
            _learn_all(item, scrubber)
    elif isinstance(value, list):
        for item in value:
            _learn_all(item, scrubber)


_TOML_LINE = re.compile(r"\s*([\w-]+)\s*=\s*(.+?)\s*(?:#[^\"']*)?")
_TOML_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]\s*(?:#.*)?")


def shown_toml(text: str, scrubber: Scrubber) -> str:
    """A config.toml without its comments, every text of its values left out that is not harmless."""
    return "\n".join(line for line in (_toml_line(line, scrubber) for line in text.splitlines()) if line)


def _toml_line(line: str, scrubber: Scrubber) -> str:
    if not line.strip() or line.lstrip().startswith("#"):
        return ""
    table, setting = _TOML_TABLE.fullmatch(line), _TOML_LINE.fullmatch(line)
    if table is not None and is_harmless(table.group(1)):
        return f"[{table.group(1)}]"
    if setting is None or not is_harmless(setting.group(1)):
        scrubber.learn(line.strip())
        return LEFT_OUT
    value = setting.group(2)
    texts = re.findall(r"\"([^\"]*)\"|'([^']*)'", value)
    words = [one or other for one, other in texts] or [value]
    if all(map(is_harmless, words)) and not (_SECRET_NAME.search(setting.group(1)) and texts):
        return f"{setting.group(1)} = {value}"
    for word in words:
        scrubber.learn(word)
    return f"{setting.group(1)} = {LEFT_OUT}"


def troubles(lines: Iterable[str]) -> List[str]:
    """Of one of runsc's debug logs the warnings and errors; what is below them may hold a whole spec.

    A line that begins without a log's prefix goes on with the one before it.
    """
    kept = []
    wanted = True
    for line in lines:
        prefix = re.match(r"([DIWEF])\d{4} ", line)
        wanted = prefix.group(1) in "WEF" if prefix else wanted
        if wanted:
            kept.append(line)
    return kept
