"""What holds for every spec, however odd: the design's invariants, told in another way than the code does."""

from __future__ import annotations

import marshal
import posixpath
from typing import TYPE_CHECKING, Any

from nvproxy_wrapper.judge import catalogue
from nvproxy_wrapper.judge.classify import CLASSES
from nvproxy_wrapper.judge.refused_flags import why_annotation_refused
from tests.fuzz.oci_schema import is_valid
from tests.fuzz.runsc_model import opened, starts
from tests.fuzz.shim_model import TYPES, may_stay
from tests.unit.wrapper.specs import judge

if TYPE_CHECKING:
    from tests.fuzz.hosts import Host

ASKS = "NVIDIA_VISIBLE_DEVICES="
IN_SWARM = ("OURS=", "DOCKER_RESOURCE_GPU=")
NVPROXY = "dev.gvisor.internal.nvproxy"
TRUSTED = ["/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"]
KEPT = {"create-symlinks", "update-ldcache", "enable-cuda-compat", "update-application-profile"}
MEMORY = "apply-cuda-memory-limits"
NAMES_OF_HOOKS = KEPT | {MEMORY, "disable-device-node-modification", "chmod", "noop"}
MEMORY_VARIABLES = ("NVIDIA_GPU_MEMORY_REQUEST", "NVIDIA_GPU_MEMORY_LIMIT")
HOOK_FLAGS = {
    "--link",
    "--csv-filename",
    "--folder",
    "--ldconfig-path",
    "--host-driver-version",
    "--host-cuda-version",
    "--cuda-compat-container-root",
    "--driver-root",
    "--gpu-id",
}
LDCONFIG = {"/sbin/ldconfig", "/usr/sbin/ldconfig", "/run/nvidia/driver/sbin/ldconfig"}
PROGRAMS = {
    "nvidia-ctk",
    "nvidia-cdi-hook",
    "nvidia-container-cli",
    "nvidia-container-runtime-hook",
    "nvidia-container-toolkit",
    "oci-nvidia-hook",
}
LEGACY = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "oci-nvidia-hook")
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NAMES: dict[tuple[str, ...], set[str]] = {
    (): {"process", "root", "mounts", "hooks", "annotations", "linux"},
    ("process",): {"env"},
    ("root",): {"path"},
    ("linux",): {"devices", "resources"},
    ("linux", "resources"): {"devices"},
    ("hooks",): set(STAGES),
}
DEAD = ("/dev/dri/", "/dev/gdrdrv", "/dev/nvhost", "/dev/nvmap", "/dev/nvgpu", "/dev/nvsciipc")
SOCKETS = ("/run/nvidia-persistenced/", "/run/nvidia-fabricmanager/", "/tmp/nvidia-mps/")
RULES = {rule.id for rule in catalogue.RULES}
DEFAULT_CAPABILITIES = ["utility", "compute"]


def check(
    spec: dict[str, Any], host: Host, given_settings: dict[str, Any], kept: dict[str, Any] | None = None
) -> str:
    """Judge a spec, check everything that has to hold, and say what became of it.

    Args:
        spec: the spec.
        host: where it is judged.
        given_settings: the wrapper's settings.
        kept: the spec as the engine wrote it, where it was kept.
    """
    before = _text(spec)
    decision = judge(spec, host.view, kept, **given_settings)
    made = decision.spec
    assert _text(spec) == before, "the spec that was given was changed"
    assert decision.spec_class in CLASSES
    assert {action.rule for action in decision.actions} <= RULES
    check_asked(spec, decision, given_settings)
    if decision.refusal:
        assert made is spec
        assert decision.refusal.rule in RULES
        assert (decision.changed, decision.devices, decision.runsc_flags) == (False, [], [])
        assert decision.refusal.message
        assert decision.refusal.remedy
        return "refused"
    assert decision.changed == (made != spec)
    if decision.changed and not is_valid(made):
        assert not is_valid(spec), "a valid spec became an invalid one"
    check_devices(spec, made, decision, host.gpus, spec if kept is None else kept)
    check_mounts(spec, made, decision, given_settings, host)
    check_what_opens(made, decision, host)
    check_hooks(spec, made, decision, given_settings)
    check_links(spec, made, decision)
    check_memory(spec, made, decision, given_settings)
    check_environment(spec, made, decision, given_settings, spec if kept is None else kept)
    check_annotations(spec, made, decision, given_settings, host.gpus)
    assert without_what_may_change(made) == without_what_may_change(spec)
    assert is_subsequence([key for key in made if key != "annotations"], list(spec))
    check_names(spec)
    check_scope(spec, decision, given_settings, host.gpus, kept)
    check_again(spec, made, decision, host, given_settings, kept)
    return "rewritten" if decision.changed else "left alone"


