"""devices.scope: which GPUs stay in a csv spec."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import gpus
from tests.driver_tree import TreeGpu, captured_uuid, write_driver_tree
from tests.unit.wrapper.specs import CSV, CSV_ALL, JIT, asked_by_mounts, asking, captured, hook, judge

DISTINCT = (
    TreeGpu("0000:01:00.0", 2, "GPU-aaaa1111-0000-0000-0000-000000000000"),
    TreeGpu("0000:41:00.0", 0, "GPU-aaaa2222-0000-0000-0000-000000000000"),
    TreeGpu("0000:81:00.0", 1, "GPU-bbbb3333-0000-0000-0000-000000000000"),
)


@pytest.fixture
def distinct_host(tmp_path):
    return ProcDriverView(str(write_driver_tree(tmp_path / "proc", DISTINCT)))


def csv(*values):
    return asking(captured(CSV_ALL), *values, "void")


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


def test_an_index_counts_in_pci_order_and_is_not_the_minor(shuffled_host):
    assert judge(csv("7"), shuffled_host).gpus == [0]
    assert judge(csv("4,6"), shuffled_host).gpus == [1, 3]
    assert judge(csv(captured_uuid(2)), shuffled_host).gpus == [2]


def test_pci_order_is_by_number_and_not_by_text(tmp_path):
    gpus = (TreeGpu("10000:01:00.0", 0, captured_uuid(0)), TreeGpu("0000:0a:00.0", 1, captured_uuid(1)))
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert judge(csv("0"), host).gpus == [1]


def test_a_gpu_that_is_kept_from_nvml_has_no_index(tmp_path):
    gpus = (
        TreeGpu("0000:01:00.0", 0, captured_uuid(0), excluded=True),
        TreeGpu("0000:02:00.0", 1, captured_uuid(1)),
    )
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert judge(csv("0"), host).gpus == [1]
    assert judge(csv("1"), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize(
    ("value", "gpus"), [("GPU-aaaa1", [2]), ("gpu-BBBB", [1]), ("GPU-aaaa2222", [0]), ("GPU-b", [1])]
)
def test_a_shortened_uuid_counts_while_it_is_the_only_one(value, gpus, distinct_host):
    assert judge(csv(value), distinct_host).gpus == gpus


@pytest.mark.parametrize(
    "value",
    [
        *(
            "8",
            "-1",
            "+1",
            "01",
            "1.0",
            "0x1",
            "\u0661",
            "9" * 5000,
            "ALL",
            "all,0",
            "none,0",
            "void,0",
            ",",
            "0;1",
            "0 1",
        ),
        *("GPU-", "GPU-4d4f434b", "GPU-ffffffff-0000-0000-0000-000000000000", "4d4f434b", "0000:01:00.0"),
        *(
            "MIG-4d4f434b-0000-0000-0000-000000000001",
            "0:0",
            "1:2",
            "mig-x",
            "nvidia.com/gpu=0",
            "/dev/nvidia0",
        ),
        *("4", "0,7"),
    ],
)
def test_what_names_no_single_listed_gpu_of_this_host_is_refused(value, host):
    spec = csv(value)
    decision = judge(spec, host)
    assert decision.refusal.rule == "devices.scope"
    assert decision.refusal.remedy
    assert decision.spec is spec
    assert decision.devices == []


@pytest.mark.parametrize("value", ["MIG-4d4f434b-0000-0000-0000-000000000001", "0:0", "mig-x"])
def test_a_mig_device_is_refused_as_one(value, host):
    assert "MIG device" in judge(csv(value), host).refusal.message


def test_a_refusal_names_the_id_and_what_the_host_has(host):
    message = judge(csv("9"), host).refusal.message
    assert "'9'" in message
    assert captured_uuid(7) in message


def test_an_id_without_a_driver_directory_is_refused_and_host_preparation_may_help():
    refusal = judge(csv("0")).refusal
    assert refusal.rule == "devices.scope"
    assert refusal.host_prep_may_help
    assert "/nonexistent/gpus" in refusal.message


@pytest.mark.parametrize("line", ["", "Device Minor: x", "Device Minor: -1"])
def test_a_driver_directory_that_says_no_minor_is_refused(line, tmp_path):
    folder = tmp_path / "gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(f"GPU UUID: {captured_uuid(0)}\n{line}\n")
    assert judge(csv("0"), ProcDriverView(str(tmp_path))).refusal.rule == "devices.scope"


def test_a_gpu_whose_uuid_is_not_known_yet_can_be_asked_for_by_index_only(tmp_path):
    gpus = (TreeGpu("0000:01:00.0", 0, "GPU-????????-????-????-????-????????????"),)
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert judge(csv("0"), host).gpus == [0]
    assert judge(csv("GPU-????????-????-????-????-????????????"), host).refusal.rule == "devices.scope"


def test_csv_under_1_20_that_was_narrowed_oddly_is_put_right(host):
    spec = captured("1.20.0_csv_visible-0")
    assert {d["path"] for d in spec["linux"]["devices"]} >= {"/dev/nvidia0", "/dev/nvidia2", "/dev/nvidia3"}
    assert judge(spec, host).gpus == [0]


def test_a_csv_spec_that_says_nothing_of_what_was_asked_is_refused(host):
    for values in ((), ("void",), ("", "void"), ("void", "void")):
        assert judge(asking(captured(CSV_ALL), *values), host).refusal.rule == "devices.scope"


def test_one_void_is_left_of_several_values(host):
    decision = judge(csv("1", "all", "1", "all"), host)
    assert decision.gpus == [1]
    env = decision.spec["process"]["env"]
    assert [entry for entry in env if "VISIBLE" in entry] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_an_image_from_before_the_require_variable_asks_for_all(host):
    spec = asking(captured(CSV_ALL))
    spec["process"]["env"].append("CUDA_VERSION=9.0.176")
    assert judge(spec, host).gpus == [0, 1, 2, 3]
    spec["process"]["env"].append("NVIDIA_REQUIRE_CUDA=cuda>=9.0")
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_where_void_stands_for_any_request_such_an_image_says_nothing(host):
    """Toolkit 1.20.1: the same spec, whether `0` was asked for or nothing."""
    spec = asking(captured(CSV_ALL), "void")
    spec["process"]["env"].append("CUDA_VERSION=9.0.176")
    refusal = judge(spec, host).refusal
    assert refusal.rule == "devices.scope"
    assert "1.20.1" in refusal.message
    assert "toolkit_mode to auto" in refusal.remedy


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


@pytest.mark.parametrize("name", [CSV_ALL, JIT, "1.20.0_cdi_visible-1", "1.20.0_legacy_visible-1"])
def test_the_toolkits_void_mount_asks_for_nothing(name, host):
    void = {
        "destination": "/var/run/nvidia-container-devices/void",
        "source": "/dev/null",
        "options": ["ro", "nosuid", "nodev", "bind"],
    }
    plain, with_void = captured(name), captured(name)
    with_void["mounts"].append(void)
    before, after = judge(plain, host), judge(with_void, host)
    assert (after.spec_class, after.requested, after.gpus) == (
        before.spec_class,
        before.requested,
        before.gpus,
    )
    assert after.refusal is None
    assert void in after.spec["mounts"]
    assert judge(asked_by_mounts(csv("all"), "void", "2"), host).gpus == [2]


def test_a_container_that_got_nothing_but_the_void_mount_is_plain(host):
    decision = judge(asked_by_mounts(captured("1.20.0_csv_no-gpu"), "void"), host)
    assert (decision.spec_class, decision.changed) == ("none", False)


def test_the_toolkits_void_mount_without_its_hooks_is_a_trace_of_it(host):
    """Its list may be one of csv mode; a volume of a user's has other options."""
    spec = listing_only(1)
    spec["hooks"].pop("createContainer")
    spec["mounts"] = [mount for mount in spec["mounts"] if "libcuda" not in mount["destination"]]
    assert judge(asked_by_mounts(spec, "void"), host).spec_class == "device-plugin"
    spec["mounts"][-1]["options"] = ["ro", "nosuid", "nodev", "bind"]
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_mounts_ask_for_gpus_where_the_variable_says_all_or_nothing(host):
    assert judge(asked_by_mounts(csv("all"), "1", "3"), host).gpus == [1, 3]
    assert judge(asked_by_mounts(asking(captured(CSV_ALL), "void"), "2"), host).gpus == [2]


