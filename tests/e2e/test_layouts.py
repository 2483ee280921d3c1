"""A host whose NVIDIA runtime is in use: our own beside it, its own taken over, and back, each in one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploys.model import paths
from tests.e2e.conftest import verify_image
from tests.e2e.site import data, inventory_with, lab_state, pyinfra
from tests.e2e.test_remove import BYSTANDER
from tests.lab import Engine, HostDefinition, Lab

pytestmark = pytest.mark.long

HOSTS = {"in-use-debian": Engine.DEBIAN, "in-use-current": Engine.CURRENT}
DEDICATED = data(layout="dedicated")
# As their owner has them: comments, an order of his own, a key that our containers need as well.
CONFIG = """# racked in 2019
swarm-resource = "DOCKER_RESOURCE_GPU"   # the scheduler's

[nvidia-container-runtime]
    runtimes = ["runc"]
    log-level = "error"
"""
DAEMON_JSON = """{
\t"labels": ["rack=7"],
\t"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}
}"""
INSTALL = """
set -e
mkdir -p /etc/apt/keyrings
cat >{keyring}
echo "deb [signed-by={keyring}] {url}/deb/\\$(ARCH) /" >{source}
apt-get -qq update -o Dir::Etc::SourceList={source} -o Dir::Etc::SourceParts=/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $(printf '%s={version} ' \
    nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools libnvidia-container1)
"""
OLD_TOOLKIT = "1.17.8-1"
# All of a host's own that a run may touch, but for what is the newer packages' own.
FINGERPRINT = (
    r"find /etc /opt /usr/local /var/lib/nvproxy-fleet -xdev \( -type f -o -type l \) "
    r"! -path /etc/ld.so.cache ! -name 'nvidia-cdi-refresh*' -printf '%p %m %l\n'; "
    "sha256sum /etc/docker/daemon.json /etc/nvidia-container-runtime/* /etc/apt/sources.list.d/*; "
    "docker info -f '{{json .Labels}} {{.DefaultRuntime}}'"
)
# Until it is stopped. A shell's loop, as gVisor does without the host's sleep.
ALWAYS = "while :; do read -t 1 _ </dev/zero || :; done"
PROCESS = "docker inspect -f '{{{{.State.Pid}}}} {{{{.State.StartedAt}}}} {{{{.State.Running}}}}' {name}"


def give(host):
    """NVIDIA's toolkit, as its owner has installed it, and a container that has run behind it for long."""
    mirror = lab_state()["mirror"]
    script = INSTALL.format(
        keyring=paths.APT_KEYRING,
        source=paths.APT_SOURCE,
        url=mirror["toolkit_repository_url"],
        version=OLD_TOOLKIT,
    )
    host.run(script, stdin=Path(mirror["toolkit_key"]).read_text(encoding="utf-8"), timeout=300)
    host.run(f"cat >{paths.TOOLKIT_CONFIG} && chmod 640 {paths.TOOLKIT_CONFIG}", stdin=CONFIG)
    host.run("mkdir -p /etc/docker && cat >/etc/docker/daemon.json", stdin=DAEMON_JSON)
    host.run("systemctl reset-failed docker && systemctl restart docker")
    host.run(BYSTANDER)
    start(host, "train", "nvidia", "bystander", "/bin/sleep infinity")


def start(host, name, runtime, image, command):
    """A container that goes on until it is stopped."""
    host.run(
        f"docker run -d --name {name} --network=none --runtime={runtime} -e NVIDIA_VISIBLE_DEVICES=void "
        f"{image} {command}"
    )


def process(host, name):
    return host.run(PROCESS.format(name=name)).stdout


def state(host):
    """All of it that the host is to have again."""
    loaded = json.loads(host.run(["docker", "info", "-f", "{{json .Runtimes}}"]).stdout)
    own = {name: entry for name, entry in loaded.items() if not name.startswith("io.containerd.")}
    return {*host.run(FINGERPRINT, check=False).stdout.splitlines(), json.dumps(own, sort_keys=True)}


def theirs(host):
    """What is in the places that are the host's own in the layout dedicated."""
    return host.run("cd /etc/nvidia-container-runtime && find . -printf '%p %m ' && cat config.toml").stdout


