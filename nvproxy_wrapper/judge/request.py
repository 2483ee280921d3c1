"""The request reader: which GPUs a spec asks for, wherever it says so.

As the toolkit reads it (nvidia-container-toolkit 1.17.8 to 1.20.0, internal/config/image/cuda_image.go,
builder.go; 1.14.6 in the same way but for what is said below):

- NVIDIA_VISIBLE_DEVICES. Its environment is a map, so that of an entry given twice the *last* one counts.
  dockerd's `--gpus` appends its value to the image's (moby, daemon/nvidia_linux.go): what an image says never
  comes last where somebody asked.
- The variables of `swarm-resource` (config.toml) in its place, where one of them is set. The runtime reads
  them from 1.19 on, the legacy hook always did.
- Mounts of /dev/null under /var/run/nvidia-container-devices, before the variable, where the host's
  config.toml accepts them: ids, `cdi/VENDOR/CLASS/DEVICE`, `imex/CHANNEL`.
- Annotations `cdi.k8s.io/...`, before everything, in mode cdi.
- None of these, in an image from before NVIDIA_REQUIRE_CUDA: `all`.

What is accepted stands in a file that is not looked at here, and an image can set any variable: so every
place that asks counts. Of `all` and less it is the less, and two that name different GPUs are refused. Which
GPUs of a host an id means, `gpus` tells.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values
from nvproxy_wrapper.judge.oci_spec import cleaned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from nvproxy_wrapper.judge.oci_spec import Parts

    Request = Union[str, list[str], None]
    """ "all", "none", the ids as they are written, or None: nothing is asked for."""

VOLUME_MOUNT_ROOT = "/var/run/nvidia-container-devices/"
"""Where accept-nvidia-visible-devices-as-volume-mounts reads ids (toolkit, internal/config/image).

As the variable's value it means: see there (k8s-device-plugin, deviceListAsVolumeMountsContainerPathRoot).
"""

VOID_MOUNT = f"{VOLUME_MOUNT_ROOT}void"
"""The toolkit's answer to such a request from 1.20.2 on, as `void` is to the variable; it asks for nothing.

It keeps a second NVIDIA runtime from asking again (pkg/nvcdi/wrapper.go).
"""

_MOUNTS = f"mounts under {VOLUME_MOUNT_ROOT}"
_SWARM_PREFIX = "DOCKER_RESOURCE_"
"""Swarm tells a task of its generic resources by DOCKER_RESOURCE_KIND (moby, genericresource.EnvFormat)."""

_ANNOTATIONS = "cdi.k8s.io/"
_BY_ANNOTATIONS = f"annotations {_ANNOTATIONS}"
_GPU_KIND = ("nvidia.com", "gpu")


class Source:
    """One place that asks.

    Attributes:
        where: its name, for sentences.
        request: what it asks for.
    """

    __slots__ = ("request", "where")

    def __init__(self, where: str, request: Request) -> None:
        self.where = where
        self.request = request

    def __str__(self) -> str:
        return f"{self.where} asks for {written(self.request) or 'nothing'}"


class Asked:
    """What was asked for.

    Attributes:
        request: the GPUs, as the place that counts writes them.
        sources: the places that count; where they are several, all of them have to mean the same GPUs.
        conflict: half a sentence, where they are written differently; "" where not.
        evidence: sentences that say where it was read, but for the variable.
    """

    __slots__ = ("conflict", "evidence", "request", "sources")

    def __init__(self, sources: list[Source]) -> None:
        # Where each of them asks for all, the first says it.
        self.sources = [source for source in sources if not is_all(source.request)] or sources[:1]
        requests = [source.request for source in self.sources]
        self.request: Request = min(requests, key=_size) if requests else None
        differs = [source for source in self.sources if source.request != requests[0]]
        self.conflict = f"{self.sources[0]}, and {differs[0]}" if differs else ""
        self.evidence = [f"{source}" for source in sources if source.where != VISIBLE_DEVICES]


def read(
    parts: Parts, variable: list[str], swarm_resources: list[str], *, by_annotations: bool = True
) -> Asked:
    """What a spec asks for.

    Args:
        parts: the spec; its variable is not looked at.
        variable: the values of NVIDIA_VISIBLE_DEVICES that count, see `last` and `without_answer`.
        swarm_resources: the names in the toolkit's `swarm-resource`.
        by_annotations: whether annotations ask, too.
    """
    elsewhere = [
        Source(_MOUNTS, volume_mount_request(parts.mounts)),
        Source(_BY_ANNOTATIONS, _annotated(parts.annotations) if by_annotations else None),
        *_other_swarm_resources(parts.env, swarm_resources),
    ]
    elsewhere = [source for source in elsewhere if source.request is not None]
    in_env = of_variable(variable).sources
    in_swarm = _swarm_resources(parts.env, swarm_resources)
    if in_swarm is not None and is_all(in_swarm.request):
        # An image can set that variable, too.
        in_env.append(in_swarm)
    elif in_swarm is not None:
        in_env = [in_swarm]
    if elsewhere:
        # Of `7`, then nothing, nothing is the least; mounts must not fill that with another GPU.
        in_env = [
            source
            for source in in_env
            if source.request is not None
            and not (elsewhere[0].where == _MOUNTS and points_to_mounts(source.request))
        ]
    return Asked([*in_env, *elsewhere])


def read_legacy(parts: Parts, variable: list[str], swarm_resources: list[str]) -> Asked:
    """What a spec asks for by NVIDIA's legacy hook: mounts alone are nothing to runsc, and stay so."""
    asks = any(parse_visible_devices(value) is not None for value in variable)
    if asks or any(values(parts.env, name) for name in swarm_resources):
        # The hook knows no annotation, nor nvidia-container-cli the names in one.
        return read(parts, variable, swarm_resources, by_annotations=False)
    return of_variable(variable)


