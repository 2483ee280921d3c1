"""Annotations: nvproxy for GPU containers and for pod sandboxes on GPU hosts, and none that users brought."""

from __future__ import annotations

from nvproxy_wrapper.host.views import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.host.views import ProcDriverView
    from nvproxy_wrapper.judge.rewrite import Draft

NVPROXY = "dev.gvisor.internal.nvproxy"
"""What runsc reads from the spec and keeps for `start` (gVisor, runsc/specutils/nvidia.go)."""

_CONTAINER_TYPES = (
    "io.kubernetes.cri.container-type",  # containerd, pkg/cri/annotations
    "io.kubernetes.cri-o.ContainerType",  # CRI-O, pkg/annotations
)

# Not flag. and internal. alone, whose names say so: bundle. overrides the host's own flags, spec. mounts any
# image on the host as the root or leaves the cgroup that holds the limits.
_GVISOR = "dev.gvisor."
_CRI = "io.kubernetes.cri"


def is_pod_sandbox(annotations: dict[str, Any]) -> bool:
    """Whether a CRI engine marks this as the container that holds a pod's namespaces.

    As in runsc (specutils/cri.go) the first of the names that is there decides.
    """
    given = [annotations[name] for name in _CONTAINER_TYPES if name in annotations]
    return given[:1] == ["sandbox"]


def host_has_gpus(host: ProcDriverView) -> bool:
    """Whether the driver is loaded and lists a GPU; a driver that cannot be read counts as none."""
    try:
        return bool(host.gpus())
    except HostError:
        return False


def drop_overrides(draft: Draft, *, keep_nvproxy: bool) -> None:
    """`annotation.user`: what changes the sandbox is the host's to say.

    Docker has no pods: there, what says that a container is a part of one came with the container, and runsc
    would put it into the sandbox that it names, whoever's that is.

    Args:
        draft: the spec.
        keep_nvproxy: leave that one, as the wrapper sets it itself.
    """
    if draft.settings.allow_user_annotations:
        return
    users = (_GVISOR, _CRI) if draft.engine_has_no_pods else (_GVISOR,)
    for name in list(draft.annotations):
        if name.startswith(users) and not (keep_nvproxy and name == NVPROXY):
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
