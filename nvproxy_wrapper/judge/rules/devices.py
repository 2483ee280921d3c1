"""The device nodes: only NVIDIA's own, only those asked for, only those that gVisor can serve."""

from __future__ import annotations

from nvproxy_wrapper.judge import gpus, nvidia_hooks
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import (
    CONTROL,
    CONTROL_MINOR,
    MAJOR,
    PREFIX,
    UVM,
    capability_minor,
    gpu_minor,
    gpus_given,
    gpus_in,
    is_dead,
    is_nvgpu,
    is_nvidia,
    is_privileged,
    is_tegra,
)
from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES
from nvproxy_wrapper.judge.nvidia_hooks import MEMORY_LIMITS, gpus_with_memory_hook
from nvproxy_wrapper.judge.request import volume_mount_request, written
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.oci_spec import Parts

_DYNAMIC_MAJORS = (*range(234, 255), *range(384, 512))  # Linux, include/linux/fs.h: CHRDEV_MAJOR_DYN_*
_FILE_MODE = 0o666

_MIG_CAPABILITIES = range(3, 4323)
"""The minors of MIG's instances, where the host does not tell: what follows nvlink's, config and monitor.

There are 32 GPUs of 15 instances of 8 parts in that table (open-gpu-kernel-modules 595,
kernel-open/nvidia/nv-caps.c).
"""

_DISPLAY_VERSIONS = ("34", "35", "36", "540")
_MAKE_NODES = (
    "Make the host's nodes: 'systemctl start nvproxy-device-nodes', which also loads the kernel modules and"
    " says what is wrong, or by hand nvidia-modprobe -c 255, -c N for the minor N of each GPU, and -u -c 0"
)


def check(draft: Draft) -> None:
    """`devices.mode`, first half: a node with one of NVIDIA's names is that node.

    Raises:
        Refusal: it is not, or is there twice with different numbers.
    """
    seen: dict[str, tuple[Any, ...]] = {}
    for device in draft.devices:
        path = device["path"]
        if not is_nvidia(device):
            continue
        numbers = (device.get("type"), device.get("major"), device.get("minor"))
        if not is_absolute_path(path):
            raise _not_that_node(path, "which is no plain path")
        if not _are_numbers_of(path, numbers):
            raise _not_that_node(path, f"as {_shown(numbers)}, which is another device")
        if seen.setdefault(path, numbers) != numbers:
            raise _not_that_node(path, f"twice, as {_shown(seen[path])} and as {_shown(numbers)}")


def refuse_mig(draft: Draft) -> None:
    """`devices.scope`, `legacy.mig`: a MIG device's nodes under /dev/nvidia-caps are not known to gVisor.

    Raises:
        Refusal: one is asked for.
    """
    # Also what mounts ask for beside the variable: after the rewrite they alone ask.
    requests = [*(source.request for source in draft.facts.asked.sources), volume_mount_request(draft.mounts)]
    names = [name for request in requests if isinstance(request, list) for name in request]
    for name in filter(gpus.is_mig, names):
        raise Refusal(
            "legacy.mig" if draft.facts.spec_class == "legacy" else "devices.scope",
            f"NVIDIA_VISIBLE_DEVICES asks for the MIG device {name!r}",
            "gVisor cannot serve MIG devices; ask for a whole GPU, by index or UUID.",
        )


def refuse_mig_nodes(draft: Draft) -> None:
    """`devices.mig`: the same, told by the nodes: engines and plugins name an instance by them alone.

    `all` lists those of every instance on the host, and so does a privileged container. They count unless
    the GPU that they are parts of was taken away: one with instances is in MIG mode, and no program can use
    it whole.

    Raises:
        Refusal: the capability of an instance is listed.
    """
    paths = [device["path"] for device in draft.devices]
    for mount in draft.mounts:
        paths += [mount["destination"], mount.get("source") or ""]
    minors = {minor: path for path in paths for minor in [capability_minor(path)] if minor is not None}
    if not minors:
        return
    names = draft.host.capabilities() or {}
    taken_away = gpus_in([device["path"] for device in draft.dropped_devices])
    for minor, path in minors.items():
        gpu, is_instance, _ = names.get(minor, "").partition("/mig/")
        if not is_instance and (minor in names or minor not in _MIG_CAPABILITIES):
            continue
        if is_instance and gpu_minor(f"/dev/nvidia{gpu[len('gpu') :]}") in taken_away:
            continue
        raise Refusal(
            "devices.mig",
            f"the spec lists {path}, which is a part of a MIG device"
            + (f" ({draft.host.proc_driver}/capabilities/{names[minor]})" if is_instance else ""),
            "gVisor cannot serve MIG devices; ask for a GPU that is not in MIG mode, by index or UUID, or"
            " have MIG mode switched off on this host.",
        )


