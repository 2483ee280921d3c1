"""Features beside GPUs: by which variable, node or mount a container asks for one.

What becomes of a request is in `rules.asked`, which is imported where there is one.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities
from nvproxy_wrapper.judge.device_nodes import given_to_privileged, is_privileged
from nvproxy_wrapper.judge.environment import values
from nvproxy_wrapper.judge.oci_spec import cleaned, is_bind
from nvproxy_wrapper.judge.request import VOLUME_MOUNT_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from nvproxy_wrapper.judge.oci_spec import Parts
    from nvproxy_wrapper.judge.settings import Settings

IMEX_MOUNTS = f"{VOLUME_MOUNT_ROOT}imex/"
"""internal/config/image/cuda_image.go, imexChannelsFromMounts."""

MPS_DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"
MPS_DEFAULT = "/tmp/nvidia-mps"  # noqa: S108 - a name; NVIDIA, Multi-Process Service, 5.1

_VARIABLES = ("NVIDIA_IMEX_", "NVIDIA_GD", "NVIDIA_MOFED", "NVIDIA_NVSWITCH", "NVIDIA_MIG_", "CUDA_MPS_")
_NODES = ("/dev/nvidia-caps", "/dev/nvidia-fs", "/dev/nvidia-nvswitch", "/dev/gdrdrv", "/dev/infiniband/")


def may_be_asked(parts: Parts, settings: Settings) -> bool:
    """Whether anything beside GPUs may be asked for: a first look, which costs next to nothing."""
    allowed = settings.allowed_capabilities
    asked = capabilities.written(parts.env) or capabilities.DEFAULT
    return (
        not allowed
        or not all(name in allowed or name == capabilities.ALL for name in asked)
        or any(entry.startswith(_VARIABLES) for entry in parts.env)
        or any(device["path"].startswith(_NODES) for device in parts.devices)
        or any(
            "/imex/" in mount["destination"] or "/nvidia-mps" in mount["destination"]
            for mount in parts.mounts
        )
    )


def imex_channels(parts: Parts) -> list[str]:
    """Where IMEX channels are asked for."""
    asked = _words(parts, "NVIDIA_IMEX_CHANNELS")
    places = [f"NVIDIA_IMEX_CHANNELS={','.join(asked)}"] if asked else []
    places += [
        mount["destination"]
        for mount in parts.mounts
        if mount.get("source") == "/dev/null" and cleaned(mount["destination"]).startswith(IMEX_MOUNTS)
    ]
    return places + _nodes(parts, "/dev/nvidia-caps-imex-channels/")


def gated(variable: str, prefix: str) -> Callable[[Parts], list[str]]:
    """Where a feature is asked for that the toolkit gives with a variable: `enabled`, and no other word.

    internal/modifier/cdi.go, gatedDevices; of several values the last one counts.
    """

    def places(parts: Parts) -> list[str]:
        is_on = values(parts.env, variable)[-1:] == ["enabled"]
        return ([f"{variable}=enabled"] if is_on else []) + _nodes(parts, prefix)

    return places


def mig_management(parts: Parts) -> list[str]:
    """Where the right to make MIG instances, or to watch them all, is asked for.

    Capabilities 1 and 2 are these two; later ones are those of instances.
    """
    names = ("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES")
    places = [f"{name}={','.join(_words(parts, name))}" for name in names if _words(parts, name)]
    caps = ("/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2")
    return places + [path for path in _nodes(parts, "/dev/nvidia-caps/") if path in caps]


def mps(parts: Parts) -> list[str]:
    """Where MPS, or a limit by it, is asked for; the mount that the toolkit makes unasked does not."""
    names = dict.fromkeys(entry.partition("=")[0] for entry in parts.env if entry.startswith("CUDA_MPS_"))
    places = [f"{name}={values(parts.env, name)[-1]}" for name in names]
    # internal/discover/ipc.go: of a host that has the default directory it is mounted everywhere, `noexec`.
    mounts = [mount for mount in _mps_mounts(parts) if names or "noexec" not in (mount.get("options") or [])]
    return places + [mount["destination"] for mount in mounts]


def has_mps_of_host(parts: Parts) -> bool:
    """Whether the directory of a host's MPS is mounted where CUDA would look for it."""
    return bool(_mps_mounts(parts))


def _mps_mounts(parts: Parts) -> list[dict[str, Any]]:
    named = values(parts.env, MPS_DIRECTORY)[-1:]
    wanted = cleaned(named[0] if named else MPS_DEFAULT)

    def brings_it(mount: dict[str, Any]) -> bool:
        place = cleaned(mount["destination"])
        if f"{place}/".startswith(f"{wanted}/"):
            return True
        # NVIDIA's device plugin mounts /mps for /mps/nvidia.com/gpu/pipe. A volume at /tmp is no MPS.
        is_above = f"{wanted}/".startswith(f"{place}/")
        return bool(named) and is_above and "mps" in f"{mount.get('source')}:{place}"

    return [mount for mount in parts.mounts if is_bind(mount) and brings_it(mount)]


def _words(parts: Parts, name: str) -> list[str]:
    words = [word.strip() for value in values(parts.env, name)[-1:] for word in value.split(",")]
    return [word for word in words if word not in ("", "void", "none")]


def _nodes(parts: Parts, prefix: str) -> list[str]:
    """The nodes that somebody asked for: to a privileged container the engine lists all of the host's."""
    nodes = parts.devices
    if is_privileged(parts.cgroup_rules):
        nodes = given_to_privileged(nodes, parts.cgroup_rules)
    return [node["path"] for node in nodes if node["path"].startswith(prefix)]
