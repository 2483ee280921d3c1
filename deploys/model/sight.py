"""What a verification container prints about itself, and reading it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model.rendering import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
if command -v python3 >/dev/null 2>&1; then python3 -IS - <<'END OF PROGRAM'
{(TEMPLATES / "verify_inside.py").read_text(encoding="utf-8")}
END OF PROGRAM
else echo "python none"
fi
echo "{END_LINE}"
"""

_RECORD = re.compile(r"(kernel|version|device|smi|library|opens|closed|tried|cuda) ?(.*)")
# glibc, elf/rtld.c: ERROR: ld.so: object '…' from LD_PRELOAD cannot be preloaded (REASON): ignored.
_REASON = re.compile(r"cannot be preloaded \((.+)\)")
# nvidia-smi -L: "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-…)", and below it its MIG instances, indented.
_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\)")
_MIG = re.compile(r"\s*MIG \S+ +Device +\d+: \(UUID: (MIG-\S+)\)")


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
class Listing:
    """What `nvidia-smi -L` prints.

    Attributes:
        gpus: the UUIDs of the GPUs, in its order.
        mig: the UUIDs of MIG instances, which are parts of GPUs and no GPUs.
        rest: every other line, a GPU without a UUID (`N/A`, `GPU-????…`: the driver does not know it)
            included.
    """

    gpus: tuple[str, ...]
    mig: tuple[str, ...]
    rest: tuple[str, ...]


def listing(lines: Iterable[str]) -> Listing:
    """Read `nvidia-smi -L`."""
    gpus, mig, rest = [], [], []
    for line in filter(None, map(str.strip, lines)):
        if found := _GPU.fullmatch(line):
            gpus.append(found.group(1))
        elif found := _MIG.fullmatch(line):
            mig.append(found.group(1))
        else:
            rest.append(line)
    return Listing(tuple(gpus), tuple(mig), tuple(rest))


@dataclass(frozen=True)
class CudaRun:
    """What CUDA did in a container.

    Attributes:
        gpus: the UUIDs of the GPUs that it has.
        computed: those on which the vectors were added, with the right sum.
        failure: the call that failed with CUDA's number and name for it; empty where none did.
        done: whether all of it was tried.
    """

    gpus: tuple[str, ...]
    computed: tuple[str, ...]
    failure: str
    done: bool


@dataclass(frozen=True)
class Printed:
    """The output of SCRIPT.

    Attributes:
        complete: whether the script came to its end.
        sight: what the container shows.
        complaints: what its programs and its loader said instead of an answer.
        opens: the paths below `/dev` of the nodes that open, whichever way; None where not all were tried.
        closed: the nodes that were there and did not open, each with the name of the error.
        cuda: None where it was not tried.
    """

    complete: bool
    sight: Sight
    complaints: tuple[str, ...]
    opens: tuple[str, ...] | None = None
    closed: tuple[str, ...] = ()
    cuda: CudaRun | None = None


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
    listed = listing(values.get("smi", []))
    complaints = [f"nvidia-smi -L says: {line}" for line in (*listed.mig, *listed.rest)]
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
    sight = Sight(gvisor, tuple(sorted(values.get("device", []))), listed.gpus, tuple(loaded))
    opens = sorted({f"/dev/{line.split()[0]}" for line in values.get("opens", []) if line})
    return Printed(
        END_LINE in lines,
        sight,
        tuple(complaints),
        tuple(opens) if "all" in values.get("tried", []) else None,
        tuple(values.get("closed", [])),
        _cuda(values.get("cuda", [])),
    )


def _cuda(told: Sequence[str]) -> CudaRun | None:
    if not told:
        return None
    parts: dict[str, list[str]] = {}
    for line in told:
        word, _, rest = line.partition(" ")
        parts.setdefault(word, []).append(rest)
    failure = "; ".join(parts.get("failed", []))
    return CudaRun(tuple(parts.get("gpu", [])), tuple(parts.get("computes", [])), failure, "done" in parts)
