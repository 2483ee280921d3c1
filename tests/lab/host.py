"""One lab host: booted with systemd-nspawn, entered with nsenter, gone without a trace.

Nothing about a running host is believed from a file: its processes, mounts, groups and interface are looked
for by the names that only this lab gives, so that a host of a killed lab is found whatever it had written
down.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import textwrap
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cgroups
from .cache import Cache
from .definition import Engine, HostDefinition
from .driver import refresh_library_cache
from .errors import LabError
from .image import mount_overlay
from .network import Network
from .trees import remove_tree

ROOTFS = Path(__file__).parent / "rootfs"
BOOT_SECONDS = 60
STOP_SECONDS = 20
SSH_PORT = 22
# Directories that an overlay file system sits on: overlay2 and containerd's snapshots do not work on another
# overlay.
PLAIN_DIRECTORIES = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
_ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
# `timeout --signal=KILL` dies of its own signal, with its whole process group, and nsenter dies as its child
# did.
_KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
_ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": os.environ.get("TERM", "dumb"),
    "USER": "root",
}


@dataclass(frozen=True)
class Host:
    """A host of the lab, running or not."""

    name: str
    slot: int
    cache: Cache
    network: Network

    @property
    def directory(self) -> Path:
        return self.cache.state / "hosts" / self.name

    @property
    def root(self) -> Path:
        """Its root file system, as this machine sees it: without /proc, /dev, /run and /var/lib/docker."""
        return self.directory / "root"

    @property
    def address(self) -> str:
        return self.network.host_address(self.slot)

    @property
    def label(self) -> str:
        """Its name on this machine, for its cgroups and for systemd-nspawn."""
        return f"{self.network.name}-{self.name}"

    @property
    def record(self) -> Path:
        """Written last when it boots: the definition, and the key of what it was made of."""
        return self.directory / "definition.json"

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
        # The limit is kept inside the host: killing nsenter here would leave the program running there.
        argv = [
            "timeout",
            "--signal=KILL",
            f"{timeout:.0f}",
            *(["sh", "-c", command] if isinstance(command, str) else command),
        ]
        done = subprocess.run(
            self.enter(argv), capture_output=True, text=True, env=_ENVIRONMENT, input=stdin, check=False
        )
        if done.returncode in _KILLED:
            raise LabError(
                f"{self.name}: `{said}` took more than {timeout:.0f} s and was killed; "
                f"it had said: {done.stderr[-500:]}"
            )
        if check and done.returncode:
            last = (done.stderr or done.stdout)[-2000:].strip()
            raise LabError(f"{self.name}: `{said}` ended with status {done.returncode}: {last}")
        return done

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

    def is_healthy(self, definition: HostDefinition, made_of: str) -> bool:
        """Whether it runs as defined, made of the parts of today, and answers."""
        try:
            if (
                json.loads(self.record.read_text()) != _recorded(definition, made_of)
                or self._leader() is None
            ):
                return False
            return self._answers(definition)
        except (OSError, ValueError, LabError):
            return False

    def boot(self, definition: HostDefinition, layers: list[Path], made_of: str, authorized_key: str) -> None:
        """Boot it from nothing. `layers` begins with the uppermost."""
        directories = {name: self.directory / name for name in ("upper", "work", "root", *PLAIN_DIRECTORIES)}
        for directory in directories.values():
            directory.mkdir(parents=True)
        mount_overlay(layers, directories["upper"], directories["work"], self.root)
        self._configure(definition, authorized_key)
        groups = cgroups.make(self.label)
        self.network.unplug(self.slot)
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
        self.record.write_text(json.dumps(_recorded(definition, made_of)))

    def stop(self) -> None:
        """End it and remove all of it. There is nothing to keep, so nothing is asked to end by itself."""
        deadline = time.monotonic() + STOP_SECONDS
        while found := self._processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: its processes {found} do not end; look at them with ps")
            time.sleep(0.1)
        self.network.unplug(self.slot)
        cgroups.remove(self.label)
        remove_tree(self.directory)

    def _configure(self, definition: HostDefinition, authorized_key: str) -> None:
        """Write into the root, before it boots, what makes this host itself."""
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        subprocess.run(["chroot", self.root, "ssh-keygen", "-A"], check=True, stdout=subprocess.DEVNULL)
        _authorize(
            self.root / ("root" if definition.user == "root" else f"home/{definition.user}"), authorized_key
        )

        lab = etc / "nvproxy-lab"
        lab.mkdir()
        driver = definition.driver_version if definition.gpu else ""
        (lab / "host").write_text(f"ADDRESS={self.address}/24\nDRIVER_VERSION={driver}\n")
        gpus = "".join(f"{gpu.minor} {gpu.uuid} {gpu.bus_id}\n" for gpu in definition.pretend_gpus)
        (lab / "gpus").write_text(gpus)
        programs = self.root / "usr/local/lib/nvproxy-lab"
        programs.mkdir(parents=True)
        shutil.copy2(ROOTFS / "setup", programs)
        shutil.copy2(ROOTFS / "nvproxy-lab.service", etc / "systemd/system")
        wants = etc / "systemd/system/sysinit.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "nvproxy-lab.service").symlink_to("../nvproxy-lab.service")
        if definition.gpu:
            # nvidia-cdi-refresh.service looks here for a driver.
            modules = self.root / "lib/modules" / os.uname().release
            modules.mkdir(parents=True)
            (modules / "modules.dep").write_text(
                "updates/dkms/nvidia.ko:\nupdates/dkms/nvidia-uvm.ko: updates/dkms/nvidia.ko\n"
            )
            refresh_library_cache(self.root)

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
                if plugged_in and self._leader() is not None and self._answers(definition):
                    return
            time.sleep(0.2)
        raise LabError(
            f"{self.name} did not answer within {BOOT_SECONDS} s of its start; its console is in {console}"
        )

    def _answers(self, definition: HostDefinition) -> bool:
        """Booted to the end, sshd reachable, the engine ready."""
        state = self.run(["systemctl", "is-system-running"], timeout=10, check=False).stdout.strip()
        if state not in {"running", "degraded"}:
            return False
        try:
            socket.create_connection((self.address, SSH_PORT), timeout=5).close()
        except OSError:
            return False
        if definition.engine is Engine.NONE:
            return True
        return self.run(["docker", "version"], timeout=20, check=False).returncode == 0

    def _processes(self) -> set[int]:
        """All of its processes, and its systemd-nspawn even where it has not entered the groups yet."""
        found = cgroups.processes(self.label)
        argument = f"--directory={self.root}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if argument in (process / "cmdline").read_bytes().split(b"\0"):
                    found.add(int(process.name))
        return found

    def _leader(self) -> int | None:
        """The pid, on this machine, of the host's own process 1."""
        for pid in sorted(cgroups.processes(self.label)):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                    return pid
        return None


def _recorded(definition: HostDefinition, made_of: str) -> object:
    return json.loads(json.dumps({"definition": asdict(definition), "made_of": made_of}))


def _authorize(home: Path, key: str) -> None:
    directory = home / ".ssh"
    directory.mkdir(mode=0o700, exist_ok=True)
    file = directory / "authorized_keys"
    file.write_text(key)
    file.chmod(0o600)
    owner = home.stat()
    for path in (directory, file):
        os.chown(path, owner.st_uid, owner.st_gid)
