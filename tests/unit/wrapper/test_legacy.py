"""legacy.*: what would fail late is said early, and nothing else changes."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from tests.unit.wrapper.specs import (
    LEGACY,
    NO_DRIVER,
    asked_by_mounts,
    asking,
    captured,
    hook,
    judge,
    node,
    rules_of,
)

CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"


class WithoutCli(ProcDriverView):
    def has_program(self, name):
        return name != "nvidia-container-cli"


def with_capabilities(*values):
    spec = captured(LEGACY)
    spec["process"]["env"] += [f"{CAPABILITIES}={value}" for value in values]
    return spec


def capabilities_of(decision):
    return [e.partition("=")[2] for e in decision.spec["process"]["env"] if e.startswith(f"{CAPABILITIES}=")]


def test_of_several_values_the_last_one_is_left():
    decision = judge(asking(captured(LEGACY), "all", "0", "1"))
    assert [e for e in decision.spec["process"]["env"] if "VISIBLE" in e] == ["NVIDIA_VISIBLE_DEVICES=1"]
    assert decision.requested == ["1"]


def test_also_where_the_last_one_asks_for_nothing():
    decision = judge(asking(captured(LEGACY), "all", "void"))
    assert not decision.gpu_requested
    assert [e for e in decision.spec["process"]["env"] if "VISIBLE" in e] == ["NVIDIA_VISIBLE_DEVICES=void"]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("compute,utility", "compute,utility"),
        ("utility", "utility"),
        ("", ""),
        ("all", "utility,compute"),
        ("compute,graphics,display,utility", "compute,utility"),
        (" compute , video ", "compute"),
        ("nonsense,utility", "utility"),
    ],
)
def test_capabilities_are_clipped_to_what_is_allowed(asked, left):
    assert capabilities_of(judge(with_capabilities(asked))) == [left]


def test_more_capabilities_are_allowed_by_the_settings():
    allowed = {"allowed_capabilities": ["compute", "utility", "graphics"]}
    assert capabilities_of(judge(with_capabilities("graphics,video"), **allowed)) == ["graphics"]


def test_capabilities_of_which_none_is_allowed_are_refused():
    assert judge(with_capabilities("graphics,video")).refusal.rule == "asked.capabilities"


def test_capabilities_given_twice_are_given_once():
    assert capabilities_of(judge(with_capabilities("all", "utility"))) == ["utility"]


@pytest.mark.parametrize("name", ["MIG-4d4f434b-0000-0000-0000-000000000001", "0:1", "1,MIG-x"])
def test_a_mig_device_is_refused(name):
    decision = judge(asking(captured(LEGACY), name))
    assert decision.refusal.rule == "legacy.mig"


def test_a_host_without_nvidia_container_cli_refuses_at_create_time_and_plain_containers_go_on():
    host = WithoutCli("/nonexistent")
    assert judge(captured(LEGACY), host).refusal.rule == "legacy.cli"
    assert judge(captured("1.20.0_legacy_no-gpu"), host).refusal is None
    assert judge(asking(captured("1.20.0_jit-cdi_visible-0"), "void"), host).refusal is None


def test_the_trigger_stays_and_other_hooks_are_judged_as_everywhere():
    spec = captured(LEGACY)
    good = hook("/usr/bin/nvidia-ctk", "hook", "update-ldcache", "--folder", "/usr/lib64")
    spec["hooks"]["createContainer"] = [good, hook("/tmp/nvidia-ctk", "hook", "update-ldcache")]
    decision = judge(spec)
    assert decision.spec_class == "legacy"
    assert decision.spec["hooks"] == {**spec["hooks"], "createContainer": [good]}


TRIGGER = {
    "path": "/usr/bin/nvidia-container-runtime-hook",
    "args": ["nvidia-container-runtime-hook", "prestart"],
}
OPERATORS = {
    "path": "/usr/local/nvidia/toolkit/nvidia-container-runtime-hook",
    "args": ["nvidia-container-runtime-hook", "prestart"],
}
# As the toolkit writes it up to 1.13 (internal/modifier/stable.go), and as dockerd does for --gpus.
WHOLE_PATH = {**TRIGGER, "args": [TRIGGER["path"], "prestart"]}
DOCKERS = {**TRIGGER, "env": ["PATH=/usr/bin", "LD_PRELOAD=of dockerd's own"]}
NO_TRIGGERS = [
    ("prestart", {"path": path, "args": args})
    for path, args in [
        # oci-nvidia-hook.json of toolkit 1.10, and the script of its packages before.
        ("/usr/bin/nvidia-container-toolkit", ["nvidia-container-toolkit", "prestart"]),
        ("/usr/local/nvidia/toolkit/nvidia-container-toolkit", ["nvidia-container-toolkit", "prestart"]),
        ("/tmp/evil/nvidia-container-toolkit", ["x", "--whatever"]),
        ("nvidia-container-toolkit", []),
        ("/usr/libexec/oci/hooks.d/oci-nvidia-hook", ["oci-nvidia-hook", "prestart"]),
        ("/tmp/nvidia-container-runtime-hook", ["nvidia-container-runtime-hook", "prestart"]),
        ("/usr/bin/../bin/nvidia-container-runtime-hook", ["nvidia-container-runtime-hook", "prestart"]),
        ("/usr/bin//nvidia-container-runtime-hook", ["nvidia-container-runtime-hook", "prestart"]),
        ("nvidia-container-runtime-hook", ["nvidia-container-runtime-hook", "prestart"]),
        (TRIGGER["path"], ["nvidia-container-runtime-hook", "poststop"]),
        (TRIGGER["path"], ["nvidia-container-runtime-hook", "-debug", "prestart"]),
        (TRIGGER["path"], ["nvidia-container-runtime-hook", "prestart", "more"]),
        (TRIGGER["path"], ["sh", "prestart"]),
        (TRIGGER["path"], ["/tmp/nvidia-container-runtime-hook", "prestart"]),
        (TRIGGER["path"], []),
    ]
] + [
    (stage, hook)
    for stage in ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    for hook in (TRIGGER, {"path": "/usr/bin/nvidia-container-toolkit", "args": ["x", "prestart"]})
]


def with_hook(spec, stage, item):
    """The spec with this hook for the toolkit's own, at its place."""
    others = [one for one in spec["hooks"]["prestart"] if "nvidia" not in one["path"]]
    spec["hooks"] = {"prestart": others}
    spec["hooks"].setdefault(stage, []).append(item)
    return spec


