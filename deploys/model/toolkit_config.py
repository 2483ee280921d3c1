"""`config.toml` of nvidia-container-runtime: rendered, or our keys put into the one that is there.

The shim ignores keys and tables that it does not know (go-toml v1, not strict), so a slip of the pen means
its defaults: runc.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploys.model import paths
from deploys.model.rendering import render
from deploys.model.settings import ToolkitMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploys.model.versions import ToolkitVersion

_RUNTIME = "nvidia-container-runtime"
_CSV = f"{_RUNTIME}.modes.csv"
_ENVIRONMENT = "accept-nvidia-visible-devices-envvar-when-unprivileged"
_MARK = "\ufeff"
_HINT = "change toolkit_mode in the inventory, not this file"


@dataclass(frozen=True)
class _Key:
    """A key that the toolkit reads: its kind, and the first version that does."""

    kind: type
    since: tuple[int, int, int] = (0, 0, 0)


_TEXTS: type = list
# nvidia-container-toolkit v1.20.0, api/config/v1; older ones by its history. It ignores any other key.
_KEYS = {
    "disable-require": _Key(bool),
    "swarm-resource": _Key(str),
    _ENVIRONMENT: _Key(bool),
    "accept-nvidia-visible-devices-as-volume-mounts": _Key(bool),
    "supported-driver-capabilities": _Key(str),
    **{
        f"nvidia-container-cli.{name}": _Key(str)
        for name in ("root", "path", "debug", "ldcache", "user", "ldconfig")
    },
    "nvidia-container-cli.environment": _Key(_TEXTS),
    **{f"nvidia-container-cli.{name}": _Key(bool) for name in ("load-kmods", "no-pivot", "no-cgroups")},
    **{f"{_RUNTIME}.{name}": _Key(str) for name in ("debug", "log-level", "mode")},
    f"{_RUNTIME}.runtimes": _Key(_TEXTS),
    f"{_CSV}.mount-spec-path": _Key(str),
    f"{_CSV}.compat-container-root": _Key(str, (1, 19, 0)),
    f"{_RUNTIME}.modes.cdi.default-kind": _Key(str),
    f"{_RUNTIME}.modes.cdi.annotation-prefixes": _Key(_TEXTS),
    f"{_RUNTIME}.modes.cdi.spec-dirs": _Key(_TEXTS),
    f"{_RUNTIME}.modes.jit-cdi.nvcdi-feature-flags": _Key(_TEXTS, (1, 18, 1)),
    f"{_RUNTIME}.modes.jit-cdi.nvcdi-disable-hooks": _Key(_TEXTS, (1, 20, 0)),
    f"{_RUNTIME}.modes.legacy.cuda-compat-mode": _Key(str, (1, 17, 7)),
    f"{_RUNTIME}-hook.path": _Key(str),
    f"{_RUNTIME}-hook.skip-mode-detection": _Key(bool),
    "nvidia-ctk.path": _Key(str),
    "features.allow-cuda-compat-libs-from-container": _Key(bool, (1, 17, 4)),
    "features.allow-ldconfig-from-container": _Key(bool, (1, 17, 3)),
    "features.allow-unknown-oci-spec-fields": _Key(bool, (1, 19, 0)),
    "features.disable-cuda-compat-lib-hook": _Key(bool, (1, 17, 5)),
    "features.disable-imex-channel-creation": _Key(bool, (1, 17, 0)),
    "features.ignore-imex-channel-requests": _Key(bool, (1, 17, 5)),
    "features.no-additional-gids-for-device-nodes": _Key(bool, (1, 19, 0)),
}
_KINDS = {bool: "true or false", str: "a text", list: "a list of texts"}


class ToolkitConfigError(ValueError):
    """A `config.toml` that our keys cannot be put into; `str()` says what is wrong and where."""


def merged(text: str, mode: ToolkitMode, version: ToolkitVersion) -> str:
    """The file's text with our keys in it; every other line, its comments too, as it was.

    Args:
        text: the file as it is.
        mode: the mode that is wanted.
        version: the toolkit's that will read it.

    Raises:
        ToolkitConfigError: the toolkit could not read it, or would not read what it says, or it is written
            in a way that our keys cannot be put into.
    """
    found = _read(text)
    for name, value in _leaves(found):
        wrong = _wrong_with(name, value, version)
        if wrong is not None:
            raise ToolkitConfigError(wrong)
    if found.get(_ENVIRONMENT) is False:
        # Kept, it would keep GPUs from all that asks as this project's own verification does.
        raise ToolkitConfigError(
            f"{_ENVIRONMENT} = false keeps GPUs from containers that ask by NVIDIA_VISIBLE_DEVICES; take it "
            "out if they may, and otherwise leave this host out"
        )
    return _with_all(text, ours(mode))


def beside(hosts: str, mode: ToolkitMode, version: ToolkitVersion) -> str:
    """A whole `config.toml` of ours beside the host's own: what that says, and our keys.

    Nothing of theirs is an error here, as nothing of theirs is changed: what this toolkit does not read is
    left out, and so is what keeps GPUs from containers that ask as ours do. It is the same text for the same
    meaning, so that a host's file that its packages write in another order changes nothing.

    Args:
        hosts: the host's own file; empty where it has none.
        mode: the mode that is wanted.
        version: the toolkit's that will read it.
    """
    try:
        found = dict(_leaves(_read(hosts)))
    except ToolkitConfigError:
        found = {}
    theirs = {name: value for name, value in found.items() if _wrong_with(name, value, version) is None}
    theirs.pop(_ENVIRONMENT, None)
    csv = {f"{_CSV}.mount-spec-path": paths.OWN_CSV_DIR}
    keys = {**dict(_leaves(_read(config_toml(mode)))), **theirs, **ours(mode), **csv}
    tables: dict[str, list[tuple[str, str]]] = {}
    for name, value in sorted(keys.items()):
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append((key, _literal(value)))
    text = render(
        "own-config.toml.j2",
        settings_hint=_HINT,
        hosts=paths.TOOLKIT_CONFIG,
        # Above the first header stand the keys of no table.
        tables=sorted(tables.items()),
    )
    if dict(_leaves(_read(text))) != keys:
        raise AssertionError(f"templates/own-config.toml.j2 does not say what it must: {text}")
    return text


def swarm_resources(text: str) -> tuple[str, ...]:
    """The variables that ask in the place of NVIDIA_VISIBLE_DEVICES, by a `config.toml` with our keys in it.

    As the toolkit splits them (nvidia-container-toolkit v1.20.0, `swarm-resource`).
    """
    names = _read(text).get("swarm-resource", "").split(",")
    return tuple(name.strip() for name in names if name.strip() and "=" not in name and "\0" not in name)


def led_to_wrapper(text: str) -> str:
    """The file's text with the wrapper as the only runtime, and nothing else changed.

    Raises:
        ToolkitConfigError: it cannot be read, or the key cannot be put into it.
    """
    return _with_all(text, {f"{_RUNTIME}.runtimes": [paths.LAUNCHER]})


def driver_root(text: str) -> str:
    """The driver's root that a `config.toml` names, as `/run/nvidia/driver`, without a slash at its end.

    The shim looks for every file and node below it, and they lose it on their way into a container. Empty
    where none is named, or it cannot be told.
    """
    try:
        root = tomllib.loads(text.removeprefix(_MARK)).get("nvidia-container-cli", {}).get("root", "")
    except (tomllib.TOMLDecodeError, AttributeError):
        return ""
    return root.rstrip("/") if isinstance(root, str) else ""


def unmerged(text: str, before: str, version: ToolkitVersion) -> str:
    """The text with our keys as they were before the first run, or gone; what else stands in it stays.

    Returns:
        What was there before to the letter, where nobody else has edited it.

    Raises:
        ToolkitConfigError: it cannot be read any more, or our keys cannot be taken out.
    """
    former = dict(_leaves(_read(before)))
    # A change of the mode leaves what only the former one needs.
    for first, then in ((first, then) for first in ToolkitMode for then in ToolkitMode):
        try:
            if merged(merged(before, first, version), then, version) == text:
                return before
        except ToolkitConfigError:
            break
    there = dict(_leaves(_read(text)))
    written = {**ours(ToolkitMode.AUTO), **ours(ToolkitMode.CSV)}
    return _with_all(text, {name: former.get(name) for name in written if name in there or name in former})


def _with_all(text: str, wanted: dict[str, Any]) -> str:
    """The text with these keys set, or gone where the value is None, and with nothing else changed.

    Raises:
        ToolkitConfigError: it is written in a way that this cannot be done in.
    """
    made, expected = text, dict(_leaves(_read(text)))
    for name, value in wanted.items():
        made = _with(made, name, value)
        expected[name] = value
    try:
        found = dict(_leaves(_read(made)))
    except ToolkitConfigError:
        found = {}
    # What was written is read again: there are more ways to write a table than are looked for.
    if found != {name: value for name, value in expected.items() if value is not None}:
        tables = " and ".join(sorted({f"[{name.rpartition('.')[0]}]" for name in wanted}))
        raise ToolkitConfigError(
            f"{' and '.join(wanted)} cannot be set in it: write them below {tables}, each on its own line"
        )
    return made


def differences(text: str, mode: ToolkitMode) -> tuple[str, ...]:
    """What our keys change for all that the NVIDIA runtime starts on this host, for people."""
    found = dict(_leaves(_read(text)))
    return tuple(
        f"{name} = {_literal(found[name])} becomes {_literal(value)}"
        for name, value in ours(mode).items()
        if name in found and found[name] != value
    )


def ours(mode: ToolkitMode) -> dict[str, Any]:
    """The keys that are set, each with its value."""
    wanted: dict[str, Any] = {f"{_RUNTIME}.mode": mode.value, f"{_RUNTIME}.runtimes": [paths.LAUNCHER]}
    return {**wanted, f"{_CSV}.mount-spec-path": paths.CSV_DIR} if mode.value == "csv" else wanted


def _read(text: str) -> dict[str, Any]:
    try:
        # The toolkit's reader takes a byte order mark (go-toml 1.9.5, toml.go).
        return tomllib.loads(text.removeprefix(_MARK))
    except tomllib.TOMLDecodeError as error:
        last = f"at line {text.count(chr(10)) + 1}, the end of the file"
        raise ToolkitConfigError(
            f"it is not TOML: {str(error).replace('at end of document', last)}"
        ) from None


def _leaves(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _wrong_with(name: str, value: Any, version: ToolkitVersion) -> str | None:
    key, last = _KEYS.get(name), name.rpartition(".")[2]
    if key is None:
        places = [known for known in _KEYS if known.rpartition(".")[2] == last]
        table = places[0].rpartition(".")[0] if places else ""
        where = f"below [{table}]" if table else "above the first table"
        hint = f"; it belongs {where}" if places else ""
        return f"the toolkit knows no key {name}, and would ignore it without a word{hint}"
    if (version.major, version.minor, version.patch) < key.since:
        since = ".".join(str(part) for part in key.since)
        return f"the toolkit {version} does not know the key {name} yet, which came with {since}"
    texts = key.kind is not list or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    if not isinstance(value, key.kind) or not texts:
        return f"{name} = {_literal(value)}, and has to be {_KINDS[key.kind]}"
    return None


def _literal(value: Any) -> str:
    """A value as TOML spells it: for texts, lists of texts, and booleans JSON does so, but for one letter."""
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _with(text: str, name: str, value: Any) -> str:
    """The text with one key set, or gone where the value is None.

    Its table has to stand below a header of its own, or nowhere.
    """
    table, _, key = name.rpartition(".")
    newline = "\r\n" if "\r\n" in text else "\n"
    mark = _MARK if text.startswith(_MARK) else ""
    lines = text.removeprefix(_MARK).splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += newline
    header = _statement(lines, 0, lambda line: _header(line) == table)
    is_it = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=").match
    there = header and _statement(lines, header.stop, is_it, _header)
    statement = f"{key} = {_literal(value)}"
    if there is not None:
        said = "".join(lines[there])
        if value is not None and tomllib.loads(said) == {key: value}:
            return text
        lines[there] = [] if value is None else [_rewritten(said, statement)]
    elif value is None:
        return text
    elif header is None:
        gap = [newline] if "".join(lines).strip() else []
        lines += [*gap, f"[{table}]{newline}", f"{statement}{newline}"]
    else:
        below = lines[header.stop] if header.stop < len(lines) else ""
        indent = below[: len(below) - len(below.lstrip(" \t"))]
        lines.insert(header.stop, f"{indent}{statement}{newline}")
    return mark + "".join(lines)


def _statement(
    lines: list[str],
    at: int,
    wanted: Callable[[str], object],
    end: Callable[[str], object] = lambda _: None,
) -> slice | None:
    """The lines of the first statement, from a line on, that begins as wanted; none behind one of an end."""
    while at < len(lines) and not end(lines[at]):
        after = _end_of_statement(lines, at)
        if wanted(lines[at]):
            return slice(at, after)
        at = after
    return None


def _header(line: str) -> str | None:
    """The name in a table's header, or None where the line is none."""
    match = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?", line.strip())
    return None if match is None else ".".join(part.strip().strip("\"'") for part in match[1].split("."))