def seen(lab, host, runtime, gpu):
    """What a container with a GPU sees, and whether it is in gVisor."""
    image = verify_image(lab, host.name)
    asking = f"docker run --rm --network=none --runtime={runtime} -e NVIDIA_VISIBLE_DEVICES={gpu} {image}"
    words = host.run(f"{asking} sh -c 'ls /dev; dmesg'", check=False).stdout
    return [word for word in words.split() if word.startswith("nvidia")], "Starting gVisor" in words


def converge(inventory, *arguments):
    """A run that changes the host and verifies it, after which there is nothing left to change."""
    run = pyinfra("site", *arguments, inventory=inventory)
    assert run.status == 0, run.screen
    again = pyinfra("preflight", *arguments, inventory=inventory)
    assert (again.status, again.changed()) == (0, {}), again.screen


@pytest.fixture(scope="module")
def in_use(tmp_path_factory):
    lab = Lab.open()
    lab.up([HostDefinition(name, engine=engine) for name, engine in HOSTS.items()])
    # The one reads XDG_CONFIG_HOME; the other's packages are upgraded, and read the variable that came later.
    settings = {
        "in-use-debian": {"toolkit_mode": "csv", "toolkit_version": OLD_TOOLKIT},
        "in-use-current": {"toolkit_mode": "auto"},
    }
    inventory = inventory_with(tmp_path_factory.mktemp("in-use"), settings)
    yield lab, [lab.host(name) for name in HOSTS], inventory
    lab.down(list(HOSTS))


def test_a_host_in_use_goes_from_layout_to_layout_and_is_left_as_it_was(in_use):
    lab, hosts, inventory = in_use
    for host in hosts:
        give(host)
    before = [state(host) for host in hosts]
    own = [theirs(host) for host in hosts]
    trains = [process(host, "train") for host in hosts]

    converge(inventory, *DEDICATED)
    for host, was, train in zip(hosts, own, trains, strict=True):
        assert theirs(host) == was, "to the letter, though the packages were upgraded"
        assert process(host, "train") == train
        host.run("docker exec train /bin/sleep 0")
        assert seen(lab, host, "nvidia-gvisor", 0) == (["nvidia-uvm", "nvidia0", "nvidiactl"], True)
        assert seen(lab, host, "nvidia", "void")[1] is False
        start(host, "guest", "nvidia-gvisor", verify_image(lab, host.name), f"sh -c '{ALWAYS}'")
    guests = [process(host, "guest") for host in hosts]

    refused = pyinfra("site", inventory=inventory)
    assert refused.status == 1
    for name in HOSTS:
        said = "\n".join(line for line in refused.screen.splitlines() if f"[{name}]" in line)
        assert "without gVisor, and could not be stopped" in said
        assert 'train. Stop them, run again, and start them anew; or set layout = "dedicated"' in said

    for host, train in zip(hosts, trains, strict=True):
        assert process(host, "train") == train
        host.run("docker stop -t 1 train && docker rm train")
    converge(inventory)
    for host, guest in zip(hosts, guests, strict=True):
        assert seen(lab, host, "nvidia", 1) == (["nvidia-uvm", "nvidia1", "nvidiactl"], True)
        assert process(host, "guest") == guest
        host.run("docker exec guest true && nvproxy-wrapper check")

    converge(inventory, *DEDICATED)
    for host, was, guest in zip(hosts, own, guests, strict=True):
        assert theirs(host) == was
        assert process(host, "guest") == guest
        host.run("docker exec guest true && nvproxy-wrapper check")
        assert seen(lab, host, "nvidia-gvisor", 0)[1] is True
        start(host, "train", "nvidia", "bystander", "/bin/sleep infinity")
        host.run("docker stop -t 1 guest && docker rm guest")
    trains = [process(host, "train") for host in hosts]

    run = pyinfra("remove", *DEDICATED, inventory=inventory)
    assert run.status == 0, run.screen
    for host, was, train in zip(hosts, before, trains, strict=True):
        assert sorted(state(host) ^ was) == [], host.name
        assert process(host, "train") == train
        host.run("docker exec train /bin/sleep 0")
