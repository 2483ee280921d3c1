"""devices.mode, devices.dead, devices.exist: which nodes are let through at all."""

import pytest

from nvproxy_wrapper.host.views import CreateView, ProcDriverView
from tests.unit.wrapper.specs import CDI, CSV, JIT, PLAIN, asking, captured, judge, node, rules_of

BASE = [node("/dev/nvidiactl", 195, 255), node("/dev/nvidia-uvm", 511, 0), node("/dev/nvidia0")]


def plugin(*more):
    spec = captured(PLAIN)
    spec["linux"]["devices"] = [*BASE, *more]
    return spec


@pytest.mark.parametrize(
    "odd",
    [
        node("/dev/nvidia3", 195, 0),
        node("/dev/nvidia3", 1, 3),
        node("/dev/nvidia3", 8, 0, type="b"),
        node("/dev/nvidia3", 195, 3, type="u"),
        node("/dev/nvidia3", 195, 3, type="p"),
        node("/dev/nvidia07", 195, 7),
        node("/dev/nvidia255", 195, 254),
        node("/dev/nvidia1", 195, None),
        {"path": "/dev/nvidia1"},
        {"path": "/dev/nvidia1", "type": "c", "major": 195},
        node("/dev/nvidiactl", 195, 254),
        node("/dev/nvidiactl", 1, 1),
        node("/dev/nvidia0", 195, 1),
        node("/dev//nvidia1", 195, 1),
        node("/dev/./nvidia1", 195, 1),
        node("/dev/x/../nvidia1", 195, 1),
        node("/dev/nvidia1/", 195, 1),
        node("dev/nvidia1", 195, 1),
        node("/dev/nvidia1\0", 195, 1),
    ],
)
def test_a_node_that_is_not_what_its_name_says_is_refused(odd):
    decision = judge(plugin(odd))
    assert decision.refusal.rule == "devices.mode"
    assert repr(odd["path"]) in decision.refusal.message


@pytest.mark.parametrize(
    "odd",
    [
        node("/dev/nvidia-uvm", 195, 0),
        node("/dev/nvidia-uvm", 1, 0),
        node("/dev/nvidia-uvm", 511, 1),
        node("/dev/nvidia-uvm", 511, 0, type="b"),
    ],
)
def test_uvm_that_is_not_a_dynamic_character_device_is_refused(odd):
    spec = plugin()
    spec["linux"]["devices"][1] = odd
    assert judge(spec).refusal.rule == "devices.mode"


def test_a_node_twice_with_different_numbers_is_refused():
    refusal = judge(plugin(node("/dev/nvidia-uvm", 510, 0))).refusal
    assert refusal.rule == "devices.mode"
    assert "twice, as c 511:0 and as c 510:0" in refusal.message


def test_a_node_twice_with_the_same_numbers_is_let_through():
    assert judge(plugin(node("/dev/nvidia0"))).refusal is None


@pytest.mark.parametrize("major", [234, 254, 384, 511])
def test_uvm_has_one_of_the_dynamic_majors(major):
    spec = plugin()
    spec["linux"]["devices"][1] = node("/dev/nvidia-uvm", major, 0)
    assert judge(spec).refusal is None


@pytest.mark.parametrize(
    "dead",
    [
        node("/dev/nvidia-modeset", 195, 254),
        node("/dev/nvidia-uvm-tools", 511, 1),
        node("/dev/nvidia-caps/nvidia-cap1", 240, 1),
        node("/dev/nvidia-caps-imex-channels/channel0", 241, 0),
        node("/dev/nvidia-nvswitchctl", 242, 255),
        node("/dev/dri/card0", 226, 0),
        node("/dev/dri/renderD128", 226, 128),
        node("/dev/nvhost-ctrl", 506, 0),
        node("/dev/nvmap", 10, 124),
        node("/dev/nvgpu/igpu0/ctrl", 505, 1),
        node("/dev/gdrdrv", 243, 0),
        node("/dev/host1x-fence", 10, 62),
        node("/dev/v4l2-nvdec", 1, 3),
        node("/dev/tegra-soc-hwpm", 504, 0),
        node("/dev/innocent", 195, 3),
        node("/dev/innocent", 195, 3, type="u"),
    ],
)
def test_a_node_that_gvisor_cannot_serve_is_removed(dead):
    spec = plugin(dead)
    spec["linux"]["resources"]["devices"] += [
        {"allow": True, "type": dead["type"], "major": dead["major"], "minor": dead["minor"], "access": "rwm"}
    ]
    decision = judge(spec)
    assert dead["path"] not in decision.devices
    assert "devices.dead" in rules_of(decision)
    rules = decision.spec["linux"]["resources"]["devices"]
    assert (dead["major"], dead["minor"]) not in {(rule.get("major"), rule.get("minor")) for rule in rules}


