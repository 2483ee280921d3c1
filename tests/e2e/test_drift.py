"""What somebody has changed on a converged host is shown, repaired before what can fail, and kept."""

from __future__ import annotations

import pytest

from deploys.model import paths
from tests.e2e.site import data, pyinfra

pytestmark = pytest.mark.long

READ = f"cat {paths.TOOLKIT_CONFIG}"
KEPT = f"{paths.BACKUP_DIR}/replaced"


@pytest.fixture(scope="module")
def drifted(lab, site):
    """gpu-a, its config.toml led past gVisor; the text is what stands there now."""
    host = lab.host("gpu-a")
    host.run(["sed", "-i", f"s|{paths.LAUNCHER}|runc|; $ a # by hand", paths.TOOLKIT_CONFIG])
    yield host.run(["sh", "-c", READ]).stdout
    done = pyinfra("site")
    assert done.status == 0, done.screen


def test_a_dry_run_shows_it_line_by_line_and_changes_nothing(lab, drifted):
    run = pyinfra("site", "--dry", "--diff")
    assert run.status == 0, run.screen
    assert f"first of all, write {paths.TOOLKIT_CONFIG}: somebody has changed it" in run.screen
    assert '-runtimes = ["runc"]' in run.screen
    assert f'+runtimes = ["{paths.LAUNCHER}"]' in run.screen
    assert "[gpu-b]\n      nothing is to be changed" in run.screen
    assert lab.host("gpu-a").run(["sh", "-c", READ]).stdout == drifted


def test_it_is_repaired_and_kept_though_the_run_fails_at_a_download(lab, docker, drifted):
    run = pyinfra("site", *data(gvisor_release="20990101"))
    assert run.failed_hosts() == ["gpu-a", "gpu-b"]
    host = lab.host("gpu-a")
    assert host.run(["sh", "-c", READ]).stdout == drifted.replace('"runc"', f'"{paths.LAUNCHER}"')
    assert drifted in host.run(["sh", "-c", f"cat {KEPT}/*config.toml.2*"]).stdout
    assert "Starting gVisor" in docker("gpu-a", {"NVIDIA_VISIBLE_DEVICES": "0"}, "dmesg").stdout


def test_a_dry_removal_tells_what_goes_and_takes_nothing(lab, site):
    run = pyinfra("remove", "--dry", "--diff")
    assert run.status == 0, run.screen
    assert "takes away the runtime nvidia" in run.screen
    assert f"delete {paths.GVISOR_CURRENT}: a run has made it" in run.screen
    there = [paths.LAUNCHER, paths.GVISOR_CURRENT, paths.WRAPPER_SETTINGS, paths.DAEMON_JSON]
    lab.host("gpu-a").run(["stat", *there])
