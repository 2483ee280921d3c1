"""What a user of Docker may write on a container gets it no further than its own sandbox."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import verify_image

HOST = "gpu-b"  # its dockerd takes annotations

# By dockerd's own interface, as Debian's docker command knows no --annotation yet.
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
    """Make a container that runs a command with these annotations in the host's PID namespace; its id."""
    made = []

    def create(command, annotations):
        host = {"Runtime": "nvidia", "NetworkMode": "none", "PidMode": "host", "Annotations": annotations}
        wanted = {"Image": verify_image(lab, HOST), "Cmd": ["sh", "-c", command], "HostConfig": host}
        # So that `cat` goes on, as nobody ever writes to it.
        wanted["OpenStdin"] = True
        made.append(lab.host(HOST).run(["python3", "-c", CREATE, json.dumps(wanted)]).stdout.strip())
        return made[-1]

    yield create
    lab.host(HOST).run(["docker", "rm", "--force", *made])


@pytest.mark.parametrize(
    ("kind", "whose"),
    [
        ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
        ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
    ],
)
def test_an_annotation_does_not_put_a_container_into_a_neighbours_sandbox(lab, create, kind, whose):
    neighbour = create(": >/mine; exec cat", {})
    lab.host(HOST).run(["docker", "start", neighbour])
    intruder = create("ls /proc/1/root/", {kind: "container", whose: neighbour})
    seen = lab.host(HOST).run(["docker", "start", "--attach", intruder]).stdout
    running = lab.host(HOST).run(["docker", "inspect", "--format", "{{.State.Running}}", neighbour]).stdout
    assert running.strip() == "true"
    assert "proc" in seen
    assert "mine" not in seen


def test_an_annotation_does_not_override_the_hosts_flags(lab, create):
    forged = create("exec cat", {"dev.gvisor.bundle.experimental-high-performance": "true"})
    lab.host(HOST).run(["docker", "start", forged])
    # Of a containerd of its own, or of the host's.
    command = f"cat $(find /run/containerd /run/docker -path '*/{forged}/config.json')"
    spec = json.loads(lab.host(HOST).run(command).stdout)
    assert not [name for name in spec.get("annotations", {}) if name.startswith("dev.gvisor.")]
