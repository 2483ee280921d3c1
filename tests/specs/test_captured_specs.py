"""Every captured spec through the admin command's own functions, with and without a runsc that runs hooks."""

import json

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import parse_settings
from tests.driver_tree import CAPTURED_HOST, LAB_HOST, write_driver_tree
from tests.specs.captured_specs import CAPTURED
from tests.unit.wrapper.specs import closed

LISTED = [captured for captured in CAPTURED if captured.is_listed and not captured.refused_by]
LIMITED = [captured for captured in LISTED if captured.request == "memory-limit"]
UNLIMITED = [captured for captured in LISTED if captured not in LIMITED]
BOTH = pytest.mark.parametrize("hooks_run", [True, False], ids=["hooks run", "hooks do not run"])
SONAMES = {"libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1"}
DROPPED = "disable-device-node-modification"


def name_of(captured):
    return captured.path.stem


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    hosts = {
        gpus: ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), gpus)))
        for gpus in (CAPTURED_HOST, LAB_HOST)
    }

    def judge(captured, hooks_run=True, spec=None):
        given = {"hooks_run": hooks_run, "toolkit_version": captured.toolkit}
        settings = parse_settings(json.dumps(given).encode(), "settings")
        data = strict_json.loads(captured.path.read_bytes()) if spec is None else spec
        return decide(data, settings, hosts[captured.host])

    return judge


def is_nvidia(hook):
    return "nvidia" in hook["path"]


def without_variable(env):
    return [entry for entry in env if not entry.startswith("NVIDIA_VISIBLE_DEVICES=")]


def test_all_155_specs_are_there():
    assert len(CAPTURED) == 154


@pytest.mark.parametrize("captured", CAPTURED, ids=name_of)
def test_a_captured_spec_gets_its_class_and_its_request_is_read(captured, judge):
    decision = judge(captured)
    assert (decision.refusal and decision.refusal.rule) == captured.refused_by
    assert decision.spec_class == captured.spec_class
    assert decision.requested == captured.requested
    assert decision.gpu_requested == (captured.spec_class != "none" and captured.asked is not None)
    assert decision.gpus == captured.gpus
    assert decision.evidence


@pytest.mark.parametrize("captured", CAPTURED, ids=name_of)
@BOTH
def test_a_captured_spec_never_gets_more_than_was_asked_for(captured, hooks_run, judge):
    for variables in ([], ["CUDA_VERSION=9.0.176"]):
        spec = captured.spec
        spec["process"]["env"] += variables
        assert set(judge(captured, hooks_run, spec).gpus) <= captured.asked_minors


@pytest.mark.parametrize("captured", CAPTURED, ids=name_of)
@BOTH
def test_a_second_rewrite_of_a_captured_spec_changes_nothing(captured, hooks_run, judge):
    first = judge(captured, hooks_run)
    if first.refusal:
        assert first.spec == captured.spec
        return
    second = judge(captured, hooks_run, first.spec)
    assert second.refusal is None
    assert not second.changed
    assert second.devices == first.devices


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.asked is None], ids=name_of)
def test_a_container_that_asks_for_nothing_is_left_as_it_is(captured, judge):
    decision = judge(captured)
    assert not decision.changed
    assert decision.runsc_flags == []


@pytest.mark.parametrize("captured", UNLIMITED, ids=name_of)
@BOTH
def test_a_captured_gpu_container_gets_exactly_the_nodes_it_asked_for(captured, hooks_run, judge):
    given, made = captured.spec, judge(captured, hooks_run).spec
    nodes = {device["path"] for device in made["linux"]["devices"]}
    assert nodes == {"/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{minor}" for minor in captured.gpus)}
    assert made["linux"]["devices"] == [
        {**device, "fileMode": 438} for device in given["linux"]["devices"] if device["path"] in nodes
    ]
    allowed = {
        (rule.get("major"), rule.get("minor"))
        for rule in made["linux"]["resources"]["devices"]
        if rule["allow"]
    }
    assert {minor for major, minor in allowed if major == 195} == {255, *captured.gpus}
    assert {minor for major, minor in allowed if major == 511} == {0}


