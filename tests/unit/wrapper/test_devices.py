"""devices.mode, devices.dead, devices.exist: which nodes are let through at all."""

import pytest

from nvproxy_wrapper.host.views import CreateView, ProcDriverView
from nvproxy_wrapper.judge.device_nodes import gpu_minor, gpus_in, is_served, is_tegra
from tests.driver_tree import CAPTURED_HOST, write_capabilities, write_driver_tree
from tests.unit.wrapper.specs import (
    CDI,
    CSV,
    CSV_ALL,
    JIT,
    LEGACY,
    NO_DRIVER,
    PLAIN,
    asking,
    captured,
    hook,
    judge,
    node,
    rules_of,
)

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


@pytest.mark.parametrize(
    ("major", "is_dynamic"),
    [
        *((234, True), (254, True), (384, True), (511, True)),
        *((233, False), (255, False), (383, False), (512, False)),
    ],
)
def test_uvm_has_one_of_the_dynamic_majors(major, is_dynamic):
    spec = plugin()
    spec["linux"]["devices"][1] = node("/dev/nvidia-uvm", major, 0)
    refusal = judge(spec).refusal
    assert (refusal and refusal.rule) == (None if is_dynamic else "devices.mode")


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
        node("/dev/nvsciipc_0", 503, 0),
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
    said = [(one.rule, one.what) for one in decision.actions if one.target == dead["path"]]
    assert said == [("devices.dead", "removed")]
    assert "devices.dead" in rules_of(decision)
    rules = decision.spec["linux"]["resources"]["devices"]
    assert (dead["major"], dead["minor"]) not in {(rule.get("major"), rule.get("minor")) for rule in rules}


@pytest.mark.parametrize(
    "other",
    [
        node("/dev/dri", 226, 0),
        node("/dev/drive", 8, 0),
        node("/dev/innocent", 195, 3, type="b"),
        node("/dev/innocent", 196, 3),
        node("/x/dev/dri/card0", 226, 0),
        node("/x/dev/nvmap", 10, 1),
        {"path": "/dev/innocent", "type": "c"},
    ],
)
def test_a_node_that_is_none_of_nvidias_stays(other):
    assert other["path"] in judge(plugin(other)).devices


@pytest.mark.parametrize(
    ("path", "minor"),
    [
        *(("/dev/nvidia0", 0), ("/dev/nvidia255", 255), ("/dev/nvidia07", 7), ("/dev/nvidia999999", 999999)),
        *(("/dev/nvidia1000000", None), ("/dev/nvidia", None), ("/dev/nvidiactl", None)),
        *(
            ("/dev/nvidia-1", None),
            ("/dev/nvidia 1", None),
            ("/dev/nvidia1_0", None),
            ("/dev/nvidia1/", None),
        ),
        *(("/dev/nvidia\u0661", None), ("/dev/nvidia\u00b2", None), ("/x/dev/nvidia1", None), ("", None)),
        *(("/dev/nvidi1", None), ("nvidia1", None), ("/dev/nvidia-uvm", None)),
    ],
)
def test_a_gpus_node_is_nvidia_and_at_most_six_digits(path, minor):
    assert gpu_minor(path) == minor
    assert gpus_in(["/dev/fuse", path, "/dev/nvidia3"]) == {3} | ({minor} - {None})
    assert is_served(path) is (minor is not None or path in ("/dev/nvidiactl", "/dev/nvidia-uvm"))


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        *((f"/dev/{name}", True) for name in ("nvhost-ctrl", "nvmap", "nvgpu/igpu0/ctrl", "nvsciipc_0")),
        *((f"/dev/{name}", True) for name in ("host1x-fence", "v4l2-nvdec", "tegra-soc-hwpm")),
        *(
            (f"/dev/{name}", False)
            for name in ("nvidia0", "nvidiactl", "dri/card0", "v4l2-x", "nv", "x/nvmap")
        ),
    ],
)
def test_the_nodes_of_an_integrated_gpu_are_told_by_how_they_begin(path, is_one):
    assert is_tegra(path) is is_one


