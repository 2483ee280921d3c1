"""The system of a lab host: an image (Debian with its own Docker) and the layers that go over it.

A layer is a directory that an overlay mount puts over the base: the current engine in place of Debian's, or
Debian's taken away.
"""

import shutil
import subprocess
from pathlib import Path

from .cache import Cache, Part
from .commands import run_logged
from .golang import GoProgram, go_part
from .machine import debian_mirror
from .trees import remove_tree
from .versions import (
    CONTAINERD_MODULE,
    CURRENT_ENGINE,
    DOCKERD_MODULE,
    HOST_SUITE,
    RUNC_MODULE,
    EngineVersions,
)

BASE_PACKAGES = (
    "bzip2",
    "ca-certificates",
    "curl",
    "dbus",
    "docker.io",
    "gnupg",
    "iproute2",
    "iptables",
    "kmod",
    "logrotate",
    "openssh-server",
    "procps",
    "python3",  # not python3-minimal: that one has no json module
    "runc",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# What Debian's docker.io only recommends from 13 on, and debootstrap takes no recommendations.
SUITE_PACKAGES = {"bookworm": (), "trixie": ("docker-cli",)}
# A machine of its own has a kernel, and on it what a host with NVIDIA's packaged driver has: headers and a
# compiler. Not the cloud kernel, which lacks modules. Without apparmor, Docker refuses every container on
# Debian's kernel.
KERNEL_PACKAGES = (
    "apparmor",
    "gcc",
    "initramfs-tools",
    "libc6-dev",
    "linux-headers-amd64",
    "linux-image-amd64",
    "make",
    "udev",
)
# nvidia-persistenced needs it.
_LIBTIRPC = {"bookworm": "libtirpc3", "trixie": "libtirpc3t64"}
# An unprivileged account that may use sudo, as cloud images have one.
FLEET_USER = "fleet"
# What a host shall not do by itself: there is nothing to reach, and a test wants to know what ran.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "systemd-timesyncd.service",
    "e2scrub_all.timer",
)

_CONFIGURE = f"""
set -eu
useradd --create-home --shell /bin/bash {FLEET_USER}
echo '{FLEET_USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{FLEET_USER}
chmod 440 /etc/sudoers.d/{FLEET_USER}
rm -f /etc/ssh/ssh_host_*_key* /etc/apt/sources.list /var/cache/apt/archives/*.deb
rm -rf /var/lib/apt/lists/*
systemctl mask {" ".join(MASKED_UNITS)}
systemctl enable ssh.service docker.service
"""
# Without the drivers of what no virtual machine has, the disk is made in half the time. The initrd loads what
# stands in this list and nothing else: a tenth of Debian's default, which tries every disk controller.
_CONFIGURE_KERNEL = """
for kernel in /lib/modules/*; do
    (cd "$kernel/kernel" && rm -rf sound drivers/gpu drivers/media drivers/infiniband drivers/net/wireless)
    depmod "${kernel##*/}"
done
sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf
printf '%s\\n' virtio_pci virtio_blk ext4 > /etc/initramfs-tools/modules
update-initramfs -u -k all
ln -s "$(cd /boot && ls vmlinuz-*)" /boot/vmlinuz
ln -s "$(cd /boot && ls initrd.img-*)" /boot/initrd.img
"""


def base_image() -> Part:
    """Debian 12 with systemd, sshd, Python and Debian's own Docker."""
    return _debian("base-image", HOST_SUITE, _packages(HOST_SUITE), _CONFIGURE)


def machine_image(suite: str = HOST_SUITE) -> Part:
    """The same for a virtual machine: with a kernel (/boot/vmlinuz, /boot/initrd.img) and its headers."""
    packages = (*_packages(suite), *KERNEL_PACKAGES, _LIBTIRPC[suite])
    return _debian(f"machine-image-{suite}", suite, packages, _CONFIGURE + _CONFIGURE_KERNEL)


def _packages(suite: str) -> tuple[str, ...]:
    return (*BASE_PACKAGES, *SUITE_PACKAGES[suite])


def _debian(name: str, suite: str, packages: tuple[str, ...], configure: str) -> Part:
    def build(cache: Cache, into: Path) -> None:
        argv = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(into)]
        run_logged([*argv, debian_mirror()], log=cache.log(name), what=f"debootstrap of {suite}")
        chroot = ["chroot", str(into), "sh", "-c", configure]
        run_logged(chroot, log=cache.log(name), what=f"configuring {name}")
        into.chmod(0o755)

    return Part(name, " ".join([suite, *packages, configure]), build)


# Where Debian's packages put the program that each one takes the place of: their unit files stay.
_CURRENT_ENGINE = {
    "dockerd": "usr/sbin/dockerd",
    "containerd": "usr/bin/containerd",
    "containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
    "ctr": "usr/bin/ctr",
    "runc": "usr/sbin/runc",
}


def current_engine(versions: EngineVersions = CURRENT_ENGINE) -> Part:
    """Layer: the current dockerd, containerd and runc, from source, under Debian's client and units."""
    containerd = ("containerd", "containerd-shim-runc-v2", "ctr")
    programs = (
        go_part("dockerd", GoProgram((f"{DOCKERD_MODULE}/cmd/dockerd",), versions.dockerd)),
        go_part(
            "containerd",
            GoProgram(tuple(f"{CONTAINERD_MODULE}/cmd/{name}" for name in containerd), versions.containerd),
        ),
        # seccomp needs libseccomp, which is C; Debian 12's runc is too old for this dockerd (namespace
        # {"time" ""} does not exist).
        go_part("runc", GoProgram((RUNC_MODULE,), versions.runc, cgo=True, tags="seccomp")),
    )

    def build(cache: Cache, into: Path) -> None:
        for part in programs:
            for program in cache.path(part).iterdir():
                place = into / _CURRENT_ENGINE[program.name]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(program, place)

    return Part("engine-current", repr(_CURRENT_ENGINE), build, programs)


def no_engine(base: Part) -> Part:
    """Layer: Debian's engine taken away with its own package manager."""
    purge = (
        "DEBIAN_FRONTEND=noninteractive apt-get purge -y --auto-remove docker.io containerd runc "
        "&& rm -rf /var/lib/docker"
    )

    def build(cache: Cache, into: Path) -> None:
        work = cache.tmp / f"{into.name}-work"
        root = cache.tmp / f"{into.name}-root"
        work.mkdir()
        root.mkdir()
        mount_overlay([cache.path(base)], into, work, root)
        try:
            run_logged(
                ["chroot", str(root), "sh", "-c", purge],
                log=cache.log("engine-none"),
                what="removing the engine",
            )
        finally:
            remove_tree(root)
            remove_tree(work)

    return Part("engine-none", purge, build, (base,))


def mount_overlay(lower: list[Path], upper: Path, work: Path, root: Path) -> None:
    """Mount an overlay; `lower` begins with the uppermost layer."""
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "nvproxy-lab", "-o", options, root], check=True)
