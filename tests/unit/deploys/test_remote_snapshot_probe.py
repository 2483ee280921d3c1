"""One look at a host: what is read from where. The trees are made up, the program is the real one."""

from __future__ import annotations

import copy
import json
import os
import stat

import pytest

from deploys.host.remote import prelude, snapshot_probe
from deploys.model.snapshot import HostSnapshot
from tests.deploys.example_hosts import DRIVER

# As `/proc/driver/nvidia/version` has it, of the closed and of the open kernel modules.
VERSIONS = {
    "closed": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Tue Feb 25 05:21:58 UTC 2025\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
    "open": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build\n",
}
INFORMATION = """Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 45
GPU UUID: \t {uuid}
Video BIOS: \t 92.00.19.00.01
Bus Location: \t {pci}
Device Minor: \t {minor}
GPU Excluded:\t No
"""
ELF_64, ELF_32 = b"\x7fELF\x02\x01", b"\x7fELF\x01\x01"


@pytest.fixture
def proc_driver(tmp_path):
    root = tmp_path / "proc" / "nvidia"
    for pci, minor in (("0000:c1:00.0", 0), ("0000:01:00.0", 1), ("0000:41:00.0", 10)):
        (root / "gpus" / pci).mkdir(parents=True)
        text = INFORMATION.format(uuid=f"GPU-{minor}", pci=pci, minor=minor)
        (root / "gpus" / pci / "information").write_text(text)
    (root / "version").write_text(VERSIONS["closed"])
    return root


def task(proc_driver, **changes):
    names = ("files", "apt_words", "links", "directories", "trees", "packages", "disk")
    return {
        **{name: [] for name in names},
        "proc_driver": str(proc_driver),
        "way_back": "/not/there",
        **changes,
    }


def test_the_answer_is_one_that_the_model_reads(programs, proc_driver, tmp_path):
    programs.add("ldconfig", "")
    found = snapshot_probe.main(task(proc_driver, disk=[str(tmp_path / "not" / "there" / "yet")]))
    seen = HostSnapshot.model_validate(json.loads(json.dumps(found)))
    assert seen.driver.version == DRIVER
    assert all(free > 0 for free in seen.disk_free.values())


def test_gpus_are_in_the_order_of_the_bus_with_their_own_minors(proc_driver):
    assert [(gpu["pci"], gpu["minor"], gpu["uuid"]) for gpu in snapshot_probe.gpus(str(proc_driver))] == [
        ("0000:01:00.0", 1, "GPU-1"),
        ("0000:41:00.0", 10, "GPU-10"),
        ("0000:c1:00.0", 0, "GPU-0"),
    ]
    assert snapshot_probe.gpus(str(proc_driver))[0]["model"] == "NVIDIA A100-SXM4-40GB"


def test_a_gpu_that_the_driver_does_not_tell_about_is_there_without_a_minor(proc_driver):
    (proc_driver / "gpus" / "0000:01:00.0" / "information").unlink()
    first = snapshot_probe.gpus(str(proc_driver))[0]
    assert first == {"pci": "0000:01:00.0", "uuid": None, "minor": None, "model": None}


@pytest.mark.parametrize("kind", VERSIONS)
def test_the_version_is_that_of_the_loaded_module(programs, proc_driver, kind):
    (proc_driver / "version").write_text(VERSIONS[kind])
    assert snapshot_probe.driver(str(proc_driver))["version"] == DRIVER


def test_a_host_without_a_driver_has_no_version_and_no_libraries(tmp_path):
    found = snapshot_probe.driver(str(tmp_path / "nothing"))
    assert (found["version"], found["libraries"], found["links"]) == (None, [], [])
    assert found["capabilities"] is None


def test_the_drivers_capabilities_are_those_that_it_has_files_for(programs, proc_driver):
    for name in ("mig", "fabric-imex-mgmt"):
        (proc_driver / "capabilities" / name).mkdir(parents=True)
    assert snapshot_probe.driver(str(proc_driver))["capabilities"] == ["fabric-imex-mgmt", "mig"]


