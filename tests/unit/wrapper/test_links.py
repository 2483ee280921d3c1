"""hooks.emulate: what hooks would have made, as read-only binds."""

import os
import posix
import subprocess
from pathlib import Path

import pytest

from nvproxy_wrapper.host.views import CreateView
from nvproxy_wrapper.judge.host_view import HostView
from nvproxy_wrapper.judge.rules.links import soname_by_name
from tests.unit.wrapper.specs import PLAIN, asking, captured, closed, hook, judge, node

DEB, FEDORA, ARM = "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/aarch64-linux-gnu"


def library(path, source=None, **more):
    return {
        "destination": path,
        "source": source or path,
        "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
        **more,
    }


def cdi(mounts, *links, **more):
    """A cdi spec with these mounts and links."""
    spec = captured(PLAIN)
    spec["mounts"] += mounts
    spec["linux"]["devices"] = [
        node("/dev/nvidiactl", 195, 255),
        node("/dev/nvidia-uvm", 511, 0),
        node("/dev/nvidia0"),
    ]
    words = [word for link in links for word in ("--link", link)]
    spec["hooks"]["createContainer"] = [
        hook("/usr/bin/nvidia-cdi-hook", "create-symlinks", *words),
        hook("/usr/bin/nvidia-cdi-hook", "update-ldcache", "--folder", DEB),
    ]
    spec.update(more)
    return spec


def added(spec, **settings):
    """{link: source} of the binds that were added."""
    made = judge(spec, **{"hooks_run": False, **settings}).spec["mounts"]
    assert made[: len(spec["mounts"])] == closed(spec["mounts"])
    return {mount["destination"]: mount["source"] for mount in made[len(spec["mounts"]) :]}


@pytest.mark.parametrize("folder", [DEB, FEDORA, ARM, "/opt/driver/lib", "/usr/lib/aarch64-linux-gnu/nvidia"])
def test_the_links_of_a_chain_are_made_in_any_order(folder):
    real = f"{folder}/libcuda.so.570.124.06"
    links = [f"libcuda.so.1::{folder}/libcuda.so", f"libcuda.so.570.124.06::{folder}/libcuda.so.1"]
    for order in (links, links[::-1]):
        assert added(cdi([library(real)], *order)) == {
            f"{folder}/libcuda.so.1": real,
            f"{folder}/libcuda.so": real,
        }


def test_a_source_that_is_elsewhere_on_the_host_stays_the_source():
    mounts = [library(f"{DEB}/libcuda.so.570.124.06", "/run/nvidia/driver/lib/libcuda.so.570.124.06")]
    made = added(cdi(mounts, f"libcuda.so.570.124.06::{DEB}/libcuda.so.1"))
    assert made == {f"{DEB}/libcuda.so.1": "/run/nvidia/driver/lib/libcuda.so.570.124.06"}


@pytest.mark.parametrize(
    "target",
    [
        "../libnvidia-allocator.so.570.124.06",
        f"{DEB}/libnvidia-allocator.so.570.124.06",
        "./.././libnvidia-allocator.so.570.124.06",
    ],
)
def test_targets_may_be_relative_or_absolute(target):
    real = f"{DEB}/libnvidia-allocator.so.570.124.06"
    assert (
        added(cdi([library(real)], f"{target}::{DEB}/gbm/nvidia-drm_gbm.so"))[f"{DEB}/gbm/nvidia-drm_gbm.so"]
        == real
    )


def test_sonames_of_mounted_libraries_are_made_without_a_hook_that_names_them():
    mounts = [
        library(f"{FEDORA}/lib{name}.so.570.124.06")
        for name in ("cuda", "nvidia-ml", "nvidia-nvvm", "nvidia-glcore", "GLX_nvidia", "other")
    ]
    assert set(added(cdi(mounts))) == {
        f"{FEDORA}/{name}"
        for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-nvvm.so.4", "libGLX_nvidia.so.0")
    }


# As ldconfig links the libraries of driver 570.124.06.
SONAMES = (
    *("libEGL_nvidia.so.0", "libGLESv1_CM_nvidia.so.1", "libGLESv2_nvidia.so.2", "libGLX_nvidia.so.0"),
    *("libcuda.so.1", "libcudadebugger.so.1", "libnvcuvid.so.1", "libnvidia-allocator.so.1"),
    *("libnvidia-cfg.so.1", "libnvidia-encode.so.1", "libnvidia-fbc.so.1", "libnvidia-ml.so.1"),
    *("libnvidia-ngx.so.1", "libnvidia-nvvm.so.4", "libnvidia-opencl.so.1", "libnvidia-opticalflow.so.1"),
    *("libnvidia-ptxjitcompiler.so.1", "libnvidia-sandboxutils.so.1", "libnvoptix.so.1"),
    "libvdpau_nvidia.so.1",
)


