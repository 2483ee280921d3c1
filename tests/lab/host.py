"""One lab host, whichever kind of machine it is: what runs in it, whether it is up, where it answers.

Nothing about a running host is believed from a file: its processes are looked for by the names that only this
lab gives, so that a host of a killed lab is found whatever it had written down.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .cache import Cache
from .definition import Engine, HostDefinition, Machine
from .errors import LabError
from .network import Network

_KIND = "machine"
STOP_SECONDS = 20
# How much longer than a program's own limit its host may take to say how it ended.
GRACE_SECONDS = 30
# `timeout --signal=KILL` dies of its own signal, with its whole process group; nsenter dies as its child did,
# and ssh says what a shell would.
_KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": os.environ.get("TERM", "dumb"),
    "USER": "root",
}


@dataclass(frozen=True)
class Endpoint:
    """Where a host's sshd answers, and what it names itself by."""

    address: str
    port: int
    host_keys: tuple[str, ...]

    @property
    def known_host(self) -> str:
        """As known_hosts names it."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    def __str__(self) -> str:
        return self.known_host


@dataclass(frozen=True)
class Host(ABC):
    """A host of the lab, running or not."""

    name: str
    slot: int
    cache: Cache
    network: Network

    @property
    def directory(self) -> Path:
        return self.cache.state / "hosts" / self.name

    @property
    def label(self) -> str:
        """Its name on this machine: no other lab's host has it."""
        return f"{self.network.name}-{self.name}"

    @property
    def record(self) -> Path:
        """Written last when it boots: the definition, and the key of what it was made of."""
        return self.directory / "definition.json"

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where sshd answers. Only of a host that has a directory."""

    @abstractmethod
    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line, on this machine, that runs `argv` as root inside.

        Raises:
            LabError: it is not running.
        """

    @abstractmethod
    def boot(self, definition: HostDefinition, layers: list[Path], made_of: str, login_key: Path) -> None:
        """Boot it from nothing. `layers` begins with the uppermost; `login_key` is the private key's file."""

    @abstractmethod
    def reboot(self) -> None:
        """As `systemctl reboot`, until it answers again."""

    @abstractmethod
    def stop(self) -> None:
        """End it and remove all of it. There is nothing to keep, so nothing is asked to end by itself."""

    @abstractmethod
    def processes(self) -> set[int]:
        """Its processes on this machine."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 120,
        check: bool = True,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program (a list) or a shell line (a string) as root in the host, without ssh.

        Raises:
            LabError: the host is down; or the program failed and `check` is true; or it took more than
            `timeout` seconds, and
                was killed.
        """
        said = textwrap.shorten(command if isinstance(command, str) else shlex.join(command), 200)
        # The limit is kept inside the host: killing nsenter or ssh here would leave the program running.
        argv = [
            "timeout",
            "--signal=KILL",
            f"{timeout:.0f}",
            *(["sh", "-c", command] if isinstance(command, str) else command),
        ]
        try:
            done = subprocess.run(
                self.enter(argv),
                capture_output=True,
                text=True,
                env=ENVIRONMENT,
                input=stdin,
                check=False,
                timeout=timeout + GRACE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: does not answer any more, asked for `{said}`") from None
        if done.returncode in _KILLED:
            raise LabError(
                f"{self.name}: `{said}` took more than {timeout:.0f} s and was killed; "
                f"it had said: {done.stderr[-500:]}"
            )
        if check and done.returncode:
            last = (done.stderr or done.stdout)[-2000:].strip()
            raise LabError(f"{self.name}: `{said}` ended with status {done.returncode}: {last}")
        return done

    def is_healthy(self, definition: HostDefinition, made_of: str) -> bool:
        """Whether it runs as defined, made of the parts of today, and answers."""
        try:
            return json.loads(self.record.read_text()) == recorded(definition, made_of) and self.answers(
                definition
            )
        except (OSError, ValueError, LabError):
            return False

    def answers(self, definition: HostDefinition) -> bool:
        """Booted to the end, and the engine ready."""
        state = self.run(["systemctl", "is-system-running"], timeout=20, check=False).stdout.strip()
        if state not in {"running", "degraded"}:
            return False
        if definition.engine is Engine.NONE:
            return True
        return self.run(["docker", "version"], timeout=20, check=False).returncode == 0

    def kill(self) -> None:
        """End all of its processes.

        Raises:
            LabError: some do not end.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: its processes {found} do not end; look at them with ps")
            time.sleep(0.1)

    def make_directory(self, machine: Machine) -> None:
        """Its directory, which says what kind of host it is before anything of it runs."""
        self.directory.mkdir(parents=True)
        (self.directory / _KIND).write_text(machine)

    def write_record(self, definition: HostDefinition, made_of: str) -> None:
        self.record.write_text(json.dumps(recorded(definition, made_of)))


def kind_of(directory: Path) -> Machine:
    """What kind of host has this directory; a container where there is none."""
    try:
        return Machine((directory / _KIND).read_text())
    except OSError:
        return Machine.CONTAINER


def recorded(definition: HostDefinition, made_of: str) -> object:
    """What a host's record holds, as JSON gives it back."""
    return json.loads(json.dumps({"definition": asdict(definition), "made_of": made_of}))


def processes_with_argument(argument: str) -> set[int]:
    """The pids of this machine's processes that have this very word in their command line."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.add(int(process.name))
    return found