@pytest.mark.parametrize("item", [TRIGGER, WHOLE_PATH, DOCKERS], ids=["now", "up to 1.13", "dockerd's"])
def test_the_hook_that_the_toolkit_writes_is_the_trigger_and_stays(item):
    for values in (("1",), ("void",), ()):
        spec = asking(with_hook(captured(LEGACY), "prestart", item), *values)
        decision = judge(spec)
        assert (decision.spec_class, decision.refusal) == ("legacy", None)
        assert decision.spec["hooks"] == spec["hooks"]


def test_nvidias_programs_in_another_directory_are_trusted_by_the_setting_and_the_hook_is_with_them():
    spec = with_hook(captured(LEGACY), "prestart", OPERATORS)
    refusal = judge(spec).refusal
    assert (refusal.rule, "trusted_hooks" in refusal.remedy) == ("legacy.hook", True)
    decision = judge(spec, trusted_hooks=["/usr/local/nvidia/toolkit/nvidia-ctk"])
    assert (decision.refusal, decision.spec["hooks"]) == (None, spec["hooks"])
    assert judge(captured(LEGACY), trusted_hooks=["/usr/local/nvidia/toolkit/nvidia-ctk"]).refusal is None


@pytest.mark.parametrize(("stage", "item"), NO_TRIGGERS)
@pytest.mark.parametrize("value", ["1", "all", "none"])
def test_a_gpu_that_only_another_hook_stands_for_is_refused(stage, item, value):
    spec = asking(with_hook(captured(LEGACY), stage, item), value)
    decision = judge(spec)
    assert (decision.spec_class, decision.gpu_requested) == ("legacy", True)
    assert decision.refusal.rule == "legacy.hook"
    assert item["path"] in decision.refusal.message


@pytest.mark.parametrize(("stage", "item"), NO_TRIGGERS)
@pytest.mark.parametrize("values", [("void",), ("",), ()])
def test_where_no_gpu_is_asked_for_another_hook_is_dropped_and_the_container_runs(stage, item, values):
    spec = asking(with_hook(captured(LEGACY), stage, item), *values)
    decision = judge(spec)
    assert (decision.refusal, decision.gpu_requested, decision.runsc_flags) == (None, False, [])
    left = [one["path"] for hooks in decision.spec["hooks"].values() for one in hooks]
    assert left == ["/proc/222/exe"]
    assert "legacy.hook" in rules_of(decision)
    assert not judge(decision.spec).changed


@pytest.mark.parametrize(("stage", "item"), NO_TRIGGERS)
def test_beside_the_trigger_another_hook_is_dropped(stage, item):
    spec = captured(LEGACY)
    spec["hooks"].setdefault(stage, []).append(item)
    decision = judge(spec)
    assert (decision.refusal, decision.gpu_requested) == (None, True)
    assert decision.spec["hooks"] == captured(LEGACY)["hooks"]


