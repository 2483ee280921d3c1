"""`make demo` as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.e2e.site import ROOT
from tests.lab import Machine


def make_demo():
    """Start it in a process group of its own, as a terminal would."""
    return subprocess.Popen(
        ["make", "demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_was_killed_works_when_it_is_started_again(lab, site, machine, stop):
    if machine is not Machine.CONTAINER:
        pytest.skip("the demo's hosts are containers")
    lab.down(["gpu-a"])
    first = make_demo()
    deadline = time.monotonic() + 600
    for line in first.stdout:
        if "Packages" in line or time.monotonic() > deadline:
            break
    os.killpg(first.pid, stop)
    first.wait(60)
    again = make_demo()
    screen, _ = again.communicate(timeout=900)
    assert again.returncode == 0, screen
