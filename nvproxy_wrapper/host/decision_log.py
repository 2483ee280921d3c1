"""The decision log: one JSON line for each container that asked for a GPU, or was refused one."""

from __future__ import annotations

import posix
import time

from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.decision import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.judge.decision import Decision, Pod

_FLAGS = (
    posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
)
_MAX_TEXT = 256
_MAX_ITEMS = 64


def append(path: str, decision: Decision, container: str, started: float) -> str | None:
    """Append the line about `decision` to the log `path`; a log that cannot be written stops no container.

    Args:
        path: the log. Made with mode 0640 where it is missing, its directory is not.
        decision: what was decided.
        container: its id.
        started: `time.monotonic()` when the wrapper began, in seconds.

    Returns:
        None, or a sentence that says why there is no line.
    """
    line: dict[str, Any] = {
        "time": timestamp(),
        "id": _bounded(container),
        "class": decision.spec_class,
        **_pod(decision.pod),
        "asked": _asked(_requested(decision)),
        "given": None if decision.opens is None else [_bounded(item) for item in decision.opens[:_MAX_ITEMS]],
        "rules": _distinct([action.rule for action in decision.actions]),
        "warnings": [warning.as_json() for warning in decision.warnings],
        "refused": None if decision.refusal is None else decision.refusal.rule,
        "ms": round((time.monotonic() - started) * 1000),
        "pid": posix.getpid(),
    }
    data = strict_json.dumps(_readable(line)) + b"\n"
    try:
        fd = posix.open(path, _FLAGS, 0o640)
        try:
            # One write to a file opened for appending: lines of containers that start at once do not mix.
            written = posix.write(fd, data)
        finally:
            posix.close(fd)
    except OSError as error:
        return _notice(f"could not be written: {error.strerror}", path)
    return None if written == len(data) else _notice("took half a line: its disk is full", path)


def timestamp() -> str:
    """Now, in UTC, as runsc and runc write it into their logs (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _pod(pod: Pod | None) -> dict[str, str]:
    # What is not there has no key, so that a line of Docker's is as long as it was.
    named = {} if pod is None else {"pod": pod.name, "namespace": pod.namespace, "container": pod.container}
    return {key: _bounded(name) for key, name in named.items() if name}


def _requested(decision: Decision) -> str | list[str] | None:
    """The request; in a pod, where an engine gives GPUs by CDI and the spec names none, what it gave."""
    if decision.requested is not None or decision.pod is None or not decision.gpu_requested:
        return decision.requested
    return list(decision.pod.cdi_devices) or decision.opens or None


def _asked(requested: str | list[str] | None) -> str | list[str] | None:
    if isinstance(requested, list):
        return [_bounded(item) for item in requested[:_MAX_ITEMS]]
    return requested if requested is None else _bounded(requested)


def _bounded(text: str) -> str:
    # A stranger wrote it: an image may carry a megabyte of it.
    shown = printable(text[: _MAX_TEXT + 1])
    return shown if len(shown) <= _MAX_TEXT else shown[:_MAX_TEXT] + "…"


def _readable(value: Any) -> Any:
    """The value with every text in it printable, whoever wrote it: a reader's terminal is not to obey it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value


def _distinct(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _notice(what: str, path: str) -> str:
    return f"nvproxy-wrapper: the decision log {path} {what}. No container is held up by that."
