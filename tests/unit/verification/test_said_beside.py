"""What is collected where a container does not start: runsc's own debug log, engine and kernel."""

from __future__ import annotations

import time

import pytest

from deploys.host.remote import bundle_containers, surroundings
from deploys.model.verification.answers import KERNEL_LOG, Answer
from deploys.model.verification.judgement import judge
from tests.unit.verification import lab_hosts

LOG = """\
I1125 21:00:00.000000 1 main.go:1] Args: [runsc --secret]
  and what goes with it
W1125 21:00:00.100000 1 x.go:1] nothing of importance
E1125 21:00:00.200000 1 x.go:1] something broke
  here
D1125 21:00:00.300000 1 x.go:1] more
W1125 21:00:00.400000 1 util.go:64] FATAL ERROR: and so it ended
panic: or so
goroutine 1 [running]:
"""


def test_of_a_debug_log_the_errors_and_the_last_words_are_kept(tmp_path):
    (tmp_path / "boot.log").write_text(LOG)
    (tmp_path / "gofer.log").write_text("I1125 21:00:00.000000 1 main.go:1] all is well\n")
    (where,) = bundle_containers.last_words(str(tmp_path))
    assert where == "runsc's debug log boot.log"
    kept = bundle_containers.last_words(str(tmp_path))[where].splitlines()
    assert [line.rpartition("] ")[2] for line in kept] == [
        "something broke",
        "  here",
        "FATAL ERROR: and so it ended",
        "panic: or so",
        "goroutine 1 [running]:",
    ]


@pytest.fixture
def programs(monkeypatch):
    """What `journalctl` and `dmesg` say; the calls made."""
    said, calls = {}, []

    def run(argv, seconds):
        calls.append(argv)
        return said[argv[0]]

    monkeypatch.setattr(surroundings, "run", run)
    return said, calls


TASK = {
    "kernel_log": "the kernel's log",
    "seconds": 60,
    "units": ["docker", "containerd"],
    "words": ["NVRM:", r"\bXid\b"],
}


def test_the_kernels_lines_are_those_about_the_driver_and_of_late(programs):
    said, calls = programs
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    lines = [
        f"[{now - 4000:12.6f}] NVRM: Xid (PCI:0000:01:00): 79, of long ago",
        f"[{now - 2:12.6f}] NVRM: Xid (PCI:0000:01:00): 31, of now",
        f"[{now - 1:12.6f}] usb 1-1: new device",
        "NVRM: without a time",
    ]
    said.update(journalctl=(0, "", ""), dmesg=(0, "\n".join(lines), ""))
    told = surroundings.main(TASK)["said"]
    assert told == {"the kernel's log": f"{lines[1]}\n{lines[3]}"}
    assert [argument for argument in calls[0] if argument.startswith("--unit")] == [
        "--unit=docker",
        "--unit=containerd",
    ]


def test_what_cannot_be_read_says_so_and_what_is_long_is_cut(programs):
    said, _ = programs
    said.update(journalctl=(0, "x" * 10**6, ""), dmesg=(1, "", "dmesg: Operation not permitted"))
    told = surroundings.main(TASK)["said"]
    assert told["the kernel's log"] == "cannot be read: dmesg: Operation not permitted"
    assert len(told["the journal of docker and containerd"]) == surroundings.TEXT_LIMIT


@pytest.mark.parametrize(
    ("where", "text", "cause"),
    [
        (
            "the journal of docker and containerd",
            "unsupported device id: 9",
            "did not start (status 125): new",
        ),
        (KERNEL_LOG, "NVRM: Xid (PCI:0000:01:00): 79, pid=7", "Xid 79"),
    ],
)
def test_the_journal_is_shown_and_decides_nothing_as_it_may_be_of_another_container(where, text, cause):
    found = lab_hosts.answer("csv_2_gpus")
    for run in found["runs"].values():
        run.update(code=125, out="", err="new")
    result = judge("gpu-x", lab_hosts.asked("csv_2_gpus"), Answer.read(found), {where: text})
    assert result.said == {where: text}
    told = " ".join(check.why for check in result.checks)
    assert cause in told
    assert "takes no other ids" not in told
