"""Ways in which a spec may be odd: each is drawn as data and applied to a captured spec.

Each choice of Hypothesis' costs as much as a rule does. So what can be listed is listed, and one choice takes
it from the list: no `builds` and no `map`, which cost several choices' time each.
"""

from __future__ import annotations

import copy
import itertools
import json
import marshal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.driver_tree import LAB_HOST, captured_uuid
from tests.specs.captured_specs import CAPTURED
from tests.specs.kubernetes_specs import NAMES as POD_NAMES
from tests.specs.kubernetes_specs import shims_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_CHOICES: dict[str, list[Any]] = {
    "hooks_run": [False, True],
    "drop_update_ldcache": [False, True],
    "allow_user_annotations": [False, True],
    "toolkit_mode": ["auto", "csv", "cdi", "jit-cdi", "legacy"],
    "toolkit_version": ["1.20.0", "1.20.1-1"],
    "swarm_resources": [["OURS"]],
    "trusted_hooks": [[], ["/usr/bin/nvidia-ctk"], ["/opt/nvidia-ctk"]],
    "allowed_capabilities": [["utility"], ["compute"], ["compute", "utility", "video"]],
}
_LEFT_OUT = object()

SETTINGS = st.sampled_from(
    sorted(
        (
            {name: value for name, value in zip(_CHOICES, values, strict=True) if value is not _LEFT_OUT}
            for values in itertools.product(*([*[_LEFT_OUT] * 2, *choices] for choices in _CHOICES.values()))
        ),
        key=len,
    )
)
"""Every combination of what may be set, defaults more often; a failure is shown with as few as it takes."""


def _bare(path: Path) -> bytes:
    # Without its seccomp profile, which is most of it and which no rule looks at. In marshal's form, as that
    # gives a fresh copy in a tenth of the time that copy.deepcopy takes.
    spec = json.loads(path.read_bytes())
    del spec["linux"]["seccomp"]
    return marshal.dumps(spec)


BASES = {captured.path.stem: _bare(captured.path) for captured in CAPTURED}

POD_BASES = {name: marshal.dumps(shims_spec(name)) for name in POD_NAMES}
_EVERY_BASE = BASES | POD_BASES