def refuse_integrated(draft: Draft) -> None:
    """`devices.igpu`: an integrated GPU of the kind that another driver than gVisor's own serves.

    Orin's nvidia0 is its display. The node of CUDA, nvidia-uvm, or a second GPU's node tell Thor's driver and
    discrete GPUs; where neither is there, the nodes of nvgpu or the driver's version tell Orin's.

    Raises:
        Refusal: such a GPU is what the spec lists.
    """
    listed = [device["path"] for device in draft.devices]
    if draft.facts.requested == "none" or not any(map(is_tegra, listed)):
        return
    if UVM in listed or not gpus_in(listed) <= {0}:
        return
    if any(map(is_nvgpu, listed)) or _is_of_display(draft.host.driver_version()):
        raise Refusal(
            "devices.igpu",
            "the spec lists the nodes of an integrated GPU like Orin's: gVisor has no driver for nvgpu and"
            " nvhost",
            "Run this container under another runtime, or on a host with a discrete GPU.",
        )


def _is_of_display(version: str | None) -> bool:
    """Whether a driver's version is one of those that have but a Tegra's display (L4T 34 to 36)."""
    return version is not None and version.partition(".")[0] in _DISPLAY_VERSIONS


def scope(draft: Draft) -> None:
    """`devices.scope`: of the GPUs that are listed only those stay that were asked for.

    What more is listed goes where it is known who has listed it: csv mode, which lists every GPU of the host
    whatever was asked for, the toolkit where the kept spec shows that the engine has listed none, or
    `--privileged`. Else two have written the list, and none of them is taken at its word.

    Raises:
        Refusal: what was asked for cannot be told, is not on this host, is not among the nodes that are
            listed, or is not what else is given.
    """
    facts = draft.facts
    if facts.spec_class == "legacy":
        return
    wanted = gpus.meant_by(facts.asked.sources, draft.host)
    given = gpus_given(draft.devices, draft.cgroup_rules)
    if facts.kept is not None:
        _scope_by_kept(draft, facts.kept, wanted, given)
    elif facts.hides_request or (wanted is None and _may_be_more_than_asked(draft, given)):
        _check_one_by_one(draft, given)
        # Of the variable nothing but the image's value is left.
        elsewhere = [source for source in facts.asked.sources if source.where != VISIBLE_DEVICES]
        by_others = gpus.meant_by(elsewhere, draft.host)
        if isinstance(by_others, set):
            _agree(draft, by_others, given)
        _keep(draft, given)
    elif wanted is None:
        # What is left of a privileged list after a rewrite has no rule of its own.
        if not facts.is_rewritten:
            _keep(draft, given)
    elif isinstance(wanted, str):
        _keep(draft, given or wanted)
    elif facts.has_csvs_list or not given:
        _keep(draft, wanted)
    else:
        _agree(draft, wanted, given)
        _keep(draft, wanted)


def _scope_by_kept(draft: Draft, kept: Parts, wanted: set[int] | str | None, given: set[int]) -> None:
    """The same where both are known, what the engine gave and what NVIDIA's runtime was asked for."""
    by_engine = gpus_given(kept.devices, kept.cgroup_rules)
    if wanted is None and given - by_engine:
        raise _unasked(draft, given - by_engine)
    if not by_engine:
        _keep(draft, wanted or set())
        return
    # `all` names no GPU: it is what images say.
    if isinstance(wanted, set):
        _agree(draft, wanted, by_engine)
    _keep(draft, by_engine, f"the engine gave {_nodes(by_engine)}")


def _may_be_more_than_asked(draft: Draft, given: set[int]) -> bool:
    """Whether a list of which nothing says what was asked for may be one of csv mode."""
    facts = draft.facts
    if not given and is_privileged(draft.cgroup_rules):
        return False
    return facts.spec_class in ("csv", "mixed") and facts.toolkit_made_devices and not facts.is_rewritten


def _keep(draft: Draft, minors: set[int] | str, why: str = "") -> None:
    """Remove every GPU but these, or none of them for "all".

    Raises:
        Refusal: one of them is not there.
    """
    if isinstance(minors, str):
        return
    listed = gpus_in([device["path"] for device in draft.devices])
    if minors - listed:
        raise _not_listed(draft, minors, listed)
    asked = written(draft.facts.requested).replace(",", ", ") or "nothing"
    for device in list(draft.devices):
        minor = gpu_minor(device["path"])
        if minor is not None and minor not in minors:
            draft.drop_device(device, "devices.scope", why or f"asked for is {asked}")


