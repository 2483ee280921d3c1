"""NVIDIA's device nodes: their names and numbers, and which of them gVisor serves."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL = "/dev/nvidiactl"
UVM = "/dev/nvidia-uvm"

PREFIX = "/dev/nvidia"
MAJOR = 195  # Linux, Documentation/admin-guide/devices.txt: "195 char  Nvidia graphics devices"
CONTROL_MINOR = 255

# Of integrated GPUs (toolkit, tools/ and the CSV files of L4T)
_TEGRA_PREFIXES = (
    "/dev/nvhost",
    "/dev/nvmap",
    "/dev/nvgpu",
    "/dev/nvsciipc",
    "/dev/host1x",
    "/dev/v4l2-nv",
    "/dev/tegra",
)
# Served by no device of gVisor's (pkg/sentry/devices/nvproxy, runsc/cmd/sandboxsetup
# ShouldExposeNvidiaDevice).
_DEAD_PREFIXES = ("/dev/nvidia", "/dev/dri/", "/dev/gdrdrv", *_TEGRA_PREFIXES)


def gpu_minor(path: str) -> int | None:
    """N of /dev/nvidiaN; None for any other path."""
    digits = path[len(PREFIX) :] if path.startswith(PREFIX) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 6 else None


def is_nvidia(device: dict[str, Any]) -> bool:
    """Whether a node is NVIDIA's by its name."""
    return "nvidia" in device["path"]


def is_served(path: str) -> bool:
    """Whether gVisor knows a node of NVIDIA's by this name."""
    return path in (CONTROL, UVM) or gpu_minor(path) is not None


def is_tegra(path: str) -> bool:
    """Whether a node is one of an integrated GPU's, which has none of those that gVisor knows."""
    return path.startswith(_TEGRA_PREFIXES)


def is_dead(device: dict[str, Any]) -> bool:
    """Whether gVisor cannot serve a node; a GPU under another name neither: gVisor goes by the name."""
    path = device["path"]
    is_renamed = device.get("major") == MAJOR and device.get("type") in ("c", "u")
    return not is_served(path) and (path.startswith(_DEAD_PREFIXES) or is_renamed)


def gpus_in(paths: list[str]) -> set[int]:
    """The minors of the GPUs among node paths."""
    return {minor for minor in map(gpu_minor, paths) if minor is not None}