def _text(spec):
    # Not a copy to compare with: objects are equal whatever the order of their names, and True equals 1. Not
    # JSON, which takes six times as long. Version 2, as the later ones also write which values are shared.
    return marshal.dumps(spec, 2)


def part(spec, *names):
    """A part of a spec, as Go would see it: what is null or missing is empty."""
    for name in names:
        spec = (spec or {}).get(name)
    return spec or []


def is_subsequence(some, whole):
    if some == whole:
        return True
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in some)


def is_bind(mount):
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options") or [])


MOUNT_ROOT = "/var/run/nvidia-container-devices/"


def ids_in_mounts(spec):
    ids = []
    for mount in part(spec, "mounts"):
        place = posixpath.normpath(f"/{mount['destination'].lstrip('/')}")
        if mount.get("source") == "/dev/null" and place.startswith(MOUNT_ROOT):
            name = place.removeprefix(MOUNT_ROOT)
            cdi = name.removeprefix("cdi/")
            if cdi != name and "=" not in cdi:
                name = "/".join(cdi.split("/")[:2]) + "=" + "/".join(cdi.split("/")[2:])
                name = name if cdi.count("/") > 1 else ""
            elif cdi != name:
                name = cdi
            ids.append(name)
    return [name for name in ids if name.strip(" ,") and name != "void" and name.split("/")[0] != "imex"]


def is_nvidia(hook):
    first, *others = [word.rpartition("/")[2] for word in [hook["path"], *(hook.get("args") or [])]]
    return "nvidia" in f"{first} {''.join(others[:1])}".lower() or not PROGRAMS.isdisjoint(others)


def nvidia_minors(devices):
    return {
        device.get("minor") for device in devices if (device.get("type"), device.get("major")) == ("c", 195)
    }


def without(mapping, *names):
    """A copy of an object without these names; what is null or missing is empty."""
    return {name: value for name, value in (mapping or {}).items() if name not in names}


def without_what_may_change(spec):
    """Everything that no rule has a business with."""
    left = without(spec, "mounts", "annotations")
    left["process"] = without(left.get("process"), "env")
    left["linux"] = without(left.get("linux"), "devices")
    left["linux"]["resources"] = without(left["linux"].get("resources"), "devices")
    left["hooks"] = without(left.get("hooks"), *STAGES)
    return left


NVIDIAS_KINDS = tuple(
    f"{before}nvidia.com/gpu=" for before in ("", "runtime.", "management.", "k8s.device-plugin.")
)


def minors_that_may_be_given(value, hosts_gpus):
    """What a value that asks for GPUs may give at most."""
    by_name = {gpu.uuid.lower(): gpu.minor for gpu in hosts_gpus}
    for index, gpu in enumerate(sorted(hosts_gpus, key=lambda gpu: gpu.pci)):
        by_name[str(index)] = by_name[f"gpu{index}"] = gpu.minor
    words = [word.strip() for word in value.split(",") if word.strip()]
    named = [word for word in words if word in ("all", "none")]
    if named:
        return set(range(256)) if named[0] == "all" else set()
    devices = [
        next((word.removeprefix(kind) for kind in NVIDIAS_KINDS if word.startswith(kind)), word)
        for word in words
    ]
    if "all" in devices:
        return set(range(256))
    whole = {by_name.get(name.lower()) for name in devices}
    begun = {
        minor for name in devices if len(name) > 4 for uuid, minor in by_name.items() if uuid.startswith(name)
    }
    return (whole | begun) - {None}


