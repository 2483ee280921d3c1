"""mounts.sockets, annotation.nvproxy, annotation.user, pod.sandbox."""

import os
import socket

import pytest

from nvproxy_wrapper.host.views import CreateView
from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.unit.wrapper.specs import JIT, LEGACY, NO_DRIVER, PLAIN, asking, captured, closed, judge, rules_of

NVPROXY = "dev.gvisor.internal.nvproxy"
SANDBOX = [{"io.kubernetes.cri.container-type": "sandbox"}, {"io.kubernetes.cri-o.ContainerType": "sandbox"}]


def bind(source, destination=None):
    return {
        "destination": destination or source,
        "source": source,
        "options": ["nosuid", "nodev", "rbind", "noexec"],
    }


@pytest.mark.parametrize(
    "source",
    [
        "/run/nvidia-persistenced/socket",
        "/var/run/nvidia-persistenced/socket",
        "/run/nvidia-fabricmanager/socket",
        "/run/nvidia/driver/run/nvidia-fabricmanager/socket",
        "/tmp/nvidia-mps",
        "/tmp/nvidia-mps/control",
        "/run/nvidia-persistenced",
        "/driver/run/nvidia-persistenced/",
    ],
)
def test_a_bind_of_nvidias_sockets_is_removed_by_its_name(source):
    spec = captured(JIT)
    before = list(spec["mounts"])
    spec["mounts"].insert(3, bind(source))
    decision = judge(spec)
    assert decision.spec["mounts"] == closed(before)
    assert "mounts.sockets" in rules_of(decision)


@pytest.mark.parametrize(
    "source",
    [
        "/usr/bin/nvidia-persistenced",
        "/home/me/nvidia-mps",
        "/var/run/docker.sock",
        "/run/nvidia-fabricmanager2",
    ],
)
def test_other_binds_stay(source):
    spec = captured(JIT)
    spec["mounts"].append(bind(source))
    assert judge(spec).spec["mounts"][-1]["source"] == source


def test_at_create_time_a_socket_or_fifo_of_nvidias_is_known_by_what_it_is(tmp_path):
    folder = tmp_path / "nvidia"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        (folder / "file").touch()
        spec = asking(captured(JIT), "void")
        spec["mounts"] += [bind(str(folder / name)) for name in ("fifo", "socket", "file", "gone")]
        host = CreateView("/nonexistent")
        host.node_problem = lambda *_: None
        left = [mount["source"] for mount in judge(spec, host).spec["mounts"]]
    assert [name for name in ("fifo", "socket", "file", "gone") if str(folder / name) in left] == [
        "file",
        "gone",
    ]


@pytest.mark.parametrize("name", [JIT, LEGACY])
@pytest.mark.parametrize("given", [None, {}, {NVPROXY: "false"}, {NVPROXY: "true"}, {"a": "b"}])
def test_a_gpu_container_is_marked(name, given):
    spec = captured(name)
    spec["annotations"] = given
    decision = judge(spec)
    assert decision.spec["annotations"] == {**(given or {}), NVPROXY: "true"}
    assert decision.runsc_flags == ["--nvproxy"]


def test_capabilities_other_than_runscs_own_default_are_passed_where_it_knows_the_flag():
    allowed = {"allowed_capabilities": ["compute", "utility", "video"]}
    assert judge(captured(JIT), **allowed).runsc_flags[1:] == [
        "--nvproxy-allowed-driver-capabilities=compute,utility,video"
    ]
    assert judge(captured(JIT), **allowed, runsc_flags=["nvproxy"]).runsc_flags == ["--nvproxy"]


def done(decision, rule):
    """(target, what) of what a rule did."""
    return [(one.target, one.what) for one in decision.actions if one.rule == rule]


def test_what_is_done_to_a_mount_is_told_by_its_destination():
    spec = captured(JIT)
    spec["mounts"] = [
        bind("/run/nvidia-persistenced/socket", "/there"),
        {"destination": "/d", "type": "bind"},
    ]
    decision = judge(spec)
    ((target, what),) = done(decision, "mounts.sockets")
    assert target == "/there"
    assert "/run/nvidia-persistenced/socket" in what
    assert done(decision, "mounts.nodev") == [("/d", "nodev added")]
    assert decision.spec["mounts"] == [{"destination": "/d", "type": "bind", "options": ["nodev"]}]