def _check_one_by_one(draft: Draft, listed: set[int]) -> None:
    """Whether a list may stay of which the spec does not say what was asked for."""
    if not _were_given_one_by_one(draft, listed):
        raise _unasked(draft, listed)
    draft.facts.evidence.append(f"Each GPU that is listed has its own {MEMORY_LIMITS} hook: they are exact")


def _unasked(draft: Draft, listed: set[int]) -> Refusal:
    facts = draft.facts
    if facts.kept is not None:
        return Refusal(
            "devices.scope",
            f"NVIDIA's runtime has listed {_nodes(listed)}, and nothing in the spec that the engine wrote"
            " asks for it",
            "Set NVIDIA_VISIBLE_DEVICES to all, none, an index or a UUID. Where another variable asks, name"
            " it in swarm_resources of the wrapper's settings.",
        )
    said = " and ".join(map(str, facts.asked.sources)) if facts.hides_request else ""
    return Refusal(
        "devices.scope",
        f"the spec lists {len(listed)} GPUs, and its environment does not say which were asked for"
        f"{said and f' ({said}, and void follows)'}: the toolkit, from 1.20.1 on, puts void in the place of"
        " the value of NVIDIA_VISIBLE_DEVICES that counts, or nothing set it",
        "Start the container by Docker, with the runtime that was installed together with this wrapper: it"
        " keeps what was asked for. Otherwise set NVIDIA_VISIBLE_DEVICES to all, none, an index or a UUID;"
        " with toolkit 1.20.1 or later set toolkit_mode to auto, which lists just the GPUs asked for, or"
        " toolkit_version to 1.20.0-1.",
    )


def _agree(draft: Draft, wanted: set[int], given: set[int]) -> None:
    """Whether what is asked for and what is given are the same.

    Raises:
        Refusal: they are not, whichever of them has more.
    """
    if wanted == given:
        return
    missing = sorted(wanted - given) if draft.facts.kept is None else []
    left_out = (
        f" If nothing else gives any, {PREFIX}{missing[0]} was left out. {_MAKE_NODES}." if missing else ""
    )
    raise Refusal(
        "devices.scope",
        f"{' and '.join(map(str, draft.facts.asked.sources))}, which is {_nodes(wanted)} here, and the spec"
        f" lists {_nodes(given)}, which something else gives: the engine (--device, --gpus, a CDI device), a"
        f" device plugin, or a CDI file{_index_in_guest(draft, wanted, given)}",
        "Say one thing: to have what the engine gives, whatever the image's own variable says, add"
        f" -e NVIDIA_VISIBLE_DEVICES=void; or leave out what else gives GPUs.{left_out}",
        host_prep_may_help=bool(missing),
    )


def _not_listed(draft: Draft, wanted: set[int], listed: set[int]) -> Refusal:
    what = (
        f"{', '.join(map(str, draft.facts.asked.sources))}, and the spec does not list the node"
        f" {PREFIX}{min(wanted - listed)}"
    )
    in_guest = _index_in_guest(draft, wanted, listed)
    if in_guest:
        return Refusal(
            "devices.scope",
            f"{what}, but {_nodes(listed)}{in_guest}",
            "Ask by UUID, which is the same in the guest and on its host; nvidia-smi -L shows it.",
        )
    return _left_out(what, "devices.scope")


def _index_in_guest(draft: Draft, wanted: set[int], listed: set[int]) -> str:
    """Half a sentence on an index of a guest that got one of its host's GPUs; "" where it is none.

    In a container of LXC or Incus nvidia-smi numbers what the guest has, and the driver's directory shows
    every GPU of the host (canonical/lxd#11442).
    """
    names = draft.facts.requested
    is_index = isinstance(names, list) and len(names) == 1 and names[0].isdigit()
    if not is_index or len(wanted) != 1 or len(listed) != 1:
        return ""
    uuids = [gpu.uuid for gpu in draft.host.gpus() if gpu.minor in listed]
    return (
        f". If this host is itself a guest with one GPU of its host's, index {written(names)} of its"
        f" nvidia-smi is another than in {draft.host.proc_driver}, which lists all of the host's; the GPU of"
        f" {_nodes(listed)} is {uuids[0] if uuids and uuids[0] else 'not known there by its UUID'}"
    )


def _nodes(minors: set[int]) -> str:
    return ", ".join(f"{PREFIX}{minor}" for minor in sorted(minors)) or "no GPU"


