"""devices.scope: which GPUs stay in a csv spec."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import gpus
from tests.driver_tree import TreeGpu, captured_uuid, write_driver_tree
from tests.unit.wrapper.specs import CSV, CSV_ALL, JIT, NO_DRIVER, asked_by_mounts, asking, captured, hook
from tests.unit.wrapper.specs import judge as judged

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
        ("nvidia.com/gpu=1,nvidia.com/gds=all", [1]),
        ("nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("management.nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("1,nvidia.com/gpu=all", [0, 1, 2, 3]),
        ("0,all", [0, 1, 2, 3]),
        ("none,0", []),
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
            "nvidia.com/gpu=9",
            "nvidia.com/disk=0",
            "acme.com/gpu=0",
            "acme.com/gpu=all",
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
    refusal = judge(csv("0"), NO_DRIVER).refusal
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


@pytest.mark.parametrize("version", ["1.20.1", "1.20.1-1", "1.20.2", "1.21.0~rc.1-1", "2.0", "unread"])
@pytest.mark.parametrize("value", ["all", "0", "none"])
def test_a_value_beside_a_void_that_may_stand_for_another_is_not_believed(value, version, host):
    """`docker run --gpus device=1` with an image that says all, from toolkit 1.20.1 on: [all, void]."""
    refusal = judge(csv(value), host, toolkit_version=version).refusal
    assert refusal.rule == "devices.scope"
    assert f"NVIDIA_VISIBLE_DEVICES asks for {value}, and void follows" in refusal.message
    assert "by Docker" in refusal.remedy


@pytest.mark.parametrize(("version", "is_believed"), [("", False), ("1.20.1", False), ("1.20.0", True)])
def test_swarms_variable_beside_a_lone_void_may_be_the_images(version, is_believed, host):
    """What the user asked for, `none` perhaps, has been replaced; an image can set any other variable."""
    spec = asking(captured(CSV_ALL), "void")
    spec["process"]["env"].append("DOCKER_RESOURCE_GPU=1")
    decision = judge(spec, host, toolkit_version=version)
    assert decision.gpus == ([1] if is_believed else [])
    assert bool(decision.refusal) is not is_believed


def test_where_the_version_is_not_known_the_images_all_is_not_believed(host):
    assert judge(csv("all"), host, toolkit_version="").refusal.rule == "devices.scope"
    assert judge(csv("1"), host, toolkit_version="").gpus == [1]
    older = asking(captured(CSV), "all", "void")
    assert judge(older, host, toolkit_version="").gpus == [0, 1, 2, 3]
    assert judge(asked_by_mounts(csv("all"), "2"), host, toolkit_version="").gpus == [2]


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


def test_two_names_of_one_gpu_are_one_gpu_and_not_room_for_another(host):
    spec = asking(captured(JIT), f"1,{captured_uuid(1)}", "void")
    assert judge(spec, host).gpus == [1]
    spec["linux"]["devices"].append({"path": "/dev/nvidia3", "type": "c", "major": 195, "minor": 3})
    assert judge(spec, host).refusal.rule == "devices.scope"


@pytest.mark.parametrize("name", [JIT, "1.20.0_cdi_visible-1"])
def test_nothing_is_exact_where_the_driver_cannot_be_read(name):
    refusal = judge(captured(name), NO_DRIVER).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("devices.scope", True)


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


def with_env(spec, *entries):
    spec["process"]["env"] += entries
    return spec


@pytest.mark.parametrize(
    ("values", "entries", "given"),
    [
        (("all",), [f"DOCKER_RESOURCE_GPU={captured_uuid(1)}"], [1]),
        (("all",), ["DOCKER_RESOURCE_NVIDIA-GPU=0,2"], [0, 2]),
        (("all",), [f"DOCKER_RESOURCE_A100={captured_uuid(3)}"], [3]),
        (("1",), [f"DOCKER_RESOURCE_GPU={captured_uuid(1)}"], [1]),
        (("1",), ["DOCKER_RESOURCE_GPU=all"], [1]),
        (("1",), ["DOCKER_RESOURCE_SSD=2"], [1]),
        (("1",), ["DOCKER_RESOURCE_GPU=2"], None),
        (("1",), ["DOCKER_RESOURCE_GPU=MIG-1"], None),
    ],
)
def test_swarms_own_variables_ask_for_less_than_all(values, entries, given, host):
    decision = judge(with_env(csv(*values), *entries), host)
    assert decision.gpus == (given or [])
    assert (given is None) == (decision.refusal is not None)
    if given is None:
        assert "DOCKER_RESOURCE_GPU" in decision.refusal.message or "MIG" in decision.refusal.message


@pytest.mark.parametrize(
    ("entries", "given"),
    [
        (["OURS=2"], [2]),
        (["OURS=2", "OTHER=3,0"], [0, 2, 3]),
        (["OURS=all"], [1]),
        (["OTHERS=2"], [1]),
        (["OURS=2", "OURS=0"], [0]),
    ],
)
def test_a_name_of_swarm_resource_asks_in_the_variables_place(entries, given, host):
    spec = with_env(csv("1"), *entries)
    assert judge(spec, host, swarm_resources=["OURS", "OTHER"]).gpus == given


@pytest.mark.parametrize(
    ("destination", "given"),
    [
        ("cdi/nvidia.com/gpu/2", [2]),
        ("cdi/nvidia.com/gpu=2", [2]),
        ("cdi/runtime.nvidia.com/gpu/0", [0]),
        ("cdi/nvidia.com/gpu", [0, 1, 2, 3]),
        ("imex/2", [0, 1, 2, 3]),
        ("//2/", [2]),
        ("../nvidia-container-devices/3", [3]),
    ],
)
def test_mounts_ask_in_each_form_of_the_toolkits(destination, given, host):
    assert judge(asked_by_mounts(csv("all"), destination), host).gpus == given


@pytest.mark.parametrize(
    ("annotation", "values", "given"),
    [
        ("nvidia.com/gpu=1", ("all",), [1]),
        (f"nvidia.com/gpu=1,nvidia.com/gpu={captured_uuid(1)}", ("1",), [1]),
        ("nvidia.com/gpu=all", ("2",), [2]),
        ("acme.com/net=eth0", ("2",), [2]),
        ("nvidia.com/gpu=1", ("2",), None),
    ],
)
def test_annotations_of_cdi_ask_as_well(annotation, values, given, host):
    spec = csv(*values)
    spec["annotations"] = {"cdi.k8s.io/plugin_x": annotation}
    decision = judge(spec, host)
    assert decision.gpus == (given or [])
    assert (given is None) == (decision.refusal is not None)


def test_two_places_that_name_one_gpu_by_two_names_agree(host):
    assert judge(asked_by_mounts(csv("1"), captured_uuid(1)), host).gpus == [1]
    assert judge(csv("1", captured_uuid(1)), host).gpus == [1]


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


@pytest.mark.parametrize("name", [CSV, JIT])
def test_an_index_of_a_guest_that_is_another_on_its_host_is_said_with_the_uuid(name, host):
    """canonical/lxd#11442: the guest has one of the host's GPUs, and the driver lists them all."""
    refusal = judge(asking(listing(name, 3), "0", "void"), host).refusal
    assert refusal.rule == "devices.scope"
    for what in ("asks for 0", "/dev/nvidia3", "guest", captured_uuid(3)):
        assert what in refusal.message
    assert judge(asking(listing(name, 3), captured_uuid(3), "void"), host).gpus == [3]
    for value in (captured_uuid(0), "0,1"):
        assert "guest" not in judge(asking(listing(name, 3), value, "void"), host).refusal.message


