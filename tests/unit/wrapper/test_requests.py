"""The request reader: the variable, mounts, Swarm's variables, annotations, and what hides them."""

import copy

import pytest

from tests.driver_tree import captured_uuid
from tests.fuzz.hosts import HOSTS
from tests.unit.wrapper.specs import CSV, CSV_ALL, JIT, asked_by_mounts, asking, captured
from tests.unit.wrapper.specs import judge as judged


def csv(*values):
    return asking(captured(CSV_ALL), *values, "void")


def judge(spec, host, **given):
    """As on a host of the captured specs' own toolkit, unless something else is given."""
    return judged(spec, host, **{"toolkit_version": "1.20.0", **given})


def test_a_csv_spec_that_says_nothing_of_what_was_asked_is_refused(host):
    for values in ((), ("void",), ("", "void"), ("void", "void")):
        assert judge(asking(captured(CSV_ALL), *values), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize("version", ["1.20.1", "1.20.1-1", "1.20.2", "1.21.0~rc.1-1", "2.0", "unread", "1.x"])
@pytest.mark.parametrize("value", ["all", "0", "none"])
def test_a_value_beside_a_void_that_may_stand_for_another_is_not_believed(value, version, host):
    """`docker run --gpus device=1` with an image that says all, from toolkit 1.20.1 on: [all, void]."""
    refusal = judge(csv(value), host, toolkit_version=version).refusal
    assert refusal.rule == "devices.scope"
    assert f"NVIDIA_VISIBLE_DEVICES asks for {value}, and void follows" in refusal.message
    assert "by Docker" in refusal.remedy


@pytest.mark.parametrize(
    ("version", "is_believed"),
    [("", False), ("1.20.1", False), ("1.20.0", True), ("1.20.0-1", True), ("1.20.0~rc.2-1", True)],
)
def test_swarms_variable_beside_a_lone_void_may_be_the_images(version, is_believed, host):
    """What the user asked for, `none` perhaps, has been replaced; an image can set any other variable."""
    spec = asking(captured(CSV_ALL), "void")
    spec["process"]["env"].append("DOCKER_RESOURCE_GPU=1")
    for made in (spec, asked_by_mounts(copy.deepcopy(spec), "1")):
        decision = judge(made, host, toolkit_version=version)
        assert decision.gpus == ([1] if is_believed else [])
        assert bool(decision.refusal) is not is_believed


@pytest.mark.parametrize(
    ("device", "agrees"), [("1", True), (HOSTS["lab"].gpus[1].uuid, True), ("0", False), ("none", True)]
)
def test_a_list_that_is_exact_by_its_hooks_and_swarms_variable_mean_the_same(device, agrees):
    spec = captured("1.20.1_csv_memory-limit")
    spec["process"]["env"].append(f"DOCKER_RESOURCE_GPU={device}")
    decision = judge(spec, HOSTS["lab"].view, toolkit_version="1.20.1")
    assert (decision.gpus, decision.refusal is None) == (([1], True) if agrees else ([], False))


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


def listing_only(minor):
    spec = asking(captured(CSV_ALL), "void")
    spec["linux"]["devices"] = [
        one for one in spec["linux"]["devices"] if one["path"][11:] in (str(minor), "ctl", "-uvm")
    ]
    return spec


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


def test_where_each_place_asks_for_all_the_first_says_it(host):
    decision = judge(asked_by_mounts(csv("nvidia.com/gpu=all"), "all"), host)
    assert (decision.requested, decision.gpus) == (["nvidia.com/gpu=all"], [0, 1, 2, 3])


def test_mounts_and_a_variable_that_ask_for_different_gpus_are_refused(host):
    assert judge(asked_by_mounts(csv("1"), "2"), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize("values", [("1", ""), ("", "1"), ("1", "void", "")])
def test_an_empty_value_beside_another_does_not_leave_the_word_to_the_mounts(values, host):
    refusal = judge(asked_by_mounts(csv(*values), "2"), host).refusal
    assert refusal.rule == "devices.scope"
    assert "NVIDIA_VISIBLE_DEVICES asks for nothing" in judge(csv(*values), host).refusal.message
    assert judge(asked_by_mounts(csv(*values), "1"), host).gpus == [1]


def test_an_annotation_does_not_pass_for_a_request(host):
    """As with swarm-resource, where another variable asks, and csv mode still lists every GPU."""
    spec = asking(captured(CSV_ALL), "void")
    spec["annotations"] = {"dev.gvisor.internal.nvproxy": "true"}
    assert judge(spec, host).refusal.rule == "devices.scope"


def test_a_variable_that_points_to_the_mounts_leaves_the_word_to_them(host):
    pointing = csv("/var/run/nvidia-container-devices")
    assert judge(asked_by_mounts(pointing, "1"), host).gpus == [1]
    assert judge(csv("/var/run/nvidia-container-devices"), host).refusal.rule == "devices.scope"
    elsewhere = csv("/var/run/nvidia-container-devicesX")
    assert judge(asked_by_mounts(elsewhere, "1"), host).refusal.rule == "devices.scope"


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
        (("all",), ["DOCKER_RESOURCE_SSD=all", "DOCKER_RESOURCE_GPU=2"], [2]),
        (("all",), [f"DOCKER_RESOURCE_A100={captured_uuid(3)}"], [3]),
        (("1",), [f"DOCKER_RESOURCE_GPU={captured_uuid(1)}"], [1]),
        (("1",), ["DOCKER_RESOURCE_GPU=all"], [1]),
        (("1",), ["DOCKER_RESOURCE_SSD=2"], [1]),
        (("1",), ["DOCKER_RESOURCE_SSD=a=b"], [1]),
        (("1",), ["DOCKER_RESOURCE_GPU"], [1]),
        (("1",), ["DOCKER_RESOURCE_GPU=2"], None),
        (("1",), ["DOCKER_RESOURCE_GPU=MIG-1"], None),
        (("1",), ["DOCKER_RESOURCE_A100=MIG-1"], None),
        (("1",), [f"DOCKER_RESOURCE_SSD=2,{captured_uuid(2)}"], [1]),
    ],
)
def test_swarms_own_variables_ask_for_less_than_all(values, entries, given, host):
    decision = judge(with_env(csv(*values), *entries), host)
    assert decision.gpus == (given or [])
    assert (given is None) == (decision.refusal is not None)
    if given is None:
        assert "DOCKER_RESOURCE_GPU" in decision.refusal.message or "MIG" in decision.refusal.message