def test_the_mark_of_a_gpu_container_is_told_where_it_was_not_there_already():
    spec = captured(JIT)
    assert done(judge(spec), "annotation.nvproxy") == [(NVPROXY, 'set to "true"')]
    spec["annotations"] = {NVPROXY: "true"}
    assert done(judge(spec), "annotation.nvproxy") == []


@pytest.mark.parametrize(
    ("allowed", "flags"),
    [
        (["compute", "utility"], []),
        (["utility", "compute", "utility"], []),
        (["utility"], ["--nvproxy-allowed-driver-capabilities=utility"]),
        (["video", "compute"], ["--nvproxy-allowed-driver-capabilities=video,compute"]),
    ],
)
def test_runscs_own_default_of_capabilities_is_not_said_to_it(allowed, flags):
    assert judge(captured(JIT), allowed_capabilities=allowed).runsc_flags == ["--nvproxy", *flags]


def test_an_annotation_that_goes_is_told_with_its_value_as_it_was_written():
    spec = captured(JIT)
    spec["annotations"] = {"dev.gvisor.a": "x", "dev.gvisor.flag.overlay2": strict_json.Number("1.50")}
    told = done(judge(spec), "annotation.user")
    assert [target for target, _ in told] == ["dev.gvisor.a", "dev.gvisor.flag.overlay2"]
    assert [what.partition("(")[2] for _, what in told] == ["'x')", "1.50)"]
    allowed = judge(spec, allow_user_annotations=True)
    ((target, what),) = done(allowed, "annotation.user")
    assert (target, what.partition("(")[2]) == ("dev.gvisor.flag.overlay2", "1.50)")
    assert allowed.spec["annotations"] == {"dev.gvisor.a": "x", NVPROXY: "true"}


@pytest.mark.parametrize(
    ("key", "goes", "goes_in_docker"),
    [
        *(("dev.gvisor.x", True, True), ("dev.gvisorx", False, False), ("x.dev.gvisor.x", False, False)),
        *(("io.kubernetes.cri.x", False, True), ("io.kubernetes.cri-o.x", False, True)),
        ("io.kubernetes.x", False, False),
    ],
)
def test_an_annotation_is_the_users_by_how_its_name_begins(key, goes, goes_in_docker):
    spec = asking(captured(JIT), "void")
    spec["annotations"] = {key: "x"}
    for is_dockers, is_gone in ((False, goes), (True, goes_in_docker)):
        made = decide(spec, DEFAULTS, NO_DRIVER, engine_has_no_pods=is_dockers).spec
        assert (key in made["annotations"]) is not is_gone


@pytest.mark.parametrize("name", [PLAIN, JIT, LEGACY, "1.20.0_legacy_no-gpu"])
@pytest.mark.parametrize(
    "key",
    [
        "dev.gvisor.flag.host-uds",
        "dev.gvisor.internal.overlay",
        "dev.gvisor.flag.",
        # Tried by hand with runsc 20260905: bundle. and spec. do what they say. tar. needs a flag there.
        "dev.gvisor.bundle.experimental-high-performance",
        "dev.gvisor.spec.cgroup-parent",
        "dev.gvisor.spec.rootfs.source",
        "dev.gvisor.spec.mount.x.source",
        "dev.gvisor.tar.rootfs.upper",
    ],
)
def test_what_changes_the_sandbox_and_comes_with_the_container_is_removed(name, key):
    spec = captured(name)
    spec["annotations"] = {"keep": "me", key: "all"}
    decision = judge(spec)
    assert key not in decision.spec["annotations"]
    assert decision.spec["annotations"]["keep"] == "me"
    allowed = judge(spec, allow_user_annotations=True).spec["annotations"]
    undoes = key in ("dev.gvisor.flag.host-uds", "dev.gvisor.spec.rootfs.source")
    assert allowed.get(key) == (None if undoes else "all")


