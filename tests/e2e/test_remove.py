"""`deploys/remove.py`: a host that was converged is as it was before."""

from __future__ import annotations

import json

import pytest

from tests.e2e.site import inventory_with, pyinfra
from tests.lab import HostDefinition, Lab

OWN_DAEMON_JSON = {"log-level": "info", "runtimes": {"other": {"path": "/usr/bin/runc"}}}
# Everything that a run writes, but for what apt and dpkg keep for themselves.
FINGERPRINT = (
    r"find /etc /opt /usr/local /usr/bin /var/lib/nvproxy-fleet -xdev \( -type f -o -type l \) "
    r"! -path /etc/ld.so.cache -printf '%p %m %l\n'; "
    "cat /etc/docker/daemon.json; dpkg-query -W; docker info -f '{{json .Runtimes}}'; apt-mark showhold"
)


@pytest.fixture
def inventory(tmp_path):
    lab = Lab.open()
    lab.up([HostDefinition("leaver")])
    yield lab.host("leaver"), inventory_with(tmp_path, {"leaver": {"toolkit_mode": "csv"}})
    lab.down(["leaver"])


def test_a_host_is_as_it_was_before_the_first_run(inventory):
    host, path = inventory
    host.run("mkdir -p /etc/docker && cat > /etc/docker/daemon.json", stdin=json.dumps(OWN_DAEMON_JSON))
    host.run(["systemctl", "reload", "docker"])
    before = host.run(FINGERPRINT, check=False).stdout
    run = pyinfra("site", inventory=path)
    assert run.status == 0, run.screen
    assert host.run(FINGERPRINT, check=False).stdout != before, "it tells a converged host from a blank one"
    run = pyinfra("remove", inventory=path)
    assert run.status == 0, run.screen
    after = host.run(FINGERPRINT, check=False).stdout
    assert sorted(set(after.splitlines()) ^ set(before.splitlines())) == []


def test_a_host_whose_containers_run_is_not_taken_apart(inventory):
    host, path = inventory
    assert pyinfra("site", inventory=path).status == 0
    image = host.run("docker images -q nvproxy-fleet/verify | head -1").stdout.strip()
    host.run(
        f"docker run -d --name stays --network=none --runtime=nvidia {image} sh -c 'while :; do :; done'"
    )
    run = pyinfra("remove", inventory=path)
    assert run.status == 1
    assert "stays" in run.screen
    assert host.run("docker inspect -f '{{.State.Running}}' stays").stdout.strip() == "true"
