"""Annotations by which runsc and the CRI engines say what a container is."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NVPROXY = "dev.gvisor.internal.nvproxy"
"""What runsc reads from the spec and keeps for `start` (gVisor, runsc/specutils/nvidia.go)."""

CONTAINER_TYPES = (
    "io.kubernetes.cri.container-type",  # containerd, pkg/cri/annotations
    "io.kubernetes.cri-o.ContainerType",  # CRI-O, pkg/annotations
)
_SANDBOX_IDS = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")

# Not flag. and internal. alone, whose names say so: bundle. overrides the host's own flags, spec. mounts any
# image on the host as the root or leaves the cgroup that holds the limits.
GVISOR = "dev.gvisor."
CRI = "io.kubernetes.cri"


def is_in_pod(annotations: dict[str, Any]) -> bool:
    """Whether a CRI engine marks this as one of a pod's containers, its sandbox included."""
    return not annotations.keys().isdisjoint(CONTAINER_TYPES)


def is_pod_sandbox(annotations: dict[str, Any]) -> bool:
    """Whether a CRI engine marks this as the container that holds a pod's namespaces.

    As in runsc (specutils/cri.go) the first of the names that is there decides.
    """
    return _first(annotations, CONTAINER_TYPES) == "sandbox"


def joins_sandbox(annotations: dict[str, Any]) -> bool:
    """Whether runsc puts this container into a sandbox that is there already."""
    return _first(annotations, CONTAINER_TYPES) == "container"


def sandbox_id(annotations: dict[str, Any]) -> str:
    """The id of the pod's sandbox, as runsc reads it (specutils/cri.go); "" where it is not given."""
    found = _first(annotations, _SANDBOX_IDS)
    return found if isinstance(found, str) else ""


def _first(annotations: dict[str, Any], names: tuple[str, ...]) -> object:
    return next((annotations[name] for name in names if name in annotations), None)