def test_an_annotation_does_not_turn_nvproxy_on_in_a_plain_container(host):
    spec = captured(PLAIN)
    spec["annotations"] = {NVPROXY: "true"}
    decision = judge(spec, host)
    assert (decision.spec_class, decision.runsc_flags) == ("none", [])
    assert not decision.spec.get("annotations")
    assert rules_of(decision) == {"annotation.user"}


@pytest.mark.parametrize("annotations", SANDBOX)
@pytest.mark.parametrize("name", [PLAIN, "1.20.0_legacy_no-gpu"])
def test_a_pod_sandbox_on_a_gpu_host_gets_nvproxy(annotations, name, host):
    spec = captured(name)
    spec["annotations"] = annotations
    decision = judge(spec, host)
    assert decision.spec["annotations"] == {**annotations, NVPROXY: "true"}
    assert decision.runsc_flags == ["--nvproxy"]
    assert not decision.gpu_requested
    assert done(decision, "pod.sandbox") == [(NVPROXY, 'set to "true"')]
    assert not judge(decision.spec, host).changed


@pytest.mark.parametrize("annotations", SANDBOX)
def test_a_pod_sandbox_on_a_host_without_a_gpu_is_left_alone(annotations):
    spec = captured(PLAIN)
    spec["annotations"] = annotations
    decision = judge(spec, NO_DRIVER)
    assert not decision.changed
    assert decision.runsc_flags == []


@pytest.mark.parametrize("key", [key for item in SANDBOX for key in item])
def test_a_pods_other_containers_are_not_sandboxes(key, host):
    spec = captured(PLAIN)
    spec["annotations"] = {key: "container"}
    decision = judge(spec, host)
    assert decision.runsc_flags == []
    assert decision.spec == {**spec, "mounts": closed(spec["mounts"])}


@pytest.mark.parametrize(
    ("values", "what"), [(("1", "void"), "1, void -> void"), (("1",), "1 -> void"), ((), "not set -> void")]
)
def test_the_variable_that_is_set_is_told_with_what_it_was(values, what):
    assert done(judge(asking(captured(JIT), *values)), "env.void") == [("NVIDIA_VISIBLE_DEVICES", what)]
    assert done(judge(asking(captured(JIT), "void")), "env.void") == []


@pytest.mark.parametrize("process", [None, {}])
def test_a_spec_without_a_process_gets_none(process):
    decision = judge({**captured(JIT), "process": process})
    assert decision.spec["process"] == process
    assert done(decision, "env.void") == []


def test_a_listed_container_without_the_variable_is_told_that_all_is_done():
    spec = asking(captured("1.20.0_csv_visible-all"))
    spec["process"]["env"].append("CUDA_VERSION=9.0.176")
    assert judge(spec).spec["process"]["env"] == [*spec["process"]["env"], "NVIDIA_VISIBLE_DEVICES=void"]


@pytest.mark.parametrize("annotations", SANDBOX)
@pytest.mark.parametrize("kind", ["sandbox", "container"])
def test_in_docker_what_makes_a_container_a_part_of_a_pod_is_the_users_own(annotations, kind, host):
    """Runsc puts a `container` into the sandbox that `sandbox-id` names, whoever's that is."""
    spec = captured(PLAIN)
    (key,) = annotations
    spec["annotations"] = {key: kind, "io.kubernetes.cri.sandbox-id": "a-neighbour", "keep": "me"}
    decision = decide(spec, DEFAULTS, host, engine_has_no_pods=True)
    assert decision.spec["annotations"] == {"keep": "me"}
    assert decision.runsc_flags == []
    assert (
        judge(spec, host, allow_user_annotations=True).spec["annotations"].items()
        >= spec["annotations"].items()
    )


def test_the_first_name_that_is_there_says_what_a_container_is(host):
    """As runsc reads them: containerd's name goes before that of CRI-O."""
    spec = captured(PLAIN)
    first, second = (key for item in SANDBOX for key in item)
    spec["annotations"] = {second: "sandbox", first: "container"}
    assert judge(spec, host).runsc_flags == []
    spec["annotations"] = {second: "container", first: "sandbox"}
    assert judge(spec, host).runsc_flags == ["--nvproxy"]
