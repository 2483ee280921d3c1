"""Specs of gVisor's containerd shim: what it wrote stays, and nothing else of dev.gvisor.* does."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.driver_tree import LAB_HOST, write_driver_tree
from tests.fuzz.shim_model import CGROUP_PARENT, PREFIX, SHM, shim
from tests.specs.kubernetes_specs import CONTAINERS, NAMES, SANDBOXES, shims_spec

NVPROXY = "dev.gvisor.internal.nvproxy"
GPUS = {
    "cdi1": {6},
    "cdi-uuid": {6},
    "two.c0": {0},
    "two.c1": {6},
    "all": set(range(8)),
    "none-then-gpu.c1": {6},
}
EMPTY = "k8s.empty-nvidia-gvisor.sandbox"
DATA = f"{PREFIX}data."

FORGED = {
    "dev.gvisor.flag.network": "host",
    "dev.gvisor.flag.host-uds": "open",
    "dev.gvisor.spec.rootfs.source": "/etc",
    "dev.gvisor.bundle.experimental-high-performance": "true",
    "dev.gvisor.tar.rootfs.upper": "/etc/passwd",
    "dev.gvisor.internal.overlay": "x",
    "dev.gvisor.empty-dir.data.force-shared": "true",
    f"{PREFIX}evil.source": "/evil",
    f"{PREFIX}evil.type": "tmpfs",
    f"{PREFIX}evil.share": "pod",
    f"{PREFIX}evil.options": "rw",
    f"{PREFIX}etc.source": "/var/lib/kubelet/pods/../../../../etc",
    f"{PREFIX}etc.type": "bind",
    f"{PREFIX}etc.share": "container",
    f"{PREFIX}data.directfs": "off",
    f"{PREFIX}data.x.type": "tmpfs",
    f"{PREFIX}*.type": "tmpfs",
    f"{PREFIX}.type": "tmpfs",
    "dev.gvisor.spec.cgroup-parent.x": "/",
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    host = ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), LAB_HOST)))
    return lambda spec, **more: decide(copy.deepcopy(spec), DEFAULTS, host, **more)


def of_gvisor(spec):
    return {key: value for key, value in spec["annotations"].items() if key.startswith("dev.gvisor.")}


def test_all_19_specs_are_there():
    assert len(NAMES) == 19


@pytest.mark.parametrize("name", SANDBOXES)
def test_a_sandbox_keeps_what_the_shim_wrote_and_gets_nvproxy(name, judge):
    spec = shims_spec(name)
    decision = judge(spec)
    assert of_gvisor(spec)
    assert decision.spec["annotations"] == {**spec["annotations"], NVPROXY: "true"}
    assert decision.spec["mounts"][5] == spec["mounts"][5]
    assert [action.rule for action in decision.actions if "annotation" in action.rule] == []
    assert decision.runsc_flags == ["--nvproxy"]
    assert not judge(decision.spec).changed


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_loses_every_forged_annotation_and_keeps_the_shims(name, judge):
    spec = shims_spec(name)
    kept = of_gvisor(spec)
    spec["annotations"] = {**FORGED, **spec["annotations"]}
    decision = judge(spec)
    left = of_gvisor(decision.spec)
    left.pop(NVPROXY, None)
    assert left == kept
    said = [action.target for action in decision.actions if action.rule == "annotation.user"]
    assert sorted(said) == sorted(FORGED)


@pytest.mark.parametrize("name", SANDBOXES)
@pytest.mark.parametrize(
    "value", ["/evil", "/etc", "", "shared", "erofs", "rw,dev", "../x", 1, None, ["pod"]]
)
def test_what_differs_from_what_the_shim_writes_goes_and_is_said(name, value, judge):
    for key in of_gvisor(shims_spec(name)):
        spec = shims_spec(name)
        kept = of_gvisor(spec)
        if key == f"{DATA}share" and value == "shared":
            continue  # That is a pod's to say.
        spec["annotations"][key] = value
        decision = judge(spec)
        left = of_gvisor(decision.spec)
        assert key not in left
        assert left.items() <= {**kept, NVPROXY: "true"}.items()
        assert key in [action.target for action in decision.actions]


def test_a_volume_with_another_source_goes_as_a_whole(judge):
    spec = shims_spec(EMPTY)
    uid = spec["annotations"]["io.kubernetes.cri.sandbox-uid"]
    source = spec["annotations"][f"{DATA}source"]
    for forged in (
        source.replace(uid, "11111111-69d7-49d0-b9e0-5e63a2aca9c5"),
        source.replace("/data", "/other"),
        source.replace("empty-dir", "secret"),
        source.replace("/var/lib/kubelet", "/var/lib/k0s/kubelet"),
        f"{source}/../data",
    ):
        spec["annotations"][f"{DATA}source"] = forged
        assert not [key for key in of_gvisor(judge(spec).spec) if key.startswith(DATA)]


def test_an_empty_dir_with_something_in_it_is_shared_with_the_host(judge):
    spec = shims_spec(EMPTY)
    spec["annotations"].update({f"{DATA}type": "bind", f"{DATA}share": "shared"})
    assert of_gvisor(judge(spec).spec).items() >= {f"{DATA}type": "bind", f"{DATA}share": "shared"}.items()
    # A bind that is the sandbox's alone would have runsc write beside the volume's files.
    spec["annotations"][f"{DATA}share"] = "pod"
    assert f"{DATA}type" not in of_gvisor(judge(spec).spec)


def test_a_pod_with_the_hosts_ipc_shares_the_hosts_shm(judge):
    spec = shims_spec("nvidia-gvisor.none.sandbox")
    for value in ("/dev/shm", "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/another/shm"):
        next(m for m in spec["mounts"] if m["destination"] == "/dev/shm")["source"] = value
        spec["annotations"][f"{SHM}source"] = value
        assert (f"{SHM}source" in of_gvisor(judge(spec).spec)) == (value == "/dev/shm")


@pytest.mark.parametrize(("place", "kind"), [("/dev/shm", "bind"), ("/data", "tmpfs")])
def test_no_other_mount_is_the_pods_shm(place, kind, judge):
    spec = shims_spec("nvidia-gvisor.none.sandbox")
    mount = next(m for m in spec["mounts"] if m["destination"] == "/dev/shm")
    mount.update(destination=place, type=kind)
    assert not [key for key in of_gvisor(judge(spec).spec) if key.startswith(SHM)]


def test_a_log_directory_may_end_with_a_slash(judge):
    spec = shims_spec(EMPTY)
    spec["annotations"]["io.kubernetes.cri.sandbox-log-directory"] += "/"
    assert f"{DATA}source" in of_gvisor(judge(spec).spec)


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        ("/kubepods/burstable/pod1/abc", "/kubepods/burstable/pod1"),
        ("kubepods/pod1/abc", "kubepods/pod1"),
        ("/kubepods//pod1/./abc", "/kubepods/pod1"),
        ("/kubepods/pod1/podman/abc", "/kubepods/pod1/podman"),
        ("/kubepods/pod1", None),
        ("kubepods-pod1.slice:cri-containerd:abc", None),
        ("pod1.slice:cri-containerd:abc", None),
        ("/docker/abc", None),
        ("/../pod1/abc", None),
        ("", None),
    ],
)
def test_the_pods_cgroup_is_worked_out_of_the_containers(path, parent, judge):
    spec = shims_spec("nvidia-gvisor.none.sandbox")
    spec["linux"]["cgroupsPath"] = path
    for value in {parent or path, "/kubepods", "/", path, path.rpartition("/")[0]}:
        spec["annotations"][CGROUP_PARENT] = value
        assert (CGROUP_PARENT in of_gvisor(judge(spec).spec)) == (value == parent), value


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_pods_other_containers_get_just_the_gpus_they_were_given(name, judge):
    decision = judge(shims_spec(name))
    expected = next((gpus for case, gpus in GPUS.items() if f".{case}." in f"{name}."), set())
    assert decision.refusal is None
    assert set(decision.gpus) == expected
    assert decision.gpu_requested == bool(expected)
    assert of_gvisor(decision.spec) == ({NVPROXY: "true"} if expected else {})


def test_in_docker_the_shims_annotations_are_a_users_like_any_other(judge):
    for name in SANDBOXES:
        decision = judge(shims_spec(name), engine_has_no_pods=True)
        assert not [key for key in decision.spec.get("annotations", {}) if "gvisor" in key or ".cri" in key]


_VOLUMES = st.dictionaries(
    st.sampled_from(["data", "a-1", "gke-gcsfuse-tmp"]),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["tmpfs", "bind"])},
        optional={
            "share": st.sampled_from(["pod", "container", "shared"]),
            "options": st.sampled_from(["rw", "ro", "rw,rprivate", "rw,nosuid"]),
        },
    ),
)
_PATHS = st.sampled_from(["/kubepods/pod1/a", "/kubepods/burstable/podx/b", "a.slice:cri-containerd:b", "/x"])


_PODS = st.fixed_dictionaries({"volumes": _VOLUMES, "path": _PATHS, "are_empty": st.booleans()})


@given(st.sampled_from(NAMES), _PODS, st.dictionaries(st.sampled_from(list(FORGED)), st.text()))
def test_whatever_the_shim_writes_survives_and_nothing_else(judge, name, pod, forged):
    spec = shims_spec(name)
    spec["annotations"] = {k: v for k, v in spec["annotations"].items() if not k.startswith("dev.gvisor.")}
    spec["linux"]["cgroupsPath"] = pod["path"]
    for mount in spec["mounts"]:
        if mount["destination"] == "/dev/shm":
            mount["type"] = "bind"
    for volume, fields in pod["volumes"].items():
        spec["annotations"].update({f"{PREFIX}{volume}.{field}": value for field, value in fields.items()})
    shim(spec, are_empty=pod["are_empty"])
    kept = of_gvisor(spec) if name in SANDBOXES else {}
    spec["annotations"].update({k: v for k, v in forged.items() if not k.startswith(DATA)})
    left = of_gvisor(judge(spec).spec)
    left.pop(NVPROXY, None)
    assert left == kept