def test_every_library_of_the_driver_gets_the_name_that_programs_load_it_by():
    names = {f"{soname.partition('.so.')[0]}.so.570.124.06": soname for soname in SONAMES}
    made = added(cdi([library(f"{DEB}/{name}") for name in names]))
    assert made == {f"{DEB}/{soname}": f"{DEB}/{name}" for name, soname in names.items()}


@pytest.mark.parametrize(
    ("destination", "is_made"),
    [
        (f"{DEB}/libnvidia-ml.so.570.124.06", True),
        (f"{DEB}/libnvidia-ml.so.570.124", True),
        (f"{DEB}/libnvidia-ml.so.570", False),
        (f"{DEB}/libnvidia-ml.so.570..06", False),
        (f"{DEB}/libnvidia-ml.so.570.124.06.", False),
        (f"{DEB}/libnvidia-ml.so.\u0665.1", False),
        (f"{DEB}/libnvidia-ml.570.124.06", False),
        (f"{DEB}/./libnvidia-ml.so.570.124.06", False),
        (f"{DEB}//libnvidia-ml.so.570.124.06", False),
        (f"{DEB[1:]}/libnvidia-ml.so.570.124.06", False),
    ],
)
def test_a_name_is_made_beside_a_library_at_a_plain_path_with_its_whole_version(destination, is_made):
    assert len(added(cdi([library(destination, "/x")]))) == is_made


class Told(HostView):
    """A host whose libraries all have one SONAME, and are asked for it."""

    def __init__(self, soname):
        super().__init__("/nonexistent")
        self.told = soname
        self.asked = []

    def soname(self, path):
        self.asked.append(path)
        return self.told


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("libnvidia-ml.so.2", "libnvidia-ml.so.2"),
        ("libother.so", "libother.so"),
        # Odd ones are not believed; then the name of the file tells.
        *(
            (odd, "libnvidia-ml.so.1")
            for odd in (None, "", "libnvidia-ml", "cuda.so.2", "../libnvidia-ml.so.2", "lib/x.so.1")
        ),
        ("libnvidia-ml.so.570.124.06", None),
    ],
)
def test_what_a_header_says_is_believed_where_it_is_the_name_of_a_library(told, name):
    path = f"{DEB}/libnvidia-ml.so.570.124.06"
    made = judge(cdi([library(path)]), Told(told), hooks_run=False).spec["mounts"]
    links = [mount["destination"] for mount in made if mount.get("source") == path]
    assert links == [path, *([f"{DEB}/{name}"] if name else [])]


@pytest.mark.parametrize(
    ("source", "is_asked"),
    [
        ("/lib/x", True),
        ("/b/rootfs2/x", True),
        ("/b/rootfs/x", False),
        *((odd, False) for odd in ("/lib/../b/rootfs/x", "lib/x", "/lib//x", "")),
    ],
)
def test_a_header_is_read_at_a_plain_path_outside_of_the_root_file_system(source, is_asked):
    for root in ("/b/rootfs", None):
        host = Told(None)
        mount = {**library(f"{DEB}/libcuda.so.570.124.06"), "source": source}
        judge(cdi([mount], root={"path": root} if root else None), host, hooks_run=False)
        assert host.asked == ([source] if is_asked or (source == "/b/rootfs/x" and not root) else [])


@pytest.mark.parametrize("name", ["570.124.06", "libcuda.so", "libcuda.so.1.so.570.124.06", "x.570.124.06"])
def test_a_file_whose_name_is_not_a_librarys_is_not_looked_at(name):
    host = Told("libcuda.so.2")
    judge(cdi([library(f"{DEB}/{name}")]), host, hooks_run=False)
    assert host.asked == []


def test_a_library_whose_mount_has_no_source_is_not_looked_at():
    mount = library(f"{DEB}/libcuda.so.570.124.06")
    del mount["source"]
    host = Told("libcuda.so.2")
    judge(cdi([mount]), host, hooks_run=False)
    assert host.asked == []


