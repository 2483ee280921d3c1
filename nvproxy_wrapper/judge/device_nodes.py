"""NVIDIA's device nodes: their names and numbers, and which of them gVisor serves."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTROL = "/dev/nvidiactl"
UVM = "/dev/nvidia-uvm"
WSL = "/dev/dxg"
"""How a GPU reaches Linux in WSL 2; there are no other nodes (toolkit, pkg/nvcdi/lib-wsl.go)."""

PREFIX = "/dev/nvidia"
_CAPABILITY = "/dev/nvidia-caps/nvidia-cap"
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
    return _number_after(PREFIX, path)


def capability_minor(path: str) -> int | None:
    """N of /dev/nvidia-caps/nvidia-capN, a capability of the driver's; None for any other path."""
    return _number_after(_CAPABILITY, path)


def is_nvidia(device: dict[str, Any]) -> bool:
    """Whether a node is NVIDIA's by its name."""
    return "nvidia" in device["path"]


def is_served(path: str) -> bool:
    """Whether gVisor knows a node of NVIDIA's by this name."""
    return path in (CONTROL, UVM) or gpu_minor(path) is not None


def is_tegra(path: str) -> bool:
    """Whether a node is one of an integrated GPU's, which has none of those that gVisor knows."""
    return path.startswith(_TEGRA_PREFIXES)


def is_nvgpu(path: str) -> bool:
    """Whether a node is one by which CUDA reaches an integrated GPU: of the driver nvgpu, up to Orin.

    Thor has NVIDIA's driver for discrete GPUs, though its CSV files name these nodes as well; what is not on
    the host gets into no spec (toolkit, testdata/lookup/rootfs-thor-dgpu and pkg/nvcdi/lib-csv_test.go). The
    other nodes of a Tegra, nvmap and host1x, are on both.
    """
    return path.startswith("/dev/nvgpu/") or (path.startswith("/dev/nvhost-") and path.endswith("gpu"))


def is_dead(device: dict[str, Any]) -> bool:
    """Whether gVisor cannot serve a node; a GPU under another name neither: gVisor goes by the name."""
    path = device["path"]
    is_renamed = device.get("major") == MAJOR and device.get("type") in ("c", "u")
    return not is_served(path) and (path.startswith(_DEAD_PREFIXES) or is_renamed)


def is_privileged(rules: list[dict[str, Any]]) -> bool:
    """Whether linux.resources.devices allows every device.

    Engines write that for a privileged container, and list every node of the host (containerd,
    pkg/oci/spec_opts.go, WithAllDevicesAllowed and WithHostDevices; moby and CRI-O do the same).
    """
    return any(map(_allows_all, rules))


def given_to_privileged(nodes: list[dict[str, Any]], rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of NVIDIA's nodes in a privileged container's spec, those that were given to it and not the privilege.

    They come to light in two ways. CDI is the last to change a spec, so that its nodes have lines of their
    own behind the one that allows everything; nodes that somebody named to the engine are there twice, named
    and as the host's (containerd 2.2.0, internal/cri/server/container_create.go and _linux.go).
    """
    last = max((place for place, rule in enumerate(rules) if _allows_all(rule)), default=-1)
    named = [numbers(rule) for rule in rules[last + 1 :] if rule.get("allow") is True]
    paths = [node["path"] for node in nodes]
    return [
        node
        for node in nodes
        if is_nvidia(node) and (numbers(node) in named or paths.count(node["path"]) > 1)
    ]


def _allows_all(rule: dict[str, Any]) -> bool:
    is_any = all(rule.get(name) in (None, -1) for name in ("major", "minor"))
    return rule.get("allow") is True and rule.get("type") in (None, "", "a") and is_any


def numbers(item: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Type, major and minor, of a node in linux.devices or of a line in linux.resources.devices."""
    return (item.get("type"), item.get("major"), item.get("minor"))


def gpus_in(paths: list[str]) -> set[int]:
    """The minors of the GPUs among node paths."""
    return {minor for minor in map(gpu_minor, paths) if minor is not None}


def gpus_given(devices: list[dict[str, Any]], rules: list[dict[str, Any]]) -> set[int]:
    """The minors of the GPUs that a spec lists because somebody gave them, and not for a privilege's sake."""
    given = given_to_privileged(devices, rules) if is_privileged(rules) else devices
    return gpus_in([device["path"] for device in given])


def _number_after(prefix: str, path: str) -> int | None:
    digits = path[len(prefix) :] if path.startswith(prefix) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 6 else None