VALUES = [
    *(
        "",
        "void",
        "none",
        "all",
        "0",
        "1",
        "3",
        "0,2",
        "2,0,2",
        "7",
        "8",
        "0:1",
        "MIG-1",
        "ALL",
        "all,1",
        " 1 ",
        ",",
    ),
    *(
        captured_uuid(1),
        captured_uuid(5),
        "GPU-4d4f434b",
        "GPU-",
        "enabled",
        "video",
        "compute,utility,video",
        "nvidia.com/gpu=0",
        "nvidia.com/gpu=0:1",
        f"0,{captured_uuid(0)}",
        f"nvidia.com/gpu=1,{captured_uuid(1)},1",
        f"runtime.nvidia.com/gpu={captured_uuid(1)}",
        "nvidia.com/gpu=all",
        "management.nvidia.com/gpu=all",
        "nvidia.com/gpu=0,acme.com/gpu=1",
        "none,1",
        "/var/run/nvidia-container-devices",
        "\u0661",
        "01",
        "-1",
    ),
]
_NAMES = [
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_VERSION", "NVIDIA_REQUIRE_CUDA"),
    *("NVIDIA_GPU_MEMORY_REQUEST", "NVIDIA_GPU_MEMORY_LIMIT"),
    *("NVIDIA_GDS", "NVIDIA_NVSWITCH", "NVIDIA_IMEX_CHANNELS", "CUDA_MPS_PIPE_DIRECTORY"),
    *("DOCKER_RESOURCE_GPU", "OURS"),
    *("NVIDIA_CTK_LIBCUDA_DIR", "LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES2", "nvidia_visible_devices"),
]
_PATHS = [
    *(f"/dev/nvidia{n}" for n in (0, 1, 2, 7, 9, 255)),
    *(
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia-modeset",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/nvidia-caps-imex-channels/channel0",
        "/dev/nvidia-fs0",
    ),
    *(
        "/dev/dri/card0",
        "/dev/fuse",
        "/dev/x",
        "/dev//nvidia0",
        "/dev/nvidia00",
        "/dev/../dev/nvidia1",
        "nvidia0",
    ),
]
_NODES = [
    {"path": path, **mode}
    for path in _PATHS
    for mode in ({}, {"fileMode": 438}, {"fileMode": 0}, {"fileMode": None}, {"uid": 1000})
]
_NUMBERS = [
    {"type": kind, "major": major, "minor": minor}
    for kind in ("c", "c", "c", "b", "u", "p", "")
    for major in (195, 195, 195, 511, 1, 226)
    for minor in (0, 1, 2, 3, 7, 9, 195, 254, 255, 511, 234, 226, 2**60, -1)
]
_DEVICES = (st.sampled_from(_NODES), st.sampled_from(_NUMBERS))
_PROGRAMS = [
    *(
        "/usr/bin/nvidia-ctk",
        "/usr/bin/nvidia-cdi-hook",
        "/tmp/nvidia-ctk",
        "/opt/nvidia-ctk",
        "nvidia-cdi-hook",
    ),
    *(
        "/usr/bin/nvidia-container-runtime-hook",
        "/usr/bin/nvidia-container-toolkit",
        "/usr/bin/nvidia-new",
        "/usr/bin/containerd",
        "/bin/sh",
    ),
    "/usr/bin/../bin/nvidia-ctk",
]
_WORDS = [
    *(
        "nvidia-ctk",
        "nvidia-cdi-hook",
        "/usr/bin/nvidia-container-cli",
        "hook",
        "prestart",
        "create-symlinks",
        "update-ldcache",
        "enable-cuda-compat",
    ),
    *(
        "update-application-profile",
        "disable-device-node-modification",
        "chmod",
        "surprise",
        "--link",
        "--folder",
    ),
    *(
        "libcuda.so.1::/usr/lib64/libcuda.so",
        "a::/etc/passwd",
        "/etc/shadow::/x",
        "x::/../y",
        "/usr/lib64",
    ),
    *(
        "--container-spec=/x",
        "--ldconfig-path=/tmp/x",
        "--ldconfig-path",
        "@/sbin/ldconfig",
        "--host-cuda-version=12.4",
    ),
    "libcuda.so.550.163.01::/usr/lib/x86_64-linux-gnu/libcuda.so.1",
    *(
        "--link=libcuda.so.1::/usr/lib64/libcuda.so",
        "--link=/usr/lib64/libcuda.so.570.124.06::/usr/lib64/libcuda.so.1",
        "--link=x::/../y",
        "--folder=/usr/lib64",
        "--ldconfig-path=@/sbin/ldconfig",
        "--csv-filename=/etc/x.csv",
        "--csv-filename=/tmp/../x",
    ),
    *("apply-cuda-memory-limits", "--driver-root=", "--driver-root=/tmp", "make-coffee"),
    *(f"--gpu-id={uuid}" for uuid in (captured_uuid(1), LAB_HOST[0].uuid, LAB_HOST[1].uuid, "1")),
]
_STAGES = [
    *["createContainer"] * 4,
    *("prestart", "createRuntime", "startContainer", "poststart", "poststop"),
]
_MORE_OF_A_HOOK: list[dict[str, Any]] = [
    {},
    {"env": ["NVIDIA_CTK_DEBUG=false"]},
    {"env": ["LD_PRELOAD=/tmp/x"]},
    {"timeout": 5},
]
_HOOKS = st.sampled_from(
    [
        (stage, {"path": program, "args": words, **more})
        for stage in _STAGES
        for program in _PROGRAMS
        for words in ([], ["nvidia-ctk", "hook"], ["containerd", "oci-hook", "--"])
        for more in _MORE_OF_A_HOOK
    ]
)
_SOURCES = [
    *(
        "/run/nvidia-persistenced/socket",
        "/tmp/nvidia-mps",
        "/dev/null",
        "/etc/shadow",
        "/home/x",
        "tmpfs",
    ),
    *("/usr/lib64/libcuda.so.570.124.06", "/usr/lib64/libnvidia-ml.so.570.124.06", "/dev/nvidia0"),
    *("/", "/dev", "//."),
]
_DESTINATIONS = [
    *(
        "/run/nvidia-persistenced/socket",
        "/data",
        "/usr/lib64/libcuda.so.1",
        "/usr/lib64/libcuda.so.570.124.06",
    ),
    *(
        f"/var/run/nvidia-container-devices/{name}"
        for name in ("0", "all", "5", "imex/0", "MIG-1", "", "void", "cdi/nvidia.com/gpu/0", "/0/")
    ),
    "/var/run/nvidia-container-devices/1",
    *(
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64/libnvidia-ml.so.570.124.06",
    ),
    *("/", "/dev", "//dev/.", "/x/../dev/nvidia1", "/dev/nvidia0/", "/dev/nvidiactl", "/dev/shm"),
]
_KINDS_OF_MOUNT: list[dict[str, Any]] = [
    {"options": ["rbind", "rw"]},
    {"type": "bind"},
    {"type": "tmpfs", "options": []},
    {"options": ["ro", "bind"]},
    {"type": "none", "options": ["nodev", "rbind", "dev"]},
    {"type": "bind", "options": ["dev", "nodev"]},
]
_MOUNTS = [
    {"destination": destination, "source": source, **kind}
    for source in _SOURCES
    for destination in _DESTINATIONS
    for kind in _KINDS_OF_MOUNT
]
_ANNOTATIONS = [
    (name, value)
    for name in (
        "dev.gvisor.internal.nvproxy",
        "dev.gvisor.flag.host-uds",
        "dev.gvisor.internal.x",
        "dev.gvisor.spec.x",
        "dev.gvisor.bundle.x",
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri-o.ContainerType",
        "cdi.k8s.io/x",
        "a",
    )
    for value in ("true", "false", "sandbox", "container", "", "all", "nvidia.com/gpu=0")
]
_POD_KEYS = [
    "dev.gvisor.spec.cgroup-parent",
    *(
        f"dev.gvisor.spec.mount.{volume}.{field}"
        for volume in ("data", "gvisorinternaldevshm", "evil", "a.b", "*")
        for field in ("source", "type", "share", "options", "directfs")
    ),
    *("dev.gvisor.flag.network", "dev.gvisor.spec.rootfs.source", "io.kubernetes.cri.sandbox-id"),
    *("io.kubernetes.cri.sandbox-log-directory", "io.kubernetes.cri-o.ContainerType"),
]
_POD_VALUES = [
    *(
        "",
        "true",
        "tmpfs",
        "bind",
        "erofs",
        "pod",
        "container",
        "shared",
        "sandbox",
        "rw",
        "ro,nosuid",
        "rw,dev",
    ),
    *("/evil", "/dev/shm", "/kubepods", "/kubepods/pod1", "/var/log/pods/a_b_c", "x", "../x"),
    "/var/lib/kubelet/pods/c/volumes/kubernetes.io~empty-dir/data",
    "/var/lib/kubelet/pods/c/volumes/kubernetes.io~empty-dir/evil",
]
_JUNK = [None, [], {}, "", "x", 0, True, 2**63, [None], [{}], {"Path": 1}]
_PLACES = [
    *(
        "process",
        "process.env",
        "linux",
        "linux.devices",
        "linux.resources",
        "linux.resources.devices",
        "hooks",
    ),
    *(
        "hooks.createContainer",
        "hooks.prestart",
        "mounts",
        "annotations",
        "root",
        "root.path",
        "Linux",
        "Hooks",
        "process.Env",
        "linux.Devices",
    ),
    *(
        "process.env.0",
        "linux.devices.0",
        "linux.devices.0.minor",
        "linux.devices.4.minor",
        "linux.devices.5.minor",
        "mounts.0.options",
        "hooks.createContainer.0.args",
    ),
    *("unknown", "linux.unknown", "hooks.unknown"),
]