def asks(value):
    """Whether a value asks for anything; the root of the mounts says that they do."""
    words = [word.strip() for word in value.split(",") if word.strip()]
    return bool(words) and "void" not in words and value.strip().rstrip("/") != MOUNT_ROOT.rstrip("/")


def check_devices(spec, made, decision, gpus, asking):
    given, left = part(spec, "linux", "devices"), part(made, "linux", "devices")
    rules, allowed = part(spec, "linux", "resources", "devices"), part(made, "linux", "resources", "devices")
    assert decision.devices == [device["path"] for device in left]
    if decision.spec_class == "legacy" and decision.gpu_requested:
        asked = [e.partition("=")[2] for e in part(made, "process", "env") if e.startswith(ASKS)][-1]
        assert decision.gpus is None or set(decision.gpus) <= minors_that_may_be_given(asked, gpus)
    else:
        tails = {path.removeprefix("/dev/nvidia") for path in decision.opens}
        assert decision.gpus == sorted(int(tail) for tail in tails if tail.isdigit())
    if is_in_privileged_pod(spec):
        check_privileged(spec, left, decision, gpus, asking)
    elif not decision.gpu_requested:
        assert left == given
        assert allowed == rules
    if not decision.gpu_requested:
        return
    assert is_subsequence(
        [{**device, "fileMode": 0} for device in left], [{**device, "fileMode": 0} for device in given]
    )
    assert is_subsequence(allowed, rules)
    for device in left:
        path, numbers = device["path"], (device.get("type"), device.get("major"), device.get("minor"))
        assert device["fileMode"] is not None
        assert numbers[:2] not in (("c", 195), ("u", 195)) or path.startswith("/dev/nvidia")
        assert not path.startswith(DEAD)
        if "nvidia" in path:
            expected = {"/dev/nvidiactl": ("c", 195, 255), "/dev/nvidia-uvm": ("c", numbers[1], 0)}
            tail = path[len("/dev/nvidia") :]
            # True equals 1.
            assert type(device["minor"]) is int
            assert numbers == expected.get(path) or (tail.isdigit() and numbers == ("c", 195, int(tail)))
    # What allows a GPU that was taken away is taken away as well.
    gone = nvidia_minors(given) - nvidia_minors(left)
    assert not [
        r
        for r in allowed
        if r.get("allow") is True and (r.get("type"), r.get("major")) == ("c", 195) and r.get("minor") in gone
    ]


def allows_everything(rule):
    numbers = {rule.get("major"), rule.get("minor")} - {None, -1}
    return rule.get("allow") is True and not numbers and rule.get("type") in (None, "", "a")


def is_in_privileged_pod(spec):
    is_in_pod = set(TYPES) & set(part(spec, "annotations"))
    return is_in_pod and any(map(allows_everything, part(spec, "linux", "resources", "devices")))


def names_in_annotations(spec):
    """What the annotations of CDI ask for, as far as NVIDIA's own kinds are meant."""
    return [
        value
        for name, value in (part(spec, "annotations") or {}).items()
        if name.startswith("cdi.k8s.io/") and isinstance(value, str) and value.startswith(NVIDIAS_KINDS)
    ]


def check_privileged(spec, left, decision, gpus, asking):
    """A privileged pod gets what it was given, by CDI, by a plugin, or by its variable; the rest stays."""
    given = part(spec, "linux", "devices")
    others, others_left = [[d for d in one if "nvidia" not in d["path"]] for one in (given, left)]
    assert decision.gpu_requested or (
        others_left == others and not nvidia_minors(d for d in left if d not in others)
    )
    if (part(spec, "annotations") or {}).get(NVPROXY) == "true":
        return
    rules = part(spec, "linux", "resources", "devices")
    after_all = rules[max(place for place, rule in enumerate(rules) if allows_everything(rule)) + 1 :]
    paths = [device["path"] for device in given]
    twice = {path for path in paths if paths.count(path) > 1}
    lines = {r.get("minor") for r in after_all if r.get("allow") is True and r.get("major") == 195}
    told = lines | {int(path[11:]) for path in twice if path[11:].isdigit()}
    asked = [e.partition("=")[2] for e in part(asking, "process", "env") if e.startswith(ASKS)]
    by_asking = [minors_that_may_be_given(value, gpus) for value in asked]
    by_asking += [minors_that_may_be_given(",".join(ids_in_mounts(asking)), gpus)]
    by_asking += [minors_that_may_be_given(",".join(names_in_annotations(asking)), gpus)]
    in_swarm = [e.partition("=")[2] for e in part(asking, "process", "env") if e.startswith(IN_SWARM)]
    by_asking += [minors_that_may_be_given(",".join(in_swarm), gpus)]
    legacy_image = (
        set(range(256)) if any("CUDA_VERSION=" in e for e in part(asking, "process", "env")) else set()
    )
    assert set(decision.gpus or []) <= told.union(*by_asking, legacy_image)