def of_variable(variable: list[str]) -> Asked:
    """What these values of NVIDIA_VISIBLE_DEVICES alone ask for."""
    return Asked([Source(VISIBLE_DEVICES, request) for request in _distinct(variable)])


def of_legacy_image(env: list[str]) -> Asked:
    """An image from before NVIDIA_REQUIRE_CUDA means `all` (toolkit, image.CUDA.IsLegacy)."""
    if any(values(env, "NVIDIA_REQUIRE_CUDA")) or not any(values(env, "CUDA_VERSION")):
        return Asked([])
    return Asked(
        [Source("CUDA_VERSION without NVIDIA_REQUIRE_CUDA, which the toolkit takes for all,", "all")]
    )


def last(asked: list[str]) -> list[str]:
    """The value that counts to the toolkit, and to runsc: the last one."""
    return asked[-1:]


def without_answer(asked: list[str]) -> list[str]:
    """The values that ask, without the `void` that the toolkit appends from 1.15 to 1.20.0 as its answer.

    From 1.20.1 on (CDI library 1.1.1) `void` stands in the place of the last value, the one that counted, and
    what is left is what the image said: `hides_request`.

    All of them count, and not the last alone: which of them the toolkit's `void` was appended to is not seen,
    as an engine that reads CDI files itself appends one to the image's value, too.
    """
    return asked[:-1] if len(asked) > 1 and asked[-1] == "void" else asked


def hides_request(asked: list[str], found: Asked, toolkit_version: str, *, is_older: bool) -> bool:
    """Whether `void` may stand in the place of the value that counted, where an image can have set the rest.

    Where the toolkit's version is not known, a value of the variable is not believed if it is `all`: that is
    what images say, and would give every GPU where one was asked for; what names GPUs gives no more than
    these. Swarm's variables beside `void` alone are not believed at all: an image can set them, too.

    Args:
        asked: the values of the variable.
        found: what is read from them and from elsewhere.
        toolkit_version: of the settings; "" where it is not known.
        is_older: the spec itself shows that a toolkit before 1.20.1 wrote it; for where it is not known.
    """
    is_beside = without_answer(asked) != asked
    is_swarms = any(source.where not in (_MOUNTS, _BY_ANNOTATIONS) for source in found.sources)
    if not is_beside and not (asked == ["void"] and is_swarms and found.request is not None):
        return False
    if not toolkit_version:
        return (is_all(found.request) or not is_beside) and not is_older
    numbers = toolkit_version.partition("-")[0].partition("~")[0].split(".")
    return not all(map(str.isdigit, numbers)) or [int(number) for number in numbers] >= [1, 20, 1]


def parse_visible_devices(value: str) -> Request:
    """What one value of NVIDIA_VISIBLE_DEVICES asks for.

    As in nvidia-container-toolkit (1.14.6 to 1.20.0, internal/config/image, devicesFromEnvvars and
    NewVisibleDevices): a `void` among the words means nothing, then the first `all` or `none` counts alone.
    """
    words = [word.strip() for word in value.split(",") if word.strip()]
    if not words or "void" in words:
        return None
    return next((word for word in words if word in ("all", "none")), words)