def test_each_link_is_said_once_with_its_source_and_its_target():
    real = f"{DEB}/libcuda.so.570.124.06"
    links = [f"libcuda.so.1::{DEB}/libcuda.so", f"libcuda.so.570.124.06::{DEB}/libcuda.so.1"]
    gone = [f"libgone.so.1::{DEB}/libgone.so"] * 2
    decision = judge(cdi([library(real, "/x")], *links, *gone), hooks_run=False)
    said = [(one.target, one.what) for one in decision.actions if f"{DEB}/lib" in one.target]
    assert said == [
        *((f"{DEB}/{name}", "bind of /x") for name in ("libcuda.so.1", "libcuda.so")),
        (f"{DEB}/libgone.so", "left out"),
    ]
    assert {one.rule for one in decision.actions if one.target.startswith(DEB)} == {"hooks.emulate"}
    why = {one.target: one.why for one in decision.actions}
    assert f"{DEB}/libcuda.so.1 " in f"{why[f'{DEB}/libcuda.so']} "
    assert real in why[f"{DEB}/libcuda.so.1"]


REAL = f"{DEB}/libcuda.so.570.124.06"


@pytest.mark.parametrize(
    ("links", "made"),
    [
        # What is above a name would be a directory, and a file is there.
        ([f"{REAL}::/l/a", f"{REAL}::/l"], ["/l/a"]),
        ([f"{REAL}::/l/a/b", f"{REAL}::/l", f"{REAL}::/l/a"], ["/l/a/b"]),
        ([f"{REAL}::/l/ab", f"{REAL}::/l/a"], ["/l/a", "/l/ab"]),
        (["/gone::/l/a"], []),
        (["b::/l/a", "a::/l/b"], []),
        (["a::/l/a"], []),
        ([f"{REAL}::/l/a", "/gone::/l/a", "a::/l/b"], ["/l/a", "/l/b"]),
        (["/gone::/l/a", f"{REAL}::/l/a"], ["/l/a"]),
    ],
)
def test_no_name_is_made_above_another_one_nor_out_of_nothing(links, made):
    names = added(cdi([library(REAL)], *links))
    assert sorted(name for name in names if name.startswith("/l/") or name == "/l") == made


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["rw", "nosuid", "rbind"], ["ro", "nosuid", "rbind", "nodev"]),
        (["bind", "ro", "nodev", "x"], ["ro", "bind", "nodev", "x"]),
        (["ro", "rw", "ro", "bind", "nodev"], ["ro", "bind", "nodev"]),
        (None, ["ro", "nodev"]),
    ],
)
def test_a_link_has_the_options_of_its_library_and_cannot_be_written(options, made):
    mount = library(f"{DEB}/libcuda.so.570.124.06", options=options, type="bind")
    assert judge(cdi([mount]), hooks_run=False).spec["mounts"][-1] == {
        **mount,
        "destination": f"{DEB}/libcuda.so.1",
        "options": made,
    }


def test_a_name_that_is_a_mounts_destination_already_stays_what_it_is():
    mounts = [
        library(f"{DEB}/libcuda.so.570.124.06"),
        library(f"{DEB}/libcuda.so.1", "/opt/other/libcuda.so.1"),
    ]
    assert added(cdi(mounts, f"libcuda.so.570.124.06::{DEB}/libcuda.so.1")) == {}


def test_a_name_above_a_mounts_destination_is_left_out():
    mounts = [library(f"{DEB}/libcuda.so.570.124.06"), library(f"{DEB}/x/y")]
    assert f"{DEB}/x" not in added(cdi(mounts, f"libcuda.so.570.124.06::{DEB}/x"))


@pytest.mark.parametrize(
    "target", ["libnvidia-gone.so.1", "/etc/shadow", "../../../../etc/shadow", "self", "/"]
)
def test_a_link_to_what_is_not_mounted_is_left_out_and_said(target):
    spec = cdi([library(f"{DEB}/libnvidia-tls.so.570.124.06")], f"{target}::{DEB}/self")
    decision = judge(spec, hooks_run=False)
    assert decision.spec["mounts"] == closed(spec["mounts"])
    assert [a.what for a in decision.actions if a.target == f"{DEB}/self"] == ["left out"]


def test_a_writable_bind_gives_a_read_only_link():
    mounts = [
        {
            "destination": f"{DEB}/libcuda.so.570.124.06",
            "source": "/x",
            "type": "bind",
            "options": ["rw", "rbind"],
        }
    ]
    made = judge(cdi(mounts), hooks_run=False).spec["mounts"][-1]
    assert made == {
        "destination": f"{DEB}/libcuda.so.1",
        "source": "/x",
        "type": "bind",
        "options": ["ro", "rbind", "nodev"],
    }


