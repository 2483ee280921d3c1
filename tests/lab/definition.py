"""What a lab host is: its engine, its login, its pretend GPUs."""

import re
from dataclasses import dataclass
from enum import StrEnum

from .errors import LabError
from .versions import DEBIAN_DRIVER_VERSION, DRIVER_VERSION, HOST_SUITE, SUITES


class Engine(StrEnum):
    """Which container engine a host has."""

    DEBIAN = "debian"  # Docker 20.10.24, containerd 1.6, runc 1.1: no `dockerd --validate`, no CDI
    CURRENT = "current"  # see versions.py
    NONE = "none"


class Machine(StrEnum):
    """What a host is made of."""

    CONTAINER = "container"  # systemd-nspawn: up in 5 s, on this machine's kernel and cgroups
    VM = "vm"  # QEMU: Debian's own kernel, cgroup v2, AppArmor, udev, a driver module, a real reboot


class NodeMakers(StrEnum):
    """Who makes the nodes of NVIDIA's driver while a host boots. nvidia-modprobe is there in each case."""

    ALL = "all"  # udev makes nvidiactl, every GPU and nvidia-uvm; nvidia-persistenced holds the GPUs open
    PERSISTENCED = "persistenced"  # that daemon alone, as with Debian's packages: never nvidia-uvm
    NONE = "none"  # nobody: the first NVML call makes nvidiactl and the GPUs' nodes, and never nvidia-uvm


class DriverFiles(StrEnum):
    """Whose user-space files of the driver a host has, and where they lie."""

    LAB = (
        "lab"  # stand-ins in the linker's own directory, as NVIDIA's installer and Ubuntu's packages have it
    )
    DEBIAN = (
        "debian"  # Debian's own packages, in nvidia/current behind links; NVML and nvidia-smi are the lab's
    )


@dataclass(frozen=True)
class PretendGpu:
    """One GPU of a host. `index` is NVML's (PCI order), `minor` the number in /dev/nvidiaN."""

    index: int
    minor: int

    @property
    def uuid(self) -> str:
        """Made of the minor: where only nodes are seen (a sandbox), driver/nvml.c makes the same one."""
        return f"GPU-6c616200-0000-0000-0000-{self.minor:012x}"

    @property
    def bus_id(self) -> str:
        """As NVML writes it."""
        return f"00000000:{self.index + 1:02X}:00.0"


@dataclass(frozen=True)
class HostDefinition:
    """A host as it is asked for. With `gpu` false, nothing of NVIDIA's is on it, not even a driver."""

    name: str
    gpus: int = 2
    engine: Engine = Engine.DEBIAN
    driver_version: str = DRIVER_VERSION
    gpu: bool = True
    user: str = "root"
    # NVML indices whose minors are exchanged: on real machines the kernel does not always number them in PCI
    # order.
    exchanged_minors: tuple[int, int] | None = None
    machine: Machine = Machine.CONTAINER
    suite: str = HOST_SUITE
    # Of a virtual machine: a container's nodes are made by the lab.
    node_makers: NodeMakers = NodeMakers.ALL
    driver_files: DriverFiles = DriverFiles.LAB

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}[a-z0-9]", self.name):
            raise LabError(
                f"{self.name!r} cannot name a host: take lower-case letters, digits and hyphens, two at "
                "least, a letter first"
            )
        if not 0 <= self.gpus <= 32:
            raise LabError(f"{self.name}: a host has 0 to 32 pretend GPUs, not {self.gpus}")
        if self.suite not in SUITES:
            raise LabError(f"{self.name}: the lab has Debian {' and '.join(SUITES)}, not {self.suite}")
        if self.driver_files is DriverFiles.DEBIAN and self.driver_version != DEBIAN_DRIVER_VERSION:
            raise LabError(
                f"{self.name}: the driver in Debian {HOST_SUITE} is {DEBIAN_DRIVER_VERSION}, not "
                f"{self.driver_version}"
            )
        if self.machine is Machine.CONTAINER and self.suite != HOST_SUITE:
            raise LabError(
                f"{self.name}: Debian {self.suite} does not boot on every machine's cgroups: give it a "
                "kernel of its own (--machine vm)"
            )

    @property
    def pretend_gpus(self) -> tuple[PretendGpu, ...]:
        """In NVML's order."""
        minors = list(range(self.gpus if self.gpu else 0))
        if self.exchanged_minors and max(self.exchanged_minors) < len(minors):
            one, other = self.exchanged_minors
            minors[one], minors[other] = minors[other], minors[one]
        return tuple(PretendGpu(index, minor) for index, minor in enumerate(minors))


# | host  | GPUs | index and minor                                 | engine    | login                      |
# | gpu-a | 2    | the same                                        | debian    | root                       |
# | gpu-b | 8    | the same, but index 4 is minor 5, 5 is minor 4  | current   | fleet, sudo, no password   |
GPU_A = HostDefinition("gpu-a", gpus=2)
GPU_B = HostDefinition("gpu-b", gpus=8, engine=Engine.CURRENT, user="fleet", exchanged_minors=(4, 5))
DEFAULT_HOSTS = (GPU_A, GPU_B)
# A machine of its own whose nodes nobody makes: a host with a driver and nothing else, after a reboot.
MACHINE = HostDefinition("machine", machine=Machine.VM, node_makers=NodeMakers.NONE)
