"""A host broken in one way: the verification says so once, with what to do, and nothing else turns red."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from deploys.model import paths
from tests.e2e.site import pyinfra

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
PACKAGE = f"{paths.WRAPPER_CURRENT}/nvproxy_wrapper"
LEFT = (
    "docker ps -aq; docker images -q | sort; find /var/lib/nvproxy-fleet/verify -maxdepth 2 | sort; "
    "ls /run/nvproxy-fleet-verify 2>&1; mount | grep -c nvproxy-verify"
)


def saved(path: str, then: str) -> tuple[str, str]:
    """A file changed by `then`, and put back."""
    return f"cp -p {path} /root/saved && {then}", f"cp -p /root/saved {path}"


def moved(path: str) -> tuple[str, str]:
    """A file taken away, and put back."""
    return f"mv {path} /root/moved", f"mv /root/moved {path}"


@dataclass(frozen=True)
class Break:
    """How a host is broken, the check that turns red, and what its sentence and its remedy have in them."""

    host: str
    breaking: str
    mending: str
    check: str
    says: str
    remedy: str


ONE_LINE = f"printf '#!/bin/sh\\nexec {paths.RUNSC} --nvproxy \"$@\"\\n' >{paths.LAUNCHER}"
BREAKS = {
    "a device node is gone": Break(
        "gpu-a", *moved("/dev/nvidia1"), "host.nodes", "/dev/nvidia1 is missing", "nvproxy-device-nodes"
    ),
    "libcuda.so.1 is gone": Break(
        "gpu-a",
        f"{moved(f'{LIBRARIES}/libcuda.so.1')[0]}; ldconfig -X",
        f"{moved(f'{LIBRARIES}/libcuda.so.1')[1]}; ldconfig",
        "host.libraries",
        "libcuda.so.1 of driver",
        "ldconfig",
    ),
    "the driver is unloaded": Break(
        "gpu-a",
        "mount -t tmpfs none /proc/driver",
        "umount /proc/driver",
        "host.driver",
        "no NVIDIA driver is loaded",
        "modprobe",
    ),
    "runc is in config.toml": Break(
        "gpu-a",
        *saved(
            paths.TOOLKIT_CONFIG,
            f"sed -i 's#^runtimes = .*#runtimes = [\"runc\"]#' {paths.TOOLKIT_CONFIG}",
        ),
        "toolkit.config",
        'runtimes = ["runc"]',
        "Let nobody's code run on this host",
    ),
    "the release has a file too many": Break(
        "gpu-a",
        f"echo >{paths.GVISOR_CURRENT}/x",
        f"rm {paths.GVISOR_CURRENT}/x",
        "gvisor.release",
        "is not as it was installed",
        "site.py",
    ),
    "a directory above runsc is everybody's": Break(
        "gpu-b",
        f"chmod 777 {paths.GVISOR_DIR}",
        f"chmod 755 {paths.GVISOR_DIR}",
        "gvisor.files",
        f"{paths.GVISOR_DIR} has mode 0777",
        "Let nobody's code run on this host",
    ),
    "a module of the wrapper is gone": Break(
        "gpu-b",
        f"{moved(f'{PACKAGE}/judge/rewrite.py')[0]}; find {PACKAGE} -path '*/__pycache__/*' -delete",
        moved(f"{PACKAGE}/judge/rewrite.py")[1],
        "wrapper.files",
        "No module named",
        "site.py",
    ),
    "a one-line wrapper is in the launcher's place": Break(
        "gpu-b",
        *saved(paths.LAUNCHER, ONE_LINE),
        "wrapper.files",
        f"{paths.LAUNCHER} is not as it was written",
        "Let nobody's code run on this host",
    ),
    "Docker is stopped": Break(
        "gpu-b",
        "systemctl stop docker.socket docker",
        "systemctl start docker",
        "host.engine",
        "dockerd does not answer",
        "systemctl start docker",
    ),
}


@pytest.fixture(params=BREAKS)
def broken(request, lab, site):
    """A host with one thing broken, mended afterwards."""
    one = BREAKS[request.param]
    host = lab.host(one.host)
    host.run(one.breaking)
    try:
        yield one
    finally:
        host.run(one.mending)


def verified(host):
    """The checks of a run of verify.py on one host, by id."""
    run = pyinfra("verify", "--limit", host)
    return run, {check["id"]: check for check in run.report()["hosts"][host]["checks"]}


@pytest.mark.long
def test_what_is_broken_is_said_once_and_the_rest_only_hangs_on_it(broken):
    run, checks = verified(broken.host)
    assert run.status != 0
    red = [name for name, check in checks.items() if check["state"] in ("failed", "unknown")]
    assert red == [broken.check]
    assert broken.says in checks[broken.check]["why"]
    assert broken.remedy in checks[broken.check]["next"]
    assert {check["because"] for check in checks.values() if check["because"]} <= {broken.check}


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
def test_a_verification_leaves_nothing_that_was_not_there(lab, site, host):
    before = lab.host(host).run(LEFT, check=False).stdout
    run, checks = verified(host)
    assert run.status == 0, run.screen
    assert lab.host(host).run(LEFT, check=False).stdout == before
    assert {check["state"] for check in checks.values()} == {"passed", "skipped"}


@pytest.mark.long
@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
def test_other_modes_are_tried_and_the_hosts_configuration_stays(lab, site, host):
    before = lab.host(host).run(["cat", paths.TOOLKIT_CONFIG]).stdout
    modes = '["csv", "auto", "cdi", "jit-cdi", "legacy"]'
    run = pyinfra("verify", "--limit", host, "--data", f"verify_modes={modes}")
    assert run.status == 0, run.screen
    checks = {check["id"]: check for check in run.report()["hosts"][host]["checks"]}
    for mode in ("csv", "auto", "cdi", "jit-cdi"):
        assert checks[f"bundle.mode-{mode}"]["state"] == "passed", checks[f"bundle.mode-{mode}"]
    # The lab's nvidia-container-cli makes no nodes.
    assert "stand-in" in checks["bundle.mode-legacy"]["why"]
    assert lab.host(host).run(["cat", paths.TOOLKIT_CONFIG]).stdout == before