def test_a_node_that_csv_left_out_may_be_one_that_host_preparation_makes(host):
    refusal = judge(asking(listing(CSV, 0, 2), "1", "void"), host).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("devices.scope", True)
    assert "/dev/nvidia1" in refusal.message
    assert "nvidia-modprobe" in refusal.remedy


@pytest.mark.parametrize("uuid", ["GPU-????????-????-????-????-????????????", ""])
def test_a_uuid_that_the_driver_does_not_know_yet_is_said_to_be_so(uuid, tmp_path):
    tree = (TreeGpu("0000:01:00.0", 0, captured_uuid(0)), TreeGpu("0000:02:00.0", 1, uuid))
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", tree)))
    refusal = judge(csv(captured_uuid(1)), host).refusal
    assert "does not know the UUID of GPU 1 yet" in refusal.message
    assert "by that index" in refusal.remedy
    assert "nvidia-persistenced" in refusal.remedy
    assert judge(csv("1"), host).gpus == [1]
    assert judge(csv(captured_uuid(0)), host).gpus == [0]
    # It may begin in the same way.
    assert judge(csv("GPU-4d4f434b"), host).refusal.rule == "devices.scope"


def test_a_value_in_quotes_is_shown_with_them(host):
    assert "'\"1\"'" in judge(csv('"1"'), host).refusal.message
