"""A lab host that is a machine of its own: QEMU, Debian's kernel, cgroup v2, AppArmor, udev, a real reboot.

Its root is the same layers as a container's, packed into a disk. Its sshd answers on a port of 127.0.0.1. It
reaches the lab's mirror through QEMU's user-mode network, and has no default route, as the containers have
none.
"""

import contextlib
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .accelerator import Accelerator, accelerator
from .commands import run_logged
from .definition import HostDefinition
from .errors import LabError
from .host import ENVIRONMENT, Endpoint, Host, processes_with_argument
from .root import Wiring, configure, host_keys, mount_root
from .trees import remove_tree

# Long, for an emulated processor on a busy machine: 20 s are enough on a quiet one.
BOOT_SECONDS = 600
LOOPBACK = "127.0.0.1"
# QEMU's user-mode network: these are its defaults.
GUEST_ADDRESS = "10.0.2.15"
GUEST_GATEWAY = "10.0.2.2"
PROCESSORS = 2
MEMORY = "3G"
DISK_SIZE = "12G"  # sparse: it takes what is written


@dataclass(frozen=True)
class VirtualMachine(Host):
    """A host booted with QEMU."""

    @property
    def endpoint(self) -> Endpoint:
        keys = (self.directory / "host_keys").read_text().splitlines()
        return Endpoint(LOOPBACK, int((self.directory / "port").read_text()), tuple(keys))

    @property
    def _control_socket(self) -> Path:
        """One connection for all that the lab itself runs: a login takes a second without KVM."""
        return Path("/run") / f"{self.label}.ssh"

    @property
    def _login_key(self) -> Path:
        return self.cache.state / "ssh" / "key"

    def enter(self, argv: Sequence[str]) -> list[str]:
        if not self.processes():
            raise LabError(f"{self.name} is not running: start it with `python -m tests.lab up {self.name}`")
        environment = ["env", "-i", *(f"{name}={value}" for name, value in ENVIRONMENT.items())]
        return [*self._ssh(), shlex.join([*environment, *argv])]

    def boot(self, definition: HostDefinition, layers: list[Path], made_of: str, login_key: Path) -> None:
        self.make_directory(definition.machine)
        self._make_disk(definition, layers, login_key)
        port = _free_port()
        (self.directory / "port").write_text(f"{port}\n")
        runs_on = accelerator(self.directory / "vmlinuz", self.cache.state)
        with (self.directory / "qemu.log").open("wb") as output:
            process = subprocess.Popen(
                self._qemu(runs_on, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        self._wait_until_up(definition, process, runs_on)
        self.write_record(definition, made_of)

    def reboot(self) -> None:
        boot_id = ["cat", "/proc/sys/kernel/random/boot_id"]
        before = self.run(boot_id).stdout
        # Not waited for: the connection ends with the system.
        self.run("systemctl --no-block reboot")
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            self._forget_connection()
            with contextlib.suppress(LabError):
                done = self.run(boot_id, timeout=20, check=False)
                if done.returncode == 0 and done.stdout != before and self._has_settled():
                    return
            time.sleep(0.5)
        raise LabError(
            f"{self.name} did not come back within {BOOT_SECONDS} s of its reboot; {self._where_to_look()}"
        )

    def stop(self) -> None:
        self._forget_connection()
        self.kill()
        self._control_socket.unlink(missing_ok=True)
        remove_tree(self.directory)

    def processes(self) -> set[int]:
        return processes_with_argument(self._name_argument)

    @property
    def _name_argument(self) -> str:
        return f"guest={self.label}"

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlMaster": "auto",
            "ControlPath": str(self._control_socket),
            "ControlPersist": "120",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "15",
            # This lab made the machine's keys, and the port is one of this machine's own.
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        endpoint = self.endpoint
        argv = ["ssh", "-F", "/dev/null", "-i", str(self._login_key), "-p", str(endpoint.port)]
        return [*argv, *(f"-o{name}={value}" for name, value in options.items()), f"root@{endpoint.address}"]

    def _forget_connection(self) -> None:
        if self._control_socket.exists():
            argv = [
                "ssh",
                "-F",
                "/dev/null",
                f"-oControlPath={self._control_socket}",
                "-O",
                "exit",
                "-q",
                LOOPBACK,
            ]
            subprocess.run(argv, capture_output=True, check=False)

    def _make_disk(self, definition: HostDefinition, layers: list[Path], login_key: Path) -> None:
        root = mount_root(layers, self.directory)
        wiring = Wiring("eth0", GUEST_ADDRESS, self.network.mirror_address, GUEST_GATEWAY)
        configure(root, definition, wiring, login_key)
        (self.directory / "host_keys").write_text("".join(f"{key}\n" for key in host_keys(root)))
        for name in ("vmlinuz", "initrd.img"):
            shutil.copyfile(root / "boot" / name, self.directory / name)
        argv = [
            "mkfs.ext4",
            "-q",
            "-F",
            "-L",
            "root",
            "-d",
            str(root),
            str(self.directory / "disk"),
            DISK_SIZE,
        ]
        run_logged(argv, log=self.directory / "mkfs.log", what=f"making the disk of {self.name}")
        for name in ("root", "upper", "work"):
            remove_tree(self.directory / name)

    def _qemu(self, runs_on: Accelerator, port: int) -> list[str]:
        # No KVM in it: an emulated processor offers it, and runsc's kvm platform then hangs. Not by a
        # processor without svm ("-cpu max,svm=off"): under that, Debian's programs crash at their start.
        no_kvm = "modprobe.blacklist=kvm_amd,kvm_intel"
        kernel = f"root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 panic=-1 {no_kvm}"
        return [
            "qemu-system-x86_64", "-name", self._name_argument, "-M", "q35", *runs_on.arguments,
            "-smp", str(PROCESSORS), "-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none",
            "-serial", "file:console.log", "-kernel", "vmlinuz", "-initrd", "initrd.img", "-append", kernel,
            # Nothing on it outlives the host: what a crash of this machine takes is not missed.
            "-drive", "file=disk,format=raw,if=virtio,cache=unsafe,discard=unmap",
            "-netdev", f"user,id=net0,hostfwd=tcp:{LOOPBACK}:{port}-:22",
            "-device", "virtio-net-pci,netdev=net0",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip

    def _wait_until_up(
        self, definition: HostDefinition, process: subprocess.Popen[bytes], runs_on: Accelerator
    ) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                said = (self.directory / "qemu.log").read_text(errors="replace").strip() or "it said nothing"
                raise LabError(f"{self.name} did not start (qemu-system-x86_64: {said.splitlines()[-1]})")
            with contextlib.suppress(LabError):
                if self.answers(definition):
                    return
            time.sleep(0.5)
        advice = (
            " With NVPROXY_LAB_ACCELERATOR=tcg QEMU does without KVM." if runs_on is Accelerator.KVM else ""
        )
        raise LabError(
            f"{self.name} did not answer within {BOOT_SECONDS} s of its start ({runs_on}); "
            f"{self._where_to_look()}.{advice}"
        )

    def _has_settled(self) -> bool:
        state = self.run(["systemctl", "is-system-running"], timeout=20, check=False).stdout.strip()
        return state in {"running", "degraded"}

    def _where_to_look(self) -> str:
        return f"its console is in {self.directory}/console.log"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port
