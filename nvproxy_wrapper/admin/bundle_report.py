"""`nvproxy-wrapper bundle-report`: all that says why a container got no GPU, in one file for a stranger.

Secrets are left out (`left_out` says what is kept). Nothing is changed on the host, and each source that
cannot be read says so in its own place: a report is wanted where something is broken.

Exit status: 0; 1 where the file cannot be written or the container is not found; 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from nvproxy_wrapper import __version__
from nvproxy_wrapper.admin import check
from nvproxy_wrapper.admin.left_out import LEFT_OUT, Scrubber, harmless, shown_spec, shown_toml, troubles
from nvproxy_wrapper.host.kept_spec import NAME as KEPT
from nvproxy_wrapper.host.settings_file import load_settings
from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import known_failures, strict_json
from nvproxy_wrapper.judge.decision import printable
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS, SETTINGS_PATH, SettingsError

DIRECTORY = "nvproxy-bundle-report"
_LIMIT = 262144
_SECONDS = 15
_LINES = 50
# What is not made of harmless parts in the first place: the words of programs.
_TEXTS = ("log.json", "runsc.log", "check.txt", "kernel.log", "versions.txt")
_KERNEL = re.compile(r"NVRM|\bXid\b|nvidia", re.IGNORECASE)


class Host:
    """Where things lie on a host; another root is for tests.

    Attributes:
        root: what every path is below; empty on a host.
        runs: whether programs are asked for their versions and the kernel for its log.
    """

    def __init__(self, root: str = "", runs: bool = True) -> None:
        self.root = root
        self.runs = runs

    def path(self, path: str) -> str:
        """A path on this host."""
        return self.root + path

    def text(self, path: str) -> Tuple[Optional[str], str]:
        """(the end of a regular file, "") or (None, why not). A FIFO or a device is never opened for long."""
        try:
            fd = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                size = os.fstat(fd).st_size
                if size > _LIMIT:
                    file.seek(size - _LIMIT)
                return file.read(_LIMIT).decode("utf-8", "replace"), ""
        except OSError as error:
            return None, f"{path} cannot be read: {error.strerror}"

    def said(self, *argv: str) -> str:
        """What a program prints, or why there is nothing."""
        if not self.runs:
            return "not asked"
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{argv[0]}: {getattr(error, 'strerror', None) or 'no answer in time'}"
        return done.stdout.decode("utf-8", "replace")[-_LIMIT:]


def main(arguments: List[str]) -> int:
    """`bundle-report [-o OUT] [CONTAINER]`: CONTAINER is an id, the beginning of one, or a bundle."""
    parser = argparse.ArgumentParser(
        prog="nvproxy-wrapper bundle-report",
        description="Pack all that says why a container got no GPU into one file, secrets left out.",
    )
    parser.add_argument(
        "container",
        nargs="?",
        help="a container's id, the beginning of one, or its bundle's directory; "
        "left out: the host's chain alone",
    )
    parser.add_argument(
        "-o", dest="output", metavar="OUT", help="the file (default: nvproxy-bundle-report-TIME.tar.gz here)"
    )
    options = parser.parse_args(arguments)
    host = Host()
    bundle = None
    if options.container is not None:
        bundle = find_bundle(host, options.container)
        if bundle is None:
            print(
                f"nvproxy-wrapper: there is no bundle of {printable(options.container)!r}: a container that "
                "was refused has none any more. Leave the name out for a report of the host's chain.",
                file=sys.stderr,
            )
            return 1
    output = options.output or f"{DIRECTORY}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz"
    try:
        write(output, packed(collected(host, bundle)))
    except OSError as error:
        print(f"nvproxy-wrapper: {output} could not be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{output}: look it through before you send it; README.txt in it says what was left out.")
    return 0


def find_bundle(host: Host, name: str) -> Optional[str]:
    """The directory of a container's bundle, where there is just one that fits."""
    if "/" in name:
        there = os.path.abspath(name)
        return there if os.path.isfile(host.path(f"{there}/config.json")) else None
    if re.fullmatch(r"[\w.-]+", name) is None:
        return None
    places = ("/run/containerd/io.containerd.runtime.v2.task/*", "/run/docker/containerd/daemon/*/*")
    found = [path for place in places for path in glob.glob(host.path(f"{place}/{name}*/config.json"))]
    exact = [path for path in found if os.path.basename(os.path.dirname(path)) == name]
    chosen = exact or found
    return os.path.dirname(chosen[0])[len(host.root) :] if len(chosen) == 1 else None


