"""From an id to a GPU of this host."""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.host_view import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.host_view import Gpu, HostView

_RULE = "devices.scope"
_MAX_INDEX_DIGITS = 4


def minors_of(request: list[str], host: HostView) -> set[int]:
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
    gpus = of_host(host, f"the GPUs {', '.join(request)}")
    # An image may ask a million times for the same one.
    return {_find(name, gpus, host.proc_driver).minor for name in dict.fromkeys(request)}


def of_host(host: HostView, asked: str = "GPUs") -> list[Gpu]:
    """The host's GPUs.

    Raises:
        Refusal: the driver's directory cannot be read.
    """
    try:
        return host.gpus()
    except HostError as error:
        raise Refusal(
            _RULE,
            f"{asked} are asked for and cannot be looked up: {error}",
            "Load the NVIDIA kernel module. To explain a spec elsewhere than on its host, give settings whose"
            " proc_driver is a copy of the host's /proc/driver/nvidia.",
            host_prep_may_help=True,
        ) from None


def openable(request: str | list[str] | None, host: HostView) -> set[int] | None:
    """The minors that nvidia-container-cli makes of a request; None where that cannot be told from here."""
    if request == "none":
        return set()
    try:
        if isinstance(request, list):
            return minors_of(request, host)
        return {gpu.minor for gpu in host.gpus()}
    except (HostError, Refusal):
        return None


def exist(host: HostView) -> bool:
    """Whether the driver is loaded and lists a GPU; a driver that cannot be read counts as none."""
    try:
        return bool(host.gpus())
    except HostError:
        return False


def is_mig(name: str) -> bool:
    """Whether an id is that of a MIG device: `MIG-...`, `0:1`, `mig0:1` (CDI's type-index), or so in CDI."""
    device = name.rpartition("=")[2].upper()
    gpu, colon, instance = (device[3:] if device.startswith("MIG") else device).partition(":")
    return device.startswith("MIG-") or (bool(colon) and gpu.isdigit() and instance.isdigit())


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
