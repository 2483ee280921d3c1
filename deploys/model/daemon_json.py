"""Docker's `daemon.json`: our runtime merged into it, every other key left as it is."""

from __future__ import annotations

import json
from typing import Any


class DaemonJsonError(ValueError):
    """The file is not what dockerd could read; `str()` says what is wrong and where."""


def parse(text: str) -> dict[str, Any]:
    """The object in a `daemon.json`; an empty file counts as an empty object, as dockerd takes it."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DaemonJsonError(
            f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    if not isinstance(value, dict):
        raise DaemonJsonError(f"it holds {type(value).__name__}, not an object")
    if not isinstance(value.get("runtimes", {}), dict):
        raise DaemonJsonError(f"its runtimes are {type(value['runtimes']).__name__}, not an object")
    return value


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


def without_runtime(text: str, name: str) -> str:
    """The text without the runtime; what else stands in it stays."""
    config = parse(text)
    runtimes = {key: value for key, value in config.get("runtimes", {}).items() if key != name}
    if len(runtimes) == len(config.get("runtimes", {})):
        return text
    rest = {key: value for key, value in config.items() if key != "runtimes"}
    return _dump({**rest, "runtimes": runtimes} if runtimes else rest)


def _dump(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
