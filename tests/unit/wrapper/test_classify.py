"""What a spec's class is told from, and what does not count."""

import pytest

from nvproxy_wrapper.host import views
from nvproxy_wrapper.host.views import CreateView, ProcDriverView
from tests.driver_tree import captured_uuid
from tests.unit.wrapper.mutations import in_the_other_form
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
)

CTK, CDI_HOOK = "/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"
LEGACY_HOOK = hook("/usr/bin/nvidia-container-runtime-hook", "prestart")


def without_hooks(spec):
    return {**spec, "hooks": {"prestart": spec["hooks"]["prestart"]}}


def test_an_image_that_sets_the_jit_variable_does_not_switch_the_narrowing_off(host):
    spec = captured(CSV)
    spec["process"]["env"].insert(1, "NVIDIA_CTK_LIBCUDA_DIR=/usr/lib/x86_64-linux-gnu")
    decision = judge(spec, host)
    assert (decision.spec_class, decision.gpus) == ("csv", [1])


def test_the_legacy_hook_beside_devices_is_mixed_and_dropped(host):
    spec = captured(JIT)
    spec["hooks"]["prestart"].append(LEGACY_HOOK)
    decision = judge(spec, host)
    assert decision.spec_class == "mixed"
    assert LEGACY_HOOK not in decision.spec["hooks"]["prestart"]
    assert decision.gpus == [1]


def test_hooks_of_both_forms_are_mixed_and_their_list_is_two_writers(host):
    spec = captured(CSV)
    spec["hooks"]["createContainer"].append(hook(CDI_HOOK, "update-ldcache"))
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "devices.scope")
    assert judge(asking(spec, "0,1,2,3", "void"), host).gpus == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "odd",
    [
        hook("/tmp/nvidia-ctk", "hook", "become-root"),
        hook("/usr/bin/nvidia-new-hook", "x"),
        hook(CTK, "runtime"),
        hook(CTK, "hook", "--debug", "update-ldcache"),
        hook(CTK, "hook", "apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", captured_uuid(1)),
    ],
)
def test_an_unknown_nvidia_hook_makes_a_spec_mixed(odd, host):
    spec = captured(CSV)
    spec["hooks"]["createContainer"].append(odd)
    decision = judge(spec, host)
    assert (decision.spec_class, decision.gpus) == ("mixed", [1])
    assert odd not in decision.spec["hooks"]["createContainer"]
    assert any(odd["path"] in sentence for sentence in decision.evidence)


@pytest.mark.parametrize("stage", ["createContainer", "createRuntime", "startContainer"])
@pytest.mark.parametrize("new", [hook(CTK, "hook", "make-coffee"), hook(CDI_HOOK, "make-coffee", "--sugar")])
@pytest.mark.parametrize("name", [CSV, CSV_ALL, JIT, CDI, LEGACY, PLAIN, "1.20.0_legacy_no-gpu"])
def test_a_hook_that_a_newer_toolkit_has_is_dropped_and_the_class_told_from_the_rest(name, new, stage, host):
    before = judge(captured(name), host, toolkit_version="1.20.0")
    spec = captured(name)
    spec.setdefault("hooks", {}).setdefault(stage, []).append(new)
    decision = judge(spec, host, toolkit_version="1.20.0")
    assert (decision.spec_class, decision.gpus, decision.refusal) == (
        before.spec_class,
        before.gpus,
        None,
    )
    assert decision.gpu_requested == before.gpu_requested
    assert new not in decision.spec["hooks"].get(stage, [])
    assert [action.rule for action in decision.actions if "make-coffee" in action.target] == ["hooks.allow"]
    assert any("make-coffee" in sentence for sentence in decision.evidence)


def test_such_a_hook_alone_is_still_a_trace_of_the_toolkit(host):
    """A toolkit that gave all of its hooks new names could be in csv mode as well."""
    spec = captured(CSV_ALL)
    spec["hooks"] = {"createContainer": [hook(CTK, "hook", "make-coffee")]}
    decision = judge(asking(spec, "1", "void"), host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "devices.scope")
    assert judge(asking(spec, "void"), host).refusal.rule == "devices.scope"
    assert judge(asking(spec, "1", "void"), host, toolkit_mode="csv").gpus == [1]


