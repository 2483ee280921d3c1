"""The faults, and how each is done to a run that stands still on a host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from deploys.model import paths

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.lab import HostDefinition
    from tests.lab.container import Container


class Fault(StrEnum):
    """What is done to a run, by the words of the table."""

    CUT = "connection cut"
    KILLED = "kill -9 of the remote command"
    CONTROLLER = "kill -9 of the controller"
    REBOOT = "host rebooted"
    DISK = "disk full"
    LOCKED = "package manager locked"
    GONE = "mirror gone"
    SLOW = "mirror slow"
    CUT_SHORT = "archive cut short"
    CONTENT = "other content"
    REFUSED = "dockerd refuses the new file"
    STOPPED = "dockerd stopped"
    DEAD = "kill -9 of dockerd"
    BESIDE = "a second run beside it"


@dataclass(frozen=True)
class Halted:
    """A run that stands still before a change.

    Attributes:
        process: the controller's.
        pid: the remote program's process, in the host.
        second: starts another run as this one, and gives its exit status and what it said.
    """

    host: Container
    definition: HostDefinition
    process: subprocess.Popen[str]
    pid: int
    second: Callable[[], tuple[int, str]]


def kill_program(at: Halted) -> str:
    """Its whole process group, as the shell of the remote command leads it."""
    at.host.run(["python3", "-c", f"import os; os.killpg(os.getpgid({at.pid}), 9)"])
    return ""


def cut(at: Halted) -> str:
    """The process of sshd that serves the connection, and the one above it."""
    at.host.run(
        f'pid={at.pid}; while [ "$pid" -gt 1 ]; do '
        'case $(cat /proc/$pid/comm) in sshd) serving="$serving $pid";; esac; '
        "pid=$(ps -o ppid= -p $pid | tr -d ' '); done; "
        # The last of them is sshd's listener.
        "set -- $serving; while [ $# -gt 1 ]; do kill -KILL $1; shift; done"
    )
    return ""


def kill_controller(at: Halted) -> str:
    """pyinfra, which has no chance to say anything to the host."""
    os.killpg(at.process.pid, signal.SIGKILL)
    return ""


def reboot(at: Halted) -> str:
    """As a power cut: every process of the host is killed, and it boots from what it has on its disk."""
    at.host.restart(at.definition)
    # A client of a host that is gone without a word waits for long.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(at.process.pid, signal.SIGKILL)
    return ""


def fill_disk(at: Halted) -> str:
    """Every block of the file systems that a run writes to."""
    for place in FULL:
        # Never this machine's own disk.
        at.host.run(f"mountpoint -q {place}")
        for name, size in (("filler", "1M"), ("filler2", "4k")):
            at.host.run(f"dd if=/dev/zero of={place}/{name} bs={size} 2>/dev/null", check=False)
    return ""


FULL = (paths.STATE_DIR, paths.GVISOR_DIR, paths.WRAPPER_DIR)


def refuse(at: Halted) -> str:
    """What dockerd is about to read is no configuration; it says no, and goes on with what it has."""
    at.host.run(f"printf '{{ broken' >{paths.DAEMON_JSON}")
    return ""


def stop_docker(at: Halted) -> str:
    """An administrator's doing: systemd does not start it again."""
    at.host.run("systemctl stop docker.socket docker.service")
    return ""


def kill_docker(at: Halted) -> str:
    """It crashes, and systemd starts it again after a moment."""
    at.host.run("systemctl kill --signal=KILL docker.service")
    return ""


def lock_packages(at: Halted) -> str:
    """Somebody else's apt, for some seconds."""
    program = (
        "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','rb+'); fcntl.lockf(f,fcntl.LOCK_EX); "
        "open('/run/locked','w'); time.sleep(12)"
    )
    at.host.run(f'rm -f /run/locked; setsid python3 -c "{program}" >/dev/null 2>&1 </dev/null & :')
    for _ in range(100):
        if at.host.run("test -e /run/locked", check=False).returncode == 0:
            break
        time.sleep(0.1)
    return ""


def run_beside(at: Halted) -> str:
    """The other run ends before this one goes on."""
    status, said = at.second()
    words = "another run is changing this host", "a program of another run is still changing this host"
    if status == 1 and any(word in said for word in words):
        return "the second run was refused and changed nothing"
    return f"the second run ended with {status}, and was not refused: {said[-300:]}"


DO: dict[Fault, Callable[[Halted], str]] = {
    Fault.CUT: cut,
    Fault.KILLED: kill_program,
    Fault.CONTROLLER: kill_controller,
    Fault.REBOOT: reboot,
    Fault.DISK: fill_disk,
    Fault.LOCKED: lock_packages,
    Fault.REFUSED: refuse,
    Fault.STOPPED: stop_docker,
    Fault.DEAD: kill_docker,
    Fault.BESIDE: run_beside,
}
