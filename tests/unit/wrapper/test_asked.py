"""asked.*: what is asked for beside GPUs and not given is refused or said, whatever the class of the spec."""

import copy
import json

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import features
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.rules.asked import CAPABILITIES, FEATURES
from nvproxy_wrapper.judge.settings import parse_settings
from tests.driver_tree import CAPTURED_HOST, write_driver_tree
from tests.unit.wrapper.specs import (
    CDI,
    CSV,
    JIT,
    LEGACY,
    PLAIN,
    asked_by_mounts,
    asking,
    captured,
    judge,
    node,
)

VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
EVERY_CLASS = {"csv": CSV, "jit-cdi": JIT, "cdi": CDI, "legacy": LEGACY}
DEVICE_PLUGIN = {
    "process": {"env": []},
    "linux": {
        "devices": [
            node("/dev/nvidiactl", minor=255),
            node("/dev/nvidia-uvm", 511),
            node("/dev/nvidia1", minor=1),
        ]
    },
}


def base(name):
    return copy.deepcopy(DEVICE_PLUGIN) if name == "device-plugin" else captured(EVERY_CLASS[name])


def with_env(spec, *entries):
    spec["process"]["env"] = [*spec["process"]["env"], *entries]
    return spec


def bind(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", *options]}


def outcome(decision):
    """The rule that refuses, what is warned of, or "silence"."""
    if decision.refusal:
        return decision.refusal.rule
    return [warning.asked for warning in decision.warnings] or "silence"


REFUSED, WARNED, SILENT = "refused", "warned", "silent"


@pytest.mark.parametrize("spec_class", [*EVERY_CLASS, "device-plugin"])
@pytest.mark.parametrize(
    ("asked", "allowed", "becomes"),
    [
        (None, None, SILENT),
        ("", None, SILENT),
        ("all", None, SILENT),
        ("compute,utility", None, SILENT),
        ("utility", None, SILENT),
        (" compute , utility ", None, SILENT),
        ("compute,utility,video", None, WARNED),
        ("compute,graphics", None, WARNED),
        ("utility,profiling", None, WARNED),
        ("utility,nonsense", None, WARNED),
        ("all,video", None, WARNED),
        ("video", None, REFUSED),
        ("utility,video", None, REFUSED),
        ("graphics,display", None, REFUSED),
        ("profiling", None, REFUSED),
        ("nonsense", None, REFUSED),
        ("compute,utility,video", ["compute", "utility", "video"], SILENT),
        ("video", ["compute", "utility", "video"], SILENT),
        ("all", ["video"], SILENT),
        ("utility,compute", ["utility"], REFUSED),
        ("utility,compute", ["compute"], WARNED),
        # Nothing is said: NVIDIA's default of the two is meant.
        (None, ["compute"], SILENT),
        (None, ["graphics"], WARNED),
        (None, [], REFUSED),
        ("all", [], REFUSED),
    ],
)
def test_a_capability_that_is_not_allowed_is_said_in_every_class(spec_class, asked, allowed, becomes, host):
    spec = base(spec_class)
    env = [entry for entry in spec["process"]["env"] if not entry.startswith(("CUDA_VERSION=", VARIABLE))]
    spec["process"]["env"] = env if asked is None else [*env, f"{VARIABLE}={asked}"]
    settings = {} if allowed is None else {"allowed_capabilities": allowed}
    decision = judge(spec, host, **settings)
    assert decision.spec_class == spec_class
    if becomes == REFUSED:
        assert decision.refusal.rule == "asked.capabilities"
        assert "allowed_capabilities" in decision.refusal.remedy
        said = decision.refusal.sentence()
    else:
        assert decision.refusal is None
        assert bool(decision.warnings) == (becomes == WARNED)
        said = "".join(warning.sentence() for warning in decision.warnings)
    missing = {word.strip() for word in (asked or "").split(",")} - {
        "",
        "all",
        *(allowed or ("compute", "utility")),
    }
    if becomes != SILENT:
        assert all(word in said for word in missing)


def test_of_several_values_the_last_one_asks(host):
    spec = with_env(captured(JIT), f"{VARIABLE}=video", f"{VARIABLE}=utility")
    assert outcome(judge(spec, host)) == "silence"


def test_what_runsc_has_not_is_not_advised(host):
    spec = with_env(captured(JIT), f"{VARIABLE}=compute,video,display")
    (warning,) = judge(spec, host).warnings
    assert "add video to allowed_capabilities" in warning.remedy
    (warning,) = judge(spec, host, runsc_capabilities=["compute", "utility"]).warnings
    assert "the installed runsc has no more" in warning.remedy


def test_legacy_mode_is_clipped_and_says_it_once(host):
    decision = judge(with_env(captured(LEGACY), f"{VARIABLE}=video,compute"), host)
    assert [action.what for action in decision.actions if "capab" in action.rule] == [
        "video,compute -> compute"
    ]
    assert len(decision.warnings) == 1


# Requests for features, of each kind: what a spec gets added, and what is said.
NODES = {
    "imex": node("/dev/nvidia-caps-imex-channels/channel0", 508),
    "gds": node("/dev/nvidia-fs0", 240),
    "gdrcopy": node("/dev/gdrdrv", 239),
    "rdma": node("/dev/infiniband/uverbs0", 231, 192),
    "nvswitch": node("/dev/nvidia-nvswitch1", 234, 1),
    "mig": node("/dev/nvidia-caps/nvidia-cap2", 235, 2),
}


@pytest.mark.parametrize("spec_class", EVERY_CLASS)
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("NVIDIA_IMEX_CHANNELS=0", "IMEX channels"),
        ("NVIDIA_IMEX_CHANNELS=0,channel1", "IMEX channels"),
        ("NVIDIA_IMEX_CHANNELS=", None),
        ("NVIDIA_IMEX_CHANNELS=void", None),
        ("NVIDIA_GDS=enabled", "GPUDirect Storage"),
        ("NVIDIA_GDS=disabled", None),
        # No other word does in the toolkit.
        ("NVIDIA_GDS=1", None),
        ("NVIDIA_GDRCOPY=enabled", "GDRCopy"),
        ("NVIDIA_GDRCOPY=Enabled", None),
        ("NVIDIA_MOFED=enabled", "RDMA"),
        ("NVIDIA_NVSWITCH=enabled", "NVSwitches"),
        ("NVIDIA_MIG_CONFIG_DEVICES=all", "MIG management"),
        ("NVIDIA_MIG_MONITOR_DEVICES=all", "MIG management"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50", "MPS"),
        ("CUDA_MPS_PIPE_DIRECTORY=/tmp/mine", "MPS"),
        ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=2G", "MPS"),
        ("CUDA_VISIBLE_DEVICES=0", None),
    ],
)
def test_a_feature_that_a_variable_asks_for_is_said_and_the_container_starts(spec_class, entry, said, host):
    decision = judge(with_env(base(spec_class), entry), host)
    assert decision.refusal is None
    assert decision.gpus == [1]
    assert outcome(decision) == ([f"{said} ({entry})"] if said else "silence")
    assert judge(with_env(captured(PLAIN), entry), host).warnings == [], "nobody asks without a GPU"