def check_mounts(spec, made, decision, given_settings, host):
    given, left = part(spec, "mounts"), part(made, "mounts")
    if left == given:
        assert not decision.gpu_requested or not any(map(is_socket, left))
        return
    assert decision.gpu_requested or is_in_nvproxys_sandbox(made, host)
    # Else as they were; that they are closed is what the model of runsc is asked.
    given, left = [list(map(without_dev, mounts)) for mounts in (given, left)]
    if not decision.gpu_requested:
        assert left == given
        return
    added = [mount for mount in left if mount not in given]
    assert is_subsequence([mount for mount in left if mount in given], given)
    assert all(is_socket(mount) for mount in given if mount not in left)
    assert not any(map(is_socket, left))
    emulates = not given_settings.get("hooks_run", True) or given_settings.get("drop_update_ldcache", False)
    assert emulates or not added or dropped_hooks(spec, made, {"create-symlinks", "update-ldcache"})
    # Of the mounts that stay: a link may take the place of a socket's bind, which no gofer could have made.
    destinations = [mount["destination"] for mount in given if mount in left]
    binds = [mount["source"] for mount in given if is_bind(mount)]
    for mount in added:
        assert mount["source"] in binds
        assert mount["destination"] not in destinations
        assert mount["options"][0] == "ro"
        assert "rw" not in mount["options"]
        assert ".." not in mount["destination"].split("/")


def without_dev(mount):
    options = [option for option in mount.get("options") or [] if option not in ("dev", "nodev")]
    return {**mount, "options": options}


def is_in_nvproxys_sandbox(made, host):
    """Whether a plain container is in a sandbox that serves GPUs to others."""
    annotations = part(made, "annotations") or {}
    return NVPROXY in annotations or (bool(host.gpus) and any(name in annotations for name in TYPES))


def check_what_opens(made, decision, host):
    """Nothing opens but what is listed, which `check_scope` and `check_count` hold to what was asked for."""
    if not decision.gpu_requested:
        assert not is_in_nvproxys_sandbox(made, host) or not set(opened(made)) - set(decision.gpus)
    elif decision.spec_class != "legacy":
        assert set(opened(made)) == set(decision.gpus)
        assert starts(made)
    else:
        assert not opened(made)


def is_socket(mount):
    return is_bind(mount) and any(folder in f"{mount.get('source') or ''}/" for folder in SOCKETS)


def check_hooks(spec, made, decision, given_settings):
    given, left = part(spec, "hooks") or {}, part(made, "hooks") or {}
    trusted = given_settings.get("trusted_hooks", TRUSTED)
    for stage, listed in left.items():
        if stage not in STAGES:
            assert listed == given[stage]
            continue
        if decision.spec_class == "none":
            assert (listed or []) == [h for h in given[stage] or [] if not has_new_name(h, trusted)]
            continue
        hooks = listed or []
        assert is_subsequence(hooks, given[stage] or [])
        assert [h for h in hooks if not is_nvidia(h)] == [h for h in given[stage] or [] if not is_nvidia(h)]
        for hook in filter(is_nvidia, hooks):
            if decision.spec_class == "legacy" and stage == "prestart" and is_trigger(hook, trusted):
                continue
            assert hook["path"].rpartition("/")[2] not in LEGACY
            assert given_settings.get("hooks_run", True) or not decision.gpu_requested
            is_memory = MEMORY in hook["args"][1:3]
            assert stage == ("createRuntime" if is_memory else "createContainer")
            assert not is_memory or asks_for_memory(spec)
            assert hook["path"] in trusted
            assert is_memory or KEPT & set(hook["args"][1:3])
            check_hook_words(hook["args"])
            assert hook.get("env") in (None, ["NVIDIA_CTK_DEBUG=false"])


