"""Where the driver's files lie, as distributions have it: trees of their own, the program the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploys.host.remote import snapshot_probe

VERSION = "560.35.03"
WIDE, NARROW = b"\x7fELF\x02\x01", b"\x7fELF\x01\x01"
MULTIARCH = "/usr/lib/x86_64-linux-gnu"
ALTERNATIVE = "/etc/alternatives/nvidia--{}-x86_64-linux-gnu"

CHECKOUT = Path(__file__).parents[3]
# In a process of its own, and not in a fork of the tests: it never leaves that root again.
LOOK = """
import json, os, sys
from deploys.host.remote import driver_files
task = json.load(sys.stdin)
os.chroot(sys.argv[1])
os.chdir("/")
said = task["said"]
driver_files.run = lambda argv, *_: (0 if said.get(argv[0]) else 1, said.get(argv[0], ""), "")
print(json.dumps(driver_files.driver_files(task["listing"], task["version"])))
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="a root of its own takes root")


class Root:
    """A host's root: files, links, and what its linker has in its cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listing = ""
        # What dpkg, modinfo and the like would print.
        self.said: dict[str, str] = {}

    def file(self, path: str, head: bytes = WIDE) -> None:
        place = Path(f"{self.path}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(head)

    def link(self, path: str, target: str) -> None:
        place = Path(f"{self.path}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def library(
        self, folder: str, name: str, number: str = "1", version: str = VERSION, **head: bytes
    ) -> None:
        """A library with its link beside it, as NVIDIA's installer has it."""
        self.file(f"{folder}/{name}.so.{version}", **head)
        self.link(f"{folder}/{name}.so.{number}", f"{name}.so.{version}")

    def cached(self, *paths: str, flags: str = "libc6,x86-64") -> None:
        """Lines of `ldconfig -p` (glibc 2.36)."""
        self.listing += "".join(f"\t{Path(path).name} ({flags}) => {path}\n" for path in paths)

    def looked_at(self, version: str | None = VERSION) -> dict:
        """What the probe finds with this as its root; in a process of its own, which cannot leave it."""
        task = json.dumps({"listing": self.listing, "version": version, "said": self.said})
        program = [sys.executable, "-c", LOOK, str(self.path)]
        done = subprocess.run(program, input=task, capture_output=True, text=True, check=True, cwd=CHECKOUT)
        return json.loads(done.stdout)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def debians(root: Root, name: str, number: str = "1") -> None:
    """As libcuda1 and nvidia-alternative have it (Debian 12, 535.261.03-1; 13, 550.163.01-2)."""
    root.library(f"{MULTIARCH}/nvidia/current", name, number)
    link = f"{name}.so.{number}"
    root.link(f"{MULTIARCH}/{link}", ALTERNATIVE.format(link))
    root.link(ALTERNATIVE.format(link), f"{MULTIARCH}/nvidia/current/{link}")
    root.cached(f"{MULTIARCH}/{link}")


def test_debians_libraries_are_found_behind_their_links_and_so_are_the_names(root):
    for name in ("libcuda", "libnvidia-ml"):
        debians(root, name)
    found = root.looked_at()
    current = f"{MULTIARCH}/nvidia/current"
    assert found["libraries"] == [f"{current}/libcuda.so.{VERSION}", f"{current}/libnvidia-ml.so.{VERSION}"]
    assert set(found["links"]) == {
        f"{folder}/{name}.so.1" for folder in (current, MULTIARCH) for name in ("libcuda", "libnvidia-ml")
    }
    assert (found["by_linker"], found["other_libraries"]) == (True, [])


def test_a_link_that_has_the_whole_version_for_its_number_is_a_name_too(root):
    debians(root, "libcuda")
    debians(root, "libnvidia-nvvm", "4")
    whole = f"libnvidia-nvvm.so.{VERSION}"
    root.link(f"{MULTIARCH}/{whole}", f"{MULTIARCH}/nvidia/current/{whole}")
    found = root.looked_at()
    assert f"{MULTIARCH}/{whole}" in found["links"]
    assert f"{MULTIARCH}/{whole}" not in found["libraries"]


