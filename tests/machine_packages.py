"""The Debian packages that the project's own commands need on this machine, each with its reason.

    python3 -m tests.machine_packages USE ...

installs those of the named uses that are missing. The one list and the one installer: whatever a make target,
a test or the lab runs, and a small Debian does not have, stands here, so that nobody has to know it. Standard
library only, as it also runs before there is a .venv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOG = Path(__file__).resolve().parent.parent / "build/packages.log"
_LOCK_SECONDS = 300


class Use(StrEnum):
    """What packages are needed for."""

    VENV = "venv"
    TESTS = "tests"  # those that need no lab
    LAB = "lab"
    VM = "vm"  # hosts of the lab that are virtual machines
    BENCH = "bench"
    BARE = "bare"


@dataclass(frozen=True)
class Package:
    """A Debian package, the same on Ubuntu, and what it is for."""

    name: str
    uses: tuple[Use, ...]
    reason: str


PACKAGES = (
    Package("apt-utils", (Use.LAB,), "apt-ftparchive makes the index of the mirror's packages"),
    Package("binutils", (Use.TESTS,), "readelf says what a library calls itself, to compare"),
    Package("busybox", (Use.TESTS,), "its ash is the other shell that the launcher has to run under"),
    Package("bzip2", (Use.LAB,), "packs gVisor's releases for the mirror"),
    Package("ca-certificates", (Use.LAB,), "Go fetches modules by https and has no certificates of its own"),
    Package("debian-archive-keyring", (Use.LAB, Use.BARE), "the keys of Debian's archive; Ubuntu has others"),
    Package("debootstrap", (Use.LAB, Use.BARE), "makes the systems of the lab's hosts and of `make bare`"),
    Package("e2fsprogs", (Use.VM,), "mkfs.ext4 makes a virtual machine's disk of a directory"),
    Package(
        "gcc", (Use.TESTS, Use.LAB), "compiles libraries that a driver might bring, and C in Go programs"
    ),
    Package("git", (Use.BARE,), "clones the checkout into the bare machine"),
    Package("gnupg", (Use.LAB,), "signs the mirror's package index"),
    Package("iproute2", (Use.LAB, Use.BARE), "ip makes and removes the bridge between the lab's hosts"),
    Package("libc6-dev", (Use.LAB,), "the C library's headers, for gcc"),
    Package("libseccomp-dev", (Use.LAB,), "runc is linked with it"),
    Package("logrotate", (Use.TESTS,), "reads the file that rotates the wrapper's decision log"),
    Package("openssh-client", (Use.LAB,), "makes the key of the lab's hosts and logs in to them"),
    Package("patchelf", (Use.LAB,), "gives the newer Python its own libraries"),
    Package("pkg-config", (Use.LAB,), "finds libseccomp where runc is built"),
    Package("python3-venv", (Use.VENV,), "makes .venv; Debian's python3 comes without it"),
    Package("qemu-system-x86", (Use.VM,), "runs the virtual machines"),
    Package(
        "strace", (Use.TESTS,), "stops the wrapper at each of its system calls in turn, and lists its files"
    ),
    Package("systemd-container", (Use.LAB,), "systemd-nspawn boots the hosts"),
    Package("valgrind", (Use.BENCH,), "counts the instructions of a container's creation"),
)


class PackagesError(Exception):
    """One sentence for the user: which packages are missing and why they are not installed, what to do."""


def needed_for(uses: Iterable[Use]) -> list[str]:
    """The names of the packages, in the order of the list."""
    wanted = set(uses)
    return [package.name for package in PACKAGES if wanted.intersection(package.uses)]


def not_installed(names: Iterable[str], dpkg_says: str) -> list[str]:
    """Those of the names that dpkg has not installed.

    Args:
        names: of packages.
        dpkg_says: a line for each package that it knows: name, a space, dpkg's word for its status. A package
            that was removed and whose configuration was left is known, and is not "installed".
    """
    installed = {line.split()[0] for line in dpkg_says.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def missing(uses: Iterable[Use]) -> list[str]:
    """The packages for these uses that this machine has not."""
    names = needed_for(uses)
    if shutil.which("dpkg-query") is None:
        return names
    asked = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    return not_installed(names, subprocess.run(asked, capture_output=True, text=True, check=False).stdout)


def install(names: Sequence[str], log: Path) -> None:
    """Install packages from the machine's own package sources; what apt-get says goes to `log`.

    Raises:
        PackagesError: only root can, or there is no apt-get, or it failed.
    """
    wanted = " ".join(names)
    if shutil.which("apt-get") is None:
        raise PackagesError(
            f"these Debian packages are needed, and this system has no apt-get: {wanted}. Run this on Debian "
            "or Ubuntu"
        )
    apt_get = ["apt-get", "-qq", f"-oDPkg::Lock::Timeout={_LOCK_SECONDS}"]
    install = [*apt_get, "install", "--yes", "--no-install-recommends", *names]
    if os.geteuid() != 0:
        raise PackagesError(
            f"these Debian packages are missing, and only root can install them: {wanted}. Run this as root, "
            f"or before it 'sudo apt-get install --no-install-recommends {wanted}'"
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for argv in ([*apt_get, "update"], install):
            # A session of its own, and no subprocess.run, which kills on a Ctrl-C: dpkg killed half way
            # leaves the machine's packages half configured.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                start_new_session=True,
            )
            if status := process.wait():
                said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise PackagesError(
                    f"{wanted} cannot be installed: '{' '.join(argv)}' failed with status {status} "
                    f"({said[-1]}); the whole output is in {log}"
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is missing; the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.machine_packages", description=__doc__)
    parser.add_argument("uses", nargs="+", type=Use, metavar="USE", help=f"of {' '.join(Use)}")
    uses = parser.parse_args(arguments).uses
    try:
        if names := missing(uses):
            print(f"installing {' '.join(names)} on this machine ({LOG}) ...", file=sys.stderr, flush=True)
            install(names, LOG)
    except PackagesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