def test_a_volume_that_is_no_bind_gives_no_link():
    mounts = [
        {"destination": f"{DEB}/libcuda.so.570.124.06", "source": "tmpfs", "type": "tmpfs", "options": []}
    ]
    assert added(cdi(mounts)) == {}


def test_where_hooks_run_only_what_no_hook_makes_is_added_for_a_dropped_ldcache():
    mounts = [library(f"{DEB}/libcuda.so.570.124.06"), library(f"{DEB}/libnvidia-ml.so.570.124.06")]
    spec = cdi(mounts, f"libcuda.so.570.124.06::{DEB}/libcuda.so.1")
    assert added(spec, hooks_run=True) == {}
    # A bind on the name that create-symlinks is about to replace would make that hook fail.
    assert set(added(spec, hooks_run=True, drop_update_ldcache=True)) == {f"{DEB}/libnvidia-ml.so.1"}


@pytest.mark.parametrize(
    ("path", "soname"),
    [
        ("/x/libcuda.so.570.124.06", "libcuda.so.1"),
        ("/x/libcuda.so.1.1", "libcuda.so.1"),
        ("/x/libnvidia-glcore.so.570.124.06", None),
        ("/x/libcuda.so.1", None),
        ("/x/libcuda.so", None),
        ("/x/libcuda.so.570.124.06x", None),
        ("/x/libc.so.6.1", None),
    ],
)
def test_a_soname_is_known_from_the_name_of_the_drivers_libraries_only(path, soname):
    assert soname_by_name(path) == soname


@pytest.fixture
def made_library(tmp_path):
    """A real ELF library whose SONAME its name does not tell."""
    path = tmp_path / "libnvidia-future.so.610.57.04"
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", "-Wl,-soname,libnvidia-future.so.9", "-o", path, "-xc", "/dev/null"],
        check=True,
    )
    return path


def test_at_create_time_the_soname_comes_from_the_elf_header_on_the_host(made_library):
    spec = cdi([library(f"{DEB}/{made_library.name}", str(made_library))])
    assert added(spec) == {}
    host = CreateView("/nonexistent")
    host.node_problem = lambda *_: None
    made = judge(spec, host, hooks_run=False).spec["mounts"][-1]
    assert (made["destination"], made["source"]) == (f"{DEB}/libnvidia-future.so.9", str(made_library))


def test_no_library_under_the_rootfs_is_opened(made_library):
    class Watching(CreateView):
        def soname(self, path):
            raise AssertionError(path)

        def node_problem(self, *_):
            return None

    spec = cdi([library(f"{DEB}/{made_library.name}", str(made_library))])
    spec["root"] = {"path": str(made_library.parent)}
    assert judge(spec, Watching("/nonexistent"), hooks_run=False).refusal is None


def test_an_elf_header_is_read_from_a_file_of_roots_only(made_library, tmp_path):
    view = CreateView("/nonexistent")
    assert view.soname(str(made_library)) == "libnvidia-future.so.9"
    link = tmp_path / "link.so"
    link.symlink_to(made_library)
    assert view.soname(str(link)) is None
    made_library.chmod(0o666)
    assert view.soname(str(made_library)) is None


@pytest.mark.parametrize("cut", [0, 3, 64, 200, 1000])
def test_a_broken_library_has_no_soname(cut, made_library, tmp_path):
    broken = tmp_path / "broken.so"
    data = made_library.read_bytes()
    broken.write_bytes(data[:cut])
    assert CreateView("/nonexistent").soname(str(broken)) is None
    for place in range(0, 64, 3):
        broken.write_bytes(data[:place] + b"\xff" * 8 + data[place + 8 :])
        CreateView("/nonexistent").soname(str(broken))


def test_the_soname_of_every_library_of_this_machine_is_what_readelf_says():
    view = CreateView("/nonexistent")
    checked = 0
    for path in sorted(Path("/usr/lib/x86_64-linux-gnu").glob("lib*.so.*"))[:40]:
        if path.is_symlink():
            continue
        said = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
        expected = [
            line.partition("[")[2].partition("]")[0] for line in said.splitlines() if "(SONAME)" in line
        ]
        assert view.soname(str(path)) == (expected[0] if expected else None)
        checked += 1
    assert checked


