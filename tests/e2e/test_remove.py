"""`deploys/remove.py`: a host that was converged is as it was before, its dockerd included."""

from __future__ import annotations

import json

import pytest

from tests.e2e.site import inventory_with, pyinfra
from tests.lab import Engine, HostDefinition, Lab

HOSTS = {"leaver-debian": Engine.DEBIAN, "leaver-current": Engine.CURRENT}
# daemon.json as its owner has it; no file at all comes first, below.
OWNERS = {
    "no runtimes": '{\n\t"labels": ["rack=7"],\n\t"log-opts": {"max-size": "10m"}\n}',
    "another runtime": '{"log-level": "info", "runtimes": {"other": {"path": "/usr/bin/runc"}}}\r\n',
}
# Everything that a run writes, but for what apt and dpkg keep for themselves.
FINGERPRINT = (
    r"find /etc /opt /usr/local /usr/bin /var/lib/nvproxy-fleet -xdev \( -type f -o -type l \) "
    r"! -path /etc/ld.so.cache -printf '%p %m %l\n'; "
    "sha256sum /etc/docker/daemon.json; dpkg-query -W; apt-mark showhold; "
    "docker inspect -f '{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}' bystander"
)
# A container of the host's own: /bin/sleep and what it is linked to.
BYSTANDER = """
set -e
for file in /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*'); do
    mkdir -p /tmp/image/${file%/*}
    cp -L $file /tmp/image/$file
done
docker image inspect bystander >/dev/null 2>&1 || tar -C /tmp/image -c . | docker import - bystander
docker rm --force bystander 2>/dev/null || true
docker run -d --name bystander --network=none --runtime=runc bystander /bin/sleep infinity
"""


@pytest.fixture(scope="module")
def leavers(tmp_path_factory):
    """The hosts and their inventory: Debian's Docker in mode csv, a current one in mode auto."""
    lab = Lab.open()
    lab.up([HostDefinition(name, engine=engine) for name, engine in HOSTS.items()])
    modes = {"leaver-debian": {"toolkit_mode": "csv"}, "leaver-current": {"toolkit_mode": "auto"}}
    yield [lab.host(name) for name in HOSTS], inventory_with(tmp_path_factory.mktemp("leavers"), modes)
    lab.down(list(HOSTS))


def give(host, text):
    """The host has this daemon.json, its dockerd has started with it, and a container runs."""
    if text is None:
        host.run(["rm", "-f", "/etc/docker/daemon.json"])
    else:
        host.run("mkdir -p /etc/docker && cat > /etc/docker/daemon.json", stdin=text)
    # Not too often in a minute, says the unit.
    host.run("systemctl reset-failed docker && systemctl restart docker")
    host.run(BYSTANDER)


def runtimes(host):
    """What dockerd has loaded, but for its own shims: 20.10 lists those until its first reload only."""
    loaded = json.loads(host.run(["docker", "info", "-f", "{{json .Runtimes}}"]).stdout)
    return {name: entry for name, entry in loaded.items() if not name.startswith("io.containerd.")}


def state(host):
    """All of a host that a removal has to give back, line by line."""
    lines = host.run(FINGERPRINT, check=False).stdout.splitlines()
    daemon = host.run("docker info -f '{{json .Labels}} {{.DefaultRuntime}}'").stdout
    return {*lines, f"dockerd {json.dumps(runtimes(host))} {daemon}"}


def converge(leavers, owners):
    """Converge the hosts with such a daemon.json; how each of them was before."""
    hosts, inventory = leavers
    for host in hosts:
        give(host, owners)
    before = [state(host) for host in hosts]
    run = pyinfra("site", inventory=inventory)
    assert run.status == 0, run.screen
    for host, was in zip(hosts, before, strict=True):
        assert "nvidia" in runtimes(host)
        assert state(host) != was, "it tells a converged host from a blank one"
    return before


def assert_as_before(hosts, before):
    for host, was in zip(hosts, before, strict=True):
        assert sorted(state(host) ^ was) == [], host.name
        host.run(["systemctl", "reload", "docker"])
        assert "nvidia" not in runtimes(host), "nor after a reload by somebody else"


def test_a_host_whose_containers_run_is_not_taken_apart_before_they_are_gone(leavers):
    hosts, inventory = leavers
    before = converge(leavers, None)
    busy, _ = hosts
    image = busy.run("docker images -q nvproxy-fleet/verify | head -1").stdout.strip()
    busy.run(
        f"docker run -d --name stays --network=none --runtime=nvidia {image} sh -c 'while :; do :; done'"
    )
    run = pyinfra("remove", inventory=inventory)
    assert (run.status, run.failed_hosts()) == (1, [busy.name])
    assert "stays" in run.screen
    assert busy.run("docker inspect -f '{{.State.Running}}' stays").stdout.strip() == "true"
    busy.run("docker rm --force stays")
    run = pyinfra("remove", inventory=inventory)
    assert run.status == 0, run.screen
    assert_as_before(hosts, before)


@pytest.mark.parametrize("owners", OWNERS.values(), ids=OWNERS)
def test_a_host_is_as_it_was_before_the_first_run(leavers, owners):
    hosts, inventory = leavers
    before = converge(leavers, owners)
    run = pyinfra("remove", inventory=inventory)
    assert run.status == 0, run.screen
    assert_as_before(hosts, before)