@pytest.mark.parametrize(("stage", "item"), NO_TRIGGERS)
def test_where_devices_are_listed_another_hook_is_dropped_at_every_stage(stage, item):
    spec = captured("1.20.0_jit-cdi_visible-all")
    spec["hooks"].setdefault(stage, []).append(item)
    decision = judge(spec)
    assert decision.refusal is None
    assert item not in decision.spec["hooks"].get(stage, [])


def test_another_hook_hides_no_part_of_a_gpu_spec():
    spec = with_hook(captured("1.20.0_legacy_no-gpu"), *NO_TRIGGERS[0])
    part = hook("/usr/bin/nvidia-ctk", "hook", "update-ldcache", "--folder", "/usr/lib64")
    spec["hooks"]["createContainer"] = [part]
    assert judge(spec).refusal.rule == "devices.exist"


def test_another_hook_is_judged_also_where_no_gpu_is_asked_for():
    """In legacy mode every container has the trigger, which must not hide what came along."""
    spec = captured("1.20.0_legacy_no-gpu")
    bad = hook("/tmp/nvidia-ctk", "hook", "update-ldcache")
    spec["hooks"]["createContainer"] = [bad]
    decision = judge(spec)
    assert not decision.gpu_requested
    assert decision.spec["hooks"] == captured("1.20.0_legacy_no-gpu")["hooks"]


def visible(decision):
    return [e.partition("=")[2] for e in decision.spec["process"]["env"] if "VISIBLE" in e]


@pytest.mark.parametrize(
    ("value", "ids", "left"),
    [
        ("all", ["1"], ["1"]),
        ("all", ["GPU-x", "2"], ["GPU-x,2"]),
        ("/var/run/nvidia-container-devices", ["1"], ["1"]),
        ("1", ["all"], ["1"]),
        ("1", ["1"], ["1"]),
        # Alone they are nothing to runsc, and do not become a request that was none.
        ("void", ["1"], ["void"]),
        ("", ["1"], [""]),
    ],
)
def test_volume_mounts_narrow_what_the_variable_asks_for(value, ids, left):
    spec = asked_by_mounts(asking(captured(LEGACY), value), *ids)
    decision = judge(spec)
    assert visible(decision) == left
    assert decision.gpu_requested == (left[0] not in ("", "void"))
    assert not judge(decision.spec).changed


def test_volume_mounts_that_ask_for_other_gpus_are_refused():
    assert judge(asked_by_mounts(asking(captured(LEGACY), "0"), "1")).refusal.rule == "legacy.env"


@pytest.mark.parametrize(
    ("value", "opens"),
    [("0", [7]), ("all", [*range(8)]), ("none", []), ("1,3", [4, 6]), ("void", []), ("9", None)],
)
def test_what_can_be_opened_is_told_though_no_node_is_listed(value, opens, shuffled_host):
    decision = judge(asking(captured(LEGACY), value), shuffled_host)
    assert decision.gpus == opens
    nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{minor}" for minor in opens or [])]
    assert decision.opens == (None if opens is None else nodes if value != "void" else [])


@pytest.mark.parametrize(("value", "opens"), [("0", None), ("all", None), ("none", [])])
def test_where_the_driver_cannot_be_read_nothing_is_claimed(value, opens):
    assert judge(asking(captured(LEGACY), value), NO_DRIVER).gpus == opens


def test_volume_mounts_alone_do_not_ask():
    assert visible(judge(asked_by_mounts(asking(captured(LEGACY)), "1"))) == []


def test_nodes_that_are_not_served_do_not_make_it_two_ways_at_once():
    """NVIDIA_GDS=enabled and its like add them in legacy mode, too."""
    spec = captured(LEGACY)
    spec["linux"]["devices"] = [node("/dev/nvidia-fs0", 240), node("/dev/nvidia-nvswitchctl", 241, 255)]
    decision = judge(spec)
    assert (decision.spec_class, decision.devices, decision.refusal) == ("legacy", [], None)


CONTROL = [
    node("/dev/nvidiactl", 195, 255),
    node("/dev/nvidia-uvm", 511),
    node("/dev/nvidia-modeset", 195, 254),
]


def beside(minors, *values, control=CONTROL):
    """A spec of mode legacy beside which an engine lists these GPUs' nodes: --device, or --privileged."""
    spec = asking(captured(LEGACY), *values)
    spec["linux"]["devices"] = [*(node(f"/dev/nvidia{n}", 195, n) for n in minors), *control]
    return spec


