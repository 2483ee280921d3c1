"""Programs that are started with a time limit and killed with all that they have started.

Several may run at once; a signal that ends the whole program ends them all.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from typing import IO, Any, NamedTuple, Set

from deploys.host.remote.prelude import environment

OUTPUT_LIMIT = 65536
ERROR_LIMIT = 4096
CLEAN_UP_SECONDS = 10
POLL_SECONDS = 0.02


# Of all threads.
_running: Set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


class Stopped(Exception):  # noqa: N818 - an order, not a fault
    """A signal told the program to end. Not a Fault: after some of those it goes on."""


class Finished(NamedTuple):
    """How a program ended: `code` is None where it could not be run, or where its time was over."""

    code: int | None
    out: str
    err: str
    timed_out: bool = False


class Clock:
    """The time left to the whole program; none once it was told to stop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def stop(self) -> None:
        """No further step begins, and what runs is killed; what tidies up still may run programs."""
        self.end = 0.0
        with _lock:
            for process in _running:
                kill_session(process)

    def limit(self, seconds: float) -> float:
        """As many seconds as a step may take: its own limit, or what is left."""
        return max(0.0, min(seconds, self.end - time.monotonic()))


def tail(data: bytes | None, limit: int) -> str:
    """The end of what a program printed: errors come last."""
    return (data or b"")[-limit:].decode("utf-8", "replace")


def run(
    argv: list[str],
    seconds: float,
    *,
    stdin: bytes | None = None,
    files: tuple[IO[bytes], IO[bytes]] | None = None,
    extra: dict[str, str] | None = None,
) -> Finished:
    """Run a program in a session of its own, and kill that session when the time is over.

    Args:
        argv: the program and its arguments.
        seconds: the time limit.
        stdin: what it reads; nothing by default.
        files: (stdout, stderr) as open files, for a runtime that hands them on to its container: to wait for
            the end of a pipe would be to wait for the container.
        extra: variables on top of the usual ones.
    """
    out, err = files or (subprocess.PIPE, subprocess.PIPE)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=out,
            stderr=err,
            env={**environment(), **(extra or {})},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return Finished(None, "", f"{argv[0]}: {error.strerror}")
    timed_out = False
    with _lock:
        _running.add(process)
    try:
        printed, complained = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_session(process)
        printed, complained = process.communicate()
        timed_out = True
    except BaseException:
        kill_session(process)
        process.wait()
        raise
    finally:
        with _lock:
            _running.discard(process)
    code = None if timed_out else process.returncode
    return Finished(code, tail(printed, OUTPUT_LIMIT), tail(complained, ERROR_LIMIT), timed_out)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_processes_of(container: str) -> None:
    """Kill the runtime that works on a container, with its children, and the container's own processes.

    Not containerd's shim, which has the id among its arguments as well: it tidies up. The id is matched
    whole: one may begin another.
    """
    whole = re.compile(rf"(?<![\w-]){re.escape(container)}(?![\w-])")
    processes = {pid: process(pid) for pid in filter(str.isdigit, os.listdir("/proc"))}
    doomed = {
        pid
        for pid, (_, arguments) in processes.items()
        if whole.search(arguments) and "containerd-shim" not in arguments
    }
    while True:
        children = {pid for pid, (parent, _) in processes.items() if parent in doomed} - doomed
        if not children:
            break
        doomed |= children
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def process(pid: str) -> tuple[str, str]:
    """(id of its parent, arguments in one line) of a process; both empty where it is gone."""
    fields = read_end(f"/proc/{pid}/stat", ERROR_LIMIT).rpartition(")")[2].split()
    return fields[1] if fields else "", read_end(f"/proc/{pid}/cmdline", OUTPUT_LIMIT)


def read_end(path: str, limit: int) -> str:
    """The end of a file, or nothing where there is none."""
    try:
        with open(path, "rb") as file:
            return tail(file.read(), limit)
    except OSError:
        return ""


def outcome(done: Finished) -> dict[str, Any]:
    """What is told about a command or a container."""
    no_start = done.code is None and not done.timed_out
    return {
        **done._asdict(),
        "not_run": done.err if no_start else None,
        "missing": None,
        "left_behind": None,
        "process": None,
        "loaded": None,
        "seconds": 0.0,
    }


def not_run(why: str, missing: str | None = None) -> dict[str, Any]:
    """What is told about a container that was not even tried."""
    return {**outcome(Finished(None, "", why)), "missing": missing}
