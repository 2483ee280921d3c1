"""What a user of Docker may write on a container gets it no further than its own sandbox."""

from __future__ import annotations

import json

import pytest

HOST = "gpu-b"  # its dockerd takes annotations


@pytest.mark.parametrize(
    ("kind", "whose"),
    [
        ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
        ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
    ],
)
def test_an_annotation_does_not_put_a_container_into_a_neighbours_sandbox(lab, create, kind, whose):
    neighbour = create(HOST, ": >/mine; exec cat", PidMode="host")
    lab.host(HOST).run(["docker", "start", neighbour])
    forged = {kind: "container", whose: neighbour}
    intruder = create(HOST, "ls /proc/1/root/", PidMode="host", Annotations=forged)
    seen = lab.host(HOST).run(["docker", "start", "--attach", intruder]).stdout
    running = lab.host(HOST).run(["docker", "inspect", "--format", "{{.State.Running}}", neighbour]).stdout
    assert running.strip() == "true"
    assert "proc" in seen
    assert "mine" not in seen


def test_an_annotation_does_not_override_the_hosts_flags(lab, create):
    annotations = {"dev.gvisor.bundle.experimental-high-performance": "true"}
    forged = create(HOST, "exec cat", Annotations=annotations)
    lab.host(HOST).run(["docker", "start", forged])
    # Of a containerd of its own, or of the host's.
    command = f"cat $(find /run/containerd /run/docker -path '*/{forged}/config.json')"
    spec = json.loads(lab.host(HOST).run(command).stdout)
    assert not [name for name in spec.get("annotations", {}) if name.startswith("dev.gvisor.")]