def dropped_hooks(spec, made, names):
    """The hooks of NVIDIA's that were dropped and do one of these things, whatever their program."""
    left = [hook for stage in STAGES for hook in part(made, "hooks", stage)]
    given = [hook for stage in STAGES for hook in part(spec, "hooks", stage) if is_nvidia(hook)]
    return [hook for hook in given if hook not in left and what_it_does(hook) in names]


def what_it_does(hook):
    words = (hook.get("args") or [])[1:]
    return "".join(words[1:2] if words[:1] == ["hook"] else words[:1])


def links_of(hooks):
    links = []
    for hook in hooks:
        words = hook["args"][3:] if hook["args"][1] == "hook" else hook["args"][2:]
        while words:
            word, *words = words
            name, equals, value = word.partition("=")
            if not equals:
                value, *words = words or [""]
            if name == "--link":
                links.append(value.partition("::")[::2])
    return links


def check_links(spec, made, decision):
    """A link hook that is dropped is replaced: each link to a mounted file is a mount, or made by another."""
    if not decision.gpu_requested:
        return
    there = {mount["destination"] for mount in part(made, "mounts")}
    files = {m["destination"] for m in part(spec, "mounts") if is_bind(m)} & there
    staying = [
        h for stage in STAGES for h in part(made, "hooks", stage) if what_it_does(h) == "create-symlinks"
    ]
    by_hooks = {link for _, link in links_of(filter(is_nvidia, staying))}
    around = [f"{posixpath.normpath(f'/{name}')}/" for name in there | by_hooks]
    for target, link in links_of(dropped_hooks(spec, made, {"create-symlinks"})):
        is_plain = link == posixpath.normpath(f"/{link}".replace("//", "/", 1)) and "\0" not in link
        leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
        if not is_plain or link == "/" or leads_to not in files or link in by_hooks:
            continue
        is_over = any(one.startswith(f"{link}/") and one != f"{link}/" for one in around)
        is_inside = any(f"{link}/".startswith(one) and one != f"{link}/" for one in around)
        assert link in there or is_over or is_inside, link


def is_trigger(hook, trusted):
    """What runsc takes for a request, as NVIDIA's toolkit writes it, and in a directory of its programs."""
    folder, _, name = hook["path"].rpartition("/")
    folders = {"/usr/bin", *(path.rpartition("/")[0] for path in trusted)}
    words = hook.get("args") or []
    return folder in folders and name == LEGACY[0] and words[1:] == ["prestart"] and words[0].endswith(name)


def has_new_name(hook, trusted):
    """A trusted program's hook, called by a name that no toolkit has had."""
    args = hook.get("args") or []
    is_ctk = hook["path"].endswith("/nvidia-ctk")
    if hook["path"] not in trusted or (is_ctk and args[1:2] != ["hook"]):
        return False
    name = "".join(args[2:3] if is_ctk else args[1:2])
    return name[:1].isalpha() and name not in NAMES_OF_HOOKS


def asks_for_memory(spec):
    return any(entry.partition("=")[0] in MEMORY_VARIABLES for entry in part(spec, "process", "env"))


def check_memory(spec, made, decision, given_settings):
    """Each GPU of a container that asks for a limit has its hook, under a runsc that runs it."""
    if not (decision.gpu_requested and decision.gpus and asks_for_memory(spec)):
        return
    hooks = [h for h in part(made, "hooks", "createRuntime") if MEMORY in (h.get("args") or [])]
    named = {word.partition("=")[2] or word for h in hooks for word in h["args"] if "GPU-" in word}
    assert len(named) >= len(decision.gpus)
    assert given_settings.get("hooks_run", True)


def check_hook_words(words):
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= HOOK_FLAGS
    assert not [word for word in words if "/tmp" in word or ".." in word.split("/")]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == "--ldconfig-path":
            assert (value if equals else following).removeprefix("@").removesuffix(".real") in LDCONFIG


