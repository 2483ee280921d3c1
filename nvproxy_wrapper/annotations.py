"""Annotations: nvproxy for GPU containers and for pod sandboxes on GPU hosts, and none that users brought."""

from __future__ import annotations

from .host_view import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host_view import ProcDriverView
    from .rewrite import Draft

NVPROXY = "dev.gvisor.internal.nvproxy"
"""What runsc reads from the spec and keeps for `start` (gVisor, runsc/specutils/nvidia.go)."""

_SANDBOX = {
    "io.kubernetes.cri.container-type": "sandbox",  # containerd, pkg/cri/annotations
    "io.kubernetes.cri-o.ContainerType": "sandbox",  # CRI-O, pkg/annotations
}

_OVERRIDES = ("dev.gvisor.flag.", "dev.gvisor.internal.")


def is_pod_sandbox(annotations: dict[str, Any]) -> bool:
    """Whether a CRI engine marks this as the container that holds a pod's namespaces."""
    return any(annotations.get(name) == value for name, value in _SANDBOX.items())


def host_has_gpus(host: ProcDriverView) -> bool:
    """Whether the driver is loaded and lists a GPU; a driver that cannot be read counts as none."""
    try:
        return bool(host.gpus())
    except HostError:
        return False


def drop_overrides(draft: Draft, *, keep_nvproxy: bool) -> None:
    """`annotation.user`: what changes the sandbox is the host's to say.

    Args:
        draft: the spec.
        keep_nvproxy: leave that one, as the wrapper sets it itself.
    """
    if draft.settings.allow_user_annotations:
        return
    for name in list(draft.annotations):
        if name.startswith(_OVERRIDES) and not (keep_nvproxy and name == NVPROXY):
            value = draft.annotations.pop(name)
            draft.act(
                "annotation.user",
                name,
                f"removed ({value!r})",
                "it changes the sandbox, and came with the container",
            )


def enable_nvproxy(draft: Draft, rule: str, why: str) -> None:
    """`annotation.nvproxy` and `pod.sandbox`: the annotation for later calls, the flag for this one."""
    draft.runsc_flags.append("--nvproxy")
    allowed = draft.settings.allowed_capabilities
    if (
        set(allowed) != {"utility", "compute"}
        and "nvproxy-allowed-driver-capabilities" in draft.settings.runsc_flags
    ):
        draft.runsc_flags.append(f"--nvproxy-allowed-driver-capabilities={','.join(allowed)}")
    if draft.annotations.get(NVPROXY) != "true":
        draft.annotations[NVPROXY] = "true"
        draft.act(rule, NVPROXY, 'set to "true"', why)
