"""A host's root file system before it boots: its layers mounted over each other, and what makes it itself."""

import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from .definition import HostDefinition, Machine
from .driver import refresh_library_cache
from .image import mount_overlay

ROOTFS = Path(__file__).parent / "rootfs"
PROGRAMS = "usr/local/lib/nvproxy-lab"


@dataclass(frozen=True)
class Wiring:
    """How a host is reached and what it reaches: its interface, its address, and the way to the mirror.

    `mirror_gateway` is empty where the mirror is on the host's own network. No host has a default route.
    """

    interface: str
    address: str
    mirror: str
    mirror_gateway: str = ""


def mount_root(layers: list[Path], directory: Path) -> Path:
    """The root, mounted at `directory`/root; what is written to it goes to `directory`/upper."""
    upper, work, root = (directory / name for name in ("upper", "work", "root"))
    for path in (upper, work, root):
        path.mkdir(parents=True)
    mount_overlay(layers, upper, work, root)
    return root


def configure(root: Path, definition: HostDefinition, wiring: Wiring, login_key: Path) -> None:
    """Write into the root what makes this host itself."""
    etc = root / "etc"
    (etc / "hostname").write_text(f"{definition.name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{wiring.address} {definition.name}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    subprocess.run(["chroot", root, "ssh-keygen", "-A"], check=True, stdout=subprocess.DEVNULL)
    home = "root" if definition.user == "root" else f"home/{definition.user}"
    _authorize(root / home, login_key.with_suffix(".pub").read_text())

    lab = etc / "nvproxy-lab"
    lab.mkdir()
    said = {
        "INTERFACE": wiring.interface,
        "ADDRESS": f"{wiring.address}/24",
        "MIRROR": wiring.mirror,
        "MIRROR_GATEWAY": wiring.mirror_gateway,
        "DRIVER_VERSION": definition.driver_version if definition.gpu else "",
        "MACHINE": definition.machine,
    }
    (lab / "host").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    gpus = "".join(f"{gpu.minor} {gpu.uuid} {gpu.bus_id}\n" for gpu in definition.pretend_gpus)
    (lab / "gpus").write_text(gpus)
    programs = root / PROGRAMS
    programs.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOTFS / "setup", programs)
    shutil.copy2(ROOTFS / "nvproxy-lab.service", etc / "systemd/system")
    wants = etc / "systemd/system/sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "nvproxy-lab.service").symlink_to("../nvproxy-lab.service")
    if definition.gpu:
        refresh_library_cache(root)
    if definition.gpu and definition.machine is Machine.VM:
        _configure_driver(etc, definition)


def _configure_driver(etc: Path, definition: HostDefinition) -> None:
    """How many GPUs are on its bus, and their minors (driver.py)."""
    minors = ",".join(str(gpu.minor) for gpu in definition.pretend_gpus)
    options = [f"options nvproxy-lab-pci gpus={definition.gpus}"]
    if minors:
        options.append(f"options nvidia minors={minors}")
    (etc / "modprobe.d/nvproxy-lab.conf").write_text("".join(f"{line}\n" for line in options))


def host_keys(root: Path) -> tuple[str, ...]:
    """The public keys of its sshd, as known_hosts takes them: type and key."""
    files = sorted((root / "etc/ssh").glob("ssh_host_*_key.pub"))
    return tuple(" ".join(file.read_text().split()[:2]) for file in files)


def _authorize(home: Path, key: str) -> None:
    directory = home / ".ssh"
    directory.mkdir(mode=0o700, exist_ok=True)
    file = directory / "authorized_keys"
    file.write_text(key)
    file.chmod(0o600)
    owner = home.stat()
    for path in (directory, file):
        os.chown(path, owner.st_uid, owner.st_gid)
