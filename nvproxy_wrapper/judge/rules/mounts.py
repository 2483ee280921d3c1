"""Mounts: none through which a GPU opens that was not asked for, none that the gofer cannot make.

nvproxy opens /dev/nvidiaN for any N through the container's /dev as it is on the host after its mounts, the
listed nodes being the last of them, and no device cgroup stands in the way (gVisor 20260905,
runsc/cmd/sandboxsetup/gofer_mount.go, pkg/sentry/devices/nvproxy/frontend.go). A destination does not tell
which mount lies there: it may lead through links in the image, which must not be read.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import is_served
from nvproxy_wrapper.judge.oci_spec import cleaned, is_bind, is_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.host_view import HostView

# internal/discover/ipc.go of the toolkit; a driver root may stand before them.
_SOCKET_FOLDERS = ("/run/nvidia-persistenced/", "/run/nvidia-fabricmanager/", "/tmp/nvidia-mps/")  # noqa: S108 - a name


def refuse_nodes(draft: Draft) -> None:
    """`mounts.dev`: what would lie over the GPU's nodes, or bring nodes that `nodev` does not close.

    Raises:
        Refusal: there is such a mount.
    """
    for mount in filter(is_bind, draft.mounts):
        source, place = mount.get("source") or "", cleaned(mount["destination"])
        named = f"the mount of {source} at {mount['destination']}"
        if is_served(place):
            raise Refusal(
                "mounts.dev",
                f"{named} brings a node of NVIDIA's as a file",
                "Leave it out, and ask for the GPU in NVIDIA_VISIBLE_DEVICES: its nodes come with it.",
            )
        if place in ("/", "/dev"):
            raise Refusal(
                "mounts.dev",
                f"{named} would lie over the GPU's nodes",
                "Leave it out, or take an image that does not declare it as a VOLUME: the GPU's nodes are put"
                " into /dev without it, and what else is needed of it can be mounted by itself.",
            )
    refuse_what_stays_open(draft)


def refuse_what_stays_open(draft: Draft) -> None:
    """`mounts.dev`, the part that holds for plain containers of a pod with GPUs, too: what `close` cannot.

    Raises:
        Refusal: there is such a mount.
    """
    for mount in filter(is_bind, draft.mounts):
        source = mount.get("source") or ""
        is_recursive = "rbind" in (mount.get("options") or [])
        if is_recursive and draft.host.has_open_nodes_below(cleaned(source)):
            raise Refusal(
                "mounts.dev",
                f"the mount of {source} at {mount['destination']} brings the host's device nodes: they are on"
                " a file system that is mounted below it, where nodev does not reach",
                "Mount the directories that are needed, one by one.",
            )


def close(draft: Draft) -> None:
    """`mounts.nodev`: no device opens through a bind, whatever lies there."""
    for place, mount in enumerate(draft.mounts):
        if is_bind(mount) and not is_closed(mount):
            options = [option for option in mount.get("options") or [] if option not in ("dev", "nodev")]
            draft.mounts[place] = {**mount, "options": [*options, "nodev"]}
            draft.act(
                "mounts.nodev",
                mount["destination"],
                "nodev added",
                "gVisor opens any GPU whose node lies in the container's /dev, asked for or not",
            )


def drop_sockets(draft: Draft) -> None:
    """`mounts.sockets`: remove the binds of NVIDIA's sockets and FIFOs, which the gofer cannot open.

    By name, and at create time by what they are.
    """
    kept = []
    for mount in draft.mounts:
        if is_bind(mount) and _is_nvidia_socket(mount.get("source") or "", draft.host):
            draft.act(
                "mounts.sockets",
                mount["destination"],
                f"the bind of {mount['source']} removed",
                "the gofer cannot bind a socket or a FIFO, and the sandbox would die",
            )
        else:
            kept.append(mount)
    draft.mounts = kept


def _is_nvidia_socket(source: str, host: HostView) -> bool:
    if any(folder in f"{source}/" for folder in _SOCKET_FOLDERS):
        return True
    return "nvidia" in source and host.is_socket_or_fifo(source) is True
