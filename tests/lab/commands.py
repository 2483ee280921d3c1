"""Run programs for the lab: output goes to a log, they end when we end, a failure is one sentence."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError

# A lab that is killed must not leave a compiler or a debootstrap behind, at work in a directory that the next
# lab removes.
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


def run_logged(
    argv: Sequence[str],
    *,
    log: Path,
    what: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a program with its output appended to `log`; raise `LabError` with its last words when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        start = output.tell()
        try:
            process = subprocess.Popen(
                [*DIE_WITH_US, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LabError(f"{what}: the program {error.filename} is missing; install it") from error
        with _running_lock:
            _running.add(process)
        status = process.wait()
        with _running_lock:
            _running.discard(process)
    if status:
        with log.open("rb") as written:
            written.seek(start)
            lines = written.read().decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        raise LabError(
            f"{what} failed with status {status} ({argv[0]}: {last}); the whole output is in {log}"
        )


def kill_running() -> None:
    """End what `run_logged` has under way in other threads, with all its children."""
    with _running_lock:
        for process in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def output_of(argv: Sequence[str], *, what: str) -> str:
    """A program's stdout; `LabError` with its last words when it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{what}: the program {error.filename} is missing; install it") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise LabError(f"{what} failed with status {done.returncode} ({argv[0]}: {said})")
    return done.stdout
