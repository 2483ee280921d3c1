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


def without_runtime(text: str, name: str, former: Any = None) -> str:
    """The text without the runtime, or with the one that it has replaced; what else stands in it stays."""
    config = parse(text)
    there = config.get("runtimes", {})
    if there.get(name) == former:
        return text
    rest = {**there, name: former}
    if former is None:
        del rest[name]
    if rest:
        return _dump({**config, "runtimes": rest})
    return _dump({key: value for key, value in config.items() if key != "runtimes"})


def _dump(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
