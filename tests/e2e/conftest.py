"""The lab's hosts, converged once for all tests of this directory."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.e2e.site import pyinfra
from tests.lab import DEFAULT_HOSTS, Lab, Machine


def pytest_collection_modifyitems(items):
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def machine(pytestconfig):
    """What the hosts of these tests are made of: `pytest --machine vm` asks for virtual machines."""
    return Machine(pytestconfig.getoption("--machine"))


@pytest.fixture(scope="session")
def lab(machine):
    lab = Lab.open()
    lab.up([replace(definition, machine=machine) for definition in DEFAULT_HOSTS])
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


# By dockerd's own interface, as Debian's docker command is older than --annotation and CDI.
CREATE = """
import http.client, json, socket, sys

class Docker(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

docker = Docker("docker")
docker.request("POST", "/containers/create", sys.argv[1], {"Content-Type": "application/json"})
answer = docker.getresponse().read()
print(json.loads(answer).get("Id") or sys.exit(answer.decode()))
"""


@pytest.fixture
def create(lab, site):
    """Make a container: `create("gpu-b", "ls /dev", Annotations={"a": "b"})`; its id, for `docker start`."""
    made = []

    def create(host, command, **host_config):
        wanted = {
            "Image": verify_image(lab, host),
            "Cmd": ["sh", "-c", command],
            # So that `cat` goes on, as nobody ever writes to it.
            "OpenStdin": True,
            "HostConfig": {"Runtime": "nvidia", "NetworkMode": "none", **host_config},
        }
        container = lab.host(host).run(["python3", "-c", CREATE, json.dumps(wanted)]).stdout.strip()
        made.append((host, container))
        return container

    yield create
    for host, container in made:
        lab.host(host).run(["docker", "rm", "--force", container])


def verify_image(lab, host):
    """The image that verify has made on a host of the host's own programs."""
    listed = lab.host(host).run(["docker", "images", "--format", "{{json .}}"]).stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    names = [
        f"{row['Repository']}:{row['Tag']}" for row in rows if row["Repository"] == "nvproxy-fleet/verify"
    ]
    return min(names)