@pytest.mark.parametrize("control", [CONTROL, []])
@pytest.mark.parametrize(
    ("minors", "value"),
    [([6], "1"), ([7, 5], "0,2"), ([5], "GPU-4d4f434b-0000-0000-0000-000000000005"), (range(8), "all")],
)
def test_nodes_that_are_listed_beside_the_hook_go_and_the_hook_brings_gpu_and_libraries(
    control, minors, value, shuffled_host
):
    spec = beside(minors, value, control=control)
    decision = judge(spec, shuffled_host)
    assert (decision.spec_class, decision.refusal, decision.devices) == ("legacy", None, [])
    assert decision.spec["hooks"] == spec["hooks"]
    assert decision.spec["process"]["env"] == spec["process"]["env"]
    assert decision.gpus == sorted(minors)


@pytest.mark.parametrize(("value", "gpus"), [("3", [4]), ("all", list(range(8))), ("none", [])])
def test_where_every_gpu_is_listed_as_for_a_privileged_container_the_request_counts(
    value, gpus, shuffled_host
):
    decision = judge(beside(range(8), value), shuffled_host)
    assert (decision.refusal, decision.devices, decision.gpus) == (None, [], gpus)


def test_of_an_images_all_and_fewer_nodes_the_nodes_count(shuffled_host):
    decision = judge(beside([2, 6], "all"), shuffled_host)
    assert (decision.refusal, decision.gpus) == (None, [2, 6])
    uuids = [f"GPU-4d4f434b-0000-0000-0000-{n:012d}" for n in (6, 2)]
    assert f"NVIDIA_VISIBLE_DEVICES={','.join(uuids)}" in decision.spec["process"]["env"]


@pytest.mark.parametrize(
    ("minors", "value"), [([1], "0"), ([0, 1], "0"), ([0], "0,1"), ([0], "none"), ([77], "all")]
)
def test_nodes_and_a_request_that_differ_are_refused(minors, value, host):
    refusal = judge(beside(minors, value), host).refusal
    assert refusal.rule == "legacy.listed"
    assert f"/dev/nvidia{minors[0]}" in refusal.message


def test_which_gpus_are_listed_cannot_be_told_without_the_driver():
    refusal = judge(beside([1], "all"), NO_DRIVER).refusal
    assert refusal.host_prep_may_help
    assert refusal.message.startswith("GPUs are asked for")


@pytest.mark.parametrize("values", [(), ("void",), ("",)])
def test_nodes_beside_a_hook_that_nothing_is_asked_of_are_served_as_they_are(values, host):
    decision = judge(beside([1], *values), host)
    assert (decision.refusal, decision.gpus) == (None, [1])


@pytest.mark.parametrize(
    ("values", "entry", "resources", "left"),
    [
        (("all",), "DOCKER_RESOURCE_GPU=2", [], "2"),
        (("1",), "OURS=2", ["OURS"], "2"),
        (("",), "OURS=2", ["OURS", "OTHER"], "2"),
        ((), "OURS=2", ["OURS"], "2"),
        (("void",), "OURS=2", ["OURS"], "2"),
    ],
)
def test_what_swarm_asks_for_stands_in_the_variable_which_alone_runsc_reads(
    values, entry, resources, left, host
):
    spec = asking(captured(LEGACY), *values)
    spec["process"]["env"].append(entry)
    decision = judge(spec, host, swarm_resources=resources)
    env = decision.spec["process"]["env"]
    assert [one for one in env if "VISIBLE" in one] == [f"NVIDIA_VISIBLE_DEVICES={left}"]
    assert (decision.gpus, decision.gpu_requested) == ([2], True)


def test_two_names_of_one_gpu_in_two_places_are_no_conflict(host):
    uuid = "GPU-4d4f434b-0000-0000-0000-000000000001"
    assert judge(asked_by_mounts(asking(captured(LEGACY), "1"), uuid), host).gpus == [1]
    assert judge(asked_by_mounts(asking(captured(LEGACY), f"1,{uuid}"), "1"), host).requested == ["1"]
    assert judge(asked_by_mounts(asking(captured(LEGACY), "2"), uuid), host).refusal.rule == "legacy.env"
    assert judge(asked_by_mounts(asking(captured(LEGACY), "1"), uuid), NO_DRIVER).refusal.rule == "legacy.env"


def test_an_annotation_asks_the_legacy_hook_for_nothing():
    """nvidia-container-cli knows no name of CDI's; the toolkit reads annotations in mode cdi alone."""
    spec = asking(captured(LEGACY), "all")
    spec["annotations"] = {"cdi.k8s.io/x": "nvidia.com/gpu=0"}
    assert judge(spec).requested == "all"