def check_environment(spec, made, decision, given_settings, asking):
    given, left = part(spec, "process", "env"), part(made, "process", "env")
    ours = ("NVIDIA_VISIBLE_DEVICES=", "NVIDIA_DRIVER_CAPABILITIES=")
    assert [e for e in left if not e.startswith(ours)] == [e for e in given if not e.startswith(ours)]
    asked = [e for e in left if e.startswith(ours[0])]
    capabilities = [e for e in left if e.startswith(ours[1])]
    if decision.spec_class == "none":
        assert left == given
    elif decision.spec_class == "legacy":
        last = [e for e in given if e.startswith(ours[0])][-1:]
        # runsc reads neither mounts nor Swarm's variables; where they ask for less, the variable says so.
        env = part(asking, "process", "env")
        in_swarm = [e.partition("=")[2] for e in env if e.startswith(IN_SWARM)]
        # Nor does it read what the engine wrote, where a hook has put another value since.
        by_variable = [e.partition("=")[2] for e in env if e.startswith(ours[0])][-1:]
        others = {
            ",".join(word.strip() for word in value.split(",") if word.strip())
            for value in [",".join(ids_in_mounts(asking)), *in_swarm, *by_variable]
        }
        others |= {name for value in others for name in ("all", "none") if name in value.split(",")}
        others |= {"void"} if given_settings.get("swarm_resources") or not decision.gpu_requested else set()
        # Of `all` and nodes that an engine lists beside NVIDIA's hook, the nodes; the hook makes them.
        nodes = {"/dev/nvidia" + str(minor) for minor in decision.gpus or ()}
        is_of_nodes = nodes and nodes <= {one["path"] for one in part(spec, "linux", "devices")}
        assert asked == last or is_of_nodes or (len(asked) == 1 and asked[0].removeprefix(ours[0]) in others)
        assert len(capabilities) <= 1
        if decision.gpu_requested:
            words = {word.strip() for e in capabilities for word in e.partition("=")[2].split(",")}
            assert words - {""} <= set(given_settings.get("allowed_capabilities", DEFAULT_CAPABILITIES))
    else:
        assert asked == (["NVIDIA_VISIBLE_DEVICES=void"] if part(spec, "process") else [])
        assert capabilities == [e for e in given if e.startswith(ours[1])]


FEATURE_WORDS = ("NVIDIA_GDS", "NVIDIA_GDRCOPY", "NVIDIA_MOFED", "NVIDIA_NVSWITCH")
FEATURE_NODES = ("/dev/nvidia-fs", "/dev/nvidia-nvswitch", "/dev/nvidia-caps-imex-channels/", "/dev/gdrdrv")


def check_asked(spec, decision, given_settings):
    """Every capability that is asked for and not allowed, and every feature, is named where it is said.

    Another rule may have refused before; then that is what is said.
    """
    assert len({(warning.rule, warning.asked) for warning in decision.warnings}) == len(decision.warnings)
    said = "".join(warning.sentence() for warning in decision.warnings)
    if decision.refusal and not decision.refusal.rule.startswith("asked."):
        return
    if not decision.gpu_requested:
        assert not said
        return
    said += decision.refusal.sentence() if decision.refusal else ""
    given = dict(e.partition("=")[::2] for e in part(spec, "process", "env"))
    if not (decision.refusal and decision.refusal.rule == "asked.features"):
        allowed = given_settings.get("allowed_capabilities", DEFAULT_CAPABILITIES)
        asked = {word.strip() for word in given.get("NVIDIA_DRIVER_CAPABILITIES", "").split(",")}
        assert all(word in said for word in asked - {"", "all", *allowed} if word.isprintable())
        assert allowed or decision.refusal
    if not decision.refusal:
        assert all(name in said for name in FEATURE_WORDS if given.get(name) == "enabled")
        channels = {word.strip() for word in given.get("NVIDIA_IMEX_CHANNELS", "").split(",")}
        assert "NVIDIA_IMEX_CHANNELS" in said or channels <= {"", "void", "none"}
        nodes = {device["path"] for device in part(spec, "linux", "devices")}
        # For a privileged container an engine lists every node of the host: most of them nobody asked for.
        if not any(map(allows_everything, part(spec, "linux", "resources", "devices"))):
            assert all(path in said for path in nodes if path.startswith(FEATURE_NODES))