def test_a_mount_that_asks_for_all_does_not_widen_what_the_variable_asks_for(host):
    assert judge(asked_by_mounts(csv("1"), "all"), host).gpus == [1]


def test_mounts_and_a_variable_that_ask_for_different_gpus_are_refused(host):
    assert judge(asked_by_mounts(csv("1"), "2"), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize("values", [("1", ""), ("", "1"), ("1", "void", "")])
def test_an_empty_value_beside_another_does_not_leave_the_word_to_the_mounts(values, host):
    assert judge(asked_by_mounts(csv(*values), "2"), host).refusal.rule == "devices.scope"
    assert judge(asked_by_mounts(csv(*values), "1"), host).gpus == [1]


def test_only_csv_is_narrowed(host):
    spec = asking(captured(JIT), "0", "void")
    assert judge(spec, host).gpus == [1]


@pytest.mark.parametrize(
    ("name", "spec_class"), [("1.20.0_cdi_visible-all", "mixed"), ("1.14.6_cdi_visible-all", "csv")]
)
def test_a_list_of_more_gpus_than_were_asked_for_is_not_taken_for_exact(name, spec_class, host):
    for values, given in (
        (("1",), [1]),
        (("0", "2,1", "all"), None),
        (("x",), None),
        (("none",), []),
        (("1", ""), None),
    ):
        decision = judge(asking(captured(name), *values, "void"), host, toolkit_mode="cdi")
        assert decision.spec_class == spec_class
        assert decision.gpus == (given or [])
        assert (given is None) == (decision.refusal is not None)


@pytest.mark.parametrize(
    "values", [(), ("void",), ("all", "void"), ("nvidia.com/gpu=all", "void"), ("all,1", "void")]
)
def test_a_list_of_any_length_is_exact_where_no_number_was_asked_for(values, host):
    for name in ("1.20.0_cdi_visible-all", "1.20.0_jit-cdi_visible-all"):
        spec = captured(name)
        decision = judge(asking(spec, *values), host)
        listed = [device["path"] for device in spec["linux"]["devices"]]
        assert decision.gpus == sorted(int(path[11:]) for path in listed if path[11:].isdigit())
        assert decision.refusal is None


@pytest.mark.parametrize("name", [CSV_ALL, JIT, "1.20.0_cdi_visible-1", "1.14.6_cdi_visible-1"])
@pytest.mark.parametrize("value", ["0:0", "MIG-4d4f434b", "nvidia.com/gpu=0:1", "mig0:1", "1,MIG-x"])
def test_a_mig_device_is_refused_whatever_the_class(name, value, host):
    refusal = judge(asking(captured(name), value, "void"), host).refusal
    assert (refusal.rule, "MIG device" in refusal.message) == ("devices.scope", True)


def test_a_mig_device_is_refused_also_where_mounts_ask_for_it_beside_the_variable(host):
    """After the rewrite the mounts alone would ask."""
    refusal = judge(asked_by_mounts(asking(captured(JIT), "1", "void"), "MIG-1"), host).refusal
    assert refusal.rule == "devices.scope"


def test_an_annotation_does_not_pass_for_a_request(host):
    """As with swarm-resource, where another variable asks, and csv mode still lists every GPU."""
    spec = asking(captured(CSV_ALL), "void")
    spec["annotations"] = {"dev.gvisor.internal.nvproxy": "true"}
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_an_id_that_is_given_a_thousand_times_is_looked_up_once(host, monkeypatch):
    looked_up = []
    real = gpus._find
    monkeypatch.setattr(gpus, "_find", lambda name, *rest: looked_up.append(name) or real(name, *rest))
    assert judge(csv(",".join(["1"] * 1000)), host).gpus == [1]
    assert looked_up == ["1"]


def test_a_variable_that_points_to_the_mounts_leaves_the_word_to_them(host):
    pointing = csv("/var/run/nvidia-container-devices")
    assert judge(asked_by_mounts(pointing, "1"), host).gpus == [1]
    assert judge(csv("/var/run/nvidia-container-devices"), host).refusal.rule == "devices.scope"


def test_the_cgroup_rules_are_narrowed_along(host):
    made = judge(captured(CSV), host).spec
    rules = made["linux"]["resources"]["devices"]
    assert {rule["minor"] for rule in rules if rule.get("major") == 195} == {1, 255}
    assert len([rule for rule in rules if rule.get("major") != 195]) == 9


@pytest.mark.parametrize(
    ("values", "gpus"),
    [
        (("all", "1"), [1]),
        (("1", "all"), [1]),
        (("all", "all"), [0, 1, 2, 3]),
        (("0,2", "all", "0,2"), [0, 2]),
        (("all", "none"), []),
        (("1", "none", "all"), []),
    ],
)
def test_of_several_values_the_one_that_asks_for_less_counts(values, gpus, host):
    """`docker run --gpus device=1` appends to the `all` of NVIDIA's images: seen with the shim 1.17.8."""
    decision = judge(csv(*values), host)
    assert decision.refusal is None
    assert decision.gpus == gpus


@pytest.mark.parametrize("values", [("0", "1"), ("all", "0", "1"), ("all", "")])
def test_values_that_ask_for_different_gpus_are_refused(values, host):
    assert judge(csv(*values), host).refusal.rule == "devices.scope"
