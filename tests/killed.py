"""A function that is killed before its n-th change of the machine; Python's audit hooks tell of each."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown"),
    *("os.truncate", "subprocess.Popen"),
}


def changes_something(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether a call that is about to be made changes a file, or starts a program."""
    if event == "open":
        return bool(int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))  # type: ignore[call-overload]
    return event in CHANGES


FAILED = 255


def in_a_process(action: Callable[[], object], kill_at: int | None = None) -> int | None:
    """Do it in a child that is killed before its n-th change; how many it made where it came to its end.

    The exit status tells that, so that they are fewer than `FAILED`.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if changes_something(event, arguments):
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        status = FAILED
        try:
            sys.addaudithook(hook)
            action()
            status = count
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    made = os.WEXITSTATUS(status)
    assert made < FAILED, "the action failed, or made more changes than can be told"
    return made