def test_what_is_no_file_is_not_opened_for_its_soname(tmp_path, monkeypatch):
    """To open a device may be to do something: /dev/watchdog, as a volume with the name of a library."""
    os.mkfifo(tmp_path / "fifo.so.1.2")
    opened = []
    real = posix.open
    monkeypatch.setattr(
        posix, "open", lambda path, flags, **more: opened.append(flags) or real(path, flags, **more)
    )
    assert CreateView("/nonexistent").soname(str(tmp_path / "fifo.so.1.2")) is None
    assert opened
    assert all(flags & posix.O_PATH for flags in opened)


OPERATORS, TALOS = "/usr/local/nvidia/toolkit/nvidia-cdi-hook", "/usr/local/bin/nvidia-ctk"
DRA, NIX = (
    "/var/lib/kubelet/plugins/gpu.nvidia.com/nvidia-cdi-hook",
    "/nix/store/0-toolkit/bin/nvidia-cdi-hook",
)
LIBCUDA = f"{DEB}/libcuda.so.570.124.06"


def by(path, spec):
    """The spec with its hooks run by the program at this path."""
    form = ["nvidia-ctk", "hook"] if path.endswith(("nvidia-ctk", "nvidia-ctk.real")) else ["nvidia-cdi-hook"]
    for item in spec["hooks"]["createContainer"]:
        item.update(path=path, args=[*form, *item["args"][1:]])
    return asking(spec, "all")


def hooks_of(spec, **settings):
    decision = judge(spec, **settings)
    return [item["args"] for item in decision.spec["hooks"].get("createContainer", [])]


@pytest.mark.parametrize(
    "path", [OPERATORS, TALOS, DRA, NIX, "/usr/bin/nvidia-ctk.real", "/opt/nvidia/hooks"]
)
def test_what_a_hook_of_another_path_would_have_made_is_bound(path):
    gbm = ("../libcuda.so.570.124.06", f"{DEB}/gbm/other.so")
    links = ["libcuda.so.1::" + f"{DEB}/libcuda.so", "::".join(gbm)]
    spec = by(path, cdi([library(LIBCUDA), library(f"{DEB}/libnvidia-ml.so.570.124.06")], *links))
    for settings in ({}, {"hooks_run": False}, {"drop_update_ldcache": True}):
        assert set(added(spec, **{"hooks_run": True, **settings})) == {
            *(f"{DEB}/{name}" for name in ("libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1")),
            gbm[1],
        }
        assert hooks_of(spec, **settings) == []


def test_a_hook_that_is_dropped_for_an_odd_argument_is_replaced_too():
    spec = cdi([library(LIBCUDA)], f"libcuda.so.570.124.06::{DEB}/libcuda.so")
    spec["hooks"]["createContainer"][0]["args"].append("--container-spec=/tmp/x")
    assert set(added(spec, hooks_run=True)) == {f"{DEB}/libcuda.so"}
    assert [words[1] for words in hooks_of(spec)] == ["update-ldcache"]


def test_where_an_ldcache_is_made_no_soname_is_bound_and_where_it_is_not_each_is():
    spec = cdi([library(LIBCUDA)], f"libcuda.so.570.124.06::{DEB}/libcuda.so")
    spec["hooks"]["createContainer"][1]["args"] += ["--ldconfig-path", "@/opt/sbin/ldconfig"]
    assert set(added(spec, hooks_run=True)) == {f"{DEB}/libcuda.so.1"}
    assert [words[1] for words in hooks_of(spec)] == ["create-symlinks"]
    assert added(spec, hooks_run=True, trusted_ldconfig=["/opt/sbin/ldconfig"]) == {}


@pytest.mark.parametrize("program", ["/run/nvidia/driver/sbin/ldconfig", "/sbin/ldconfig.real"])
def test_the_ldconfig_of_a_drivers_container_is_one_of_the_trusted(program):
    spec = by(OPERATORS, cdi([library(LIBCUDA)], f"libcuda.so.570.124.06::{DEB}/libcuda.so"))
    spec["hooks"]["createContainer"][1]["args"] += ["--ldconfig-path", f"@{program}"]
    assert [words[1] for words in hooks_of(spec, trusted_hooks=[OPERATORS])] == [
        "create-symlinks",
        "update-ldcache",
    ]
    assert hooks_of(spec, trusted_hooks=[OPERATORS], trusted_ldconfig=[])[1:] == []