@pytest.mark.parametrize("name", [JIT, CDI, CSV])
def test_nodes_that_an_engine_binds_in_a_user_namespace_are_refused_as_such(name, host):
    spec = captured(name)
    for device in spec["linux"]["devices"]:
        spec["mounts"].append({"destination": device["path"], "source": device["path"], "options": ["bind"]})
    spec["linux"]["devices"] = []
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "spec.class")
    assert "/dev/nvidiactl" in decision.refusal.message
    assert "bind mounts" in decision.refusal.message
    assert "rootless" in decision.refusal.message


@pytest.mark.parametrize("name", [PLAIN, JIT, CDI])
@pytest.mark.parametrize("is_bound", [False, True])
def test_the_node_of_wsl_is_refused_as_such(name, is_bound, host):
    spec = captured(name)
    spec["linux"]["devices"] = [] if is_bound else [node("/dev/dxg", 10, 125)]
    if is_bound:
        spec["mounts"].append({"destination": "/dev/dxg", "source": "/dev/dxg", "options": ["bind"]})
    decision = judge(spec, host)
    assert (decision.gpu_requested, decision.refusal.rule) == (True, "spec.class")
    assert "WSL 2" in decision.refusal.message
    assert "runc" in decision.refusal.remedy


@pytest.mark.parametrize("name", [LEGACY, JIT])
def test_a_gpu_on_a_host_of_wsl_is_refused_as_such(name, host, monkeypatch):
    monkeypatch.setattr(host, "is_wsl", lambda: True)
    refusal = judge(captured(name), host).refusal
    assert (refusal.rule, "this host has /dev/dxg" in refusal.message) == ("spec.class", True)
    assert judge(captured(PLAIN), host).refusal is None


def test_a_view_that_looks_knows_wsl_by_its_node_and_its_lack_of_a_driver(tmp_path, monkeypatch):
    there = tmp_path / "dxg"
    there.touch()
    monkeypatch.setattr(views, "WSL", str(there))
    assert CreateView("/nonexistent").is_wsl()
    assert not CreateView(str(tmp_path)).is_wsl()
    assert ProcDriverView("/nonexistent").is_wsl() is None
    there.unlink()
    assert not CreateView("/nonexistent").is_wsl()


def test_hooks_and_the_nodes_of_an_integrated_gpu_are_refused(host):
    spec = captured(JIT)
    spec["linux"]["devices"] = [node("/dev/nvmap", 10, 61), node("/dev/nvhost-ctrl-gpu", 505, 1)]
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "devices.igpu")


@pytest.mark.parametrize("name", [PLAIN, "1.20.0_legacy_no-gpu"])
def test_a_gpu_node_without_the_control_node_is_refused(name, host):
    spec = captured(name)
    spec["linux"]["devices"] = [node("/dev/nvidia0")]
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "spec.class")


def test_csv_nodes_whose_hooks_are_gone_are_narrowed_where_the_mode_says_that_they_are(host):
    spec = without_hooks(captured("1.14.6_csv_visible-0"))
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "devices.scope")
    decision = judge(spec, host, toolkit_mode="csv")
    assert (decision.spec_class, decision.gpus) == ("csv", [0])


def test_nodes_without_a_trace_of_the_toolkit_are_a_device_plugins():
    spec = captured(PLAIN)
    spec["linux"]["devices"] = [
        node("/dev/nvidiactl", 195, 255),
        node("/dev/nvidia-uvm", 511, 0),
        node("/dev/nvidia5", 195, 5),
    ]
    decision = judge(asking(spec, "all"))
    assert (decision.spec_class, decision.gpus, decision.refusal) == ("device-plugin", [5], None)


def test_jit_cdi_with_its_telling_hooks_disabled_is_taken_for_csv_unless_the_settings_know_better(host):
    spec = captured(JIT)
    spec["hooks"]["createContainer"] = [
        item
        for item in spec["hooks"]["createContainer"]
        if item["args"][2] in ("create-symlinks", "update-ldcache")
    ]
    assert judge(spec, host).spec_class == "csv"
    assert judge(spec, host).gpus == [1]
    assert judge(spec, host, toolkit_mode="jit-cdi").spec_class == "jit-cdi"


