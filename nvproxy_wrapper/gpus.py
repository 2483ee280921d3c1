"""Which GPUs are asked for: the variable, its form as volume mounts, and the way from an id to a minor."""

from __future__ import annotations

from .decision import Refusal
from .host_view import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from .host_view import Gpu, ProcDriverView

    Request = Union[str, list[str], None]
    """ "all", "none", the ids as they are written, or None: nothing is asked for."""

VOLUME_MOUNT_ROOT = "/var/run/nvidia-container-devices/"
"""Where accept-nvidia-visible-devices-as-volume-mounts reads ids (toolkit, internal/config/image)."""

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
        The request, and "" or half a sentence on two that ask for different GPUs.
    """
    if not requests:
        return None, ""
    least = requests[0]
    for request in requests[1:]:
        if request in ("all", least):
            continue
        if least == "all" or request in (None, "none"):
            least = request
        elif least not in (None, "none"):
            return least, f"{', '.join(least)}, then {', '.join(request or [])}"
    return least, ""


def volume_mount_request(mounts: list[dict[str, Any]]) -> Request:
    """What the mounts of /dev/null under `VOLUME_MOUNT_ROOT` ask for.

    It is an orchestrator's way to ask, and one that no image can take.
    """
    ids = [
        mount["destination"][len(VOLUME_MOUNT_ROOT) :]
        for mount in mounts
        if mount.get("source") == "/dev/null" and mount["destination"].startswith(VOLUME_MOUNT_ROOT)
    ]
    ids = [name for name in ids if not name.startswith("imex/")]
    if not ids:
        return None
    return parse_visible_devices(",".join(ids))


def is_mig(name: str) -> bool:
    """Whether an id is that of a MIG device: `MIG-...`, or `GPU:INSTANCE` in numbers."""
    gpu, colon, instance = name.partition(":")
    return name.upper().startswith("MIG-") or (bool(colon) and gpu.isdigit() and instance.isdigit())


def minors_of(request: list[str], host: ProcDriverView) -> set[int]:
    """The minors of the GPUs with these ids.

    Raises:
        Refusal: the driver's directory cannot be read, or an id names no GPU of this host, more than one, or
            a MIG device.
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
            "Load the NVIDIA kernel module on this host, or set proc_driver to where its directory is.",
            host_prep_may_help=True,
        ) from None
    return {_find(name, gpus, host.proc_driver).minor for name in request}


def _find(name: str, gpus: list[Gpu], proc_driver: str) -> Gpu:
    upper = name.upper()
    if is_mig(name):
        raise Refusal(
            _RULE,
            f"NVIDIA_VISIBLE_DEVICES asks for the MIG device {name!r}",
            "gVisor cannot serve MIG devices; ask for a whole GPU, by index or UUID.",
        )
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
