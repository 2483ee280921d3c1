"""Which class a spec is of, told from the spec itself, with the evidence.

- none: no NVIDIA hook, no NVIDIA device node.
- legacy: NVIDIA's prestart hook, or one by a name of its, and no device nodes, or nodes that an engine listed
  beside a request to the hook, which alone brings libraries; runsc takes the hook for a trigger, where it is
  NVIDIA's own.
- csv: nodes and hooks as csv mode writes them; every GPU of the host, whatever was asked.
- jit-cdi: what `auto` means from toolkit 1.18 on; exact nodes, hooks written `nvidia-ctk hook NAME`.
- cdi: from a CDI file; exact nodes, hooks written `nvidia-cdi-hook NAME`, up to 1.15 `nvidia-ctk hook NAME`.
- device-plugin: nodes that the engine or a device plugin listed, and nothing of the toolkit's.
- mixed: more than one of these at once, or a part of one; narrowed like csv, or refused.

How csv, jit-cdi and old cdi specs differ, read from the toolkit's source and from 154 captured specs:

- `disable-device-node-modification` (1.18 on) and `update-application-profile` (1.20) come from
  pkg/nvcdi/driver-nvml.go, which csv mode never uses.
- `create-symlinks --csv-filename` comes from csv mode (up to 1.13).
- `enable-cuda-compat --host-cuda-version` comes from csv mode (1.19 on); with `--host-driver-version` it says
  nothing, as csv mode wrote it so in 1.17 and 1.18.
- csv mode has always linked `libcuda.so` (internal/platform-support/tegra/symlinks.go); CDI files up to 1.15
  did not.
- A CDI file's common nodes come before those of its devices: nvidia-modeset, -uvm, -uvm-tools, nvidiactl,
  then nvidiaN.
- Only csv mode lists more GPUs than were asked for; 1.18.0 and 1.18.1 did so in jit-cdi for `none`. Where
  another class has more, somebody else has listed GPUs, too.
- `apply-cuda-memory-limits` (1.20.1 on) stands in each class, one for each GPU that was asked for by itself.
- From 1.20.1 on NVIDIA_VISIBLE_DEVICES is `void` alone: what was asked for tells nothing any more.

Only hooks and nodes count, not what an image can set: NVIDIA_CTK_LIBCUDA_DIR would tell jit-cdi from csv as
well, and anybody's `ENV` line could then switch the narrowing off. Where all this leaves two classes (jit-cdi
with its telling hooks disabled, csv with `nvidia-ctk.path` set to nvidia-cdi-hook), `toolkit_mode` decides;
without it the class is the one that is narrowed: csv.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import device_nodes, nvidia_hooks, request
from nvproxy_wrapper.judge.annotations import NVPROXY
from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values
from nvproxy_wrapper.judge.oci_spec import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook
    from nvproxy_wrapper.judge.oci_spec import Parts
    from nvproxy_wrapper.judge.request import Asked, Request
    from nvproxy_wrapper.judge.settings import Settings

CLASSES = ("none", "legacy", "csv", "cdi", "jit-cdi", "device-plugin", "mixed")

_NVML_HOOKS = ("disable-device-node-modification", "update-application-profile")
_LISTING_MODES = ("csv", "cdi", "jit-cdi")
_CSV_FLAGS = ("--host-cuda-version", "--csv-filename")
_OLD_CSV_FLAG = "--host-driver-version"
_COMMON = {device_nodes.UVM, "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"}
_TOOLKIT_OPTIONS = {"ro", "nosuid", "nodev"}


class Facts:
    """What was found out about a spec before any rule is applied.

    Attributes:
        spec_class: one of `CLASSES`.
        evidence: sentences that say from what it was told.
        gpu_requested: whether the container asks for a GPU.
        asked: what it asks for, and where: in the spec as the engine wrote it, where that was kept.
        kept: that spec; None where it was not.
        hides_request: what was asked for may be hidden behind `void`, beside what the image says.
        has_csvs_list: the list is one of csv mode, or may be one, and so of every GPU.
        problem: half a sentence, where the spec is a part of a GPU spec that cannot be repaired; "" where
            not.
        has_hooks: whether hooks of NVIDIA's are there besides the legacy one, known or not.
        is_rewritten: the spec carries the marks of an earlier rewrite: nvproxy is on, one `void` is all that
            is asked, and no node is there that a rewrite removes or fills in. An annotation may be forged, so
            this never outweighs a request. From toolkit 1.20.1 on a request leaves no trace; who may forge an
            annotation, the engine's user, may ask for every GPU as well. Not looked at where `kept` is there.
        says_void: the variable is `void` and nothing else. Nothing was asked for, or, from toolkit 1.20.1 on,
            anything.
        toolkit_made_devices: the toolkit had its hands in it, so that somebody asked it for GPUs.
    """

    __slots__ = (
        "asked",
        "evidence",
        "gpu_requested",
        "has_csvs_list",
        "has_hooks",
        "hides_request",
        "is_rewritten",
        "kept",
        "problem",
        "says_void",
        "spec_class",
        "toolkit_made_devices",
    )

    def __init__(self, parts: Parts, settings: Settings, kept: Parts | None = None) -> None:
        found = nvidia_hooks.find(parts.hooks)
        # What the next toolkit adds must not make every spec `mixed`: the class is told from the rest.
        telling = [hook for hook in found if not hook.has_new_name(settings.trusted_hooks)]
        legacy = [hook for hook in telling if hook.is_legacy]
        others = [hook for hook in telling if not hook.is_legacy]
        has_trigger = any(hook.why_no_trigger(settings.trusted_hooks) is None for hook in legacy)
        nodes = [device["path"] for device in parts.devices if device_nodes.is_nvidia(device)]
        asked = values(parts.env, VISIBLE_DEVICES)

        self.evidence: list[str] = [f"{hook.stage} has the hook {hook}" for hook in found]
        if nodes:
            self.evidence.append(f"linux.devices lists {', '.join(nodes)}")
        if asked:
            self.evidence.append(f"{VISIBLE_DEVICES} is {', then '.join(repr(value) for value in asked)}")
        self.problem = ""
        self.asked = request.Asked([])
        self.kept = kept
        self.hides_request = self.has_csvs_list = False
        self.has_hooks = len(found) > len(legacy)
        self.says_void = kept is None and asked == ["void"]
        is_answered = asked == ["void"] or not parts.has_process
        is_clean = not any(device_nodes.is_dead(one) or one.get("fileMode") is None for one in parts.devices)
        is_marked = parts.annotations.get(NVPROXY) == "true" and is_answered and is_clean
        self.is_rewritten = kept is None and is_marked
        self.toolkit_made_devices = (
            self.has_hooks or _has_toolkit_mounts(parts) or (len(asked) > 1 and asked[-1] == "void")
        )

        asking = parts if kept is None else kept
        of_hook = request.read_legacy(
            asking, request.last(values(asking.env, VISIBLE_DEVICES)), settings.swarm_resources
        )
        # No toolkit made this list, so that the hook is the only one to bring libraries.
        is_beside = bool(legacy) and of_hook.request is not None and not self.toolkit_made_devices
        if device_nodes.CONTROL in nodes and not is_beside:
            self.gpu_requested = True
            self._read_request(parts, asked, settings)
            self.spec_class, why = _class_of_listed(legacy, others, nodes, self, settings.toolkit_mode)
            self.evidence.append(why)
            self.has_csvs_list = self.spec_class == "csv" or (
                self.spec_class == "mixed" and _is_csvs(others, settings.toolkit_mode)
            )
            # Of a mixed list it is not known that it is not one of csv mode.
            self.hides_request = self.spec_class in ("csv", "mixed") and self.hides_request
        elif legacy and (
            is_beside
            or ((has_trigger or not (others or nodes)) and not any(map(device_nodes.is_served, nodes)))
        ):
            # NVIDIA's hook and runsc keep the last of several values. Nodes that are not served come from
            # what the toolkit does in legacy mode, too, as NVIDIA_GDS=enabled asks for.
            self._take(of_hook)
            self.gpu_requested = self.requested is not None
            self.spec_class = "legacy"
            if is_beside and nodes:
                self.evidence.append(
                    "Nothing but the hook brings libraries: the nodes beside it are an engine's"
                )
        elif nodes or telling or _is_wsls(parts):
            self.gpu_requested = True
            self._read_request(parts, asked, settings)
            self.spec_class = "mixed"
            what = self.evidence[0] if nodes or telling else f"{device_nodes.WSL} is there"
            self.problem = f"{what}, and {device_nodes.CONTROL} is not listed"
        else:
            self.gpu_requested = False
            self._take(request.of_variable(asked[:1]))
            self.spec_class = "none"
            self.evidence.insert(0, "No hook that is known and no device node of NVIDIA's is in the spec")

    @property
    def requested(self) -> Request:
        """What is asked for, as the place that counts writes it."""
        return self.asked.request

    @requested.setter
    def requested(self, request: Request) -> None:
        self.asked.request = request

    def _read_request(self, parts: Parts, asked: list[str], settings: Settings) -> None:
        """What a spec with nodes asks for."""
        if self.kept is not None:
            self.evidence.append("What was asked for is read from the spec as the engine wrote it")
            given = values(self.kept.env, VISIBLE_DEVICES)
            self._take(request.read(self.kept, request.last(given), settings.swarm_resources))
            if not given and not self.asked.sources:
                self._take(request.of_legacy_image(self.kept.env))
            return
        self._take(request.read(parts, request.without_answer(asked), settings.swarm_resources))
        self.hides_request = not self.is_rewritten and request.hides_request(
            asked, self.asked, settings.toolkit_version, is_older=_is_from_before_1_19(parts)
        )
        # Not where it is `void`: from 1.20.1 on that stands also in the place of what was asked for.
        is_unsaid = not asked and not self.asked.sources and not self.is_rewritten
        if is_unsaid and self.toolkit_made_devices:
            self._take(request.of_legacy_image(parts.env))

    def _take(self, asked: Asked) -> None:
        self.asked = asked
        self.evidence += asked.evidence


def _class_of_listed(
    legacy: list[NvidiaHook], others: list[NvidiaHook], nodes: list[str], facts: Facts, toolkit_mode: str
) -> tuple[str, str]:
    """The class of a spec that lists the control node, and the sentence that says why."""
    from_nvml = _from_nvml(others)
    from_csv = _from_csv(others)
    contradiction = _contradiction(legacy, others, from_nvml, from_csv)
    if contradiction:
        return "mixed", contradiction
    if not others:
        return _class_without_hooks(facts, toolkit_mode)
    is_ctk_form = others[0].is_ctk_form
    if from_nvml:
        # `nvidia-ctk hook` in a CDI file is what NVIDIA's device plugin for Kubernetes writes.
        is_jit = is_ctk_form and toolkit_mode != "cdi"
        return "jit-cdi" if is_jit else "cdi", f"{from_nvml[0].subcommand} is never in a csv spec"
    if is_ctk_form:
        return _class_of_ctk_form(others, from_csv, nodes, toolkit_mode)
    # csv mode writes this form where nvidia-ctk.path is set to it, and then something was asked for. Where
    # nothing was, an engine has read a CDI file itself: `docker run --device nvidia.com/gpu=0`. `void` alone
    # may be either from 1.20.1 on.
    is_like_csv = from_csv or not _has_cdi_order(nodes)
    is_asked = facts.requested is not None
    may_be_asked = is_asked or (facts.says_void and not facts.is_rewritten)
    if (is_like_csv and may_be_asked and toolkit_mode != "cdi") or (
        toolkit_mode == "csv" and (is_like_csv or is_asked)
    ):
        return "csv", "The hooks are those of csv mode with nvidia-ctk.path set to nvidia-cdi-hook"
    return "cdi", "The hooks are written as nvidia-ctk cdi generate does from 1.16 on"


def _from_nvml(hooks: list[NvidiaHook]) -> list[NvidiaHook]:
    return [hook for hook in hooks if hook.subcommand in _NVML_HOOKS]


def _contradiction(
    legacy: list[NvidiaHook],
    others: list[NvidiaHook],
    from_nvml: list[NvidiaHook],
    from_csv: list[NvidiaHook],
) -> str:
    unknown = [hook for hook in others if not hook.is_known]
    if legacy:
        return "Both the legacy hook and device nodes are there: two ways at once"
    if unknown:
        return f"{unknown[0]} is not a hook that NVIDIA's toolkit is known to write at {unknown[0].stage}"
    if len({hook.is_ctk_form for hook in others}) > 1:
        return "Hooks of both forms are there, nvidia-ctk and nvidia-cdi-hook: two writers"
    if from_nvml and from_csv:
        return f"{from_nvml[0]} is never in a csv spec, and {from_csv[0]} has arguments of csv mode only"
    return ""


def _class_of_ctk_form(
    others: list[NvidiaHook], from_csv: list[NvidiaHook], nodes: list[str], toolkit_mode: str
) -> tuple[str, str]:
    if from_csv:
        return "csv", f"{from_csv[0]} has arguments of csv mode only"
    if toolkit_mode in _LISTING_MODES:
        return toolkit_mode, f"The hooks fit more than one class; toolkit_mode is {toolkit_mode}"
    if any(link.endswith("/libcuda.so") for _, link in nvidia_hooks.links_of(others)):
        return "csv", "The hooks link libcuda.so, and none is there that csv mode would not write"
    if _has_cdi_order(nodes):
        return "cdi", "libcuda.so is not linked, and common nodes come before GPUs: a CDI file up to 1.15"
    return "csv", "Nothing says that the hooks are not those of csv mode"


def _class_without_hooks(facts: Facts, toolkit_mode: str) -> tuple[str, str]:
    if not facts.toolkit_made_devices:
        return "device-plugin", "No hook of NVIDIA's is there, nor a trace of its toolkit"
    if toolkit_mode in _LISTING_MODES:
        return (
            toolkit_mode,
            f"The toolkit's traces are there without its hooks; toolkit_mode is {toolkit_mode}",
        )
    return "mixed", "The toolkit's mounts, or its void, are there without its hooks"


def _is_from_before_1_19(parts: Parts) -> bool:
    """Whether a spec that csv mode has written shows an older toolkit than 1.19."""
    hooks = [hook for hook in nvidia_hooks.find(parts.hooks) if hook.is_ctk_form]
    return any(hook.values(_OLD_CSV_FLAG) for hook in hooks) and not _from_csv(hooks)


def _from_csv(hooks: list[NvidiaHook]) -> list[NvidiaHook]:
    return [hook for hook in hooks if any(hook.values(flag) for flag in _CSV_FLAGS)]


def _is_csvs(hooks: list[NvidiaHook], toolkit_mode: str) -> bool:
    """Whether the hooks of a mixed spec that are known are those of csv mode, or the settings say so."""
    known = [hook for hook in hooks if hook.is_known]
    if _from_nvml(known) or not all(hook.is_ctk_form for hook in known):
        return False
    links = nvidia_hooks.links_of(known)
    return toolkit_mode == "csv" or any(link.endswith("/libcuda.so") for _, link in links)


def _is_wsls(parts: Parts) -> bool:
    """Whether a GPU of WSL 2 is there, which gVisor cannot serve in any way."""
    return any(device["path"] == device_nodes.WSL for device in parts.devices) or any(
        mount["destination"] == device_nodes.WSL and is_bind(mount) for mount in parts.mounts
    )


def _has_toolkit_mounts(parts: Parts) -> bool:
    """Whether a driver library is mounted with the toolkit's options; no engine gives them to a volume.

    Or its answer to a request by mounts, from 1.20.2 on (pkg/nvcdi/wrapper.go).
    """
    return any(
        is_bind(mount)
        and (
            (mount["destination"] == mount.get("source") and "/libcuda.so." in mount["destination"])
            or mount["destination"] == request.VOID_MOUNT
        )
        and _TOOLKIT_OPTIONS.issubset(mount.get("options") or [])
        for mount in parts.mounts
    )


def _has_cdi_order(nodes: list[str]) -> bool:
    """First the common nodes with nvidiactl last, then GPUs and others: the CDI library's InjectDevices."""
    place = nodes.index(device_nodes.CONTROL)
    common, rest = nodes[:place], nodes[place + 1 :]
    return device_nodes.UVM in common and not device_nodes.gpus_in(common) and _COMMON.isdisjoint(rest)
