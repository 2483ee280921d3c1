"""What a verification container prints about itself, and reading it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
END_LINE = "end of verification"

# Prints lines of a word that says what they are about, and what was found. Takes no more than a shell, cat
# and dmesg. A library is loaded as any program would load it: by name, found by the container's own loader.
SCRIPT = f"""
kernel=unreadable
log=$(dmesg 2>&1) && kernel=other
case $log in *'Starting gVisor'*) kernel=gvisor;; esac
echo "kernel $kernel"
read -r version < /proc/version && echo "version $version"
for node in /dev/nvidia*; do [ -e "$node" ] && echo "device $node"; done
listed=$(nvidia-smi -L 2>&1)
echo "$listed" | while read -r line; do echo "smi $line"; done
for name in {" ".join(LIBRARIES)}; do
  LD_PRELOAD=$name cat /proc/self/maps 2>&1 | while read -r line; do
    case $line in *"/${{name%.so*}}.so"* | *rror* | *ERROR*) echo "library $name $line";; esac
  done
done
echo "{END_LINE}"
"""

_RECORD = re.compile(r"(kernel|version|device|smi|library) ?(.*)")
# glibc, elf/rtld.c: ERROR: ld.so: object '…' from LD_PRELOAD cannot be preloaded (REASON): ignored.
_REASON = re.compile(r"cannot be preloaded \((.+)\)")
_UUID = re.compile(r"\(UUID: (\S+)\)$")


@dataclass(frozen=True)
class Sight:
    """What a container shows, or must show.

    Attributes:
        gvisor: whether its kernel is gVisor; None where that cannot be told, or does not matter.
        devices: paths below `/dev` that begin with nvidia, sorted.
        gpus: UUIDs as `nvidia-smi -L` lists them, in its order.
        libraries: those of LIBRARIES that load by name.
    """

    gvisor: bool | None
    devices: tuple[str, ...]
    gpus: tuple[str, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class Printed:
    """The output of SCRIPT.

    Attributes:
        complete: whether the script came to its end.
        sight: what the container shows.
        complaints: what its programs and its loader said instead of an answer.
    """

    complete: bool
    sight: Sight
    complaints: tuple[str, ...]


def read(text: str, host_kernel: str) -> Printed:
    """The output of SCRIPT, read.

    Args:
        text: what the container printed.
        host_kernel: the host's kernel release. A container that shows it is not in gVisor, also where it may
            not read the kernel log.
    """
    lines = text.splitlines()
    values: dict[str, list[str]] = {}
    for match in filter(None, map(_RECORD.fullmatch, lines)):
        values.setdefault(match.group(1), []).append(match.group(2).strip())
    gvisor = {"gvisor": True, "other": False}.get("".join(values.get("kernel", [])))
    if gvisor is None and host_kernel in " ".join(values.get("version", [])).split():
        gvisor = False
    listed = values.get("smi", [])
    uuids = [match.group(1) for match in filter(None, map(_UUID.search, listed))]
    complaints = [f"nvidia-smi -L says: {line}" for line in listed if line and _UUID.search(line) is None]
    loaded = []
    for name in LIBRARIES:
        told = [
            line.removeprefix(name).strip() for line in values.get("library", []) if line.startswith(name)
        ]
        file = re.compile(rf"/{re.escape(name.partition('.so')[0])}\.so[.\d]*$")
        if any(map(file.search, told)):
            loaded.append(name)
        else:
            complaints += [
                f"{name}: {reason}" for line in told[:1] for reason in _REASON.findall(line) or [line]
            ]
    sight = Sight(gvisor, tuple(sorted(values.get("device", []))), tuple(uuids), tuple(loaded))
    return Printed(END_LINE in lines, sight, tuple(complaints))
