"""What runs a virtual machine's instructions: KVM where it works, else QEMU itself.

That /dev/kvm opens says little: in some clouds' virtual machines it makes a machine, and no ordinary kernel
starts in it (seen with kvm-pvm), or QEMU ends at once. So it is tried, with the kernel that will be booted,
once in each uptime of this machine.
"""

import os
import subprocess
import time
from enum import StrEnum
from pathlib import Path

from .errors import LabError

_VARIABLE = "NVPROXY_LAB_ACCELERATOR"
_KVM = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A kernel's first line is there within a second of its start.
_PROBE_SECONDS = 15
_FIRST_WORDS = b"Linux version"


class Accelerator(StrEnum):
    """QEMU's names."""

    KVM = "kvm"
    TCG = "tcg"  # QEMU emulates the processor: some ten times slower

    @property
    def arguments(self) -> tuple[str, ...]:
        if self is Accelerator.KVM:
            return ("-accel", "kvm", "-cpu", "host")
        return ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max")


def accelerator(kernel: Path, state: Path) -> Accelerator:
    """$NVPROXY_LAB_ACCELERATOR, or what works here. `state`: a directory in which the answer is kept.

    Raises:
        LabError: the variable names no accelerator.
    """
    if wanted := os.environ.get(_VARIABLE):
        try:
            return Accelerator(wanted)
        except ValueError:
            raise LabError(f"{_VARIABLE} is {wanted!r}: it may be {' or '.join(Accelerator)}") from None
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator.TCG
    answer = state / "accelerator"
    boot_id = _BOOT_ID.read_text().strip()
    try:
        known_for, found = answer.read_text().split()
        if known_for == boot_id:
            return Accelerator(found)
    except (OSError, ValueError):
        pass  # not asked yet, or half written
    found = Accelerator.KVM if _starts_with_kvm(kernel, state) else Accelerator.TCG
    answer.write_text(f"{boot_id} {found}\n")
    return found


def _starts_with_kvm(kernel: Path, state: Path) -> bool:
    console = state / "accelerator.console"
    console.unlink(missing_ok=True)
    argv = [
        "qemu-system-x86_64", "-M", "q35", *Accelerator.KVM.arguments, "-m", "512M", "-nodefaults",
        "-no-user-config", "-display", "none", "-serial", f"file:{console}", "-kernel", str(kernel),
        "-append", "console=ttyS0 panic=-1", "-no-reboot",
    ]  # fmt: skip
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + _PROBE_SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if console.exists() and _FIRST_WORDS in console.read_bytes():
                return True
            time.sleep(0.1)
        return console.exists() and _FIRST_WORDS in console.read_bytes()
    finally:
        process.kill()
        process.wait()
        console.unlink(missing_ok=True)