def test_where_it_was_asked_is_told_with_what_but_for_the_variable_that_is_told_anyway(host):
    said = judge(asked_by_mounts(csv("all"), "2"), host).evidence
    assert [one for one in said if " asks for " in one] == [
        "mounts under /var/run/nvidia-container-devices/ asks for 2"
    ]


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


def test_a_name_of_swarm_resource_may_ask_for_all_where_the_variable_asks_for_nothing(host):
    spec = with_env(asking(captured(CSV_ALL), "void"), "OURS=all")
    assert judge(spec, host, swarm_resources=["OURS"]).gpus == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("destination", "given"),
    [
        ("cdi/nvidia.com/gpu/2", [2]),
        ("cdi/nvidia.com/gpu=2", [2]),
        ("cdi/runtime.nvidia.com/gpu/0", [0]),
        ("cdi/nvidia.com/gpu", [0, 1, 2, 3]),
        ("cdi/a/.nvidia.com/gpu/0", []),
        ("imex/2", [0, 1, 2, 3]),
        ("//2/", [2]),
        ("../nvidia-container-devices/3", [3]),
    ],
)
def test_mounts_ask_in_each_form_of_the_toolkits(destination, given, host):
    assert judge(asked_by_mounts(csv("all"), destination), host).gpus == given


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("/dev/nul", "/var/run/nvidia-container-devices"),
        ("/dev/null", "/proc/acpi"),
    ],
)
def test_no_other_mount_asks(source, folder, host):
    """Docker mounts /dev/null itself, over what a container must not see."""
    spec = csv("1")
    spec["mounts"].append({"destination": f"{folder}/2", "source": source, "options": ["rbind"]})
    assert judge(spec, host).gpus == [1]


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


@pytest.mark.parametrize(("key", "value"), [("acme.com/wants", "nvidia.com/gpu=2"), ("cdi.k8s.io/x", 2)])
def test_what_is_no_annotation_of_cdi_asks_for_nothing(key, value, host):
    spec = csv("1")
    spec["annotations"] = {key: value}
    decision = judge(spec, host)
    assert decision.gpus == [1]