CGROUP_RULES = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 195, "minor": 254, "access": "rwm"},
    {"allow": False, "type": "c", "major": 195, "minor": 254, "access": "rwm"},
    {"type": "c", "major": 195, "minor": 254},
    {"allow": True, "type": "b", "major": 195, "minor": 254},
    {"allow": True, "type": "c", "major": 194, "minor": 254},
    {"allow": True, "type": "c", "major": 195, "minor": 253},
    {"allow": True, "type": "c", "major": 195},
]


def test_only_the_line_that_allows_a_removed_node_goes_with_it():
    spec = plugin(node("/dev/nvidia-modeset", 195, 254))
    spec["linux"]["resources"]["devices"] = CGROUP_RULES
    decision = judge(spec)
    assert "/dev/nvidia-modeset" not in decision.devices
    assert decision.spec["linux"]["resources"]["devices"] == [CGROUP_RULES[0], *CGROUP_RULES[2:]]


def test_the_line_of_a_removed_node_stays_where_a_kept_one_has_its_numbers():
    fuse, caps = node("/dev/fuse", 10, 229), node("/dev/nvidia-caps/nvidia-cap1", 10, 229)
    line = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    spec = plugin(caps, fuse)
    spec["linux"]["resources"]["devices"] = [line]
    decision = judge(spec)
    assert "/dev/fuse" in decision.devices
    assert caps["path"] not in decision.devices
    assert decision.spec["linux"]["resources"]["devices"] == [line]
    modeset, tools = node("/dev/nvidia-modeset", 195, 254), node("/dev/nvidia-uvm-tools", 511, 1)
    spec["linux"]["devices"] += [modeset, tools]
    lines = [{**line, "major": one["major"], "minor": one["minor"]} for one in (modeset, tools)]
    spec["linux"]["resources"]["devices"] = [*lines, line]
    assert judge(spec).spec["linux"]["resources"]["devices"] == [line]


def test_a_users_own_device_stays_with_its_cgroup_rule():
    fuse = node("/dev/fuse", 10, 229, fileMode=432)
    decision = judge(plugin(fuse))
    assert fuse in decision.spec["linux"]["devices"]
    assert decision.devices == [one["path"] for one in [*BASE, fuse]]
    assert decision.opens == [one["path"] for one in BASE]


def test_each_node_is_looked_at_whatever_stands_before_it():
    fuse = node("/dev/fuse", 10, 229)
    spec = plugin(node("/dev/nvidia3", 195, 0))
    spec["linux"]["devices"].insert(0, fuse)
    assert judge(spec).refusal.rule == "devices.mode"
    spec = plugin()
    spec["linux"]["devices"].insert(0, fuse)
    asked = []
    host = CreateView("/nonexistent")
    host.node_problem = lambda *numbers: asked.append(numbers)
    assert judge(spec, host).refusal is None
    assert asked == [("/dev/nvidiactl", 195, 255), ("/dev/nvidia-uvm", 511, 0), ("/dev/nvidia0", 195, 0)]


def test_a_mode_that_is_filled_is_told():
    spec = plugin()
    for place, mode in enumerate((None, 0o666, 0o600)):
        spec["linux"]["devices"][place] = {**spec["linux"]["devices"][place], "fileMode": mode}
    said = [(one.target, one.what) for one in judge(spec).actions if one.rule == "devices.mode"]
    assert said == [("/dev/nvidiactl", "fileMode set to 0666")]


@pytest.mark.parametrize(
    "more", [hook("/usr/bin/nvidia-ctk", "hook", "make-coffee"), hook("/opt/nvidia-x", "y")]
)
def test_one_hook_of_the_toolkits_says_that_its_nodes_are_missing_whatever_else_is_there(more):
    spec = without_nodes(JIT, *is_nvidias(JIT))
    spec["hooks"]["createContainer"].insert(0, more)
    refusal = judge(spec).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("devices.exist", True)


def test_the_other_nodes_that_are_missing_are_named_and_no_more(host):
    for missing, named in (
        ((), ""),
        (("/dev/nvidia-uvm",), ", /dev/nvidia-uvm"),
        (("/dev/nvidia1",), ", /dev/nvidiaN"),
    ):
        message = judge(without_nodes(JIT, "/dev/nvidiactl", *missing), host).refusal.message
        assert f"nodes /dev/nvidiactl{named};" in message


