"""devices.scope: which GPUs stay of a list, by whoever it was written."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from tests.driver_tree import TreeGpu, captured_uuid, write_driver_tree
from tests.unit.wrapper.specs import CSV, CSV_ALL, JIT, asking, captured, hook
from tests.unit.wrapper.specs import judge as judged

DISTINCT = (
    TreeGpu("0000:01:00.0", 2, "GPU-aaaa1111-0000-0000-0000-000000000000"),
    TreeGpu("0000:41:00.0", 0, "GPU-aaaa2222-0000-0000-0000-000000000000"),
    TreeGpu("0000:81:00.0", 1, "GPU-bbbb3333-0000-0000-0000-000000000000"),
)

NO_GPUS = ("gds", "gdrcopy", "mofed", "nvswitch", "imex-channel")
"""The classes of NVIDIA's other CDI devices."""


def csv(*values):
    return asking(captured(CSV_ALL), *values, "void")


def judge(spec, host, **given):
    """As on a host of the captured specs' own toolkit, unless something else is given."""
    return judged(spec, host, **{"toolkit_version": "1.20.0", **given})


@pytest.mark.parametrize(
    ("value", "gpus"),
    [
        ("0", [0]),
        ("0,2", [0, 2]),
        ("2, 0", [0, 2]),
        (" 1 , 3 ", [1, 3]),
        ("1,1,1", [1]),
        ("1,", [1]),
        (captured_uuid(3), [3]),
        (captured_uuid(3).lower(), [3]),
        (f"{captured_uuid(0)},2", [0, 2]),
        (f"0,{captured_uuid(0)}", [0]),
        ("nvidia.com/gpu=1", [1]),
        (f"nvidia.com/gpu={captured_uuid(2)}", [2]),
        ("runtime.nvidia.com/gpu=3", [3]),
        ("nvidia.com/gpu=0,runtime.nvidia.com/gpu=0,0", [0]),
        ("k8s.device-plugin.nvidia.com/gpu=1", [1]),
        ("nvidia.com/gpu=gpu2", [2]),
        *((f"nvidia.com/gpu=1,nvidia.com/{kind}=all", [1]) for kind in NO_GPUS),
        ("nvidia.com/gpu=1,nvidia.com/gpu=none", [1]),
        ("nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("management.nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("1,nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("0,all", [0, 1, 2, 3]),
        ("none,0", []),
        ("all,none", [0, 1, 2, 3]),
        ("all", [0, 1, 2, 3]),
        ("none", []),
    ],
)
def test_the_gpus_asked_for_stay(value, gpus, host):
    decision = judge(csv(value), host)
    assert decision.refusal is None
    assert decision.gpus == gpus


@pytest.mark.parametrize("value", ["0", "0,2", "none"])
def test_a_gpu_that_goes_is_told_with_what_was_asked_for(value, host):
    actions = [one for one in judge(csv(value), host).actions if one.rule == "devices.scope"]
    gone = {"0": [1, 2, 3], "0,2": [1, 3], "none": [0, 1, 2, 3]}[value]
    assert sorted(one.target for one in actions) == [f"/dev/nvidia{minor}" for minor in gone]
    assert {(one.what, one.why) for one in actions} == {
        ("removed", f"asked for is {', '.join(value.split(','))}")
    }


def test_csv_under_1_20_that_was_narrowed_oddly_is_put_right(host):
    spec = captured("1.20.0_csv_visible-0")
    assert {d["path"] for d in spec["linux"]["devices"]} >= {"/dev/nvidia0", "/dev/nvidia2", "/dev/nvidia3"}
    assert judge(spec, host).gpus == [0]


def memory_hook(*uuids, program="/usr/bin/nvidia-ctk"):
    fixed = ["hook"] if program.endswith("nvidia-ctk") else []
    ids = [word for uuid in uuids for word in ("--gpu-id", uuid)]
    return hook(program, *fixed, "apply-cuda-memory-limits", "--driver-root", "", *ids)


def with_memory_hooks(spec, *hooks):
    spec["hooks"].setdefault("createRuntime", []).extend(hooks)
    return spec


def listing_only(minor):
    spec = asking(captured(CSV_ALL), "void")
    spec["linux"]["devices"] = [
        one for one in spec["linux"]["devices"] if one["path"][11:] in (str(minor), "ctl", "-uvm")
    ]
    return spec


def test_a_csv_list_stays_whose_every_gpu_was_given_by_itself(host):
    spec = with_memory_hooks(listing_only(1), memory_hook(captured_uuid(1)))
    decision = judge(spec, host)
    assert (decision.spec_class, decision.gpus, decision.refusal) == ("csv", [1], None)
    assert any("apply-cuda-memory-limits" in sentence for sentence in decision.evidence)
    assert "createRuntime" not in decision.spec["hooks"]
    assert not judge(decision.spec, host).changed


@pytest.mark.parametrize(
    "hooks",
    [
        [memory_hook(captured_uuid(0))],
        [memory_hook(captured_uuid(0), captured_uuid(1))],
        [memory_hook("GPU-4d4f434b-0000-0000-0000-00000000000f")],
        [memory_hook("GPU-4d4f434b")],
        [memory_hook("1")],
        [memory_hook(captured_uuid(1), program="/tmp/nvidia-ctk")],
        [{**memory_hook(captured_uuid(1)), "env": ["LD_PRELOAD=/tmp/x.so"]}],
    ],
)
def test_a_hook_that_names_other_gpus_or_is_not_the_toolkits_is_no_evidence(hooks, host):
    assert judge(with_memory_hooks(listing_only(1), *hooks), host).refusal.rule == "devices.scope"


def test_a_hook_for_one_gpu_is_no_evidence_for_a_list_of_several(host):
    spec = with_memory_hooks(asking(captured(CSV_ALL), "void"), memory_hook(captured_uuid(1)))
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_such_a_hook_at_another_stage_is_no_evidence(host):
    spec = listing_only(1)
    spec["hooks"]["createContainer"].append(memory_hook(captured_uuid(1)))
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_what_a_request_says_counts_more_than_such_hooks(host):
    spec = with_memory_hooks(csv("0"), *(memory_hook(captured_uuid(minor)) for minor in range(4)))
    assert judge(spec, host).gpus == [0]


@pytest.mark.parametrize("value", ["0", "3", "0,1", "none", captured_uuid(2)])
@pytest.mark.parametrize("name", [JIT, "1.20.0_cdi_visible-1", "1.17.8_cdi_visible-1"])
def test_a_list_that_another_wrote_is_refused_whichever_way_it_differs(name, value, host):
    """The engine gave GPU 1; the variable, an image's or one that the toolkit has read, says another set."""
    refusal = judge(asking(captured(name), value, "void"), host).refusal
    assert refusal.rule == "devices.scope"
    assert value in refusal.message
    assert "lists /dev/nvidia1" in refusal.message
    assert "-e NVIDIA_VISIBLE_DEVICES=void" in refusal.remedy


@pytest.mark.parametrize(
    "values",
    [(), ("void",), ("all", "void"), ("1", "void"), ("GPU-4d4f434b-0000-0000-0000-000000000001", "void")],
)
@pytest.mark.parametrize("name", [JIT, "1.20.0_cdi_visible-1"])
def test_the_engines_list_stays_where_nothing_else_is_asked_for(name, values, host):
    assert judge(asking(captured(name), *values), host).gpus == [1]


def test_the_one_gpu_of_a_host_does_not_start_for_another_index(tmp_path):
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", DISTINCT[1:2])))
    spec = captured("1.20.0_jit-cdi_visible-0")
    assert judge(asking(spec, "0", "void"), host).gpus == [0]
    assert judge(asking(spec, "3", "void"), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize(
    "name", ["1.20.0_cdi_visible-all", "1.20.0_jit-cdi_visible-all", "1.14.6_cdi_visible-all"]
)
@pytest.mark.parametrize("value", ["1", "0,1,2,3,4,5,6", "none", "x"])
def test_a_list_of_more_gpus_than_were_asked_for_is_nobodys(name, value, host):
    assert (
        judge(asking(captured(name), value, "void"), host, toolkit_mode="cdi").refusal.rule == "devices.scope"
    )


@pytest.mark.parametrize(
    "values", [("void",), ("all", "void"), ("nvidia.com/gpu=all", "void"), ("all,1", "void")]
)
def test_a_list_of_any_length_is_exact_where_no_number_was_asked_for(values, host):
    for name in ("1.20.0_cdi_visible-all", "1.20.0_jit-cdi_visible-all"):
        spec = captured(name)
        decision = judge(asking(spec, *values), host)
        listed = [device["path"] for device in spec["linux"]["devices"]]
        assert decision.gpus == sorted(int(path[11:]) for path in listed if path[11:].isdigit())
        assert decision.refusal is None


def test_the_cgroup_rules_are_narrowed_along(host):
    made = judge(captured(CSV), host).spec
    rules = made["linux"]["resources"]["devices"]
    assert {rule["minor"] for rule in rules if rule.get("major") == 195} == {1, 255}
    assert len([rule for rule in rules if rule.get("major") != 195]) == 9


PRIVILEGED = [{"allow": True, "access": "rwm"}]


def privileged(name, *values):
    spec = asking(captured(name), *values)
    spec["linux"]["resources"]["devices"] = PRIVILEGED + [
        rule for rule in spec["linux"]["resources"]["devices"] if rule.get("major") == 195 and rule["allow"]
    ]
    have = {device["path"] for device in spec["linux"].setdefault("devices", [])}
    nodes = [("ctl", 255), *((str(minor), minor) for minor in range(8))]
    spec["linux"]["devices"] += [
        {"path": f"/dev/nvidia{tail}", "type": "c", "major": 195, "minor": minor, "fileMode": 438}
        for tail, minor in nodes
        if f"/dev/nvidia{tail}" not in have
    ]
    spec["linux"]["devices"].append({"path": "/dev/nvidia-uvm", "type": "c", "major": 511, "minor": 0})
    return spec


@pytest.mark.parametrize(
    ("name", "values", "given"),
    [
        ("1.20.0_csv_no-gpu", ("void",), []),
        ("1.20.0_csv_no-gpu", (), []),
        ("1.20.0_csv_no-gpu", ("2",), [2]),
        ("1.20.0_csv_no-gpu", ("nvidia.com/gpu=2",), [2]),
        ("1.20.0_csv_no-gpu", ("all",), list(range(8))),
        (JIT, ("1", "void"), [1]),
        (JIT, ("void",), [1]),
        (JIT, ("all", "void"), [1]),
        (JIT, ("2", "void"), None),
        ("1.17.8_csv_visible-1", ("2", "void"), [2]),
    ],
)
def test_the_nodes_of_privileged_are_nobodys_request(name, values, given, host):
    spec = privileged(name, *values)
    decision = judge(spec, host)
    assert decision.gpus == (given or [])
    assert (given is None) == (decision.refusal is not None)
    if given is not None:
        again = judge(decision.spec, host)
        assert (again.changed, again.gpus) == (False, given)


def listing(name, *minors):
    spec = captured(name)
    others = [one for one in spec["linux"]["devices"] if not one["path"][11:].isdigit()]
    gpus = [{"path": f"/dev/nvidia{n}", "type": "c", "major": 195, "minor": n} for n in minors]
    spec["linux"]["devices"] = [*others, *gpus]
    return spec


def test_a_node_that_csv_left_out_may_be_one_that_host_preparation_makes(host):
    refusal = judge(asking(listing(CSV, 0, 2), "1", "void"), host).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("devices.scope", True)
    assert "/dev/nvidia1" in refusal.message
    assert "nvidia-modprobe" in refusal.remedy
