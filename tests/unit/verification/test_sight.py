"""Reading what a container prints, and printing it: the script is run here by the machine's own shell."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploys.model.sight import END_LINE, LIBRARIES, SCRIPT, listing, read
from tests.unit.verification.lab_hosts import KERNEL, answer, uuid


def printed(name: str, run: str) -> str:
    return answer(name)["runs"][run]["out"]


def test_a_container_in_gvisor_is_told_by_its_kernel_log():
    found = read(printed("csv_2_gpus", "docker.gpu-1"), KERNEL)
    assert found.complete
    assert found.sight.gvisor is True
    assert found.sight.devices == ("/dev/nvidia-uvm", "/dev/nvidia1", "/dev/nvidiactl")
    assert found.sight.gpus == (uuid(1),)
    assert found.sight.libraries == LIBRARIES
    assert found.complaints == ()


def test_a_container_that_shows_the_hosts_kernel_is_not_in_gvisor():
    out = f"kernel unreadable\nversion Linux version {KERNEL} (root@x)\n"
    assert read(out, KERNEL).sight.gvisor is False
    assert read(out, "5.10.0").sight.gvisor is None


def test_a_library_that_does_not_load_is_said_in_the_loaders_words():
    out = (
        "library libcuda.so.1 ERROR: ld.so: object 'libcuda.so.1' from LD_PRELOAD cannot be preloaded "
        "(libcuda.so.1: cannot open shared object file): ignored.\n"
        "smi NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n"
    )
    found = read(out, KERNEL)
    assert found.sight.libraries == ()
    assert "libcuda.so.1: libcuda.so.1: cannot open shared object file" in found.complaints
    assert any("couldn't find libnvidia-ml.so" in line for line in found.complaints)


# As drivers say it: an A100 that is split, a GPU that has fallen off the bus, one that nobody has asked yet.
MIG_HOST = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: N/A)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-????????-????-????-????-????????????)
Unable to determine the device handle for gpu 0000:0A:00.0: Unknown Error
"""


def test_mig_instances_and_gpus_without_a_uuid_are_no_gpus():
    found = listing(MIG_HOST.splitlines())
    assert found.gpus == ("GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",)
    assert len(found.mig) == 2
    assert len(found.rest) == 3
    told = read("".join(f"smi {line}\n" for line in MIG_HOST.splitlines()), KERNEL)
    assert told.sight.gpus == found.gpus
    assert len(told.complaints) >= 5


def test_what_opens_is_told_by_its_node_whichever_way_it_did():
    out = "opens nvidia1 /tmp/made/nvidia1\nopens nvidia1 /dev/nvidia1\nclosed nvidia0 /dev/nvidia0 EACCES\n"
    assert read(out, KERNEL).opens is None, "not all was tried"
    found = read(out + "tried all\n", KERNEL)
    assert found.opens == ("/dev/nvidia1",)
    assert found.closed == ("nvidia0 /dev/nvidia0 EACCES",)


def test_cuda_is_done_where_it_says_so_and_failed_by_its_own_word():
    done = read("cuda version 13000\ncuda gpu GPU-1\ncuda computes GPU-1\ncuda done\n", KERNEL).cuda
    assert done is not None
    assert (done.gpus, done.computed, done.failure, done.done) == (("GPU-1",), ("GPU-1",), "", True)
    failed = read("cuda failed cuInit 100 CUDA_ERROR_NO_DEVICE\n", KERNEL).cuda
    assert failed is not None
    assert failed.failure == "cuInit 100 CUDA_ERROR_NO_DEVICE"
    assert not failed.done
    assert read("", KERNEL).cuda is None


def test_another_library_of_the_same_beginning_is_not_the_one_asked_for():
    found = read("library libcuda.so.1 7f00-7f01 r-xp 00000000 00:20 1 /usr/lib/libcudart.so.12\n", KERNEL)
    assert found.sight.libraries == ()


def test_what_ends_before_its_last_line_is_not_complete():
    out = printed("csv_2_gpus", "docker.all")
    assert not read(out.replace(END_LINE, ""), KERNEL).complete


@given(st.text())
def test_no_output_is_taken_for_gvisor_or_a_gpu_by_accident(text):
    found = read(text, KERNEL)
    if "kernel gvisor" not in text:
        assert found.sight.gvisor is not True
    if "UUID" not in text:
        assert found.sight.gpus == ()


def test_the_script_says_all_of_it_in_a_plain_shell():
    done = subprocess.run(
        ["sh", "-c", SCRIPT], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    found = read(done.stdout, platform.release())
    assert found.complete
    assert done.stderr == ""
    assert found.sight.gvisor is not True
    assert found.sight.libraries == ()
    assert "libcuda.so.1: cannot open shared object file" in found.complaints


def test_the_script_finds_a_library_that_loads(tmp_path):
    # A real shared object under a name of NVIDIA's; the loader takes it by name from its path.
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    library = next(line.split()[-1] for line in maps if "/libm.so" in line or "/libc.so" in line)
    (tmp_path / "libcuda.so.1").symlink_to("libcuda.so.570.124.06")
    (tmp_path / "libcuda.so.570.124.06").write_bytes(Path(library).read_bytes())
    env = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(["sh", "-c", SCRIPT], capture_output=True, text=True, check=True, env=env)
    assert read(done.stdout, platform.release()).sight.libraries == ("libcuda.so.1",)
