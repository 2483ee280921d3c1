"""`spec.class`: why a spec has only a part of what a GPU container needs, and what to do about it.

Imported only where a container is refused.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import CONTROL, WSL, is_served
from nvproxy_wrapper.judge.oci_spec import cleaned, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft


def refuse(draft: Draft) -> None:
    """Say why the control node is not listed, where that can be told.

    Raises:
        Refusal: WSL, or bind mounts in its place.
    """
    listed = [device["path"] for device in draft.devices]
    bound = [cleaned(mount["destination"]) for mount in filter(is_bind, draft.mounts)]
    if WSL in (*listed, *bound):
        raise of_wsl(f"the spec has {WSL}")
    nodes = [path for path in bound if is_served(path)]
    if nodes:
        raise _refused(
            f"{', '.join(nodes)} come as bind mounts and not in linux.devices, as an engine does in a user"
            " namespace (rootless Docker or Podman, --userns), where it cannot make nodes; runsc opens a GPU"
            " only by the nodes that are listed",
            "Start the container by an engine that runs as root, and in no user namespace.",
        )


def of_wsl(what: str) -> Refusal:
    """The refusal of a GPU of WSL 2."""
    return _refused(
        f"{what}, by which WSL 2 gives GPUs: gVisor serves those of NVIDIA's own Linux driver, with"
        f" {CONTROL}, which WSL has not",
        "Use a Linux host with NVIDIA's driver; under WSL 2 run GPU containers under runc.",
    )


def _refused(message: str, remedy: str) -> Refusal:
    return Refusal("spec.class", message, remedy)
