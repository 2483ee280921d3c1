"""Which GPUs are asked for: the variable, its form as volume mounts, and the way from an id to a minor."""

from __future__ import annotations

from nvproxy_wrapper.host.views import HostError
from nvproxy_wrapper.judge.decision import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from nvproxy_wrapper.host.views import Gpu, ProcDriverView

    Request = Union[str, list[str], None]
    """ "all", "none", the ids as they are written, or None: nothing is asked for."""

VOLUME_MOUNT_ROOT = "/var/run/nvidia-container-devices/"
"""Where accept-nvidia-visible-devices-as-volume-mounts reads ids (toolkit, internal/config/image).

As the variable's value it means: see there (k8s-device-plugin, deviceListAsVolumeMountsContainerPathRoot).
"""

_RULE = "devices.scope"
_MAX_INDEX_DIGITS = 4


def parse_visible_devices(value: str) -> Request:
    """What one value of NVIDIA_VISIBLE_DEVICES asks for.

    As in nvidia-container-toolkit (internal/config/image/devices.go) `all`, `none`, `void` and "" are words
    only where they are the whole value; in a list they are ids, which no host has.
    """
    text = value.strip()
    if text in ("", "void"):
        return None
    if text in ("all", "none"):
        return text
    return [part.strip() for part in text.split(",") if part.strip()]


def least_of(requests: list[Request]) -> tuple[Request, str]:
    """What several requests together ask for: of all and less, the less.

    Returns:
        The request, and "" or half a sentence on two that go against each other: other GPUs, or nothing.
    """
    if not requests:
        return None, ""
    least = requests[0]
    for request in requests[1:]:
        if request == least:
            continue
        clash = f"{written(least) or 'nothing'}, then {written(request) or 'nothing'}"
        if least is None or request is None:
            return None, clash
        if isinstance(least, list) and isinstance(request, list):
            return min(least, request, key=len), clash
        least = min(least, request, key=_size)
    return least, ""


def written(request: Request) -> str:
    """A request as the variable's value; "" for None."""
    return ",".join(request) if isinstance(request, list) else request or ""


def _size(request: Request) -> int:
    return 1 if isinstance(request, list) else ("none", "", "all").index(request or "")


def volume_mount_request(mounts: list[dict[str, Any]]) -> Request:
    """What the mounts of /dev/null under `VOLUME_MOUNT_ROOT` ask for.

    It is an orchestrator's way to ask, and one that no image can take.
    """
    ids = [
        mount["destination"][len(VOLUME_MOUNT_ROOT) :]
        for mount in mounts
        if mount.get("source") == "/dev/null" and mount["destination"].startswith(VOLUME_MOUNT_ROOT)
    ]
    ids = [name for name in ids if name.strip(" ,") and not name.startswith("imex/")]
    if not ids:
        return None
    return parse_visible_devices(",".join(ids))


def points_to_mounts(request: Request) -> bool:
    """Whether the variable says no more than that volume mounts ask."""
    return isinstance(request, list) and [f"{name.rstrip('/')}/" for name in request] == [VOLUME_MOUNT_ROOT]


def refuse_mig(requests: list[Request], rule: str) -> None:
    """A MIG device cannot be served: its nodes under /dev/nvidia-caps are not known to gVisor.

    Raises:
        Refusal: by `rule`, one is asked for.
    """
    names = [name for request in requests if isinstance(request, list) for name in request]
    for name in filter(_is_mig, names):
        raise Refusal(
            rule,
            f"NVIDIA_VISIBLE_DEVICES asks for the MIG device {name!r}",
            "gVisor cannot serve MIG devices; ask for a whole GPU, by index or UUID.",
        )


def may_be_so_many(request: Request, count: int) -> bool:
    """Whether so many GPUs can be what was asked for.

    Each id is one GPU, but for `all` beside others, and the qualified names of CDI: nvidia.com/gpu=all.
    """
    if request in (None, "all"):
        return True
    ids = set(request) if isinstance(request, list) else set()
    return count <= len(ids) or any(name == "all" or "=" in name for name in ids)


def _is_mig(name: str) -> bool:
    """Whether an id is that of a MIG device: `MIG-...`, `0:1`, `mig0:1` (CDI's type-index), or so in CDI."""
    device = name.rpartition("=")[2].upper()
    gpu, colon, instance = (device[3:] if device.startswith("MIG") else device).partition(":")
    return device.startswith("MIG-") or (bool(colon) and gpu.isdigit() and instance.isdigit())


def minors_of(request: list[str], host: ProcDriverView) -> set[int]:
    """The minors of the GPUs with these ids.

    Raises:
        Refusal: the driver's directory cannot be read, or an id names no GPU of this host, or more than one.
    """
    if not request:
        raise Refusal(
            _RULE,
            "NVIDIA_VISIBLE_DEVICES is a list without an id in it",
            "Ask for all, none, an index or a UUID.",
        )
    try:
        gpus = host.gpus()
    except HostError as error:
        raise Refusal(
            _RULE,
            f"the GPUs {', '.join(request)} are asked for and cannot be looked up: {error}",
            "Load the NVIDIA kernel module. To explain a spec elsewhere than on its host, give settings whose"
            " proc_driver is a copy of the host's /proc/driver/nvidia.",
            host_prep_may_help=True,
        ) from None
    # An image may ask a million times for the same one.
    return {_find(name, gpus, host.proc_driver).minor for name in dict.fromkeys(request)}


def _find(name: str, gpus: list[Gpu], proc_driver: str) -> Gpu:
    upper = name.upper()
    if _is_index(name):
        found = [gpu for gpu in gpus if gpu.index == int(name)]
    elif upper.startswith("GPU-") and len(name) > len("GPU-"):
        # A whole UUID first: it may be the beginning of no other, but nothing here has to rely on that.
        found = [gpu for gpu in gpus if gpu.uuid.upper() == upper]
        found = found or [gpu for gpu in gpus if gpu.uuid.upper().startswith(upper)]
    else:
        found = []
    if len(found) == 1:
        return found[0]
    have = ", ".join(f"{gpu.index} ({gpu.uuid or 'UUID unknown'})" for gpu in gpus) or "none"
    what = f"matches {len(found)} GPUs" if found else "names no GPU"
    raise Refusal(
        _RULE,
        f"NVIDIA_VISIBLE_DEVICES asks for {name!r}, which {what} of this host; {proc_driver}/gpus has {have}",
        "Ask for all, none, or GPUs of this host by index or UUID.",
    )


def _is_index(text: str) -> bool:
    digits = text.isascii() and text.isdigit() and len(text) <= _MAX_INDEX_DIGITS
    return digits and (text == "0" or not text.startswith("0"))
