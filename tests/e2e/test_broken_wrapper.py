"""The wrapper broken on purpose: GPU containers are refused, and nothing ever starts without gVisor."""

from __future__ import annotations

import pytest

WRAPPER = "/opt/nvproxy-wrapper/current"
PACKAGE = f"{WRAPPER}/nvproxy_wrapper"
ENTRY = "/usr/local/bin/nvproxy-container-runtime"
LAUNCHER = "/usr/local/bin/nvproxy-runsc"
SETTINGS = "/etc/nvproxy-wrapper/settings.json"

# How it is broken, how it is mended, what Docker's error must say, and whether plain containers still run.
BREAKAGES = {
    "the package is gone": (f"mv {WRAPPER} {WRAPPER}.away", f"mv {WRAPPER}.away {WRAPPER}", "nvproxy", True),
    "a module is gone": (
        f"mv {PACKAGE}/judge/rewrite.py /root/ && find {PACKAGE} -name __pycache__ -prune -exec rm -r {{}} +",
        f"mv /root/rewrite.py {PACKAGE}/judge/",
        "nvproxy",
        True,
    ),
    "the settings have an unknown key": (
        f"cp {SETTINGS} /root/ && echo '{{\"runsk\": 1}}' > {SETTINGS}",
        f"mv /root/settings.json {SETTINGS}",
        "runsk",
        True,
    ),
    "others may write the settings": (
        f"chmod 666 {SETTINGS}",
        f"chmod 644 {SETTINGS}",
        "settings.json",
        True,
    ),
    "the settings are gone": (
        f"mv {SETTINGS} /root/",
        f"mv /root/settings.json {SETTINGS}",
        "settings.json",
        True,
    ),
    "the launcher is not executable": (
        f"chmod 644 {LAUNCHER}",
        f"chmod 755 {LAUNCHER}",
        "nvproxy-runsc",
        False,
    ),
    "the entry is not executable": (
        f"chmod 644 {ENTRY}",
        f"chmod 755 {ENTRY}",
        "nvproxy-container-runtime: permission denied",
        False,
    ),
    "the entry is gone": (
        f"mv {ENTRY} /root/",
        f"mv /root/nvproxy-container-runtime {ENTRY}",
        "nvproxy-container-runtime: no such file",
        False,
    ),
    "the launcher is gone": (
        f"mv {LAUNCHER} /root/",
        f"mv /root/nvproxy-runsc {LAUNCHER}",
        "nvproxy-runsc",
        False,
    ),
    "runsc is gone": (
        "mv /opt/gvisor/current /opt/gvisor/away",
        "mv /opt/gvisor/away /opt/gvisor/current",
        "runsc",
        False,
    ),
}


@pytest.fixture(params=BREAKAGES)
def broken(request, lab, site):
    """A host with one thing broken, mended afterwards."""
    breaking, mending, said, plain_runs = BREAKAGES[request.param]
    host = lab.host("gpu-a")
    host.run(breaking)
    try:
        yield said, plain_runs
    finally:
        host.run(mending)


def test_a_gpu_container_is_refused_with_a_sentence_that_docker_shows(docker, broken):
    said, _ = broken
    done = docker("gpu-a", {"NVIDIA_VISIBLE_DEVICES": "0"}, "dmesg; echo started", check=False)
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert said in done.stderr


def test_a_plain_container_runs_in_gvisor_or_not_at_all(docker, broken):
    _, plain_runs = broken
    done = docker("gpu-a", {}, "dmesg; echo started", check=False)
    if plain_runs:
        assert done.returncode == 0, done.stderr
    if "started" in done.stdout:
        assert "Starting gVisor" in done.stdout
