"""A /dev/kvm that opens is believed only where a kernel starts with it."""

import os

import pytest

from tests.lab import LabError, accelerator
from tests.lab.accelerator import Accelerator

# In the place of QEMU: what it does with a kernel, told by the console that it is to write.
QEMU = """#!/bin/sh
for word; do case $word in file:*) console=${word#file:} ;; esac; done
echo started >> "$(dirname "$console")/started"
%s
"""
BOOTS = "echo 'Linux version 6.1.0' > $console; exec sleep 60"
HANGS = "exec sleep 60"
ENDS = "echo 'failed to set MSR' >&2; exit 1"


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """The accelerator of a machine whose /dev/kvm opens, and on which QEMU does this."""
    monkeypatch.delenv("NVPROXY_LAB_ACCELERATOR", raising=False)
    monkeypatch.setattr(accelerator, "_PROBE_SECONDS", 1)
    monkeypatch.setattr(accelerator, "_KVM", tmp_path)

    def answer(qemu):
        program = tmp_path / "qemu-system-x86_64"
        program.write_text(QEMU % qemu)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return accelerator.accelerator(tmp_path / "vmlinuz", tmp_path)

    return answer


@pytest.mark.parametrize(
    ("qemu", "found"), [(BOOTS, Accelerator.KVM), (HANGS, Accelerator.TCG), (ENDS, Accelerator.TCG)]
)
def test_kvm_is_taken_where_a_kernel_starts_with_it(answer, qemu, found):
    assert answer(qemu) is found


def test_it_is_tried_once_in_each_uptime(answer, tmp_path):
    answer(HANGS)
    assert answer(BOOTS) is Accelerator.TCG
    assert (tmp_path / "started").read_text() == "started\n"
    (tmp_path / "accelerator").write_text("another-boot tcg\n")
    assert answer(BOOTS) is Accelerator.KVM


def test_a_machine_without_kvm_is_not_tried(answer, monkeypatch, tmp_path):
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "absent")
    assert answer(BOOTS) is Accelerator.TCG
    assert not (tmp_path / "started").exists()


def test_who_runs_it_may_say_which(answer, monkeypatch):
    monkeypatch.setenv("NVPROXY_LAB_ACCELERATOR", "kvm")
    assert answer(HANGS) is Accelerator.KVM
    monkeypatch.setenv("NVPROXY_LAB_ACCELERATOR", "xen")
    with pytest.raises(LabError, match=r"NVPROXY_LAB_ACCELERATOR is 'xen': it may be kvm or tcg"):
        answer(HANGS)
