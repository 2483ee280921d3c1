"""mounts.nodev and mounts.dev: runsc can open what was asked for, whatever lies in the container's /dev."""

import pytest

from nvproxy_wrapper.host import views
from nvproxy_wrapper.host.views import CreateView
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.fuzz.runsc_model import opened
from tests.unit.wrapper.specs import (
    CDI,
    CSV,
    JIT,
    LEGACY,
    NO_DRIVER,
    PLAIN,
    asking,
    captured,
    judge,
    rules_of,
)

LISTED = [JIT, CDI, CSV, "1.20.0_csv_visible-none", "1.20.0_jit-cdi_visible-none"]
GPU_CONTAINERS = [*LISTED, LEGACY]
NVPROXY = "dev.gvisor.internal.nvproxy"
POD = [{"io.kubernetes.cri.container-type": "container"}, {"io.kubernetes.cri-o.ContainerType": "sandbox"}]


def volume(source, destination, *options, **more):
    """A bind as Docker writes one for `-v source:destination`."""
    return {"destination": destination, "source": source, "type": "bind", **more, "options": list(options)}


def with_mount(name, mount, annotations=None):
    spec = captured(name)
    spec["mounts"].append(mount)
    if annotations:
        spec["annotations"] = annotations
    return spec


CLOSED = {
    "a volume that links in the image may lead to dev": volume("/srv", "/data", "rbind", "rprivate"),
    "an engine's own volume over nodes of the image": volume(
        "/var/lib/docker/volumes/x/_data", "/data", "rbind"
    ),
    "the host's dev elsewhere": volume("/dev", "/host/dev", "rbind", "rprivate"),
    "a node under another name": volume("/dev/nvidia1", "/dev/gpu", "rbind", "rprivate"),
    "with an explicit dev": volume("/srv", "/data", "rbind", "dev"),
    "dev after nodev": volume("/srv", "/data", "nodev", "rbind", "dev"),
    "dev as the last of many": volume("/srv", "/data", "dev", "nodev", "rbind", "dev", "dev"),
    "a bind by its type alone": {"destination": "/data", "source": "/srv", "type": "bind"},
    "a bind by its options alone": {"destination": "/data", "source": "/srv", "options": ["bind"]},
    "a bind of another type": volume("/srv", "/data", "rbind", type="tmpfs"),
    "the host's root without what is mounted below it": volume("/", "/host", "bind", "ro"),
    "an option that only looks like nodev": volume("/srv", "/data", "rbind", "nodev,ro", "NODEV"),
}
REFUSED = {
    "a volume over dev": volume("/dev", "/dev", "rbind", "rprivate"),
    "an image's volume over dev": volume("/var/lib/docker/volumes/x/_data", "/dev", "rbind"),
    "over dev by another spelling": volume("/srv", "/x/../dev//.", "rbind"),
    "over everything": volume("/srv", "/", "rbind"),
    "over everything by dots": volume("/srv", "/data/../..", "rbind"),
    "a node as a volume": volume("/dev/nvidia3", "/dev/nvidia3", "rbind", "rprivate"),
    "a node that is given": volume("/dev/nvidia1", "/dev/nvidia1", "rbind", "rprivate"),
    "another file in a node's place": volume("/dev/nvidia3", "/dev/nvidia1/", "bind"),
    "the control node": volume("/dev/nvidiactl", "/dev/nvidiactl", "rbind"),
    "the host's root with what is mounted below it": volume("/", "/host", "rbind", "ro", "rslave"),
    "that root by another spelling": volume("//..", "/host", "rbind", "ro"),
    "a recursive bind that names no source": volume("", "/data", "rbind"),
    "a node with nodev": volume("/dev/nvidia3", "/dev/nvidia3", "rbind", "nodev"),
}


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("way", CLOSED)
def test_no_device_opens_through_a_mount(name, way, host):
    decision = judge(with_mount(name, CLOSED[way]), host)
    assert decision.refusal is None
    assert opened(decision.spec) == set(decision.gpus)
    assert "mounts.nodev" in rules_of(decision)
    assert decision.spec["mounts"][-1]["options"].count("nodev") == 1
    assert "dev" not in decision.spec["mounts"][-1]["options"]
    assert not judge(decision.spec, host).changed


@pytest.mark.parametrize("way", CLOSED)
def test_nor_where_the_driver_sets_the_container_up(way, host):
    assert opened(judge(with_mount(LEGACY, CLOSED[way]), host).spec) == set()


@pytest.mark.parametrize("name", GPU_CONTAINERS)
@pytest.mark.parametrize("way", REFUSED)
def test_what_lies_over_the_nodes_or_brings_some_is_refused_and_named(name, way, host):
    mount = REFUSED[way]
    decision = judge(with_mount(name, mount), host)
    assert decision.refusal
    assert decision.refusal.rule == "mounts.dev"
    assert f"{mount['source']} at {mount['destination']}" in decision.refusal.message


