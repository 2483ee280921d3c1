"""Reading what a container prints, and printing it: the script is run here by the machine's own shell."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploys.model.sight import END_LINE, LIBRARIES, SCRIPT, read
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


def test_a_container_that_shows_the_hosts_kernel_is_not_in_gvisor_though_it_may_not_read_the_log():
    out = printed("auto_8_gpus_runc_in_place_of_runsc", "docker.nothing")
    assert "kernel unreadable" in out
    assert read(out, KERNEL).sight.gvisor is False
    assert read(out, "5.10.0").sight.gvisor is None


def test_a_library_that_does_not_load_is_said_in_the_loaders_words():
    found = read(printed("csv_2_gpus_one_line_wrapper_old_runsc", "docker.gpu-1"), KERNEL)
    assert found.sight.libraries == ()
    assert "libcuda.so.1: cannot open shared object file" in found.complaints
    assert any("couldn't find libnvidia-ml.so" in line for line in found.complaints)


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