def collected(host: Host, bundle: Optional[str]) -> Dict[str, str]:
    """The files of the report by name. What was left out anywhere is in none of them."""
    scrubber = Scrubber()
    # The specs first: what they hold is what must be in no log.
    files: Dict[str, str] = {} if bundle is None else _specs(host, bundle, scrubber)
    identity = "" if bundle is None else os.path.basename(bundle)
    files["settings.json"] = _json(host, SETTINGS_PATH, scrubber, harmless)
    files["config.toml"] = _from(host, check.TOOLKIT_CONFIG, lambda text: shown_toml(text, scrubber))
    files["daemon.json"] = _json(host, "/etc/docker/daemon.json", scrubber, _daemon)
    files["decisions.jsonl"] = _from(
        host, _audit_log(host), lambda text: _decisions(text, identity, scrubber)
    )
    if bundle is not None:
        # After the settings, which its sentences may quote.
        files["decision.json"] = _decision(host, bundle, scrubber)
        files["log.json"] = _from(host, f"{bundle}/log.json", _objects)
        files["runsc.log"] = _debug_logs(host, identity)
    files["check.txt"] = "\n".join(
        f"{finding.answer:11}  {finding.subject}: {finding.what}. {finding.remedy}"
        for finding in (check.examine() if host.runs else ())
    )
    files["kernel.log"] = "\n".join(list(filter(_KERNEL.search, host.said("dmesg").splitlines()))[-_LINES:])
    files["driver.txt"] = _driver(host)
    files["versions.txt"] = _versions(host)
    told = "\n".join(files.get(name, "") for name in ("log.json", "runsc.log"))
    for name in _TEXTS:
        files[name] = scrubber.scrub(files.get(name, ""))
    files = {name: printable_text(text) for name, text in files.items() if text.strip()}
    files["README.txt"] = _readme(files, known_failures.find(told, files.get("kernel.log", "")), scrubber)
    return files


def _specs(host: Host, bundle: str, scrubber: Scrubber) -> Dict[str, str]:
    files = {}
    for name, path in (("spec-as-asked.json", KEPT), ("spec-as-rewritten.json", "config.json")):
        files[name] = _json(host, f"{bundle}/{path}", scrubber, shown_spec)
    return files


def _decision(host: Host, bundle: str, scrubber: Scrubber) -> str:
    """What the wrapper makes of the spec as it was asked, or of what is there of it."""
    for name in (KEPT, "config.json"):
        text, _ = host.text(f"{bundle}/{name}")
        if text is None:
            continue
        try:
            spec = strict_json.loads(text.encode())
        except strict_json.JSONError as error:
            # Not the error's words: they may quote what is in the spec.
            return f"{name} is not the JSON of a spec ({type(error).__name__})"
        try:
            settings, fault = load_settings(host.path(SETTINGS_PATH)), None
        except (OSError, SettingsError) as error:
            settings, fault = DEFAULTS, SettingsError(str(error))
        decision = decide(spec, settings, ProcDriverView(host.path(settings.proc_driver)), fault)
        told = {"of": name, "evidence": list(decision.evidence), **decision.as_json()}
        return json.dumps(_scrubbed(told, scrubber), indent=2)
    return ""


def _scrubbed(value: Any, scrubber: Scrubber) -> Any:
    """A value of JSON with each of its texts scrubbed: its sentences quote what the spec says."""
    if isinstance(value, dict):
        return {key: _scrubbed(item, scrubber) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, scrubber) for item in value]
    return scrubber.scrub(value) if isinstance(value, str) else value


def _json(host: Host, path: str, scrubber: Scrubber, shown: Callable[[Any, Scrubber], Any]) -> str:
    def read(text: str) -> str:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            for line in text.splitlines():
                scrubber.learn(line)
            return f"{path} is not JSON, and is left out"
        return json.dumps(shown(value, scrubber), indent=2)

    return _from(host, path, read)


def _from(host: Host, path: str, shown: Callable[[str], str]) -> str:
    text, why = host.text(path)
    return why if text is None else shown(text)


def _daemon(value: Any, scrubber: Scrubber) -> Any:
    """Of Docker's configuration what decides about runtimes; proxies, registries and labels are others'."""
    if not isinstance(value, dict):
        return LEFT_OUT
    kept = ("runtimes", "default-runtime", "features", "exec-opts", "cdi-spec-dirs", "live-restore")
    others = len([key for key in value if key not in kept])
    harmless({key: item for key, item in value.items() if key not in kept}, scrubber)
    shown = harmless({key: value[key] for key in kept if key in value}, scrubber)
    return {**shown, **({LEFT_OUT: f"{others} more"} if others else {})}


def _audit_log(host: Host) -> str:
    try:
        return load_settings(host.path(SETTINGS_PATH)).audit_log
    except (OSError, SettingsError):
        return DEFAULTS.audit_log


_DECISION_KEYS = ("time", "id", "class", "asked", "given", "rules", "refused", "ms")