def test_a_link_by_way_of_one_that_a_hook_makes_is_made():
    spec = cdi([library(LIBCUDA)], f"libcuda.so.570.124.06::{DEB}/libcuda.so.1")
    spec["hooks"]["createContainer"].append(
        hook(OPERATORS, "create-symlinks", "--link", f"libcuda.so.1::{DEB}/libcuda.so")
    )
    spec["hooks"]["createContainer"].append(
        hook(OPERATORS, "create-symlinks", "--link", f"libcuda.so.570.124.06::{DEB}/libcuda.so.1")
    )
    assert added(spec, hooks_run=True) == {f"{DEB}/libcuda.so": LIBCUDA}


@pytest.mark.parametrize(
    "link", ["/opt/data/libcuda.so.1", "/dev/nvidia7", "/proc/driver", "relative", "/a/../b"]
)
def test_no_name_is_made_inside_of_another_mount_nor_one_that_is_no_plain_path(link):
    """The gofer would make an empty file in the host's directory, or fail in one that is read-only."""
    spec = by(OPERATORS, cdi([library(LIBCUDA), library("/opt/data", "/srv")], f"{LIBCUDA}::{link}"))
    assert set(added(spec, hooks_run=True)) == {f"{DEB}/libcuda.so.1"}


def refused(spec, **settings):
    refusal = judge(spec, **settings).refusal
    if refusal is not None:
        assert (refusal.rule, "libcuda.so.1" in refusal.message) == ("hooks.emulate", True)
    return refusal and f"{refusal.message} {refusal.remedy}"


def in_folder(folder, path=OPERATORS):
    spec = by(path, cdi([library(f"{folder}/libcuda.so.570.124.06")]))
    spec["hooks"]["createContainer"][1]["args"][-1] = folder
    return spec


@pytest.mark.parametrize(
    "folder", ["/usr/lib64/nvidia", "/usr/local/nvidia/lib64", "/nix/store/0-nvidia-x11/lib"]
)
def test_a_folder_that_only_the_dropped_hook_would_have_led_to_is_refused_with_the_way_out(folder):
    said = refused(in_folder(folder))
    assert all(part in said for part in ("trusted_hooks", OPERATORS, folder))
    said = refused(in_folder(folder, "/usr/bin/nvidia-cdi-hook"), drop_update_ldcache=True)
    assert ("drop_update_ldcache" in said, "trusted_hooks" in said) == (True, False)
    assert "20260520" in refused(in_folder(folder, "/usr/bin/nvidia-cdi-hook"), hooks_run=False)
    assert refused(in_folder(folder, "/usr/bin/nvidia-cdi-hook")) is None


@pytest.mark.parametrize("folder", [DEB, FEDORA, ARM, "/lib64", "/usr/lib"])
def test_a_folder_where_some_loader_looks_by_itself_is_not_refused(folder):
    assert refused(in_folder(folder)) is None


def test_a_folder_in_the_containers_own_search_path_is_not_refused():
    spec = in_folder("/usr/local/nvidia/lib64")
    spec["process"]["env"].append("LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64")
    assert refused(spec) is None


def test_a_library_that_cannot_be_given_its_name_is_refused():
    spec = by(OPERATORS, cdi([library(f"{DEB}/libcuda.so.570")]))
    assert "trusted_hooks" in refused(spec)
    spec = by(OPERATORS, cdi([], f"libcuda.so.570.124.06::{DEB}/libcuda.so.1"))
    assert "trusted_hooks" in refused(spec)


def test_a_directory_that_is_mounted_whole_needs_a_way_that_is_left():
    spec = by(OPERATORS, cdi([library("/usr/local/nvidia", "/home/kubernetes/bin/nvidia")]))
    spec["hooks"]["createContainer"][1]["args"][-1] = "/usr/local/nvidia/lib64"
    assert "/usr/local/nvidia/lib64" in refused(spec)
    spec["process"]["env"].append("LD_LIBRARY_PATH=/usr/local/nvidia/lib64")
    assert refused(spec) is None


def test_what_nothing_was_taken_from_is_nobodys_business():
    """A device plugin's: the libraries' directory alone, and no hook."""
    spec = cdi(
        [
            library("/usr/local/nvidia", "/home/kubernetes/bin/nvidia"),
            library("/opt/x/libcuda.so.570.1", "/y"),
        ]
    )
    del spec["hooks"]["createContainer"]
    assert refused(spec) is None
    assert added(spec, hooks_run=True) == {}


def test_what_has_no_libcuda_needs_none():
    assert refused(by(OPERATORS, cdi([library("/opt/x/libnvidia-ml.so.570.124.06")]))) is None