def test_a_users_own_device_stays_with_its_cgroup_rule():
    fuse = node("/dev/fuse", 10, 229, fileMode=432)
    decision = judge(plugin(fuse))
    assert fuse in decision.spec["linux"]["devices"]


def test_a_missing_file_mode_is_filled_and_another_one_stays():
    spec = plugin(node("/dev/fuse", 10, 229), node("/dev/x", 10, 1, fileMode=0))
    spec["linux"]["devices"][0]["fileMode"] = None
    made = judge(spec).spec["linux"]["devices"]
    assert [device["fileMode"] for device in made] == [438, 438, 438, 438, 0]


def test_explain_and_rewrite_look_at_no_node():
    assert judge(captured(JIT), ProcDriverView("/nonexistent")).refusal is None


def test_at_create_time_each_node_has_to_be_there_with_its_numbers():
    decision = judge(captured(JIT), CreateView("/nonexistent"))
    assert decision.refusal.rule == "devices.exist"
    assert decision.refusal.host_prep_may_help
    assert "/dev/nvidia" in decision.refusal.message


def without_nodes(name, *paths):
    spec = captured(name)
    spec["linux"]["devices"] = [one for one in spec["linux"]["devices"] if one["path"] not in paths]
    return spec


def is_nvidias(name):
    return [one["path"] for one in captured(name)["linux"]["devices"] if "nvidia" in one["path"]]


@pytest.mark.parametrize("name", [JIT, CDI, CSV])
def test_a_host_without_nodes_gives_a_spec_without_any_which_is_what_is_said(name):
    """After a reboot where nobody makes them: the toolkit's hooks are there, and no word of what is not."""
    refusal = judge(without_nodes(name, *is_nvidias(name))).refusal
    assert refusal.rule == "devices.exist"
    assert "/dev/nvidiactl, /dev/nvidiaN, /dev/nvidia-uvm" in refusal.message
    assert "systemctl start nvproxy-device-nodes" in refusal.remedy
    assert refusal.host_prep_may_help


def test_the_control_node_alone_may_be_what_is_missing():
    refusal = judge(without_nodes(JIT, "/dev/nvidiactl")).refusal
    assert refusal.rule == "devices.exist"
    assert "not its nodes /dev/nvidiactl;" in refusal.message


@pytest.mark.parametrize("name", [JIT, CDI, CSV])
def test_a_gpu_without_the_node_of_cuda_is_refused_and_the_node_named(name, host):
    refusal = judge(without_nodes(name, "/dev/nvidia-uvm"), host).refusal
    assert refusal.rule == "devices.exist"
    assert "/dev/nvidia-uvm" in refusal.message
    assert "systemctl start nvproxy-device-nodes" in refusal.remedy
    assert refusal.host_prep_may_help


def test_a_gpu_that_an_engine_was_given_without_the_node_of_cuda_is_refused_too():
    spec = plugin()
    spec["linux"]["devices"] = [one for one in BASE if one["path"] != "/dev/nvidia-uvm"]
    refusal = judge(spec).refusal
    assert refusal.rule == "devices.exist"
    assert "--device" in refusal.remedy


def test_who_asks_for_no_gpu_needs_no_node_of_cuda(host):
    none = asking(without_nodes(CSV, "/dev/nvidia-uvm"), "none", "void")
    assert (judge(none, host).refusal, judge(none, host).gpus) == (None, [])
    assert judge(without_nodes("1.20.0_jit-cdi_visible-none", "/dev/nvidia-uvm")).refusal is None


def test_a_node_is_looked_at_as_it_is_and_not_through_a_link(tmp_path):
    view = CreateView("/nonexistent")
    assert view.node_problem("/dev/null", 1, 3) is None
    assert "1:3 on this host and 1:5 in the spec" in view.node_problem("/dev/null", 1, 5)
    assert "not there" in view.node_problem(str(tmp_path / "gone"), 1, 3)
    (tmp_path / "link").symlink_to("/dev/null")
    assert "not a character device" in view.node_problem(str(tmp_path / "link"), 1, 3)


def test_a_plain_containers_devices_are_its_own_business():
    spec = captured(PLAIN)
    spec["linux"]["devices"] = [node("/dev/fuse", 10, 229), node("/dev/dri/card0", 226, 0)]
    decision = judge(spec)
    assert (decision.spec_class, decision.changed) == ("none", False)
    assert decision.devices == ["/dev/fuse", "/dev/dri/card0"]
