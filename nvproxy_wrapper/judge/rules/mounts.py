"""`mounts.sockets`: binds that the gofer cannot open."""

from __future__ import annotations

from nvproxy_wrapper.judge.oci_spec import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.host_view import HostView

# internal/discover/ipc.go of the toolkit; a driver root may stand before them.
_SOCKET_FOLDERS = ("/run/nvidia-persistenced/", "/run/nvidia-fabricmanager/", "/tmp/nvidia-mps/")  # noqa: S108 - a name


def drop_sockets(draft: Draft) -> None:
    """Remove the binds of NVIDIA's sockets and FIFOs: by name, and at create time by what they are."""
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