@pytest.mark.parametrize("way", [*CLOSED, *REFUSED])
@pytest.mark.parametrize("annotations", POD)
@pytest.mark.parametrize("name", [PLAIN, "1.20.0_legacy_no-gpu"])
def test_a_plain_container_of_a_pod_opens_nothing_and_starts_where_it_can(name, annotations, way, host):
    mount = (CLOSED | REFUSED)[way]
    decision = judge(with_mount(name, mount, annotations), host)
    if not mount["source"].strip("/.") and "rbind" in mount["options"]:
        # No mount closes what is mounted below the host's root, its /dev for one.
        assert decision.refusal.rule == "mounts.dev"
        return
    assert decision.refusal is None
    assert opened(decision.spec) == set()
    assert decision.spec["mounts"][-1]["options"][-1] == "nodev"
    assert not judge(decision.spec, host).changed


@pytest.mark.parametrize("way", [*CLOSED, *REFUSED])
def test_any_other_plain_container_is_left_alone(way, host):
    mount = (CLOSED | REFUSED)[way]
    assert not judge(with_mount(PLAIN, mount), host).changed
    for annotations in POD:
        spec = with_mount(PLAIN, mount, annotations)
        assert not judge(spec, NO_DRIVER).changed
        in_docker = decide(spec, DEFAULTS, host, engine_has_no_pods=True)
        assert in_docker.spec["mounts"] == spec["mounts"]


def test_a_plain_container_whose_sandbox_its_user_gives_nvproxy_is_closed(host):
    spec = with_mount(PLAIN, CLOSED["a node under another name"], {NVPROXY: "true"})
    assert judge(spec, host).spec["mounts"] == spec["mounts"]
    assert opened(judge(spec, host, allow_user_annotations=True).spec) == set()


def test_mounts_that_are_closed_and_those_of_other_types_stay_as_they_are():
    spec = captured(JIT)
    closed = volume("/srv", "/data", "dev", "rbind", "nodev", "ro")
    others = [
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "dev"]},
        {"destination": "/x", "type": "erofs", "source": "/x.img"},
        {"destination": "/y", "type": "tmpfs", "source": "tmpfs", "options": None},
    ]
    spec["mounts"] += [closed, *others]
    assert judge(spec).spec["mounts"][-4:] == [closed, *others]


def test_links_that_become_mounts_are_closed_as_well():
    spec = captured(JIT)
    for mount in spec["mounts"]:
        mount["options"] = [option for option in mount.get("options") or [] if option != "nodev"]
    made = judge(spec, hooks_run=False).spec
    assert len(made["mounts"]) > len(spec["mounts"])
    assert opened(made) == {1}


# What the kernel says of a host: / and its /dev, a container's root with a /dev of its own, and single nodes.
MOUNTINFO = """\
22 1 8:1 / {root} rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / {root}/dev rw,nosuid shared:2 - devtmpfs udev rw,size=1k
24 23 0:6 / {root}/dev/pts rw,nosuid,noexec shared:3 - devpts devpts rw
25 22 0:7 / {root}/driver\\040root/dev rw,nosuid - tmpfs tmpfs rw
26 22 0:8 / {root}/lxc/dev rw,nosuid,nodev - tmpfs tmpfs rw
27 26 0:5 /nvidia1 {root}/lxc/dev/nvidia1 rw,nosuid - devtmpfs udev rw
28 22 0:8 / {root}/closed/dev rw,nosuid,nodev - tmpfs tmpfs rw
29 22 0:8 / {root}/gone/dev rw,nosuid - tmpfs tmpfs rw
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    for name in ("dev", "driver root/dev", "lxc/dev", "closed/dev", "plain"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("driver root")
    (tmp_path / "file").touch()
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO.format(root=tmp_path))
    monkeypatch.setattr(views, "_MOUNTS", str(table))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("", True),
        ("driver root", True),
        ("link", True),
        ("lxc", True),
        ("lxc/dev", True),
        ("dev", False),
        ("closed", False),
        ("plain", False),
        ("file", False),
        ("missing", None),
    ],
)
def test_nodes_on_a_mount_below_a_directory_are_seen_at_create_time(mounts, source, answer):
    assert CreateView("/nonexistent").has_open_nodes_below(str(mounts / source)) is answer


def test_a_host_whose_mounts_cannot_be_read_is_judged_by_the_path(mounts, monkeypatch):
    monkeypatch.setattr(views, "_MOUNTS", "/nonexistent")
    assert CreateView("/nonexistent").has_open_nodes_below("/") is True
    assert CreateView("/nonexistent").has_open_nodes_below(str(mounts)) is None


@pytest.mark.parametrize(("options", "is_refused"), [(["rbind", "ro"], True), (["bind", "ro"], False)])
def test_a_recursive_bind_of_such_a_directory_is_refused(mounts, options, is_refused):
    view = CreateView("/nonexistent")
    view.node_problem = lambda *_: None
    spec = asking(with_mount(JIT, volume(str(mounts / "link"), "/run/nvidia/driver", *options)), "void")
    decision = judge(spec, view)
    assert bool(decision.refusal) is is_refused
