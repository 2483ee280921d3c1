"""The lab's hosts, converged once for all tests of this directory."""

from __future__ import annotations

import json

import pytest

from tests.e2e.site import pyinfra
from tests.lab import Lab


def pytest_collection_modifyitems(items):
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab():
    lab = Lab.open()
    lab.up()
    return lab


@pytest.fixture(scope="session")
def site(lab):
    """The first run on the two default hosts; the hosts are blank only where the lab was not up before."""
    run = pyinfra("site")
    assert run.status == 0, run.screen
    return run


@pytest.fixture
def docker(lab, site):
    """Run a container: `docker("gpu-a", {"NVIDIA_VISIBLE_DEVICES": "1"}, "ls /dev")`."""

    def docker(host, environment, command, *options, runtime="nvidia", image=None, check=True):
        image = image or verify_image(lab, host)
        variables = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        argv = [
            "docker",
            "run",
            "--rm",
            "--network=none",
            f"--runtime={runtime}",
            *variables,
            *options,
            image,
        ]
        return lab.host(host).run([*argv, "sh", "-c", command], timeout=120, check=check)

    return docker


def verify_image(lab, host):
    """The image that verify has made on a host of the host's own programs."""
    listed = lab.host(host).run(["docker", "images", "--format", "{{json .}}"]).stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    names = [
        f"{row['Repository']}:{row['Tag']}" for row in rows if row["Repository"] == "nvproxy-fleet/verify"
    ]
    return min(names)