def test_a_missing_file_mode_is_filled_and_another_one_stays():
    spec = plugin(node("/dev/fuse", 10, 229), node("/dev/x", 10, 1, fileMode=0))
    spec["linux"]["devices"][0]["fileMode"] = None
    made = judge(spec).spec["linux"]["devices"]
    assert [device["fileMode"] for device in made] == [438, 438, 438, 438, 0]


def test_explain_and_rewrite_look_at_no_node():
    assert judge(asking(captured(JIT), "void"), ProcDriverView("/nonexistent")).refusal is None


def test_at_create_time_each_node_has_to_be_there_with_its_numbers():
    decision = judge(asking(captured(JIT), "void"), CreateView("/nonexistent"))
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


def capabilities(*minors):
    return [node(f"/dev/nvidia-caps/nvidia-cap{minor}", 236, minor) for minor in minors]


def listing(name, *more):
    spec = captured(name)
    spec["linux"].setdefault("devices", []).extend(more)
    return spec


@pytest.fixture
def mig_host(tmp_path):
    """GPU 1 has an instance of two parts, GPU 2 one of none; the numbers are not those of today's driver."""
    tree = write_driver_tree(tmp_path / "proc", CAPTURED_HOST)
    instance = {"access": 66, "ci0/access": 67, "ci1/access": 68}
    minors = {f"gpu1/mig/gi1/{name}": minor for name, minor in instance.items()}
    write_capabilities(tree, {**minors, "gpu2/mig/gi0/access": 4400, "fabric-imex-mgmt": 40})
    return ProcDriverView(str(tree))


@pytest.mark.parametrize("name", [JIT, CDI, "1.20.0_jit-cdi_visible-all"])
@pytest.mark.parametrize("minors", [(66, 67), (3,), (4322,), (1, 2, 67)])
def test_the_nodes_of_a_mig_instance_are_refused_where_nothing_tells_what_they_are(name, minors):
    refusal = judge(listing(name, *capabilities(*minors))).refusal
    assert (refusal.rule, "MIG" in refusal.message) == ("devices.mig", True)
    assert f"nvidia-cap{minors[-1]}" in refusal.message or len(minors) == 2


def test_a_plugins_or_an_engines_instance_is_refused_too(mig_host):
    assert judge(plugin(*capabilities(66, 67))).refusal.rule == "devices.mig"
    assert (
        judge(asking(listing(CDI, *capabilities(66)), "nvidia.com/gpu=1"), mig_host).refusal.rule
        == "devices.mig"
    )


@pytest.mark.parametrize("minors", [(1,), (1, 2), (0,), (4323,)])
def test_capabilities_that_are_no_instances_are_dropped(minors):
    decision = judge(listing(JIT, *capabilities(*minors)))
    assert decision.refusal is None
    assert not [path for path in decision.devices if "nvidia-caps" in path]


def test_the_driver_says_what_a_capability_is(mig_host):
    assert judge(listing(JIT, *capabilities(1, 2, 40)), mig_host).refusal is None
    assert "gpu1/mig/gi1/ci0/access" in judge(listing(JIT, *capabilities(67)), mig_host).refusal.message
    assert judge(listing(JIT, *capabilities(4400)), mig_host).refusal.rule == "devices.mig"
    # One that is not there any more: the list was made before.
    assert judge(listing(JIT, *capabilities(99)), mig_host).refusal.rule == "devices.mig"


def test_where_the_instances_gpu_is_taken_away_its_nodes_go_with_it(mig_host):
    every = capabilities(1, 2, 66, 67, 68)
    assert judge(asking(listing(CSV_ALL, *every), "0", "void"), mig_host).gpus == [0]
    assert judge(asking(listing(CSV_ALL, *every), "1", "void"), mig_host).refusal.rule == "devices.mig"
    assert (
        judge(
            asking(listing(CSV_ALL, *every), "all", "void"), mig_host, toolkit_version="1.20.0"
        ).refusal.rule
        == "devices.mig"
    )


def test_an_instances_node_as_a_volume_is_refused():
    spec = captured(JIT)
    spec["mounts"].append(
        {"destination": "/x", "source": "/dev/nvidia-caps/nvidia-cap66", "options": ["bind"]}
    )
    assert judge(spec).refusal.rule == "devices.mig"