@pytest.mark.parametrize("name", NODES)
def test_a_feature_that_a_node_asks_for_is_said_once_beside_the_variable(name, host):
    spec = captured(JIT)
    spec["linux"]["devices"].append(NODES[name])
    (alone,) = judge(spec, host).warnings
    assert NODES[name]["path"] in alone.asked
    switches = {
        "imex": "NVIDIA_IMEX_CHANNELS=0",
        "rdma": "NVIDIA_MOFED=enabled",
        "mig": "NVIDIA_MIG_CONFIG_DEVICES=all",
    }
    entry = switches.get(name, f"NVIDIA_{name.upper()}=enabled")
    (both,) = judge(with_env(spec, entry), host).warnings
    assert (NODES[name]["path"] in both.asked, entry in both.asked) == (True, True)


def test_channels_are_also_asked_for_by_mounts(host):
    (warning,) = judge(asked_by_mounts(captured(JIT), "imex/0", "imex/7"), host).warnings
    assert "imex/0, " in warning.asked
    assert "imex/7)" in warning.asked
    assert judge(asked_by_mounts(captured(PLAIN), "imex/0"), host).warnings == []


@pytest.mark.parametrize("name", ["gds", "imex", "nvswitch", "mig"])
def test_nodes_of_a_feature_without_a_gpu_are_refused_and_the_sentence_says_of_what(name, host):
    spec = {"process": {"env": []}, "linux": {"devices": [NODES[name]]}}
    refusal = judge(spec, host).refusal
    assert refusal.rule == "asked.features"
    assert NODES[name]["path"] in refusal.message
    assert "gVisor" in refusal.message
    spec["linux"]["devices"].append(node("/dev/nvidia3", minor=3))
    assert judge(spec, host).refusal.rule == "spec.class", "a GPU without its control node is another fault"


