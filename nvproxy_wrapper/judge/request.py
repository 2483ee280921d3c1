"""The request reader: which GPUs a spec asks for, wherever it says so.

The variable NVIDIA_VISIBLE_DEVICES, its form as volume mounts, and an image from before NVIDIA_REQUIRE_CUDA.
Which GPUs of a host that means, `gpus` tells.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

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


class Asked:
    """What was asked for.

    Attributes:
        request: the GPUs.
        conflict: half a sentence, where two places ask for different GPUs; "" where not.
        evidence: sentences that say where it was read, but for the variable.
    """

    __slots__ = ("conflict", "evidence", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.conflict = ""
        self.evidence: list[str] = []


def read(asked: list[str], mounts: list[dict[str, Any]]) -> Asked:
    """What these values of the variable and these mounts ask for together."""
    in_mounts = volume_mount_request(mounts)
    requests = [parse_visible_devices(value) for value in asked]
    if in_mounts is not None:
        # Of `7`, then nothing, nothing is the least; mounts must not fill that with another GPU.
        requests = [request for request in requests if request is not None and not points_to_mounts(request)]
    in_env, clash = least_of(requests)
    found = Asked(in_env)
    if clash:
        found.conflict = f"{VISIBLE_DEVICES} is given more than once, and asks for {clash}"
    if in_mounts is None or in_mounts == in_env:
        pass
    elif in_env in (None, "all") or in_mounts == "all":
        # Whether the toolkit reads the mounts cannot be seen here: the one that asks for less counts.
        found.request = in_mounts if in_env in (None, "all") else in_env
        found.evidence.append(f"mounts under {VOLUME_MOUNT_ROOT} ask for {in_mounts}")
    else:
        found.conflict = (
            f"{VISIBLE_DEVICES} asks for {in_env}, mounts under {VOLUME_MOUNT_ROOT} for {in_mounts}"
        )
    return found


def of_legacy_image(env: list[str]) -> Asked:
    """An image from before NVIDIA_REQUIRE_CUDA means `all` (toolkit, image.CUDA.IsLegacy)."""
    if any(values(env, "NVIDIA_REQUIRE_CUDA")) or not any(values(env, "CUDA_VERSION")):
        return Asked(None)
    found = Asked("all")
    found.evidence.append(
        "CUDA_VERSION is set and NVIDIA_REQUIRE_CUDA is not: the toolkit takes that for all"
    )
    return found


def without_answer(asked: list[str]) -> list[str]:
    """The values that ask, without the `void` that the toolkit appends from 1.15 to 1.20.0 as its answer.

    From 1.20.1 on (CDI library 1.1.1) `void` stands in the place of what was asked for, and nothing is left
    to be read here.

    All of them count, and not the first alone: `docker run --gpus device=1` appends its value to the one of
    the image, which is `all` in NVIDIA's own (moby, daemon/nvidia_linux.go), and the image's must not win.
    """
    return asked[:-1] if len(asked) > 1 and asked[-1] == "void" else asked


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
    ids = [name for name in ids if name.strip(" ,") and name != "void" and not name.startswith("imex/")]
    if not ids:
        return None
    return parse_visible_devices(",".join(ids))


def points_to_mounts(request: Request) -> bool:
    """Whether the variable says no more than that volume mounts ask."""
    return isinstance(request, list) and [f"{name.rstrip('/')}/" for name in request] == [VOLUME_MOUNT_ROOT]


def may_be_so_many(request: Request, count: int) -> bool:
    """Whether so many GPUs can be what was asked for.

    Each id is one GPU, but for `all` beside others, and the qualified names of CDI: nvidia.com/gpu=all.
    """
    if request in (None, "all"):
        return True
    ids = set(request) if isinstance(request, list) else set()
    return count <= len(ids) or any(name == "all" or "=" in name for name in ids)
