"""What the rules may ask of a host.

A view answers what it looks at; `nvproxy_wrapper.host.views` has those that look. Where one does not look,
its answer is None, "cannot tell", which is never taken for yes nor for no.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PROGRAM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for, and the PATH that runsc is given: it looks nvidia-container-cli up there."""


class Gpu:
    """One GPU as the driver lists it.

    Attributes:
        index: its number for NVML and nvidia-smi: the place in PCI order among the GPUs that are not
            excluded.
        minor: the N of /dev/nvidiaN; not the index on many machines.
        uuid: `GPU-` and 36 characters; "" where the driver does not know it yet.
        pci: `domain:bus:device.function`.
    """

    __slots__ = ("index", "minor", "pci", "uuid")

    def __init__(self, index: int, minor: int, uuid: str, pci: str) -> None:
        self.index = index
        self.minor = minor
        self.uuid = uuid
        self.pci = pci


class HostError(Exception):
    """The driver's directory is missing or not as expected; the message says what and where."""


class HostView:
    """A host that nothing is known of.

    A class and not a Protocol: `import typing` costs more than the whole rewrite.

    Attributes:
        proc_driver: where the NVIDIA driver describes itself, for messages.
    """

    def __init__(self, proc_driver: str) -> None:
        self.proc_driver = proc_driver

    def gpus(self) -> list[Gpu]:
        """Every GPU that NVML counts, in NVML's order: by PCI address.

        Raises:
            HostError: they cannot be told.
        """
        raise HostError(f"{self.proc_driver} is not looked at")

    def capabilities(self) -> dict[int, str] | None:
        """The driver's capabilities: the minor of each node in /dev/nvidia-caps, with its name.

        The name is the path below /proc/driver/nvidia/capabilities: `mig/config`, `mig/monitor`,
        `fabric-imex-mgmt`; of MIG's instances, as long as they are there, `gpu0/mig/gi1/access` and
        `gpu0/mig/gi1/ci0/access`, the number after `gpu` being the GPU's minor. None where that is not looked
        at.
        """
        return None

    def driver_version(self) -> str | None:
        """The driver's version, as 580.95.05 or of a Tegra's display 35.3.1; None where not looked at."""
        return None

    def is_wsl(self) -> bool | None:
        """Whether this is WSL 2, whose GPUs gVisor cannot serve; None where that is not looked at."""
        return None

    def node_problem(self, path: str, major: int, minor: int) -> str | None:  # noqa: ARG002
        """What is wrong with a node, to follow its path in a sentence; None: nothing, or not looked."""
        return None

    def is_socket_or_fifo(self, path: str) -> bool | None:  # noqa: ARG002
        """Whether a path on the host is a socket or a FIFO; None where that is not looked at."""
        return None

    def has_open_nodes_below(self, source: str) -> bool | None:
        """Whether mounts below a directory of the host have nodes, which a bind's `nodev` does not reach.

        None where that is not looked at. Of `/` it is known: /dev is a file system of its own.
        """
        return source == "/" or None

    def soname(self, path: str) -> str | None:  # noqa: ARG002
        """The SONAME in the ELF header of a library on the host; None: it has none, or is not looked at."""
        return None

    def sandbox_has_nvproxy(self, sandbox: str) -> bool | None:  # noqa: ARG002
        """Whether the pod sandbox with this id was started with nvproxy; None where that is not looked at.

        Raises:
            HostError: it cannot be told; the message says why.
        """
        return None

    def has_program(self, name: str) -> bool | None:  # noqa: ARG002
        """Whether a program is in `PROGRAM_PATH`; None where that is not looked at."""
        return None
