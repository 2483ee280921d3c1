"""Docker's `daemon.json`: our runtime merged into it, every other key left as it is."""

from __future__ import annotations

import json
from typing import Any


class DaemonJsonError(ValueError):
    """The file is not what dockerd could read; `str()` says what is wrong and where."""


def parse(text: str) -> dict[str, Any]:
    """The object in a `daemon.json`; an empty file counts as an empty object, as dockerd takes it.

    Raises:
        DaemonJsonError: dockerd would refuse it, or it could not be written back as it is.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DaemonJsonError(
            f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise DaemonJsonError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise DaemonJsonError("it holds half of a surrogate pair") from None
    if not isinstance(value, dict):
        raise DaemonJsonError(f"it holds {type(value).__name__}, not an object")
    if not isinstance(value.get("runtimes", {}), dict):
        raise DaemonJsonError(f"its runtimes are {type(value['runtimes']).__name__}, not an object")
    return value


def runtimes(text: str) -> dict[str, Any]:
    """The runtimes that a `daemon.json` names, as they stand there."""
    return dict(parse(text).get("runtimes", {}))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DaemonJsonError(f"the key {twice!r} is there twice")
    return made


def _no_constant(text: str) -> None:
    raise DaemonJsonError(f"it is not JSON: {text}")


def with_runtime(text: str, name: str, path: str) -> str:
    """The text with the runtime in it; the very same text where it was there already.

    `nvidia-ctk runtime configure` does not do: it replaces `features` as a whole (nvidia-container-toolkit
    up to 1.20.0, pkg/config/engine/docker/docker.go), sorts every key, and writes the file in place.
    """
    config = parse(text)
    wanted = {"path": path}
    if config.get("runtimes", {}).get(name) == wanted:
        return text
    return _dump({**config, "runtimes": {**config.get("runtimes", {}), name: wanted}})


def without_runtime(text: str | None, name: str, before: str | None) -> str | None:
    """The text without the runtime, or with the one that it has replaced; what else stands in it stays.

    Args:
        text: the file as it is; None where it is not there.
        name: the runtime's.
        before: the file as it was before the runtime came; None where it was not there.

    Returns:
        The text, or None for no file: what was there before to the letter, where nobody else has edited it.
        That an empty `runtimes` is there is no edit, as `docker_engine` writes one in passing.

    Raises:
        DaemonJsonError: one of them is not what dockerd could read.
    """
    config, former = parse(text or ""), parse(before or "")
    rest = dict(config.get("runtimes", {}))
    theirs = former.get("runtimes", {})
    if name in theirs:
        rest[name] = theirs[name]
    else:
        rest.pop(name, None)
    made = {**config, "runtimes": rest}
    if not rest and not ("runtimes" in config and "runtimes" in former):
        del made["runtimes"]
    if _is_same(made, former):
        return before
    return text if _is_same(made, config) else _dump(made)


def runtime_path(entry: Any) -> str | None:
    """What a runtime leads to for dockerd, by its entry in the file; None where that is no entry."""
    return (entry.get("path") or entry.get("runtimeType") or "") if isinstance(entry, dict) else None


def lost_default(text: str | None, loaded: str | None) -> str | None:
    """The default runtime that dockerd would have after a load of this text, and would not find any more.

    Docker 20.10 dies of that, later ones keep what they have. A load keeps the default runtime where the text
    names none, and drops every runtime that the text does not name, also those of the command line.

    Args:
        text: the file to load, which names its runtimes, be it none; None for no file.
        loaded: the default runtime that dockerd has now; None where that is not known.
    """
    config = parse(text or "")
    default = config.get("default-runtime") or loaded
    is_there = default in (None, "runc") or default in config.get("runtimes", {})
    return None if is_there else str(default)


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    # By their texts: for Python, 1 and true are equal.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _dump(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
