"""A lab host that is a container: booted with systemd-nspawn, entered with nsenter, gone without a trace.

Quick to boot, and it shares this machine's kernel: no modules, no reboot, no driver behind the device nodes,
and the cgroups that this machine has.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups
from .definition import HostDefinition
from .errors import LabError
from .host import Endpoint, Host, processes_with_argument
from .root import Wiring, configure, host_keys, mount_root
from .trees import remove_tree

BOOT_SECONDS = 60
SSH_PORT = 22
# Directories that an overlay file system sits on: overlay2 and containerd's snapshots do not work on another
# overlay.
PLAIN_DIRECTORIES = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
_ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Container(Host):
    """A host booted with systemd-nspawn."""

    @property
    def root(self) -> Path:
        """Its root file system, as this machine sees it: without /proc, /dev, /run and /var/lib/docker."""
        return self.directory / "root"

    @property
    def address(self) -> str:
        return self.network.host_address(self.slot)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, SSH_PORT, host_keys(self.root))

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside: in the host's cgroups, then in its namespaces."""
        if os.geteuid() != 0:
            raise LabError(
                f"{self.name} is entered through its namespaces, which takes root: run this as root (sudo)"
            )
        leader = self._leader()
        if leader is None:
            raise LabError(f"{self.name} is not running: start it with `python -m tests.lab up {self.name}`")
        groups = [str(group) for group in cgroups.groups_of_process(self.label, leader)]
        nsenter = [
            "nsenter",
            "--target",
            str(leader),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
        ]
        return ["sh", "-c", _ENTER_GROUPS, "sh", *groups, "--", *nsenter, *argv]

    def boot(self, definition: HostDefinition, layers: list[Path], made_of: str, login_key: Path) -> None:
        self.make_directory(definition.machine)
        mount_root(layers, self.directory)
        directories = {name: self.directory / name for name in PLAIN_DIRECTORIES}
        for directory in directories.values():
            directory.mkdir()
        configure(
            self.root, definition, Wiring("host0", self.address, self.network.mirror_address), login_key
        )
        if definition.gpu:
            self._pretend_modules()
        self._start(definition)
        self.write_record(definition, made_of)

    def restart(self, definition: HostDefinition) -> None:
        """As after a power cut: every process is killed, and it boots from what is on its disk.

        This machine's kernel goes on: nothing that was written is lost, and modules and nodes stay.
        """
        self.kill()
        self._start(definition)

    def _start(self, definition: HostDefinition) -> None:
        groups = cgroups.make(self.label)
        self.network.unplug(self.slot)
        directories = {name: self.directory / name for name in PLAIN_DIRECTORIES}
        nspawn = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=read-only",
            f"--directory={self.root}", f"--machine={self.label}", f"--hostname={self.name}",
            "--private-network", f"--network-veth-extra={self.network.interface(self.slot)}:host0",
            "--capability=all", "--system-call-filter=add_key keyctl bpf perf_event_open",
            *(f"--bind={directories[name]}:{inside}" for name, inside in PLAIN_DIRECTORIES.items()),
        ]  # fmt: skip
        console = self.directory / "console.log"
        with console.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-c", _ENTER_GROUPS, "sh", *map(str, groups), "--", *nspawn],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
                start_new_session=True,
            )  # fmt: skip
        self._wait_until_up(definition, process, console)

    def reboot(self) -> None:
        raise LabError(
            f"{self.name} is a container and shares this machine's kernel: a reboot takes a virtual "
            "machine (python -m tests.lab up NAME --machine vm)"
        )

    def stop(self) -> None:
        self.kill()
        self.network.unplug(self.slot)
        cgroups.remove(self.label)
        remove_tree(self.directory)

    def processes(self) -> set[int]:
        """All of them, and its systemd-nspawn even where it has not entered the groups yet."""
        return cgroups.processes(self.label) | processes_with_argument(f"--directory={self.root}")

    def answers(self, definition: HostDefinition) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, SSH_PORT), timeout=5).close()
            return super().answers(definition)
        return False

    def _pretend_modules(self) -> None:
        """nvidia-cdi-refresh.service looks here for a driver."""
        modules = self.root / "lib/modules" / os.uname().release
        modules.mkdir(parents=True)
        (modules / "modules.dep").write_text(
            "updates/dkms/nvidia.ko:\nupdates/dkms/nvidia-uvm.ko: updates/dkms/nvidia.ko\n"
        )

    def _wait_until_up(
        self, definition: HostDefinition, process: subprocess.Popen[bytes], console: Path
    ) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        plugged_in = False
        while time.monotonic() < deadline:
            if process.poll() is not None:
                last = (console.read_text(errors="replace").strip() or "it said nothing").splitlines()[-1]
                raise LabError(
                    f"{self.name} did not boot (systemd-nspawn: {last}); its console is in {console}"
                )
            if not plugged_in and Path("/sys/class/net", self.network.interface(self.slot)).exists():
                self.network.plug_in(self.slot)
                plugged_in = True
            with contextlib.suppress(LabError):
                if plugged_in and self._leader() is not None and self.answers(definition):
                    return
            time.sleep(0.2)
        raise LabError(
            f"{self.name} did not answer within {BOOT_SECONDS} s of its start; its console is in {console}"
        )

    def _leader(self) -> int | None:
        """The pid, on this machine, of the host's own process 1."""
        for pid in sorted(cgroups.processes(self.label)):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                    return pid
        return None