def check_annotations(spec, made, decision, given_settings, gpus):
    given, left = dict(part(spec, "annotations")), dict(part(made, "annotations"))
    is_sandbox = [given[name] for name in TYPES if name in given][:1] == ["sandbox"]
    is_ours = decision.gpu_requested or (is_sandbox and bool(gpus))
    allowed = ",".join(given_settings.get("allowed_capabilities", DEFAULT_CAPABILITIES))
    flags = ["--nvproxy", f"--nvproxy-allowed-driver-capabilities={allowed}"] if is_ours else []
    assert decision.runsc_flags in (flags, flags[:1])
    if is_ours:
        assert left.pop(NVPROXY) == "true"
        given.pop(NVPROXY, None)
    if not given_settings.get("allow_user_annotations", False):
        given = {k: v for k, v in given.items() if not k.startswith("dev.gvisor.")} | may_stay(spec)
    else:
        given = {k: v for k, v in given.items() if why_annotation_refused(k, v) is None}
    assert left == given


def check_names(spec):
    """No name that runsc would take for another: Go finds a field by its name in any case."""
    for parents, names in NAMES.items():
        there = set(part(spec, *parents)) - names
        assert not {name.lower() for name in there} & {name.lower() for name in names}


def check_scope(spec, decision, given_settings, gpus, kept):
    """No GPU that any one place that asks did not ask for, nor one that the engine did not give."""
    if not decision.gpu_requested or decision.spec_class == "legacy":
        return
    given = set(decision.gpus)
    if kept is None and (part(spec, "annotations") or {}).get(NVPROXY) == "true":
        return
    whose = spec if kept is None else kept
    env = [entry.partition("=")[::2] for entry in part(whose, "process", "env")]
    asked = [value for name, value in env if name == ASKS[:-1]]
    asked = asked[-1:] if kept is not None else asked
    swarm = [
        [value for name, value in env if name == resource][-1]
        for resource in given_settings.get("swarm_resources", [])
        if resource in dict(env)
    ]
    if swarm and minors_that_may_be_given(",".join(swarm), gpus) != set(range(256)):
        asked = [",".join(swarm)]
    annotated = names_in_annotations(whose)
    others = [value for name, value in env if name == "DOCKER_RESOURCE_GPU"]
    if not others or {"none", "all", "void"}.intersection(map(str.strip, others[-1].split(","))) or swarm:
        others = []
    for value in [*asked, ",".join(ids_in_mounts(whose)), ",".join(annotated), *others[-1:]]:
        if asks(value):
            assert given <= minors_that_may_be_given(value, gpus)
    if kept is not None:
        by_engine = {
            int(one["path"][11:]) for one in part(kept, "linux", "devices") if one["path"][11:].isdigit()
        }
        assert not by_engine or given <= by_engine
        is_asked = asked and asks(asked[-1])
        assert is_asked or by_engine or ids_in_mounts(kept) or others or annotated or not given


def check_again(spec, made, decision, host, given_settings, kept):  # noqa: PLR0917
    """A second rewrite changes nothing; the entry keeps what the first one made."""
    again = judge(made, host.view, None if kept is None else made, **given_settings)
    is_told_by_hooks = {"csv", "mixed"} & {again.spec_class, given_settings.get("toolkit_mode")}
    if kept is not None or (ids_in_mounts(spec) and is_told_by_hooks):
        # Mounts still ask, where the variable says no more that something else was asked for, and a spec
        # whose hooks were dropped may be taken for csv; a kept spec with nothing but nodes asks for nothing.
        # Less may come of it, as an annotation that says "rewritten already" may be forged; never more.
        assert again.refusal or set(again.devices) <= set(decision.devices)
        return
    assert again.refusal is None
    assert not again.changed
    assert again.devices == decision.devices
    assert again.runsc_flags == decision.runsc_flags
