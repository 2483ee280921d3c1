"""From an id to a GPU of this host."""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES
from nvproxy_wrapper.judge.host_view import HostError
from nvproxy_wrapper.judge.request import device_name, is_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.host_view import Gpu, HostView
    from nvproxy_wrapper.judge.request import Source

_RULE = "devices.scope"
_MAX_INDEX_DIGITS = 4


def minors_of(request: list[str], host: HostView, where: str = VISIBLE_DEVICES) -> set[int]:
    """The minors of the GPUs with these ids; two ids may be of one GPU.

    Args:
        request: the ids.
        host: whose they are.
        where: the name of the place that asks, for sentences.

    Raises:
        Refusal: the driver's directory cannot be read, or an id names no GPU of this host, or more than one.
    """
    return _minors(request, of_host(host, f"the GPUs {', '.join(request)}"), host.proc_driver, where)


def meant_by(sources: list[Source], host: HostView) -> str | set[int] | None:
    """What all of these places ask for: "all", the minors, or None for nothing.

    Raises:
        Refusal: as `minors_of`; or they mean different GPUs, or one of them nothing.
    """
    requests = [source.request for source in sources]
    if not requests or requests == [None]:
        return None
    if is_all(requests[0]):
        # Then it is the only one: see request.Asked.
        return "all"
    names = [name for request in requests if isinstance(request, list) for name in request]
    gpus = of_host(host, f"the GPUs {', '.join(names)}") if names else []
    first: set[int] | None = None
    for place, source in enumerate(sources):
        minors: set[int] | None = None if source.request is None else set()
        if isinstance(source.request, list):
            minors = _minors(source.request, gpus, host.proc_driver, source.where)
        if place == 0:
            first = minors
        elif minors != first:
            raise Refusal(
                _RULE,
                f"{sources[0]}, and {source}",
                "Ask for the same GPUs in both, or in one of them only; NVIDIA_VISIBLE_DEVICES=void asks for"
                " nothing.",
            )
    return first


def are_same(sources: list[Source], host: HostView) -> bool:
    """Whether all of these places are known to ask for the same GPUs."""
    try:
        meant_by(sources, host)
    except Refusal:
        return False
    return True


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


def _minors(request: list[str], gpus: list[Gpu], proc_driver: str, where: str) -> set[int]:
    # An image may ask a million times for the same one.
    found = [_find(name, gpus, proc_driver, where) for name in dict.fromkeys(request)]
    return {gpu.minor for gpu in found if gpu is not None}


def _find(name: str, gpus: list[Gpu], proc_driver: str, where: str) -> Gpu | None:
    """The GPU with an id; None where it is the name of no GPU, but of another CDI device of NVIDIA's."""
    device = device_name(name)
    if device is None or (device == "none" and device != name):
        return None
    upper = device.upper()
    # nvidia-ctk cdi generate --device-name-strategy=type-index names them gpu0, gpu1, ...
    index = device[3:] if device.startswith("gpu") else device
    if _is_index(index):
        found = [gpu for gpu in gpus if gpu.index == int(index)]
    elif upper.startswith("GPU-") and len(device) > len("GPU-"):
        # A whole UUID first: it may be the beginning of no other, but nothing here has to rely on that.
        found = [gpu for gpu in gpus if gpu.uuid.upper() == upper]
        if not found:
            # One that is not known yet may begin in the same way.
            unknown = [str(gpu.index) for gpu in gpus if not gpu.uuid]
            if unknown:
                raise _not_known_yet(name, unknown, proc_driver, where)
            found = [gpu for gpu in gpus if gpu.uuid.upper().startswith(upper)]
    else:
        found = []
    if len(found) == 1:
        return found[0]
    have = ", ".join(f"{gpu.index} ({gpu.uuid or 'UUID unknown'})" for gpu in gpus) or "none"
    what = f"matches {len(found)} GPUs" if found else "names no GPU"
    raise Refusal(
        _RULE,
        f"{where} asks for {name!r}, which {what} of this host; {proc_driver}/gpus has {have}",
        "Ask for all, none, or GPUs of this host by index or UUID.",
    )


def _not_known_yet(name: str, unknown: list[str], proc_driver: str, where: str) -> Refusal:
    # nv-procfs.c of the kernel module prints ? for a UUID until the GPU was opened for the first time.
    return Refusal(
        _RULE,
        f"{where} asks for {name!r}, and the driver does not know the UUID of GPU {', '.join(unknown)} yet:"
        f" {proc_driver}/gpus has it only once a program has opened that GPU",
        f"Ask for GPU {' or '.join(unknown)} by that index; or have the driver open its GPUs, and keep them"
        " open, by nvidia-persistenced, or once by running nvidia-smi on the host. A GPU that stays unknown"
        " may be broken: look for its error in the kernel's log.",
    )


def _is_index(text: str) -> bool:
    digits = text.isascii() and text.isdigit() and len(text) <= _MAX_INDEX_DIGITS
    return digits and (text == "0" or not text.startswith("0"))