def _were_given_one_by_one(draft: Draft, listed: set[int]) -> bool:
    """Whether each GPU of the list has its own apply-cuda-memory-limits hook, and no other has.

    The toolkit writes one beside the node of a GPU that was asked for by itself, in csv mode also, and none
    for what csv mode lists of its files (1.20.1, pkg/nvcdi/lib-csv.go, full-gpu-nvml.go). Hooks are the
    toolkit's or the engine's: no image and no user of an engine can add one.
    """
    named = gpus_with_memory_hook(draft.trusted_hooks)
    try:
        return bool(named) and gpus.minors_of(named, draft.host) == listed
    except Refusal:
        # An id that cannot be looked up is no evidence.
        return False


def drop_dead(draft: Draft) -> None:
    """`devices.dead`: nodes that gVisor cannot serve."""
    for device in list(draft.devices):
        if is_dead(device):
            draft.drop_device(
                device, "devices.dead", "gVisor cannot serve it; it would be dead in the sandbox"
            )


def fill_mode(draft: Draft) -> None:
    """`devices.mode`, second half: runsc before 20260223 panics where any node has no fileMode."""
    for place, device in enumerate(draft.devices):
        if device.get("fileMode") is None:
            draft.devices[place] = {**device, "fileMode": _FILE_MODE}
            draft.act(
                "devices.mode",
                device["path"],
                "fileMode set to 0666",
                "runsc before 20260223 panics without it",
            )


def check_control(draft: Draft) -> None:
    """`devices.exist`, a first part: NVIDIA's runtime has listed the control node.

    Raises:
        Refusal: its hooks are there without that node, in no other way either.
    """
    listed = [device["path"] for device in draft.devices]
    is_toolkits = any(hook.is_known for hook in nvidia_hooks.find(draft.hooks))
    is_bound = any(mount["destination"].startswith(PREFIX) for mount in draft.mounts)
    if CONTROL not in listed and is_toolkits and not is_bound and not any(map(is_tegra, listed)):
        others = [] if gpus_in(listed) else [f"{PREFIX}N"]
        others += [] if UVM in listed else [UVM]
        raise _left_out(
            f"the spec has the hooks of NVIDIA's runtime, and not its nodes {', '.join([CONTROL, *others])}"
        )


def check_uvm(draft: Draft) -> None:
    """`devices.exist`, a second part: a GPU comes with the node by which CUDA reaches it.

    But for a Tegra's: its CSV files are NVIDIA's own, and name none where NVIDIA itself expects Thor's GPU to
    work in a container (toolkit, pkg/nvcdi/lib-csv_test.go).

    Raises:
        Refusal: it does not.
    """
    listed = [device["path"] for device in draft.devices]
    if gpus_in(listed) and UVM not in listed and not any(map(is_tegra, listed)):
        raise _left_out(f"the spec lists a GPU and not {UVM}, without which CUDA does not work")


def check_exist(draft: Draft) -> None:
    """`devices.exist`, the last part: runsc binds each node by its path, and says only EOF if it is missing.

    Raises:
        Refusal: a node is not on this host, or is another device there.
    """
    for device in draft.devices:
        if not is_nvidia(device):
            continue
        problem = draft.host.node_problem(device["path"], device["major"], device["minor"])
        if problem is not None:
            raise Refusal(
                "devices.exist",
                f"{device['path']} {problem}",
                f"{_MAKE_NODES}; write the host's CSV files or CDI specification anew.",
                host_prep_may_help=True,
            )


def _left_out(what: str, rule: str = "devices.exist") -> Refusal:
    # Host preparation comes too late for this container, whose spec is written, and helps the next.
    return Refusal(
        rule,
        f"{what}; NVIDIA's runtime leaves out what is not on the host when it writes the spec",
        f"{_MAKE_NODES}; then start the container again. Where they are there, what wrote the spec does not"
        " name them: CSV files, a CDI specification, or --device.",
        host_prep_may_help=True,
    )


def _are_numbers_of(path: str, numbers: tuple[Any, ...]) -> bool:
    node_type, major, minor = numbers
    if path == CONTROL:
        return numbers == ("c", MAJOR, CONTROL_MINOR)
    if path == UVM:
        return node_type == "c" and major in _DYNAMIC_MAJORS and minor == 0
    number = gpu_minor(path)
    if number is not None:
        return numbers == ("c", MAJOR, number) and path == f"{PREFIX}{number}"
    return True


def _shown(numbers: tuple[Any, ...]) -> str:
    return f"{numbers[0]} {numbers[1]}:{numbers[2]}"


def _not_that_node(path: str, how: str) -> Refusal:
    return Refusal(
        "devices.mode",
        f"the spec lists {path!r} {how}",
        f"{PREFIX}N has to be c {MAJOR}:N, {CONTROL} c {MAJOR}:{CONTROL_MINOR}, and {UVM} c"
        " with a dynamic major and the minor 0; look at what wrote the spec.",
    )
