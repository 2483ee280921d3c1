"""Device nodes after a reboot: here played by taking them away and starting the unit that runs at boot."""

from __future__ import annotations

import pytest

from tests.e2e.site import pyinfra

UNIT = "nvproxy-device-nodes.service"
# The lab's hosts have no driver and no nvidia-modprobe: this makes what that would, by the lab's numbers.
NVIDIA_MODPROBE = """#!/bin/sh
make() { [ -c "/dev/$1" ] || mknod -m 666 "/dev/$@"; }
if [ "$1" = -u ]; then
    make nvidia-uvm c 511 0 && make nvidia-uvm-tools c 511 1
    exit
fi
while [ $# -gt 0 ]; do
    if [ "$2" = 255 ]; then make nvidiactl c 195 255; else make "nvidia$2" c 195 "$2"; fi
    shift 2
done
"""


@pytest.fixture(params=["gpu-a", "gpu-b"])
def rebooted(request, lab, site):
    """A converged host that has come up without nodes, and what they were before."""
    host = lab.host(request.param)
    host.run("cat > /usr/bin/nvidia-modprobe && chmod 755 /usr/bin/nvidia-modprobe", stdin=NVIDIA_MODPROBE)
    before = nodes(host)
    host.run("rm /dev/nvidia*")
    yield host, before
    host.run(
        f"rm -f /usr/bin/nvidia-modprobe; /usr/local/lib/nvproxy-lab/setup; systemctl reset-failed {UNIT}"
    )


def nodes(host):
    """Name and numbers of NVIDIA's nodes, but for one that nobody makes here and gVisor cannot serve."""
    listed = host.run("stat -c '%n %t:%T' /dev/nvidia*", check=False).stdout.splitlines()
    return [line for line in listed if "modeset" not in line]


def test_the_unit_that_runs_at_boot_makes_every_node(rebooted, docker):
    host, before = rebooted
    host.run(["systemctl", "start", UNIT])
    assert nodes(host) == before
    done = docker(host.name, {"NVIDIA_VISIBLE_DEVICES": "all"}, "ls /dev; dmesg")
    wanted = {line.split()[0].removeprefix("/dev/") for line in before} - {"nvidia-uvm-tools"}
    assert {name for name in done.stdout.split() if name.startswith("nvidia")} == wanted
    assert "Starting gVisor" in done.stdout


def test_the_unit_is_enabled_sound_and_comes_before_docker(rebooted):
    host, _ = rebooted
    assert host.run(["systemctl", "is-enabled", UNIT]).stdout.strip() == "enabled"
    verified = host.run(["systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}"])
    assert UNIT not in verified.stdout + verified.stderr
    assert "docker.service" in host.run(["systemctl", "show", "-P", "Before", UNIT]).stdout.split()
    assert UNIT not in host.run(["systemctl", "show", "-P", "Requires", "docker.service"]).stdout


def test_where_it_cannot_make_them_the_journal_says_so(rebooted):
    host, _ = rebooted
    host.run(["rm", "/usr/bin/nvidia-modprobe"])
    assert host.run(["systemctl", "start", UNIT], check=False).returncode != 0
    said = host.run(["journalctl", "--unit", UNIT, "--output", "cat", "--lines", "20"]).stdout
    assert "/dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia0, " in said
    assert "nvidia-modprobe: not found" in said


def test_a_site_run_makes_them_too(rebooted):
    host, before = rebooted
    run = pyinfra("site", "--limit", host.name)
    assert run.status == 0, run.screen
    assert list(run.changed()) == [
        "Preflight | Put aside what a run that fails goes back to",
        "Kernel | Device nodes",
        "Completion | Let go of what was put aside",
    ]
    assert nodes(host) == before