def test_toolkit_mode_does_not_overrule_what_the_spec_says(host):
    assert judge(captured(JIT), host, toolkit_mode="csv").spec_class == "jit-cdi"
    assert judge(captured("1.20.0_csv_visible-1"), host, toolkit_mode="jit-cdi").spec_class == "csv"


def test_csv_mode_with_the_other_hook_program_is_still_narrowed(host):
    spec = in_the_other_form(captured("1.20.0_csv_visible-0"), CDI_HOOK)
    assert (judge(spec, host).spec_class, judge(spec, host).gpus) == ("csv", [0])
    # Toolkit 1.20.1 leaves no request.
    for mode in ("auto", "csv", "jit-cdi"):
        assert judge(asking(spec, "void"), host, toolkit_mode=mode).refusal.rule == "devices.scope"
    # Nothing but the order of the nodes tells it.
    older = in_the_other_form(captured(CSV), CDI_HOOK)
    for mode in ("auto", "csv", "jit-cdi"):
        decision = judge(older, host, toolkit_mode=mode)
        assert (decision.spec_class, decision.gpus) == ("csv", [1])
    decision = judge(older, host, toolkit_mode="cdi")
    assert (decision.spec_class, decision.refusal.rule) == ("cdi", "devices.scope")


@pytest.mark.parametrize("name", [CDI, "1.17.8_cdi_visible-1"])
@pytest.mark.parametrize("mode", ["auto", "csv", "cdi", "jit-cdi"])
def test_what_docker_itself_takes_from_a_cdi_file_is_exact_whatever_the_toolkits_mode(name, mode, host):
    """`docker run --device nvidia.com/gpu=1 --runtime=nvidia`: the shim finds `void`, and adds nothing."""
    decision = judge(asking(captured(name), "void"), host, toolkit_mode=mode)
    assert (decision.spec_class, decision.gpus, decision.refusal) == ("cdi", [1], None)


@pytest.mark.parametrize(
    "also", [None, node("/dev/nvidia-caps-imex-channels/channel0", 240), node("/dev/nvidia-fs0", 241)]
)
@pytest.mark.parametrize("value", ["1", "none"])
def test_a_cdi_file_is_told_by_its_order_also_with_other_nodes_or_without_a_gpu(also, value):
    spec = asking(captured("1.17.8_cdi_visible-1"), value, "void")
    listed = [one for one in spec["linux"]["devices"] if value != "none" or one["path"] != "/dev/nvidia1"]
    spec["linux"]["devices"] = [*listed, *([also] if also else [])]
    assert judge(spec).spec_class == "cdi"


def test_a_cdi_file_with_the_other_hook_program_is_cdi_where_the_mode_says_so(host):
    spec = in_the_other_form(captured(CDI), CTK)
    assert judge(spec, host).spec_class == "jit-cdi"
    assert judge(spec, host, toolkit_mode="cdi").spec_class == "cdi"


def test_hooks_that_only_csv_writes_and_hooks_that_it_never_writes_are_mixed(host):
    spec = captured("1.20.0_csv_visible-0")
    spec["hooks"]["createContainer"].append(hook(CTK, "hook", "disable-device-node-modification"))
    decision = judge(spec, host)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "devices.scope")


def test_a_spec_of_toolkit_1_13_is_csv_by_the_file_argument_of_its_hook(host):
    spec = captured("1.14.6_csv_visible-0")
    links = hook(
        CTK,
        "hook",
        "create-symlinks",
        "--csv-filename",
        "/etc/nvidia-container-runtime/host-files-for-container.d/drivers.csv",
    )
    spec["hooks"]["createContainer"][0] = links
    decision = judge(spec, host)
    assert (decision.spec_class, decision.gpus) == ("csv", [0])
    assert links in decision.spec["hooks"]["createContainer"]