def test_libraries_are_those_of_the_loaded_version_and_of_64_bit(proc_driver, tmp_path, monkeypatch):
    lib, lib32 = tmp_path / "lib64", tmp_path / "lib32"
    for directory, head in ((lib, ELF_64), (lib32, ELF_32)):
        directory.mkdir()
        for name in ("libcuda", "libnvidia-ml", "libnvcuvid"):
            (directory / f"{name}.so.{DRIVER}").write_bytes(head)
            (directory / f"{name}.so.1").symlink_to(f"{name}.so.{DRIVER}")
    (lib / "libcuda.so.550.90.12").write_bytes(ELF_64)
    (lib / "libnvidia-old.so.1").symlink_to("libcuda.so.550.90.12")
    (lib / "libcuda.so").symlink_to("libcuda.so.1")
    listing = "".join(f"\tlibcuda.so.1 (libc6) => {place}/libcuda.so.1\n" for place in (lib, lib32))
    monkeypatch.setattr(snapshot_probe, "run", lambda *_: (0, listing, ""))
    found = snapshot_probe.driver(str(proc_driver))
    names = ("libcuda", "libnvcuvid", "libnvidia-ml")
    assert found["libraries"] == [f"{lib}/{name}.so.{DRIVER}" for name in names]
    assert found["links"] == [f"{lib}/{name}.so.1" for name in names]