def _each(name: str, *tables: Sequence[Any]) -> st.SearchStrategy[Any]:
    """A mutation whose value is one out of each table."""
    return st.sampled_from([(name, *values) for values in itertools.product(*tables)])


MUTATIONS = st.one_of(
    st.tuples(st.just("ask"), st.lists(st.sampled_from(VALUES), max_size=5)),
    _each("env", _NAMES, VALUES),
    st.tuples(st.just("device"), *_DEVICES),
    st.tuples(st.just("device first"), *_DEVICES),
    _each("device is", range(13), _NUMBERS),
    _each("no device", range(13)),
    st.tuples(st.just("hook"), _HOOKS, st.lists(st.sampled_from(_WORDS), max_size=6)),
    _each("hook is", range(6), [{"path": path} for path in _PROGRAMS] + _MORE_OF_A_HOOK),
    _each("hook word", range(6), _WORDS),
    _each("hook moved", range(6), _STAGES),
    _each("no hook", range(6)),
    st.just(("no hooks",)),
    _each("privileged", ["", "a"], [False, True]),
    _each("other form", ["/usr/bin/nvidia-cdi-hook", "/usr/bin/nvidia-ctk"]),
    _each("mount", _MOUNTS),
    _each("mount is", range(10, 30), [{"source": source} for source in _SOURCES] + _KINDS_OF_MOUNT),
    st.tuples(st.just("annotations"), st.lists(st.sampled_from(_ANNOTATIONS), max_size=3)),
    _each("set", _PLACES, _JUNK),
    _each("unset", _PLACES),
)