def test_a_program_behind_links_is_told_by_its_file_and_its_name(root):
    debians(root, "libcuda")
    root.file("/usr/lib/nvidia/current/nvidia-smi")
    root.link("/etc/alternatives/nvidia--nvidia-smi", "/usr/lib/nvidia/current/nvidia-smi")
    root.link("/usr/bin/nvidia-smi", "/etc/alternatives/nvidia--nvidia-smi")
    found = root.looked_at()
    assert found["programs"] == ["/usr/lib/nvidia/current/nvidia-smi"]
    assert "/usr/bin/nvidia-smi" in found["links"]


@pytest.mark.parametrize(
    "folder",
    [
        "/usr/lib64",
        "/usr/lib64/nvidia",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib/nvidia-560",
        "/opt/gpu/lib64",
    ],
)
def test_a_directory_that_the_linker_knows_is_taken_whatever_it_is_called(root, folder):
    root.library(folder, "libcuda")
    root.library(folder, "libGLX_nvidia", "0")
    root.cached(f"{folder}/libcuda.so.1")
    found = root.looked_at()
    assert found["libraries"] == [f"{folder}/libGLX_nvidia.so.{VERSION}", f"{folder}/libcuda.so.{VERSION}"]
    assert found["by_linker"]


def test_one_directory_by_two_names_is_one(root):
    root.library(MULTIARCH, "libcuda")
    root.link("/lib", "usr/lib")
    root.cached("/lib/x86_64-linux-gnu/libcuda.so.1", f"{MULTIARCH}/libcuda.so.1")
    found = root.looked_at()
    assert (found["libraries"], found["links"]) == (
        [f"{MULTIARCH}/libcuda.so.{VERSION}"],
        [f"{MULTIARCH}/libcuda.so.1"],
    )


def test_32_bit_libraries_are_kept_apart(root):
    root.library(MULTIARCH, "libcuda")
    root.library("/usr/lib/i386-linux-gnu", "libcuda", head=NARROW)
    root.cached(f"{MULTIARCH}/libcuda.so.1")
    root.cached("/usr/lib/i386-linux-gnu/libcuda.so.1", flags="libc6")
    found = root.looked_at()
    assert found["libraries"] == [f"{MULTIARCH}/libcuda.so.{VERSION}"]
    assert found["links"] == [f"{MULTIARCH}/libcuda.so.1"]
    assert found["libraries_32"] == [f"/usr/lib/i386-linux-gnu/libcuda.so.{VERSION}"]
    assert found["links_32"] == ["/usr/lib/i386-linux-gnu/libcuda.so.1"]


@pytest.mark.parametrize(
    "folder",
    [
        "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
        "/run/nvidia/driver/usr/lib64",
        "/var/lib/nvidia/lib64",
        "/home/kubernetes/bin/nvidia/lib64",
        "/opt/nvidia/current/lib64",
        "/opt/nvidia/560/lib",
        "/usr/lib64/nvidia",
    ],
)
def test_where_no_linker_looks_they_are_found_and_that_is_said(root, folder):
    root.library(folder, "libcuda")
    root.library(folder, "libnvidia-ml")
    found = root.looked_at()
    assert found["libraries"] == [f"{folder}/libcuda.so.{VERSION}", f"{folder}/libnvidia-ml.so.{VERSION}"]
    assert found["by_linker"] is False


def test_a_directory_of_the_linkers_configuration_is_looked_into_where_its_cache_is_older(root):
    root.library("/srv/driver/here", "libcuda")
    root.file("/etc/ld.so.conf.d/nvidia.conf", b"# NVIDIA\n/srv/driver/here\n")
    assert root.looked_at()["libraries"] == [f"/srv/driver/here/libcuda.so.{VERSION}"]