@pytest.mark.parametrize("mode", ["cdi", "auto", "csv"])
def test_a_class_is_told_with_its_evidence(mode, host):
    decision = judge(captured(f"1.20.0_{mode}_visible-0"), host)
    said = " ".join(decision.evidence)
    assert "nvidia-c" in said
    assert "/dev/nvidiactl" in said
    assert "NVIDIA_VISIBLE_DEVICES is '0', then 'void'" in said


def test_a_legacy_hook_without_a_request_asks_for_no_gpu():
    for values in ([], ["void"], [""], ["all", "void"]):
        decision = judge(asking(captured(LEGACY), *values))
        assert (decision.spec_class, decision.gpu_requested) == ("legacy", False)


def test_all_of_a_csv_spec_needs_no_driver_directory():
    assert judge(captured(CSV_ALL), NO_DRIVER, toolkit_version="1.20.0").gpus == [0, 1, 2, 3]


def test_the_hook_of_containerds_own_client_is_not_overlooked(host):
    """`ctr run --gpus` (containerd, contrib/nvidia): it runs nvidia-container-cli on the host."""
    spec = captured(PLAIN)
    words = ["containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "configure", "--device=0"]
    spec["hooks"] = {"createRuntime": [{"path": "/usr/bin/containerd", "args": words}]}
    decision = judge(spec)
    assert (decision.spec_class, decision.refusal.rule) == ("mixed", "spec.class")
    listed = {**captured(JIT), "hooks": {**captured(JIT)["hooks"], **spec["hooks"]}}
    assert "createRuntime" not in judge(listed, host).spec["hooks"]


def test_a_hook_that_only_speaks_of_nvidia_is_none_of_its():
    spec = captured(PLAIN)
    spec["hooks"] = {"poststop": [{"path": "/usr/bin/report", "args": ["report", "--tag", "nvidia"]}]}
    assert judge(spec).spec_class == "none"


def test_csv_nodes_in_the_order_of_a_cdi_file_are_csv_where_libcuda_is_linked(host):
    """CDI files up to 1.15, which alone have hooks of this form and that order, never linked it."""
    spec = captured("1.14.6_cdi_visible-1")
    assert judge(spec, host).spec_class == "cdi"
    link = "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so"
    spec["hooks"]["createContainer"].insert(0, hook(CTK, "hook", "create-symlinks", "--link", link))
    decision = judge(spec, host)
    assert (decision.spec_class, decision.gpus) == ("csv", [1])


@pytest.mark.parametrize("name", ["disable-device-node-modification", "update-application-profile"])
def test_one_hook_that_csv_mode_never_writes_is_enough(name, host):
    spec = captured(JIT)
    hooks = spec["hooks"]["createContainer"]
    spec["hooks"]["createContainer"] = [one for one in hooks if one["args"][2] in ("update-ldcache", name)]
    assert len(spec["hooks"]["createContainer"]) == 2
    assert judge(spec, host).spec_class == "jit-cdi"
    assert judge(in_the_other_form(spec, CDI_HOOK), host).spec_class == "cdi"


@pytest.mark.parametrize(
    ("values", "spec_class"),
    [
        (("0,1", "void"), "mixed"),
        (("all", "1,0", "void"), "mixed"),
        (("void",), "device-plugin"),
        (("0,1",), "device-plugin"),
        (("void", "0,1"), "device-plugin"),
        ((), "device-plugin"),
    ],
)
def test_a_void_behind_a_request_is_a_trace_of_the_toolkit_by_itself(values, spec_class, host):
    spec = captured(PLAIN)
    spec["linux"]["devices"] = [
        *(node("/dev/nvidiactl", 195, 255), node("/dev/nvidia-uvm", 511, 0)),
        *(node(f"/dev/nvidia{minor}", 195, minor) for minor in range(2)),
    ]
    decision = judge(asking(spec, *values), host)
    assert decision.spec_class == spec_class
    assert decision.gpus == ([] if "void" in values[:-1] else [0, 1])


def test_a_plain_container_is_told_why_it_is_one_first():
    decision = judge(asking(captured(PLAIN), "1"))
    assert (decision.requested, decision.gpu_requested) == (["1"], False)
    assert decision.evidence == [
        "No hook that is known and no device node of NVIDIA's is in the spec",
        "NVIDIA_VISIBLE_DEVICES is '1'",
    ]