SPECS = st.tuples(st.sampled_from(list(BASES)), st.lists(MUTATIONS, max_size=5))
"""The name of a captured spec, and what is done to it: a failure shows these, not the whole spec."""

POD_SPECS = st.tuples(
    st.sampled_from(list(POD_BASES)),
    st.lists(
        st.one_of(
            MUTATIONS,
            _each("annotation", _POD_KEYS, _POD_VALUES),
            _each("cgroup", ["", "/x", "/kubepods/pod1/x", "pod1.slice:cri:x", "a//pod1/../pod2/./x"]),
            _each("privileged", ["", "a"], [False, True]),
        ),
        max_size=5,
    ),
)
"""The same of a pod's containers, as gVisor's shim left them."""


def build(drawn: tuple[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """The spec that was drawn."""
    base, mutations = drawn
    spec: dict[str, Any] = marshal.loads(_EVERY_BASE[base])
    for name, *values in mutations:
        try:
            # A copy, as a later mutation may change what this one puts there.
            _WAYS[name](spec, *copy.deepcopy(values))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            continue  # An earlier mutation took away what this one changes.
    return spec


def _ask(spec: dict[str, Any], values: list[str]) -> None:
    kept = [entry for entry in spec["process"]["env"] if not entry.startswith("NVIDIA_VISIBLE_DEVICES=")]
    spec["process"]["env"] = kept + [f"NVIDIA_VISIBLE_DEVICES={value}" for value in values]


def _device(spec: dict[str, Any], node: dict[str, Any], numbers: dict[str, Any]) -> None:
    spec["linux"].setdefault("devices", []).append({**node, **numbers})


def _device_first(spec: dict[str, Any], node: dict[str, Any], numbers: dict[str, Any]) -> None:
    spec["linux"].setdefault("devices", []).insert(0, {**node, **numbers})


def _hook(spec: dict[str, Any], drawn: tuple[str, dict[str, Any]], words: list[str]) -> None:
    stage, hook = drawn
    spec["hooks"].setdefault(stage, []).append({**hook, "args": [*hook["args"], *words]})


def _hook_moved(spec: dict[str, Any], place: int, stage: str) -> None:
    hook = spec["hooks"]["createContainer"].pop(place)
    spec["hooks"].setdefault(stage, []).append(hook)


def _privileged(spec: dict[str, Any], kind: str, are_first: bool) -> None:
    """As containerd does it: the host's nodes and one rule, then CDI, which moves its own to the end."""
    names = [f"nvidia{minor}" for minor in range(8)]
    numbers = {name: (195, minor) for minor, name in enumerate(names)}
    numbers |= {"nvidiactl": (195, 255), "nvidia-uvm": (511, 0), "nvidia-modeset": (195, 254), "null": (1, 3)}
    given = spec["linux"].get("devices") or []
    nodes = [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 438}
        for name, (major, minor) in numbers.items()
        if are_first or f"/dev/{name}" not in [device["path"] for device in given]
    ]
    # A plugin's nodes are there before the host's, and their rules are lost.
    spec["linux"]["devices"] = [*given, *nodes] if are_first else [*nodes, *given]
    rules = spec["linux"]["resources"].get("devices") or []
    rule = {"allow": True, **({"type": kind} if kind else {}), "access": "rwm"}
    spec["linux"]["resources"]["devices"] = [rule, *([] if are_first else rules[1:])]


def in_the_other_form(spec: dict[str, Any], path: str) -> dict[str, Any]:
    """The createContainer hooks rewritten as nvidia-ctk.path = `path` makes the toolkit write them."""
    fixed = ["nvidia-ctk", "hook"] if path.endswith("nvidia-ctk") else ["nvidia-cdi-hook"]
    for hook in spec["hooks"]["createContainer"]:
        skip = 2 if hook["path"].endswith("nvidia-ctk") else 1
        hook.update(path=path, args=[*fixed, *hook["args"][skip:]])
    return spec


def _at(spec: dict[str, Any], place: str) -> tuple[Any, Any]:
    """The object or list that a dotted path leads into, and the last key."""
    *parents, last = place.split(".")
    here: Any = spec
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    return here, int(last) if isinstance(here, list) else last


def _set(spec: dict[str, Any], place: str, value: Any) -> None:
    here, key = _at(spec, place)
    here[key] = value


def _unset(spec: dict[str, Any], place: str) -> None:
    here, key = _at(spec, place)
    del here[key]


_WAYS: dict[str, Callable[..., Any]] = {
    "ask": _ask,
    "env": lambda spec, name, value: spec["process"]["env"].append(f"{name}={value}"),
    "device": _device,
    "device first": _device_first,
    "device is": lambda spec, place, numbers: spec["linux"]["devices"][place].update(numbers),
    "no device": lambda spec, place: spec["linux"]["devices"].pop(place),
    "hook": _hook,
    "hook is": lambda spec, place, more: spec["hooks"]["createContainer"][place].update(more),
    "hook word": lambda spec, place, word: spec["hooks"]["createContainer"][place]["args"].append(word),
    "hook moved": _hook_moved,
    "no hook": lambda spec, place: spec["hooks"]["createContainer"].pop(place),
    "other form": in_the_other_form,
    "no hooks": lambda spec: spec["hooks"].pop("createContainer"),
    "mount": lambda spec, mount: spec["mounts"].append(mount),
    "mount is": lambda spec, place, more: spec["mounts"][place].update(more),
    "annotations": lambda spec, annotations: spec.update(annotations=dict(annotations)),
    "annotation": lambda spec, name, value: spec["annotations"].update({name: value}),
    "cgroup": lambda spec, path: spec["linux"].update(cgroupsPath=path),
    "privileged": _privileged,
    "set": _set,
    "unset": _unset,
}
