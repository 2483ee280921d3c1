"""The spec of a creation as its engine wrote it, kept in the bundle by the entry.

The entry (templates/nvproxy-entry.sh.j2) copies config.json before NVIDIA's runtime edits it, and says so in
NVPROXY_ENTRY to the processes that it becomes. The file stays in the bundle for as long as that is there, so
the file alone says nothing of this creation: a bundle may be used twice, and a copy may have been killed half
way. It counts only together with the variable, which the entry sets when it has copied all of it.
"""

from __future__ import annotations

import posix
import time

from nvproxy_wrapper.host import trusted_file
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.strict_json import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from posix import stat_result

    from nvproxy_wrapper.host.bundle import Bundle

NAME = ".config.json.asked"
"""In the bundle; templates/nvproxy-entry.sh.j2 writes it."""

VARIABLE = b"NVPROXY_ENTRY"
"""`ENGINE:PID`: who called the entry, and the process that it was, and that this one or its parent is."""

# A file's time is that of the last tick of a clock that ticks a hundred times in a second, or less.
_SLACK_SECONDS = 2.0
_OTHERS = 0o077
_ANEW = "Create the container again through its engine, which makes a bundle of its own for each."


def engine(environ: Mapping[bytes, bytes]) -> str | None:
    """The engine whose entry has begun this very creation, or None."""
    named = _named(environ)
    return None if named is None else named[0]


def path(bundle: Bundle) -> str:
    """How messages call the kept spec of a bundle."""
    return f"{bundle.path.rstrip('/')}/{NAME}"


def read(bundle: Bundle, environ: Mapping[bytes, bytes]) -> bytes | None:
    """The kept spec of this creation; None where no entry was in the way.

    Raises:
        Refusal: what is there is not to be trusted, or of another creation, or not there where it should be.
    """
    where = path(bundle)
    named = _named(environ)
    said = environ.get(VARIABLE, b"").decode("ascii", "backslashreplace")
    try:
        data, status = trusted_file.read(bundle.directory, NAME, where, MAX_BYTES)
    except FileNotFoundError:
        if VARIABLE not in environ:
            return None
        raise _refusal(
            f"NVPROXY_ENTRY is {said!r}, and the spec that it says was kept, {where}, is not there", _ANEW
        ) from None
    except trusted_file.UntrustedFileError as error:
        raise _refusal(str(error), f"Remove it. {_ANEW}") from None
    if named is None:
        says = f"NVPROXY_ENTRY is {said!r}, which is not this process" if said else "NVPROXY_ENTRY is not set"
        raise _refusal(
            f"{where} was kept for an earlier creation ({says}), and what it asks for may be out of date",
            "Remove it.",
        )
    _check(where, status)
    began = _beginning_of(named[1])
    if began is not None and status.st_mtime < began - _SLACK_SECONDS:
        raise _refusal(
            f"{where} was kept {began - status.st_mtime:.0f} s before process {named[1]} began, so for an"
            " earlier creation",
            "Remove it.",
        )
    return data


def _named(environ: Mapping[bytes, bytes]) -> tuple[str, int] | None:
    """The engine and the process of the variable, where that is this one or its parent: a shim may fork."""
    name, _, number = environ.get(VARIABLE, b"").partition(b":")
    if not (name.isalnum() and number.isdigit() and len(number) < 20):
        return None
    process = int(number)
    return (name.decode(), process) if process in (posix.getpid(), posix.getppid()) else None


def _check(where: str, status: stat_result) -> None:
    """Beyond what makes any file trusted: nobody else may read what a container's environment holds."""
    if status.st_uid != posix.geteuid():
        raise _refusal(
            f"{where} belongs to user {status.st_uid}, not to user {posix.geteuid()}, who creates this"
            " container",
            f"Remove it. {_ANEW}",
        )
    if status.st_mode & _OTHERS:
        raise _refusal(
            f"{where} has mode {status.st_mode & 0o7777:04o}, where the entry writes 0600",
            f"Remove it. {_ANEW}",
        )


def _beginning_of(process: int) -> float | None:
    """When a process began, in seconds since 1970 (proc_pid_stat(5)); None where that cannot be told."""
    try:
        fd = posix.open(f"/proc/{process}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            # Its second field is a name, which may hold spaces and parentheses of its own.
            fields = posix.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            posix.close(fd)
        since_boot = int(fields[19]) / posix.sysconf("SC_CLK_TCK")
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _refusal(message: str, remedy: str) -> Refusal:
    return Refusal("bundle.kept", message, remedy)