INFO = {
    "ServerVersion": "20.10.24+dfsg1",
    "DefaultRuntime": "runc",
    "Runtimes": {"runc": {"path": "runc"}, "kata": {"runtimeType": "io.containerd.kata.v2"}, "odd": {}},
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_text_is_told_with_its_byte_order_mark_and_its_encoding(tmp_path, encoding):
    path = tmp_path / "daemon.json"
    path.write_bytes('\ufeff{"a": "ü"}'.encode(encoding))
    found = snapshot_probe.managed_file(str(path))
    assert (found["text"], found["encoding"]) == ('\ufeff{"a": "ü"}', encoding)
    path.write_bytes(b"\xff\xfe{")
    assert snapshot_probe.managed_file(str(path))["text"] is None


def test_source_files_are_told_where_name_or_text_has_one_of_the_words(tmp_path, monkeypatch):
    texts = {
        "nvidia-docker.list": "<!DOCTYPE html>",
        "mine.list": "deb https://NVIDIA.github.io/libnvidia-container/stable/deb/amd64 /",
        "mirror.sources": "URIs: https://mirror.example.org/toolkit",
        "docker.list": "deb https://secret@docker.example /",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(snapshot_probe, "APT_PARTS", str(tmp_path))
    found = snapshot_probe.apt_sources(["nvidia", "https://mirror.example.org/toolkit"])
    names = ("mine.list", "mirror.sources", "nvidia-docker.list")
    assert found[-3:] == [str(tmp_path / name) for name in names]
    assert str(tmp_path / "docker.list") not in found


class TestEngine:
    """Docker, asked itself. docker and dockerd are stand-ins."""

    def answer(
        self, programs, info, status=0, usage="      --validate   Validate daemon configuration and exit"
    ):
        text = info if isinstance(info, str) else json.dumps(info)
        programs.add("docker", f"case $1 in info) cat <<'EOT'\n{text}\nEOT\nexit {status} ;; esac")
        programs.add("dockerd", f"echo '{usage}'")
        return snapshot_probe.engine()

    def test_what_is_loaded_is_told_by_name_and_path(self, programs):
        found = self.answer(programs, INFO)
        assert found["running"] is True
        assert found["version"] == "20.10.24+dfsg1"
        assert found["runtimes"] == {"runc": "runc", "kata": "io.containerd.kata.v2", "odd": ""}
        assert found["containers"] == {}
        assert found["can_validate"] is True

    def test_an_old_dockerd_cannot_validate(self, programs):
        assert self.answer(programs, INFO, usage="      --userland-proxy")["can_validate"] is False

    @pytest.mark.parametrize(
        ("info", "status", "error"),
        [
            (
                {"ServerErrors": ["Cannot connect"]},
                1,
                "Cannot connect",
            ),
            (
                {"ServerErrors": ["Cannot connect"]},
                0,
                "Cannot connect",
            ),
            ("", 1, "no answer"),
            ("{", 0, "{"),
        ],
    )
    def test_a_daemon_that_does_not_answer_is_not_running_and_says_why(self, programs, info, status, error):
        found = self.answer(programs, info, status)
        assert (found["running"], found["runtimes"], found["containers"]) == (False, {}, None)
        assert found["error"] == error

    @pytest.mark.parametrize("info", ["null", "[]", "7", '"x"'])
    def test_an_answer_of_another_shape_is_no_answer(self, programs, info):
        assert self.answer(programs, info)["running"] is False

    def test_scripts_and_links_are_followed_to_what_they_name(self, programs):
        programs.add("outer", 'inner "$@"')
        programs.add("inner", "exec nvidia-container-runtime")
        (programs.directory / "linked").symlink_to("/bin/sh")
        runtimes = {
            "a": {"path": "outer"},
            "b": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "linked"}},
            "c": {"path": "/not/there"},
        }
        found = self.answer(programs, {**INFO, "Runtimes": runtimes})
        assert found["binaries"] == {"b": "linked"}
        assert found["programs"]["linked"] == {"path": os.path.realpath("/bin/sh"), "script": None}
        for word in ("outer", "inner"):
            path = programs.directory / word
            assert found["programs"][word] == {"path": str(path), "script": path.read_text()}
        assert "/not/there" not in found["programs"]

    @pytest.mark.parametrize("runtimes", [None, [], {"a": None}, {"a": "x"}])
    def test_runtimes_of_another_shape_are_none(self, programs, runtimes):
        found = self.answer(programs, {"ServerVersion": "1", "Runtimes": runtimes})
        assert (found["running"], found["runtimes"].get("a", "")) == (True, "")

    def test_a_host_without_docker_is_told_as_one(self, programs, monkeypatch):
        monkeypatch.setattr(snapshot_probe, "SEARCH_PATH", str(programs.directory))
        monkeypatch.setattr(snapshot_probe.shutil, "which", lambda *_, **__: None)
        found = snapshot_probe.engine()
        assert (found["client"], found["daemon"], found["running"]) == (None, None, False)