def written(request: Request) -> str:
    """A request as the variable's value; "" for None."""
    return ",".join(request) if isinstance(request, list) else request or ""


def is_all(request: Request) -> bool:
    """Whether every GPU is asked for, also as nvidia.com/gpu=all, management.nvidia.com/gpu=all."""
    return request == "all" or (isinstance(request, list) and "all" in map(device_name, request))


def device_name(name: str) -> str | None:
    """The device in the name of a GPU, as NVIDIA's own CDI files write them; any other name as it is.

    Their kinds are nvidia.com/gpu and, before that domain, runtime. (what the toolkit itself makes in mode
    jit-cdi: internal/modifier/cdi.go), management. (nvidia-ctk cdi generate --mode=management) and
    k8s.device-plugin. (NVIDIA's device plugin). None: the qualified name of what is no GPU.
    """
    kind, equals, device = name.partition("=")
    if not equals or "/" not in kind:
        return name
    vendor, _, of_class = kind.rpartition("/")
    is_nvidia = vendor == _GPU_KIND[0] or vendor.endswith(f".{_GPU_KIND[0]}")
    if is_nvidia and of_class == _GPU_KIND[1]:
        return device
    return None if is_nvidia and of_class in ("gds", "gdrcopy", "mofed", "nvswitch", "imex-channel") else name


def volume_mount_request(mounts: list[dict[str, Any]]) -> Request:
    """What the mounts of /dev/null under `VOLUME_MOUNT_ROOT` ask for.

    It is an orchestrator's way to ask, and one that no image can take. Of a CDI device that is not written in
    full the toolkit says so in its log and goes on without it; here the same.
    """
    ids = []
    for mount in mounts:
        place = cleaned(mount["destination"])
        if cleaned(mount.get("source") or "") != "/dev/null" or not place.startswith(VOLUME_MOUNT_ROOT):
            continue
        name = place[len(VOLUME_MOUNT_ROOT) :]
        first, _, device = name.partition("/")
        if first == "cdi":
            vendor, _, rest = device.partition("/")
            of_class, slash, own = rest.partition("/")
            name = device if "=" in device else f"{vendor}/{of_class}={own}" if slash else ""
        if first != "imex" and name != "void":
            ids.append(name)
    return parse_visible_devices(",".join(ids))


def points_to_mounts(request: Request) -> bool:
    """Whether the variable says no more than that volume mounts ask."""
    return isinstance(request, list) and [f"{name.rstrip('/')}/" for name in request] == [VOLUME_MOUNT_ROOT]


def _distinct(variable: list[str]) -> list[Request]:
    """What each value asks for, once; of `none` and other GPUs it is `none`, which names no other."""
    requests: list[Request] = []
    for value in variable:
        found = parse_visible_devices(value)
        if found not in requests:
            requests.append(found)
    if "none" in requests and None not in requests:
        return ["none"]
    # Nothing alone is no request.
    return [] if requests == [None] else requests


def _swarm_resources(env: list[str], names: list[str]) -> Source | None:
    """What the variables of `swarm-resource` ask for together; None: none of them is set."""
    given = [name for name in names if values(env, name)]
    if not given:
        return None
    value = ",".join(values(env, name)[-1] for name in given)
    return Source(" and ".join(given), parse_visible_devices(value))


def _other_swarm_resources(env: list[str], names: list[str]) -> list[Source]:
    """What Swarm's own variables name beside those: GPUs, where it is no other resource, an SSD's number."""
    sources = []
    for name in dict.fromkeys(entry.partition("=")[0] for entry in env if entry.startswith(_SWARM_PREFIX)):
        ids = parse_visible_devices(values(env, name)[-1])
        if name in names or not isinstance(ids, list):
            continue
        if "GPU" in name.upper() or all(one.upper().startswith(("GPU-", "MIG-")) for one in ids):
            sources.append(Source(name, ids))
    return sources


def _annotated(annotations: dict[str, Any]) -> Request:
    """The GPUs among the CDI devices that annotations name; None: they name none."""
    names = [
        name.strip()
        for key in sorted(annotations)
        if key.startswith(_ANNOTATIONS) and isinstance(annotations[key], str)
        for name in annotations[key].split(",")
    ]
    return [name for name in names if device_name(name) not in (None, name)] or None


def _size(request: Request) -> int:
    return len(request) if isinstance(request, list) else -1
