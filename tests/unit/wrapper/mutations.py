"""Ways in which a spec may be odd: each is drawn as data and applied to a captured spec."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.driver_tree import captured_uuid
from tests.specs.captured_specs import CAPTURED

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "hooks_run": st.booleans(),
        "drop_update_ldcache": st.booleans(),
        "allow_user_annotations": st.booleans(),
        "toolkit_mode": st.sampled_from(["auto", "csv", "cdi", "jit-cdi", "legacy"]),
        "trusted_hooks": st.sampled_from([[], ["/usr/bin/nvidia-ctk"], ["/opt/nvidia-ctk"]]),
        "allowed_capabilities": st.sampled_from([[], ["compute"], ["compute", "utility", "video"]]),
    },
)


def _bare(path) -> dict[str, Any]:
    # Without its seccomp profile, which is most of it and which no rule looks at.
    spec = json.loads(path.read_bytes())
    del spec["linux"]["seccomp"]
    return spec


BASES = [_bare(captured.path) for captured in CAPTURED]

_VALUES = st.sampled_from(
    [
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
            "nvidia.com/gpu=0",
            "\u0661",
            "01",
            "-1",
        ),
    ]
)
_NAMES = st.sampled_from(
    [
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUDA_VERSION", "NVIDIA_REQUIRE_CUDA"),
        *("NVIDIA_CTK_LIBCUDA_DIR", "LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES2", "nvidia_visible_devices"),
    ]
)
_PATHS = st.sampled_from(
    [
        *(f"/dev/nvidia{n}" for n in (0, 1, 2, 7, 9, 255)),
        *(
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/dev/nvidia-uvm-tools",
            "/dev/nvidia-modeset",
            "/dev/nvidia-caps/nvidia-cap1",
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
)
_NUMBERS = st.sampled_from([0, 1, 2, 3, 7, 9, 195, 254, 255, 511, 234, 226, 2**60, -1])
_DEVICES = st.builds(
    lambda path, kind, major, minor, mode: {
        "path": path,
        "type": kind,
        "major": major,
        "minor": minor,
        **mode,
    },
    _PATHS,
    st.sampled_from(["c", "c", "c", "b", "u", "p", ""]),
    st.sampled_from([195, 195, 195, 511, 1, 226]),
    _NUMBERS,
    st.sampled_from([{}, {"fileMode": 438}, {"fileMode": 0}, {"fileMode": None}, {"uid": 1000}]),
)
_PROGRAMS = st.sampled_from(
    [
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
            "/bin/sh",
        ),
        "/usr/bin/../bin/nvidia-ctk",
    ]
)
_WORDS = st.sampled_from(
    [
        *(
            "nvidia-ctk",
            "nvidia-cdi-hook",
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
    ]
)
_HOOKS = st.builds(
    lambda path, args, env: {"path": path, "args": args, **env},
    _PROGRAMS,
    st.lists(_WORDS, max_size=6)
    | st.builds(lambda words: ["nvidia-ctk", "hook", *words], st.lists(_WORDS, max_size=4)),
    st.sampled_from(
        [{}, {"env": ["NVIDIA_CTK_DEBUG=false"]}, {"env": ["LD_PRELOAD=/tmp/x"]}, {"timeout": 5}]
    ),
)
_STAGES = st.sampled_from(
    ["createContainer"] * 4 + ["prestart", "createRuntime", "startContainer", "poststart", "poststop"]
)
_SOURCES = st.sampled_from(
    [
        *(
            "/run/nvidia-persistenced/socket",
            "/tmp/nvidia-mps",
            "/dev/null",
            "/etc/shadow",
            "/home/x",
            "tmpfs",
        ),
        *("/usr/lib64/libcuda.so.570.124.06", "/usr/lib64/libnvidia-ml.so.570.124.06", "/dev/nvidia0"),
    ]
)
_DESTINATIONS = st.sampled_from(
    [
        *(
            "/run/nvidia-persistenced/socket",
            "/data",
            "/usr/lib64/libcuda.so.1",
            "/usr/lib64/libcuda.so.570.124.06",
        ),
        *(f"/var/run/nvidia-container-devices/{name}" for name in ("0", "all", "5", "imex/0", "MIG-1", "")),
        *(
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64/libnvidia-ml.so.570.124.06",
        ),
    ]
)
_MOUNTS = st.builds(
    lambda source, destination, rest: {"destination": destination, "source": source, **rest},
    _SOURCES,
    _DESTINATIONS,
    st.sampled_from(
        [
            {"options": ["rbind", "rw"]},
            {"type": "bind"},
            {"type": "tmpfs", "options": []},
            {"options": ["ro", "bind"]},
        ]
    ),
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            *(
                "dev.gvisor.internal.nvproxy",
                "dev.gvisor.flag.host-uds",
                "dev.gvisor.internal.x",
                "dev.gvisor.spec.x",
            ),
            *("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType", "cdi.k8s.io/x", "a"),
        ]
    ),
    st.sampled_from(["true", "false", "sandbox", "container", "", "all"]),
    max_size=3,
)
_JUNK = st.sampled_from([None, [], {}, "", "x", 0, True, 2**63, [None], [{}], {"Path": 1}])
_PLACES = st.sampled_from(
    [
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
            "linux.Devices",
        ),
        *(
            "process.env.0",
            "linux.devices.0",
            "linux.devices.0.minor",
            "mounts.0.options",
            "hooks.createContainer.0.args",
        ),
        *("unknown", "linux.unknown", "hooks.unknown"),
    ]
)

MUTATIONS = st.one_of(
    st.tuples(st.just("ask"), st.lists(_VALUES, max_size=5)),
    st.tuples(st.just("env"), st.builds("{}={}".format, _NAMES, _VALUES)),
    st.tuples(st.just("device"), _DEVICES),
    st.tuples(st.just("device first"), _DEVICES),
    st.tuples(st.just("no device"), st.integers(0, 12)),
    st.tuples(st.just("hook"), st.tuples(_STAGES, _HOOKS)),
    st.tuples(st.just("no hook"), st.integers(0, 5)),
    st.tuples(st.just("no hooks"), st.none()),
    st.tuples(st.just("mount"), _MOUNTS),
    st.tuples(st.just("annotations"), _ANNOTATIONS),
    st.tuples(st.just("set"), st.tuples(_PLACES, _JUNK)),
    st.tuples(st.just("unset"), _PLACES),
)

SPECS = st.tuples(st.sampled_from(BASES), st.lists(MUTATIONS, max_size=5))


def build(drawn: tuple[dict[str, Any], list[tuple[str, Any]]]) -> dict[str, Any]:
    """The spec that was drawn."""
    base, mutations = drawn
    spec = copy.deepcopy(base)
    for name, value in mutations:
        try:
            _WAYS[name](spec, copy.deepcopy(value))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            continue  # An earlier mutation took away what this one changes.
    return spec


def _ask(spec: dict[str, Any], values: list[str]) -> None:
    kept = [entry for entry in spec["process"]["env"] if not entry.startswith("NVIDIA_VISIBLE_DEVICES=")]
    spec["process"]["env"] = kept + [f"NVIDIA_VISIBLE_DEVICES={value}" for value in values]


def _at(spec: dict[str, Any], place: str) -> tuple[Any, Any]:
    """The object or list that a dotted path leads into, and the last key."""
    *parents, last = place.split(".")
    here: Any = spec
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    return here, int(last) if isinstance(here, list) else last


def _set(spec: dict[str, Any], drawn: tuple[str, Any]) -> None:
    here, key = _at(spec, drawn[0])
    here[key] = drawn[1]


def _unset(spec: dict[str, Any], place: str) -> None:
    here, key = _at(spec, place)
    del here[key]


_WAYS = {
    "ask": _ask,
    "env": lambda spec, entry: spec["process"]["env"].append(entry),
    "device": lambda spec, device: spec["linux"].setdefault("devices", []).append(device),
    "device first": lambda spec, device: spec["linux"].setdefault("devices", []).insert(0, device),
    "no device": lambda spec, place: spec["linux"]["devices"].pop(place),
    "hook": lambda spec, drawn: spec["hooks"].setdefault(drawn[0], []).append(drawn[1]),
    "no hook": lambda spec, place: spec["hooks"]["createContainer"].pop(place),
    "no hooks": lambda spec, _: spec["hooks"].pop("createContainer"),
    "mount": lambda spec, mount: spec["mounts"].append(mount),
    "annotations": lambda spec, annotations: spec.update(annotations=annotations),
    "set": _set,
    "unset": _unset,
}
