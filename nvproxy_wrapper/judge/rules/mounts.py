"""`mounts.sockets`: binds that the gofer cannot open."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.host.views import ProcDriverView
    from nvproxy_wrapper.judge.rewrite import Draft

# internal/discover/ipc.go of the toolkit; a driver root may stand before them.
_SOCKET_FOLDERS = ("/run/nvidia-persistenced/", "/run/nvidia-fabricmanager/", "/tmp/nvidia-mps/")  # noqa: S108 - a name


def is_bind(mount: dict[str, Any]) -> bool:
    """Whether a mount is a bind mount, as runsc tells: by its type or its options."""
    options = mount.get("options") or []
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


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


def _is_nvidia_socket(source: str, host: ProcDriverView) -> bool:
    if any(folder in f"{source}/" for folder in _SOCKET_FOLDERS):
        return True
    return "nvidia" in source and host.is_socket_or_fifo(source) is True