def test_libraries_of_another_version_are_told_by_what_the_linker_finds(root):
    root.library(MULTIARCH, "libcuda", version="565.57.01")
    root.library(MULTIARCH, "libnvidia-ml", version="565.57.01")
    root.cached(f"{MULTIARCH}/libcuda.so.1", f"{MULTIARCH}/libnvidia-ml.so.1")
    found = root.looked_at()
    assert found["libraries"] == []
    assert found["other_libraries"] == [f"{MULTIARCH}/libnvidia-ml.so.565.57.01"]


@pytest.mark.parametrize("with_nvml", [True, False])
def test_cudas_package_for_compatibility_is_not_taken_for_a_driver(root, with_nvml):
    root.library("/usr/local/cuda-12.6/compat", "libcuda", version="565.57.01")
    root.library(MULTIARCH, "libcuda")
    root.cached("/usr/local/cuda-12.6/compat/libcuda.so.1", f"{MULTIARCH}/libcuda.so.1")
    if with_nvml:
        root.library(MULTIARCH, "libnvidia-ml")
        root.cached(f"{MULTIARCH}/libnvidia-ml.so.1")
    found = root.looked_at()
    assert found["other_libraries"] == []
    assert f"{MULTIARCH}/libcuda.so.{VERSION}" in found["libraries"]


def test_a_cache_that_names_what_is_gone_finds_nothing(root):
    root.cached(f"{MULTIARCH}/libcuda.so.1")
    root.link(f"{MULTIARCH}/libnvidia-ml.so.1", "nowhere")
    root.cached(f"{MULTIARCH}/libnvidia-ml.so.1")
    found = root.looked_at()
    assert (found["libraries"], found["by_linker"], found["other_libraries"]) == ([], False, [])


def test_links_in_a_ring_end(root):
    root.library(MULTIARCH, "libcuda")
    root.link("/usr/lib64/libcuda.so.1", "libcuda.so")
    root.link("/usr/lib64/libcuda.so", "libcuda.so.1")
    root.cached("/usr/lib64/libcuda.so.1", f"{MULTIARCH}/libcuda.so.1")
    assert root.looked_at()["libraries"] == [f"{MULTIARCH}/libcuda.so.{VERSION}"]


def test_what_is_no_library_by_the_name_of_one_is_none(root):
    root.library(MULTIARCH, "libcuda", head=b"INPUT(libcuda.so)")
    root.cached(f"{MULTIARCH}/libcuda.so.1")
    assert root.looked_at()["libraries"] == []


def test_a_driver_that_is_not_loaded_is_told_by_its_module_or_by_its_source(root):
    root.link("/usr/src/nvidia-current-550.163.01", "/elsewhere")
    assert root.looked_at(None)["installed"] == {"/usr/src/nvidia-current-550.163.01": "550.163.01"}
    root.said["modinfo"] = "555.58\n"
    found = root.looked_at(None)
    assert found["installed"] == {"modinfo -F version nvidia": "555.58"}
    assert found["libraries"] == []


def test_the_probe_asks_the_linker_itself(monkeypatch, tmp_path):
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / f"libcuda.so.{VERSION}").write_bytes(WIDE)
    (folder / "libcuda.so.1").symlink_to(f"libcuda.so.{VERSION}")
    proc = tmp_path / "proc"
    proc.mkdir()
    # At the end of a line without a blank behind it, as one driver's file had it.
    (proc / "version").write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {VERSION}")
    listing = f"\tlibcuda.so.1 (libc6,x86-64) => {folder}/libcuda.so.1\n"
    monkeypatch.setattr(snapshot_probe, "run", lambda *_: (0, listing, ""))
    assert snapshot_probe.driver(str(proc))["libraries"] == [f"{folder}/libcuda.so.{VERSION}"]