def test_a_privileged_container_in_legacy_mode_gets_no_gpu_that_has_instances(mig_host):
    every = [*BASE, *(node(f"/dev/nvidia{n}", 195, n) for n in range(1, 8)), *capabilities(1, 2, 66, 67, 68)]
    assert judge(asking(listing(LEGACY, *every), "2"), mig_host).gpus == [2]
    assert judge(asking(listing(LEGACY, *every), "1"), mig_host).refusal.rule == "devices.mig"
    assert judge(asking(listing(LEGACY, *every), "all"), mig_host).refusal.rule == "devices.mig"


def test_capabilities_are_read_as_the_driver_writes_them(mig_host, tmp_path):
    assert mig_host.capabilities()[67] == "gpu1/mig/gi1/ci0/access"
    assert mig_host.capabilities()[1] == "mig/config"
    assert ProcDriverView(str(tmp_path)).capabilities() is None
    (tmp_path / "capabilities").mkdir()
    (tmp_path / "capabilities" / "self").symlink_to(tmp_path / "capabilities")
    assert ProcDriverView(str(tmp_path)).capabilities() == {}


# As NVIDIA's CSV files for Orin and Thor name them, and as the toolkit lists them on each (pkg/nvcdi).
TEGRA = [node("/dev/host1x-fence", 504, 1), node("/dev/nvmap", 10, 120), node("/dev/nvsciipc", 10, 119)]
NVGPU = [
    node("/dev/nvgpu/igpu0/ctrl", 505, 2),
    node("/dev/nvhost-as-gpu", 506, 1),
    node("/dev/nvhost-gpu", 506, 0),
]
DISPLAY = [node("/dev/nvidia-modeset", 195, 254), node("/dev/nvidia0"), node("/dev/nvidiactl", 195, 255)]
LATER = [node("/dev/nvidia2", 195, 2)]


def tegra(*nodes):
    spec = asking(captured(CSV_ALL), "all", "void")
    spec["linux"]["devices"] = list(nodes)
    return spec


def view(tmp_path, version):
    (tmp_path / "version").write_text(
        f"NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {version}  Release\n"
    )
    return ProcDriverView(str(tmp_path))


@pytest.mark.parametrize("nodes", [[*TEGRA, *NVGPU], *([one, TEGRA[1]] for one in NVGPU)])
def test_an_integrated_gpu_is_refused_as_one(nodes):
    refusal = judge(tegra(*nodes, *DISPLAY), NO_DRIVER, toolkit_version="1.20.0").refusal
    assert (refusal.rule, "integrated GPU" in refusal.message) == ("devices.igpu", True)


@pytest.mark.parametrize("version", ["34.1.1", "35.3.1", "540.4.0"])
def test_an_integrated_gpu_is_told_by_the_drivers_version_where_its_nodes_are_not_listed(version, tmp_path):
    decision = judge(tegra(*TEGRA, *DISPLAY), view(tmp_path, version), toolkit_version="1.20.0")
    assert decision.refusal.rule == "devices.igpu"


@pytest.mark.parametrize("more", [LATER, [BASE[1]], [*NVGPU, BASE[1]], [*NVGPU, *LATER], []])
def test_thors_gpu_is_served_without_the_nodes_that_are_dead(more, tmp_path):
    for host in (ProcDriverView("/nonexistent"), view(tmp_path, "580.00")):
        decision = judge(tegra(*TEGRA, *DISPLAY, *more), host, toolkit_version="1.20.0")
        assert decision.refusal is None
        assert 0 in decision.gpus
        assert all(path.startswith("/dev/nvidia") for path in decision.devices)


def test_who_asks_for_no_gpu_needs_none_that_is_served(host):
    assert judge(asking(tegra(*TEGRA, *NVGPU, *DISPLAY), "none", "void"), host).gpus == []


def test_a_version_is_read_as_the_driver_writes_it(tmp_path):
    assert view(tmp_path, "35.3.1").driver_version() == "35.3.1"
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug 13\n"
    )
    assert ProcDriverView(str(tmp_path)).driver_version() == "580.82.07"
    assert ProcDriverView("/nonexistent").driver_version() is None