@pytest.mark.parametrize("captured", LISTED, ids=name_of)
def test_a_captured_gpu_container_is_marked_and_its_variable_is_void(captured, judge):
    given, decision = captured.spec, judge(captured)
    made = decision.spec
    assert made["annotations"] == {"dev.gvisor.internal.nvproxy": "true"}
    assert decision.runsc_flags == ["--nvproxy"]
    env = made["process"]["env"]
    assert [entry for entry in env if entry.startswith("NVIDIA_VISIBLE_DEVICES")] == [
        "NVIDIA_VISIBLE_DEVICES=void"
    ]
    assert without_variable(env) == without_variable(given["process"]["env"])


@pytest.mark.parametrize("captured", LISTED, ids=name_of)
def test_a_captured_spec_keeps_the_hooks_that_a_sandbox_needs(captured, judge):
    given, made = captured.spec, judge(captured).spec
    assert made["hooks"].get("prestart") == given["hooks"].get("prestart")
    assert made["hooks"]["createContainer"] == [
        hook for hook in given["hooks"]["createContainer"] if DROPPED not in hook["args"]
    ]
    assert made["mounts"] == closed(given["mounts"]) != given["mounts"]
    limits = given["hooks"].get("createRuntime")
    assert made["hooks"].get("createRuntime") == (limits if captured in LIMITED else None)


@pytest.mark.parametrize("captured", LIMITED, ids=name_of)
def test_a_memory_limit_that_no_hook_will_set_is_refused(captured, judge):
    refusal = judge(captured, hooks_run=False).refusal
    assert refusal.rule == "hooks.memory"
    assert "NVIDIA_GPU_MEMORY_LIMIT" in refusal.message


@pytest.mark.parametrize("captured", UNLIMITED, ids=name_of)
def test_where_hooks_do_not_run_their_links_are_mounts(captured, judge):
    given, made = captured.spec, judge(captured, hooks_run=False).spec
    assert not any(is_nvidia(hook) for hooks in made["hooks"].values() for hook in hooks)
    assert made["mounts"][: len(given["mounts"])] == closed(given["mounts"])
    added = made["mounts"][len(given["mounts"]) :]
    folder = next(m["destination"] for m in given["mounts"] if "/libcuda.so." in m["destination"]).rpartition(
        "/"
    )[0]
    links = {
        word.partition("::")[2]
        for hook in given["hooks"]["createContainer"]
        for word in hook["args"]
        # In mode csv the lab's host links in /lib also, where nothing is mounted.
        if "::" in word and "::/lib/" not in word
    }
    names = {mount["destination"].rpartition("/")[2].partition(".so.")[0] for mount in given["mounts"]}
    sonames = {soname for soname in SONAMES if soname.partition(".so.")[0] in names}
    assert {mount["destination"] for mount in added} == links | {f"{folder}/{soname}" for soname in sonames}
    for mount in added:
        name = mount["destination"].rpartition("/")[2].partition(".so")[0]
        assert mount["source"].startswith((f"{folder}/{name}.so.550", f"{folder}/{name}.so.570"))
        assert mount["options"][0] == "ro"


@pytest.mark.parametrize(
    "captured",
    [c for c in CAPTURED if c.spec_class == "legacy" and c.asked and not c.refused_by],
    ids=name_of,
)
@BOTH
def test_legacy_stays_as_it_was_but_for_the_mark_the_capabilities_and_nodev(captured, hooks_run, judge):
    given, decision = captured.spec, judge(captured, hooks_run)
    expected = {
        **given,
        "annotations": {"dev.gvisor.internal.nvproxy": "true"},
        "mounts": closed(given["mounts"]),
    }
    expected["process"]["env"] = [
        "NVIDIA_DRIVER_CAPABILITIES=utility,compute" if entry == "NVIDIA_DRIVER_CAPABILITIES=all" else entry
        for entry in given["process"]["env"]
    ]
    assert decision.spec == expected
    assert decision.runsc_flags == ["--nvproxy"]
