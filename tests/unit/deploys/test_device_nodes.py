"""The program that makes the device nodes, at boot and at site time; what it calls are stand-ins."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from deploys.host.remote import kernel_devices
from deploys.model import paths
from tests.deploys.simulated_host import CONVERGED

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="device nodes are made, which only root may do")

# As the real one (NVIDIA/nvidia-modprobe): -c takes minors, 255 is nvidiactl; -u -c 0 makes both of uvm;
# what is right already stays; it fails without a word.
NVIDIA_MODPROBE = """
make() { [ -c dev/$1 ] || { rm -rf dev/$1; mknod dev/$1 c 1 3; }; }
[ ! -e no-driver ] || exit 1
if [ "$1" = -u ]; then
    [ ! -e no-uvm ] || exit 1
    make nvidia-uvm; make nvidia-uvm-tools
    exit
fi
while [ $# -gt 0 ]; do
    if [ "$2" = 255 ]; then make nvidiactl; else make nvidia$2; fi
    shift 2
done
"""
GPU = "Model: \t\t NVIDIA A100\nGPU UUID: \t GPU-6f2d\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"


class Host:
    """A host's /dev and /proc below a directory, and the program as it lands on a host, with these paths."""

    def __init__(self, programs):
        self.programs = programs
        self.dev = programs.home / "dev"
        self.dev.mkdir()
        self.driver = programs.home / "proc" / "driver" / "nvidia"
        text = CONVERGED.text_of(paths.DEVICE_NODES_PROGRAM)
        text = text.replace("/dev/", f"{self.dev}/").replace(paths.PROC_DRIVER, str(self.driver))
        self.program = programs.home / "nvproxy-device-nodes"
        self.program.write_text(text)
        self.program.chmod(0o755)
        programs.add(
            "modprobe", "[ ! -e no-driver ] || { echo 'modprobe: FATAL: Module not found' >&2; exit 1; }"
        )
        programs.add("nvidia-modprobe", NVIDIA_MODPROBE)

    def has_gpus(self, *minors):
        for minor in minors:
            gpu = self.driver / "gpus" / f"0000:0{minor}:00.0"
            gpu.mkdir(parents=True)
            (gpu / "information").write_text(GPU.format(minor=minor))

    def suffers(self, trouble):
        (self.programs.home / trouble).touch()

    def run(self):
        environment = {"PATH": f"{self.programs.directory}:/usr/bin:/bin"}
        return subprocess.run([self.program], env=environment, capture_output=True, text=True, check=False)

    def nodes(self):
        return {
            path.name: path.stat().st_ino for path in self.dev.iterdir() if stat.S_ISCHR(path.stat().st_mode)
        }


@pytest.fixture
def host(programs):
    return Host(programs)


def test_modules_are_loaded_and_every_node_is_made_by_the_minors_that_the_driver_has(host):
    host.has_gpus(0, 5)
    done = host.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert set(host.nodes()) == {"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia5"}
    assert host.programs.calls == [
        *("modprobe nvidia", "modprobe nvidia-uvm"),
        *("nvidia-modprobe -c 255 -c 0 -c 5", "nvidia-modprobe -u -c 0"),
    ]


def test_a_second_time_changes_nothing(host):
    host.has_gpus(0, 1)
    host.run()
    before = host.nodes()
    assert host.run().returncode == 0
    assert host.nodes() == before


def test_nodes_that_are_there_are_right_whatever_modprobe_says(host):
    """A driver that is built in, or loaded by another name."""
    host.has_gpus(0)
    host.run()
    host.suffers("no-driver")
    done = host.run()
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_driver_it_says_which_nodes_are_missing_why_and_what_to_do(host):
    host.suffers("no-driver")
    done = host.run()
    assert done.returncode == 1
    assert "/nvidiactl, " in done.stderr
    assert "/nvidia-uvm, " in done.stderr
    assert "modprobe nvidia: modprobe: FATAL: Module not found" in done.stderr
    assert f"no GPU in {host.driver}/gpus" in done.stderr
    assert "'systemctl start nvproxy-device-nodes.service'" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "one line of the journal"


def test_only_what_is_missing_is_named(host):
    host.has_gpus(0)
    host.suffers("no-uvm")
    done = host.run()
    assert done.returncode == 1
    assert done.stderr.startswith(f"nvproxy-device-nodes: {host.dev}/nvidia-uvm: no character device")
    assert "nvidia-modprobe -u -c 0: exit status 1" in done.stderr


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_a_directory_or_a_file_by_the_name_of_a_node_is_no_node(host, make):
    host.has_gpus(0)
    host.suffers("no-uvm")
    getattr(host.dev / "nvidia-uvm", make)()
    assert "/nvidia-uvm: no character device" in host.run().stderr


def test_a_site_run_makes_the_nodes_by_the_same_program_and_tells_its_words(host, programs):
    host.has_gpus(0)
    task = {"program": str(host.program)}
    host.suffers("no-uvm")
    assert "/nvidia-uvm: no character device" in kernel_devices.main(task)["error"]
    (programs.home / "no-uvm").unlink()
    assert kernel_devices.main(task) == {}
    assert "nvidia-uvm" in host.nodes()


def test_a_program_that_says_nothing_is_named(programs):
    programs.add("silent", "exit 1")
    assert "silent" in kernel_devices.main({"program": str(programs.directory / "silent")})["error"]
