"""Docker's `daemon.json`: our runtime put into the text and taken out, every other byte left as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from deploys.model import json_text
from deploys.model.json_text import JsonTextError, Number, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUNTIMES = "runtimes"
_DEFAULT = "default-runtime"
_STOCK, _STOCK_V1, _STOCK_V2 = "runc", "io.containerd.runtime.v1.linux", "io.containerd.runc.v2"
# What dockerd reads of a runtime, and as what (moby 29.0, api/types/system/runtime.go); it ignores the rest.
_FIELDS = {"path": str, "runtimetype": str, "runtimeargs": list, "options": dict}
_KINDS = {str: "a text", list: "a list", dict: "an object", bool: "true or false", Number: "a number"}


class DaemonJsonError(ValueError):
    """The file is not what dockerd could read; `str()` says what is wrong and where."""


def parse(text: str) -> dict[str, Any]:
    """The object in a `daemon.json`; an empty file counts as an empty object, as dockerd takes it.

    Raises:
        DaemonJsonError: dockerd would refuse it, or reads another thing in it than people do.
    """
    root = _read(text)
    return {} if root is None else dict(root.plain)


def runtimes(text: str) -> dict[str, Any]:
    """The runtimes that a `daemon.json` names, as they stand there."""
    return dict(parse(text).get(_RUNTIMES) or {})


def with_runtime(text: str, name: str, path: str) -> str:
    """The text with the runtime in it; the very same text where it was there already.

    `nvidia-ctk runtime configure` does not do: it replaces `features` as a whole (nvidia-container-toolkit
    up to 1.20.0, pkg/config/engine/docker/docker.go), sorts every key, and writes the file in place.
    """
    wanted = {"path": path}
    if runtimes(text).get(name) == wanted:
        return text
    return _with_entry(text, name, wanted)


def without_runtime(text: str | None, name: str, before: str | None) -> str | None:
    """The text without the runtime, or with the one that it has replaced; what else stands in it stays.

    Args:
        text: the file as it is; None where it is not there.
        name: the runtime's.
        before: the file as it was before the runtime came; None where it was not there.

    Returns:
        The text, or None for no file: what was there before to the letter, where nobody else has edited it.
        That an empty `runtimes` is there is no edit, as dockerd is given one in passing.

    Raises:
        DaemonJsonError: one of them is not what dockerd could read.
    """
    theirs = _read(before or "")
    if text is None:
        return None
    path = runtime_path(runtimes(text).get(name))
    if path and with_runtime(before or "", name, path) == text:
        return before
    made = _restored(text, name, before or "", theirs)
    # Whether empty or written in another way, it says what it said before.
    return before if parse(made) == parse(before or "") else made


def _restored(text: str, name: str, before: str, theirs: Value | None) -> str:
    former, root = _runtimes_in(theirs), _read(text)
    entry = None if former is None else former.member(name)
    if entry is not None:
        return _with_raw_entry(text, name, before[entry.value.start : entry.value.end])
    there = _runtimes_in(root)
    if root is None or there is None:
        return text
    if former is None and not set(there.plain or {}) - {name}:
        return json_text.without_member(text, root, _RUNTIMES)
    if former is not None and former.plain is None and not set(there.plain or {}) - {name}:
        return json_text.with_raw_member(text, root, _RUNTIMES, "null")
    return json_text.without_member(text, there, name)


def named(text: str | None, also: Mapping[str, str]) -> str:
    """The same configuration in a form that says which runtimes there are, be it none, for dockerd to load.

    A reload of a file without `runtimes`, or of none, keeps those that are loaded (moby 20.10 to 29,
    daemon/reload_unix.go asks whether the value is set), and Docker 20.10 dies of one that is null.

    Args:
        text: the file; None where it is not there.
        also: runtimes that are loaded and that no file names, name to path: those of dockerd's command line,
            which any reload of a file that names runtimes drops.

    Raises:
        DaemonJsonError: it is not what dockerd could read.
    """
    made = text or ""
    for name, path in also.items():
        if name not in runtimes(made):
            made = _with_entry(made, name, _entry(path))
    if parse(made).get(_RUNTIMES) is not None:
        return made
    root = _read(made)
    if root is None:
        return _mark(made) + '{"runtimes": {}}\n'
    return json_text.with_member(made, root, _RUNTIMES, {})


def unnamed(loaded: Mapping[str, str], version: str | None, *texts: str | None) -> dict[str, str]:
    """Those of the loaded runtimes, name to path, that none of these files names: its command line's.

    Up to 20.10 a reload drops `io.containerd.runc.v2` too (moby 20.10.24, daemon/reload_unix.go), which has
    to be named then; later ones always have it, and `runc` is always there.
    """
    in_files = {name for text in texts for name in runtimes(text or "")}
    stock = {_STOCK, _STOCK_V1, *(() if _is_before(version, 23) else (_STOCK_V2,))}
    return {name: path for name, path in loaded.items() if path and name not in in_files | stock}


def runtime_path(entry: Any, version: str | None = None) -> str | None:
    """What a runtime leads to for dockerd, by its entry in the file; None where that is no entry.

    Args:
        entry: as it stands under `runtimes`.
        version: dockerd's. Before 24.0 it knows no `runtimeType` (moby pull request 45032), and ignores it.
    """
    if not isinstance(entry, dict):
        return None
    fields = _fields(entry)
    by_type = "" if _is_before(version, 24) else fields.get("runtimetype")
    return str(fields.get("path") or by_type or "")


def refusal_of_mark(text: str, version: str | None) -> str | None:
    """Why a dockerd could not read such an encoding (moby pull requests 44777, 44832); None where it can."""
    if not text.startswith(json_text.MARK) or not _is_before(version, 23):
        return None
    return f"it begins with a byte order mark, which Docker {version} does not take (23.0 is the first to)"


def lost_default(text: str | None, loaded: str | None, also: Mapping[str, str] | None = None) -> str | None:
    """The default runtime that dockerd would have after a load of this text, and would not find any more.

    Docker 20.10 dies of that, later ones keep what they have. A load keeps the default runtime where the text
    names none, and drops every runtime that the text does not name, also those of the command line.

    Args:
        text: the file to load, which names its runtimes, be it none; None for no file.
        loaded: the default runtime that dockerd has now; None where that is not known.
        also: runtimes that are named besides, as by `named`.
    """
    config = parse(text or "")
    default = config.get(_DEFAULT) or loaded
    there = {_STOCK, *(config.get(_RUNTIMES) or {}), *(also or {})}
    return None if default is None or default in there else str(default)


def _is_before(version: str | None, major: int) -> bool:
    """Whether a dockerd is older. One whose version is not known is taken for a later one, which is asked."""
    match = re.match(r"(\d+)\.", version or "")
    return match is not None and int(match[1]) < major


def _read(text: str) -> Value | None:
    try:
        root = json_text.read(text)
    except JsonTextError as error:
        raise DaemonJsonError(str(error)) from None
    if root is None:
        return None
    if not isinstance(root.plain, dict):
        raise DaemonJsonError(f"it holds {type(root.plain).__name__}, not an object")
    for member in root.members:
        known = member.name.lower()
        if known != member.name and known in {_RUNTIMES, _DEFAULT}:
            where = json_text.place(text, member.start)
            raise DaemonJsonError(f"dockerd knows no key {member.name!r} ({where}): write {known!r}")
    there = root.member(_RUNTIMES)
    if there is not None and there.value.plain is not None:
        if not isinstance(there.value.plain, dict):
            raise DaemonJsonError(f"its runtimes are {type(there.value.plain).__name__}, not an object")
        for member in there.value.members:
            wrong = _wrong_with(member.name, member.value.plain)
            if wrong is not None:
                where = json_text.place(text, member.start)
                raise DaemonJsonError(f"its runtime {member.name!r} ({where}) {wrong}")
    return root


def _wrong_with(name: str, entry: Any) -> str | None:
    """Why dockerd refuses a runtime, at the latest when it loads it (moby 29.0, daemon/runtime_unix.go)."""
    if name == _STOCK:
        return "has a name that dockerd keeps for itself"
    if not isinstance(entry, dict):
        return f'is {_kind(entry)}, and has to be an object like {{"path": "/usr/bin/program"}}'
    fields = _fields(entry)
    for key, kind in _FIELDS.items():
        value = fields.get(key)
        if value is not None and not isinstance(value, kind):
            return f"has {_kind(value)} for its {key}, and that has to be {_KINDS[kind]}"
    path, by_type = fields.get("path"), fields.get("runtimetype")
    arguments, options = fields.get("runtimeargs") or [], fields.get("options")
    texts = all(argument is None or isinstance(argument, str) for argument in arguments)
    wrong = (
        (not texts, "has something else than texts in its runtimeArgs"),
        (not path and not by_type, "has neither a path nor a runtimeType: dockerd would not load it"),
        (path and by_type, "has a path and a runtimeType: dockerd takes either"),
        (path and options, "has options, which dockerd takes beside a runtimeType only"),
        (by_type and arguments, "has runtimeArgs, which dockerd takes beside a path only"),
    )
    return next((sentence for is_so, sentence in wrong if is_so), None)


def _fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """By their names in small letters, of the same ones the last, as Go's encoding/json reads a struct."""
    return {key.lower(): value for key, value in entry.items()}


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS[type(value)]


def _entry(path: str) -> dict[str, str]:
    return {"runtimeType": path} if path.startswith("io.containerd.") else {"path": path}


def _with_entry(text: str, name: str, entry: Mapping[str, str]) -> str:
    root = _read(text)
    if root is None:
        text = _mark(text) + "{}\n"
        root = json_text.read(text)
    if root is None:
        raise AssertionError("an object was read as nothing")
    there = root.member(_RUNTIMES)
    if there is None or there.value.plain is None:
        return json_text.with_member(text, root, _RUNTIMES, {name: entry})
    return json_text.with_member(text, there.value, name, entry)


def _with_raw_entry(text: str, name: str, raw: str) -> str:
    with_one = text if runtimes(text) else _with_entry(text, name, {"path": "-"})
    there = _runtimes_in(_read(with_one))
    if there is None:
        raise AssertionError("the runtimes were written, and are not there")
    return json_text.with_raw_member(with_one, there, name, raw)


def _runtimes_in(root: Value | None) -> Value | None:
    member = None if root is None else root.member(_RUNTIMES)
    return None if member is None else member.value


def _mark(text: str) -> str:
    return json_text.MARK if text.startswith(json_text.MARK) else ""