class TestFiles:
    """Managed files, as they are."""

    def test_a_file_is_told_with_hash_mode_owner_and_text(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("größer\n", encoding="utf-8")
        path.chmod(0o640)
        found = snapshot_probe.managed_file(str(path))
        assert found["text"] == "größer\n"
        assert (found["mode"], found["owner"], found["is_link"]) == (0o640, os.getuid(), False)

    @pytest.mark.parametrize("content", [b"\xff\xff", b"x" * (snapshot_probe.TEXT_LIMIT + 1)])
    def test_what_is_not_text_or_too_large_has_a_hash_and_no_text(self, tmp_path, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        found = snapshot_probe.managed_file(str(path))
        assert found["text"] is None
        assert len(found["sha256"]) == 64

    def test_a_link_is_told_as_one_and_a_dangling_one_or_a_directory_as_nothing(self, tmp_path):
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to("file")
        (tmp_path / "dangling").symlink_to("nowhere")
        assert snapshot_probe.managed_file(str(tmp_path / "link"))["is_link"] is True
        assert snapshot_probe.managed_file(str(tmp_path / "dangling")) is None
        assert snapshot_probe.managed_file(str(tmp_path)) is None

    def test_a_fifo_by_the_name_of_a_file_does_not_hold_the_probe_up(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        assert snapshot_probe.managed_file(str(tmp_path / "fifo")) is None

    def test_links_trees_and_directories_are_told_where_they_are_there(self, programs, proc_driver, tmp_path):
        tree = tmp_path / "opt" / "20260905"
        tree.mkdir(parents=True)
        (tree / "runsc").write_text("x")
        (tmp_path / "current").symlink_to("20260905")
        absent = str(tmp_path / "absent")
        found = snapshot_probe.main(
            task(
                proc_driver,
                links=[str(tmp_path / "current"), absent, str(tree)],
                trees=[str(tree), absent],
                directories=[str(tree), absent],
                files=[absent],
            )
        )
        assert found["links"] == {str(tmp_path / "current"): "20260905"}
        assert list(found["trees"]) == [str(tree)]
        assert found["directories"] == [str(tree)]
        assert found["files"] == {}


def test_packages_are_those_that_are_installed(programs):
    programs.add(
        "dpkg-query",
        "printf 'a\\t1.20.0-1\\tinstalled\\nb\\t1.17.8-1\\tconfig-files\\nc\\t\\tnot-installed\\n'; exit 1",
    )
    assert snapshot_probe.packages(["a", "b", "c"]) == {"a": "1.20.0-1"}


def test_a_host_without_dpkg_has_no_packages(programs, monkeypatch):
    monkeypatch.setattr(snapshot_probe, "run", lambda *_: (None, "", "no such file"))
    assert snapshot_probe.packages(["a"]) == {}


def test_nodes_are_told_by_what_they_are(tmp_path, monkeypatch):
    real = copy.copy(snapshot_probe.glob.glob)
    monkeypatch.setattr(snapshot_probe.glob, "glob", lambda _: real(f"{tmp_path}/nvidia*"))
    (tmp_path / "nvidia-caps").mkdir()
    (tmp_path / "nvidia0").write_text("")
    (tmp_path / "nvidia1").symlink_to("nowhere")
    found = {os.path.basename(node["path"]): node["kind"] for node in snapshot_probe.nodes()}  # noqa: PTH119
    assert found == {"nvidia0": "-", "nvidia1": "-"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make nodes")
def test_a_character_device_is_told_with_its_numbers_and_mode(tmp_path, monkeypatch):
    os.mknod(tmp_path / "nvidiactl", stat.S_IFCHR | 0o600, os.makedev(195, 255))
    (tmp_path / "nvidiactl").chmod(0o666)
    real = snapshot_probe.glob.glob
    monkeypatch.setattr(snapshot_probe.glob, "glob", lambda _: real(f"{tmp_path}/nvidia*"))
    (node,) = snapshot_probe.nodes()
    assert (node["kind"], node["major"], node["minor"], node["mode"]) == ("c", 195, 255, 0o666)


class TestWaitForWayBack:
    """A host that is just being taken back is in neither state."""

    @pytest.fixture(autouse=True)
    def _record(self, tmp_path, monkeypatch):
        self.record = tmp_path / "record.json"
        self.slept = []
        monkeypatch.setattr(snapshot_probe.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.slept.append(seconds)
        if len(self.slept) == 3:
            self.record.unlink()

    def test_it_waits_until_a_run_that_was_cut_off_is_taken_back(self):
        self.record.write_text('{"connection": "1 1"}')
        snapshot_probe.wait_for_way_back(str(self.record))
        assert len(self.slept) == 3

    def test_it_does_not_wait_for_a_run_that_is_at_work(self):
        self.record.write_text(json.dumps({"connection": prelude.connection()}))
        snapshot_probe.wait_for_way_back(str(self.record))
        assert self.slept == []

    @pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
    def test_a_record_that_cannot_be_read_is_nobodys(self, text):
        self.record.write_text(text)
        snapshot_probe.wait_for_way_back(str(self.record))
        assert self.slept == []