def _end_of_statement(lines: list[str], at: int) -> int:
    """The line behind the statement that begins in a line: a list or a text may go over several."""
    for after in range(at + 1, len(lines) + 1):
        try:
            tomllib.loads("".join(lines[at:after]))
        except tomllib.TOMLDecodeError:
            continue
        return after
    return at + 1


def _rewritten(said: str, statement: str) -> str:
    """A statement in another one's place: its indentation, its line end, and the comment behind it stay."""
    indent = said[: len(said) - len(said.lstrip())]
    body = said.rstrip()
    comment = ""
    for match in re.finditer(r"\s*#", body.rpartition("\n")[2]):
        start = len(body) - len(body.rpartition("\n")[2]) + match.start()
        try:
            same = tomllib.loads(body[:start]) == tomllib.loads(body)
        except tomllib.TOMLDecodeError:
            continue
        if same:
            comment = body[start:]
            break
    return indent + statement + comment + said[len(body) :]


def config_toml(mode: ToolkitMode) -> str:
    """The file's text: the wrapper is the only runtime."""
    text = render(
        "config.toml.j2",
        settings_hint=_HINT,
        mode=mode.value,
        launcher=paths.LAUNCHER,
        csv_dir=paths.CSV_DIR,
    )
    if runtimes_of(text) != (paths.LAUNCHER,) or tomllib.loads(text)[_RUNTIME]["mode"] != mode.value:
        raise AssertionError(f"templates/config.toml.j2 does not say what it must: {text}")
    return text


def is_broken(text: str | None) -> bool:
    """Whether the toolkit could not read a file of this text, or of what is no text, and fails."""
    try:
        _read("=" if text is None else text)
    except ToolkitConfigError:
        return True
    return False


def runtimes_of(text: str) -> tuple[str, ...] | None:
    """The low-level runtimes that a `config.toml` names, in order; None where it cannot be told.

    Absent means the toolkit's own default, runc and crun (nvidia-container-toolkit v1.20.0, api/config/v1).
    """
    try:
        runtimes = tomllib.loads(text.removeprefix(_MARK)).get(_RUNTIME, {}).get("runtimes", ["runc", "crun"])
    except (tomllib.TOMLDecodeError, AttributeError):
        return None
    return (
        tuple(runtimes) if isinstance(runtimes, list) and all(isinstance(r, str) for r in runtimes) else None
    )
