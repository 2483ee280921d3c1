"""`asked.*`: what a container asks for beside GPUs, and does not get, is said.

Refused is a container that cannot work without it; for others it is a warning. The tables have the reason for
each. Only what is asked for in words counts: `all` is whatever the host allows, and no complaint.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities, features, nvidia_hooks
from nvproxy_wrapper.judge.decision import Notice, Refusal, printable
from nvproxy_wrapper.judge.device_nodes import gpus_given, gpus_in, is_nvidia

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.oci_spec import Parts

_MAX_SHOWN = 8
_MAX_LETTERS = 80
_GO_TRUE = ("", "1", "t", "T", "true", "TRUE", "True")  # Go, strconv.ParseBool; alone it is true


class Capability:
    """A name in NVIDIA_DRIVER_CAPABILITIES.

    Attributes:
        fails: what does not work without it.
        is_beside: a container asks for it beside what it lives by, or `utility` is what it lives by then.
    """

    __slots__ = ("fails", "is_beside")

    def __init__(self, fails: str, *, is_beside: bool = False) -> None:
        self.fails = fails
        self.is_beside = is_beside


CAPABILITIES = {
    # toolkit, internal/config/image/capabilities.go
    "compute": Capability("CUDA"),
    "utility": Capability("nvidia-smi and NVML"),
    "graphics": Capability("OpenGL, EGL and Vulkan"),
    "video": Capability("NVENC and NVDEC"),
    "display": Capability("output to a screen"),
    "ngx": Capability("DLSS"),
    "compat32": Capability("programs of 32 bits", is_beside=True),
    # gVisor's own (pkg/sentry/devices/nvproxy/nvconf/caps.go)
    "fabric-imex-mgmt": Capability("the IMEX daemon", is_beside=True),
    "profiling": Capability("the GPU's performance counters", is_beside=True),
    "rdma": Capability("GPU memory handed to RDMA", is_beside=True),
}
"""Every name that is known; the probe asks runsc which of them it takes."""

_UNKNOWN = Capability("what it stands for", is_beside=True)


class Feature:
    """Something beside GPUs that a container may ask for, and that gVisor does not serve.

    Attributes:
        name: as in a sentence.
        asked_by: how it is asked for, for the documentation.
        places: where a spec asks for it.
        why: what gVisor lacks, and the source.
        lost: what does not work then.
        answer: "warning" or when it is refused; with the reason, for the documentation.
        remedy: what to do.
    """

    __slots__ = ("answer", "asked_by", "lost", "name", "places", "remedy", "why")

    def __init__(  # noqa: PLR0913 - a record
        self,
        name: str,
        *,
        asked_by: str,
        places: Callable[[Parts], list[str]],
        why: str,
        lost: str,
        answer: str,
        remedy: str,
    ) -> None:
        self.name = name
        self.asked_by = asked_by
        self.places = places
        self.why = why
        self.lost = lost
        self.answer = answer
        self.remedy = remedy


_IMEX = Feature(
    "IMEX channels",
    asked_by="`NVIDIA_IMEX_CHANNELS`, mounts at `…/nvidia-container-devices/imex/N`,"
    " `/dev/nvidia-caps-imex-channels/channelN`",
    places=features.imex_channels,
    why="gVisor knows the channels, but its gofer brings none of their nodes into a sandbox",
    lost="GPU memory is not shared with other hosts over NVLink",
    answer="warning: on some hosts NVIDIA's device plugin gives channel 0 to every GPU container, and CUDA"
    " and NCCL work without it",
    remedy="A job that needs the memory of other hosts' GPUs runs under another runtime; NCCL takes the"
    " network instead.",
)
_GDS = Feature(
    "GPUDirect Storage",
    asked_by="`NVIDIA_GDS=enabled`, `/dev/nvidia-fsN`",
    places=features.gated("NVIDIA_GDS", "/dev/nvidia-fs"),
    why="gVisor has no /dev/nvidia-fs",
    lost="files are not read into GPU memory past the CPU",
    answer="warning: cuFile has a compatibility mode, in which it reads by way of the CPU",
    remedy="Leave allow_compat_mode in the container's cufile.json true, which is its default.",
)
_GDRCOPY = Feature(
    "GDRCopy",
    asked_by="`NVIDIA_GDRCOPY=enabled`, `/dev/gdrdrv`",
    places=features.gated("NVIDIA_GDRCOPY", "/dev/gdrdrv"),
    why="gVisor has no /dev/gdrdrv",
    lost="GPU memory is not mapped for the CPU",
    answer="warning: UCX and NVSHMEM copy by CUDA where it is missing",
    remedy="Programs that call libgdrapi themselves run under another runtime.",
)
_RDMA = Feature(
    "RDMA",
    asked_by="`NVIDIA_MOFED=enabled`, `/dev/infiniband/*`",
    places=features.gated("NVIDIA_MOFED", "/dev/infiniband/"),
    why="gVisor serves no node of /dev/infiniband without its flag --rdmaproxy",
    lost="InfiniBand and RoCE are not there",
    answer="warning: NCCL, UCX and MPI take TCP where it is missing; none with `--rdmaproxy` in `runsc_args`"
    " and an uverbs node",
    remedy="Where runsc has the flag (`runsc flags`; 20260905 has, and calls it unfinished), put --rdmaproxy"
    " into runsc_args in the inventory.",
)
_NVSWITCH = Feature(
    "NVSwitches",
    asked_by="`NVIDIA_NVSWITCH=enabled`, `/dev/nvidia-nvswitchctl`, `/dev/nvidia-nvswitchN`",
    places=features.gated("NVIDIA_NVSWITCH", "/dev/nvidia-nvswitch"),
    why="gVisor has no device for them",
    lost="fabric manager, and telemetry of the switches, do not work",
    answer="warning beside GPUs: CUDA between the GPUs of a host needs no such node. Refused without a GPU:"
    " the switches are all that such a container is for",
    remedy="Run fabric manager on the host, or in a container of another runtime.",
)
_MIG = Feature(
    "MIG management",
    asked_by="`NVIDIA_MIG_CONFIG_DEVICES`, `NVIDIA_MIG_MONITOR_DEVICES`, `/dev/nvidia-caps/nvidia-cap1` and"
    " `2`",
    places=features.mig_management,
    why="gVisor has no device for the capabilities mig/config and mig/monitor",
    lost="MIG devices can be neither made nor watched",
    answer="warning beside GPUs: the GPUs themselves work. Refused without a GPU",
    remedy="Run what manages MIG on the host, or in a container of another runtime.",
)
_MPS = Feature(
    "MPS",
    asked_by="`CUDA_MPS_*`, a mount of its pipe directory (`/tmp/nvidia-mps`)",
    places=features.mps,
    why="a sandbox reaches no pipe or socket of the host",
    lost="CUDA would run beside MPS: it fails on a GPU in mode EXCLUSIVE_PROCESS, and no limit of MPS holds",
    answer="warning. Refused with the host's pipe directory mounted: the GPU may be in mode EXCLUSIVE_PROCESS"
    " then (NVIDIA's device plugin sets it), where CUDA fails beside MPS; in any other mode this container"
    " could take what MPS gives to its neighbours",
    remedy="Take a GPU that is not shared by MPS, without CUDA_MPS_* and the mount of its directory; or"
    " another runtime.",
)
FEATURES = (_IMEX, _GDS, _GDRCOPY, _RDMA, _NVSWITCH, _MIG, _MPS)

_NEEDS_A_GPU = (_NVSWITCH, _MIG)
"""What asks for these and gets no GPU, has nothing."""


def check(draft: Draft) -> None:
    """`asked.capabilities`, `asked.features`: before any rule takes away what asks.

    Raises:
        Refusal: the container cannot work without what it asks for.
    """
    _check_capabilities(draft)
    for feature in FEATURES:
        places = feature.places(draft)
        if not places or (feature is _RDMA and _has_rdma(draft)):
            continue
        asked = f"{feature.name} ({_shown(places)})"
        if (feature is _MPS and features.has_mps_of_host(draft)) or (
            feature in _NEEDS_A_GPU and not _gets_a_gpu(draft)
        ):
            raise _refused(feature, asked)
        draft.warnings.append(Notice("asked.features", asked, feature.lost, feature.why, feature.remedy))


def check_alone(draft: Draft) -> None:
    """`asked.features` for a spec with nodes of NVIDIA's, and not the one that every GPU container has.

    Raises:
        Refusal: all of them are of features that gVisor does not serve.
    """
    nodes = {device["path"] for device in draft.devices if is_nvidia(device)}
    asked = [(feature, nodes.intersection(feature.places(draft))) for feature in FEATURES]
    is_toolkits = any(hook.is_known for hook in nvidia_hooks.find(draft.hooks))
    if nodes and not is_toolkits and nodes == {path for _, paths in asked for path in paths}:
        feature = next(feature for feature, paths in asked if paths)
        raise _refused(feature, f"{feature.name}, without a GPU ({_shown(sorted(nodes))})")


def _check_capabilities(draft: Draft) -> None:
    allowed = draft.settings.allowed_capabilities
    asked = capabilities.written(draft.env)
    missing = [name for name in asked if name not in allowed and name != capabilities.ALL]
    left = [name for name in asked if name in allowed]
    if capabilities.ALL in asked:
        left = allowed
    elif not asked:
        # Nothing is said, and NVIDIA's default is meant: one of the two is enough to be served by.
        left = allowed
        missing = [] if set(allowed).intersection(capabilities.DEFAULT) else list(capabilities.DEFAULT)
    if not missing and left:
        return
    what = f"{capabilities.VARIABLE}={_shown(asked)}"
    if not asked:
        what = f"{capabilities.VARIABLE} (not set, which means {' and '.join(capabilities.DEFAULT)})"
    known = {name: CAPABILITIES.get(name, _UNKNOWN) for name in missing}
    is_said = bool(asked) and capabilities.ALL not in asked
    is_idle = set(left) <= {"utility"} and not all(one.is_beside for one in known.values())
    remedy = _remedy(draft, missing)
    if not left or (is_said and is_idle):
        fails = f": {_failing(known)}" if known else ""
        raise Refusal(
            "asked.capabilities",
            f"{what} asks for what this host does not allow{fails}; it allows {', '.join(allowed) or 'none'}",
            remedy,
        )
    draft.warnings.append(
        Notice(
            "asked.capabilities",
            what,
            f"without {_failing(known)}",
            f"this host allows {', '.join(allowed)}",
            remedy,
        )
    )


def _failing(known: dict[str, Capability]) -> str:
    shown = [f"{_shown([name])} ({capability.fails})" for name, capability in known.items()]
    return ", ".join(shown[:_MAX_SHOWN]) + (", …" if len(shown) > _MAX_SHOWN else "")


def _remedy(draft: Draft, missing: list[str]) -> str:
    may_be = [name for name in missing or capabilities.DEFAULT if name in draft.settings.runsc_capabilities]
    if not may_be:
        return "Ask for what is allowed: the installed runsc has no more, whatever allowed_capabilities says."
    return f"Ask for what is allowed, or add {', '.join(may_be)} to allowed_capabilities in the inventory."


def _refused(feature: Feature, asked: str) -> Refusal:
    return Refusal(
        "asked.features",
        f"what is asked for cannot be given: {asked}: {feature.why}. {_sentence(feature.lost)}",
        feature.remedy,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gets_a_gpu(draft: Draft) -> bool:
    if draft.facts.requested == "none":
        return False
    if draft.facts.requested is None:
        # A privileged container lists every GPU of the host, and keeps those that were given to it.
        return bool(gpus_given(draft.devices, draft.cgroup_rules))
    return draft.facts.spec_class == "legacy" or bool(gpus_in([device["path"] for device in draft.devices]))


def _has_rdma(draft: Draft) -> bool:
    """Whether runsc serves it: runsc/specutils/rdma.go, RDMAEnabled."""
    flags = [word.lstrip("-").partition("=") for word in draft.settings.runsc_args]
    given = [value for name, _, value in flags if name == "rdmaproxy"]
    return (
        given[-1:] != []
        and given[-1] in _GO_TRUE
        and any(device["path"].startswith("/dev/infiniband/uverbs") for device in draft.devices)
    )


def _shown(words: list[str]) -> str:
    """A stranger's words, without power over a terminal, and not more of them than one would read."""
    short = [word if len(word) <= _MAX_LETTERS else word[:_MAX_LETTERS] + "…" for word in words[:_MAX_SHOWN]]
    return printable(", ".join(short)) + (", …" if len(words) > _MAX_SHOWN else "")