@pytest.mark.parametrize("entry", ["NVIDIA_NVSWITCH=enabled", "NVIDIA_MIG_CONFIG_DEVICES=all"])
@pytest.mark.parametrize("spec_class", ["csv", "legacy"])
def test_what_is_for_the_switches_alone_is_refused(spec_class, entry, host):
    spec = with_env(asking(base(spec_class), "none", *(["void"] if spec_class == "csv" else [])), entry)
    assert outcome(judge(spec, host)) == "asked.features"
    assert outcome(judge(asking(spec, "none"), host)) == "asked.features"


def test_control_nodes_with_switches_and_no_gpu_are_refused(host):
    spec = copy.deepcopy(DEVICE_PLUGIN)
    spec["linux"]["devices"][2] = NODES["nvswitch"]
    assert outcome(judge(spec, host)) == "asked.features"


def test_the_gpus_that_a_privileged_container_has_by_that_alone_are_none_beside_its_switches(host):
    spec = with_env(asking(base("legacy")), "NVIDIA_NVSWITCH=enabled")
    spec["linux"]["devices"] = [
        node("/dev/nvidia0"),
        node("/dev/nvidiactl", minor=255),
        node("/dev/nvidia-uvm", 511),
    ]
    spec["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    assert outcome(judge(spec, host)) == "asked.features"


PIPE = "CUDA_MPS_PIPE_DIRECTORY=/mps/nvidia.com/gpu/pipe"


@pytest.mark.parametrize(
    ("entries", "mounts", "becomes"),
    [
        ([PIPE], [bind("/run/nvidia/mps", "/mps")], REFUSED),
        ([PIPE], [bind("/run/nvidia/mps/gpu/pipe", "/mps/nvidia.com/gpu/pipe")], REFUSED),
        ([PIPE], [bind("/data", "/srv")], WARNED),
        ([], [bind("/tmp/nvidia-mps", "/tmp/nvidia-mps")], REFUSED),
        ([], [bind("/run/pipes", "/tmp/nvidia-mps/")], REFUSED),
        # The toolkit's own, which nobody asked for.
        ([], [bind("/tmp/nvidia-mps", "/tmp/nvidia-mps", "nosuid", "nodev", "noexec")], SILENT),
        (
            ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50"],
            [bind("/tmp/nvidia-mps", "/tmp/nvidia-mps", "nosuid", "nodev", "noexec")],
            REFUSED,
        ),
        ([], [bind("/scratch", "/tmp")], SILENT),
        (["CUDA_MPS_LOG_DIRECTORY=/x"], [bind("/scratch", "/tmp")], WARNED),
        ([], [bind("/usr/bin/nvidia-cuda-mps-control", "/usr/bin/nvidia-cuda-mps-control")], SILENT),
    ],
)
def test_with_the_hosts_mps_in_reach_it_is_refused_and_else_said(entries, mounts, becomes, host):
    spec = with_env(captured(JIT), *entries)
    spec["mounts"] += mounts
    decision = judge(spec, host)
    assert (decision.refusal is not None) == (becomes == REFUSED)
    assert bool(decision.warnings) == (becomes == WARNED)
    if becomes == REFUSED:
        assert decision.refusal.rule == "asked.features"
        assert "EXCLUSIVE_PROCESS" in decision.refusal.message


@pytest.mark.parametrize(
    ("arguments", "nodes", "is_served"),
    [
        (["--rdmaproxy"], ["rdma"], True),
        (["-rdmaproxy=true"], ["rdma"], True),
        (["--rdmaproxy", "--rdmaproxy=false"], ["rdma"], False),
        (["--rdmaproxy"], [], False),
        ([], ["rdma"], False),
    ],
)
def test_rdma_is_served_by_a_runsc_that_is_told_to(arguments, nodes, is_served, host):
    spec = with_env(captured(JIT), "NVIDIA_MOFED=enabled")
    spec["linux"]["devices"] += [NODES[name] for name in nodes]
    assert (judge(spec, host, runsc_args=arguments).warnings == []) == is_served


def test_the_first_look_misses_nothing_that_the_rule_would_say(host):
    """It is what decides whether the rule's module is imported at all."""
    requests = [
        *(
            ({"env": [f"{name}=enabled"]})
            for name in ("NVIDIA_GDS", "NVIDIA_GDRCOPY", "NVIDIA_MOFED", "NVIDIA_NVSWITCH")
        ),
        *({"env": [entry]} for entry in ("NVIDIA_IMEX_CHANNELS=0", "NVIDIA_MIG_CONFIG_DEVICES=all", PIPE)),
        *({"devices": [one]} for one in NODES.values()),
    ]
    for request in requests:
        spec = captured(JIT)
        spec["process"]["env"] += request.get("env", [])
        spec["linux"]["devices"] += request.get("devices", [])
        assert judge(spec, host).warnings, request


def test_a_plain_gpu_container_passes_the_first_look(host):
    seen = []
    look = features.may_be_asked

    def watched(*arguments):
        seen.append(look(*arguments))
        return seen[-1]

    features.may_be_asked = watched
    try:
        for name in EVERY_CLASS.values():
            judge(captured(name), host)
    finally:
        features.may_be_asked = look
    assert seen == [False] * len(EVERY_CLASS)


def test_a_strangers_words_are_shown_without_power_and_not_whole(host):
    spec = with_env(captured(JIT), f"{VARIABLE}=compute,\x1b[31m\n,{'x' * 9999}{',y' * 999}")
    spec = with_env(spec, "NVIDIA_IMEX_CHANNELS=0\r\x1b]0;")
    decision = judge(spec, host)
    assert len(decision.warnings) == 2
    for warning in decision.warnings:
        assert warning.sentence().isprintable()
        assert len(warning.sentence()) < 2000


def test_a_refusal_by_another_rule_keeps_what_was_said(host):
    spec = with_env(asking(captured(CSV), "9", "void"), "NVIDIA_GDS=enabled")
    decision = judge(spec, host)
    assert decision.refusal.rule == "devices.scope"
    assert [warning.asked for warning in decision.warnings] == ["GPUDirect Storage (NVIDIA_GDS=enabled)"]


def test_every_row_of_the_tables_says_all_that_it_has_to():
    assert all(capability.fails for capability in CAPABILITIES.values())
    for feature in FEATURES:
        assert all(getattr(feature, name) for name in feature.__slots__)
        assert feature.answer.startswith("warning")


def host_with(tmp_path, *capabilities):
    root = write_driver_tree(tmp_path, CAPTURED_HOST)
    (root / "capabilities").mkdir()
    for name in capabilities:
        (root / "capabilities" / name).write_text("DeviceFileMinor: 3\n")
    return ProcDriverView(str(root))


IMEX = {"allowed_capabilities": ["compute", "utility", "fabric-imex-mgmt"]}


def test_a_capability_that_the_installed_runsc_does_not_take_refuses_gpu_containers(host):
    settings = {"allowed_capabilities": ["compute", "rdma"], "runsc_capabilities": ["compute", "utility"]}
    refusal = judge(captured(JIT), host, **settings).refusal
    assert refusal.rule == "settings"
    assert "rdma" in refusal.message
    assert judge(captured(PLAIN), host, **settings).refusal is None
    # One without the flag is told nothing.
    assert judge(captured(JIT), host, runsc_flags=["nvproxy"], **settings).runsc_flags == ["--nvproxy"]


def test_a_capability_of_the_host_is_looked_for_in_its_driver(tmp_path, host):
    lacks = host_with(tmp_path / "lacks", "mig")
    refusal = judge(captured(JIT), lacks, **IMEX).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("settings", True)
    assert "fabric-imex-mgmt" in refusal.message
    assert judge(captured(JIT), lacks).refusal is None
    has = host_with(tmp_path / "has", "mig", "fabric-imex-mgmt")
    assert judge(captured(JIT), has, **IMEX).runsc_flags[1].endswith("=compute,utility,fabric-imex-mgmt")
    # This host has no such directory, so that nobody can tell.
    assert judge(captured(JIT), host, **IMEX).refusal is None


def test_a_pod_without_a_gpu_starts_though_a_capability_cannot_be_used(tmp_path):
    spec = {"annotations": {"io.kubernetes.cri.container-type": "sandbox"}, "process": {"env": []}}
    settings = {"allowed_capabilities": ["compute", "utility", "rdma", "fabric-imex-mgmt"]}
    settings["runsc_capabilities"] = ["compute", "utility", "fabric-imex-mgmt"]
    decision = decide(spec, parse_settings(json.dumps(settings).encode(), "x"), host_with(tmp_path))
    assert (decision.refusal, decision.runsc_flags) == (None, ["--nvproxy"])


def test_the_nodes_that_a_privileged_container_has_by_that_alone_ask_for_nothing():
    spec = base("device-plugin")
    extra = [node("/dev/nvidia-nvswitchctl", 511), node("/dev/nvidia-caps/nvidia-cap1", 510, 1)]
    spec["linux"]["devices"] += extra
    assert outcome(judge(spec)) != "silence"
    spec["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    assert outcome(judge(spec)) == "silence"