def _decisions(text: str, identity: str, scrubber: Scrubber) -> str:
    """The last lines about this container, or about any, without names of pods and the warnings' words."""
    lines = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and (not identity or entry.get("id") == identity):
            shown = {key: entry[key] for key in _DECISION_KEYS if key in entry and key not in ("id", "time")}
            rules = [
                warning.get("rule") for warning in entry.get("warnings") or () if isinstance(warning, dict)
            ]
            when = re.match(r"[\dT:Z-]{10,20}$", str(entry.get("time")))
            told = {"time": when.group(0) if when else LEFT_OUT, **harmless(shown, scrubber)}
            lines.append(json.dumps({**told, "warnings": harmless(rules, scrubber)}))
            for key in set(entry) - set(_DECISION_KEYS):
                harmless(entry[key], scrubber)
    return "\n".join(lines[-_LINES:])


_LEVELS = ("debug", "info", "warning", "error", "fatal", "panic")


def _objects(text: str) -> str:
    """Every message of a runtime's log, one a line: engines show the last, often a consequence."""
    decoder = json.JSONDecoder()
    told = []
    rest = text.strip()
    while rest:
        try:
            entry, used = decoder.raw_decode(rest)
        except ValueError:
            break
        rest = rest[used:].strip()
        if isinstance(entry, dict):
            level = entry.get("level")
            told.append(f"{level if level in _LEVELS else LEFT_OUT}: {entry.get('msg')}")
    return "\n".join(told)


def _debug_logs(host: Host, identity: str) -> str:
    """The warnings and errors of this container's debug logs, where the settings have runsc write any."""
    try:
        arguments = load_settings(host.path(SETTINGS_PATH)).runsc_args
    except (OSError, SettingsError):
        return ""
    told = []
    for argument in arguments:
        pattern = argument.partition("=")[2] if argument.lstrip("-").startswith("debug-log=") else ""
        if not pattern:
            continue
        pattern = pattern + "*" if pattern.endswith("/") else pattern
        wild = re.sub(r"%[A-Z]+%", "*", pattern.replace("%ID%", identity))
        for path in sorted(glob.glob(host.path(wild)))[-10:]:
            text, why = host.text(path[len(host.root) :])
            lines = [why] if text is None else troubles(text.splitlines())[-_LINES:]
            # The name of the command alone: what else is in a name is others'.
            told += [f"== {os.path.basename(path).rsplit('.', 2)[-2] if '.' in path else 'log'}", *lines]
    return "\n".join(told)


def _driver(host: Host) -> str:
    told = []
    paths = [
        "/proc/driver/nvidia/version",
        "/proc/driver/nvidia/params",
        *(
            path[len(host.root) :]
            for path in sorted(glob.glob(host.path("/proc/driver/nvidia/gpus/*/information")))
        ),
    ]
    for path in paths:
        text, why = host.text(path)
        told += [f"== {path}", why if text is None else text.strip()]
    nodes = sorted(glob.glob(host.path("/dev/nvidia*")))
    told += ["== /dev", *(f"{path[len(host.root) :]} {os.lstat(path).st_mode:o}" for path in nodes)]
    modules, _ = host.text("/proc/modules")
    told += ["== modules", *(line for line in (modules or "").splitlines() if line.startswith("nvidia"))]
    return "\n".join(told)


def _versions(host: Host) -> str:
    release, _ = host.text("/etc/os-release")
    system = [line for line in (release or "").splitlines() if line.startswith(("ID=", "VERSION_ID="))]
    asked = (
        ("/opt/gvisor/current/runsc", "--version"),
        ("/usr/bin/nvidia-container-runtime", "--version"),
        ("docker", "version", "--format", "{{.Server.Version}}"),
        ("containerd", "--version"),
        ("uname", "-srm"),
    )
    told = [f"nvproxy-wrapper {__version__}", f"Python {sys.version.split()[0]}", *system]
    for argv in asked:
        told += [f"== {' '.join(argv[:2])}", host.said(*argv).strip()]
    return "\n".join(told)


def _readme(files: Dict[str, str], found: known_failures.Found, scrubber: Scrubber) -> str:
    cause = found.cause or "No failure that is known was found in the logs."
    lines = [
        "What nvproxy-wrapper bundle-report found.",
        "",
        cause,
        *([found.remedy] if found.remedy else []),
        *([f"See {found.link}"] if found.link else []),
        "",
        f"Left out, and marked {LEFT_OUT}: values of variables but for NVIDIA_* and CUDA_*, a program's",
        "arguments, annotations of unknown keys, paths that are not the system's, proxies, registries, and",
        "what of these was found in a log. Look the files through before you send them all the same.",
        "",
        *sorted(files),
    ]
    return printable_text(scrubber.scrub("\n".join(lines))) + "\n"


def printable_text(text: str) -> str:
    """A text that steers no terminal, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def packed(files: Dict[str, str]) -> bytes:
    """A .tar.gz of these files in one directory."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{DIRECTORY}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def write(path: str, data: bytes) -> None:
    """Whole or not at all, for its owner alone.

    Raises:
        OSError: it cannot be written, or something that is no regular file has that name.
    """
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
        raise FileExistsError(17, "something that is no regular file has that name")
    # mkstemp makes it 0600.
    descriptor, beside = tempfile.mkstemp(prefix=".nvproxy-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
