"""The driver's directory under /proc, made in a test's directory: what `proc_driver` points to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class TreeGpu:
    """One GPU of a tree: PCI address, minor, UUID, and whether the driver keeps it from NVML."""

    pci: str
    minor: int
    uuid: str
    excluded: bool = False


def captured_uuid(number: int) -> str:
    """UUID of GPU `number` on the host of the captured specs."""
    return f"GPU-4d4f434b-0000-0000-0000-{number:012d}"


CAPTURED_HOST = tuple(TreeGpu(f"0000:{i + 1:02x}:00.0", i, captured_uuid(i)) for i in range(8))
"""The host of tests/specs/captured: 8 GPUs whose minor is their index."""

LAB_HOST = tuple(
    TreeGpu(f"0000:{i + 1:02x}:00.0", minor, f"GPU-6c616200-0000-0000-0000-{minor:012x}")
    for i, minor in enumerate((0, 1, 2, 3, 5, 4, 6, 7))
)
"""The lab's host gpu-b, on which the specs of toolkit 1.20.1 were captured: index 4 has the minor 5."""

SHUFFLED_HOST = tuple(
    TreeGpu(f"0000:{0x10 * (i + 1):02x}:00.0", 7 - i, captured_uuid(7 - i)) for i in range(8)
)
"""The same GPUs in other slots: index i has the minor 7 - i."""


def write_driver_tree(root: Path, gpus: Sequence[TreeGpu]) -> Path:
    """Write `root`/gpus/PCI/information as nvidia.ko prints it (nv-procfs.c); returns `root`."""
    (root / "gpus").mkdir(parents=True)
    for gpu in gpus:
        folder = root / "gpus" / gpu.pci
        folder.mkdir()
        (folder / "information").write_text(
            "Model: \t\t NVIDIA A100-SXM4-40GB\n"
            "IRQ:   \t\t 91\n"
            f"GPU UUID: \t {gpu.uuid}\n"
            "Video BIOS: \t 92.00.45.00.03\n"
            "Bus Type: \t PCIe\n"
            f"Bus Location: \t {gpu.pci}\n"
            f"Device Minor: \t {gpu.minor}\n"
            f"GPU Excluded:\t {'Yes' if gpu.excluded else 'No'}\n"
        )
    return root


def write_capabilities(root: Path, minors: dict[str, int]) -> None:
    """Write `root`/capabilities/PATH as nvidia.ko prints it (nv-caps.c): each path with its node's minor."""
    for path, minor in {"mig/config": 1, "mig/monitor": 2, **minors}.items():
        file = root / "capabilities" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
