"""The life of one host that is a machine of its own: own kernel, cgroup v2, a driver module, real reboots.

In the order in which they stand: each test finds the host as the one before has left it.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.e2e.conftest import verify_image
from tests.e2e.opened import CLIENT, answered_minors, opened_minors
from tests.e2e.site import data, inventory_with, lab_state, pyinfra
from tests.e2e.test_remove import FINGERPRINT
from tests.lab import MACHINE, Lab, NodeMakers
from tests.lab.versions import DRIVER_VERSION

pytestmark = pytest.mark.vm

OLDER_RELEASE = "20260224"


@pytest.fixture(
    scope="module",
    params=[
        ("auto", "bookworm", NodeMakers.NONE),
        pytest.param(("csv", "bookworm", NodeMakers.NONE), marks=pytest.mark.long),
        pytest.param(("auto", "trixie", NodeMakers.PERSISTENCED), marks=pytest.mark.long),
        pytest.param(("csv", "trixie", NodeMakers.ALL), marks=pytest.mark.long),
    ],
    ids="-".join,
)
def life(request, tmp_path_factory):
    mode, suite, makers = request.param
    definition = replace(MACHINE, suite=suite, node_makers=makers)
    lab = Lab.open()
    lab.down([definition.name])
    lab.up([definition])
    inventory = inventory_with(tmp_path_factory.mktemp("life"), {definition.name: {"toolkit_mode": mode}})
    yield Life(lab, definition.name, inventory)
    lab.down([definition.name])


class Life:
    """The host, and what is known of it from the tests before."""

    def __init__(self, lab, name, inventory):
        self.host = lab.host(name)
        self.inventory = inventory
        self.fingerprint = self.host.run(FINGERPRINT, check=False).stdout
        self.image = lambda: verify_image(lab, name)

    def run(self, deploy, *arguments):
        # Emulated, and beside other tests.
        run = pyinfra(deploy, *arguments, inventory=self.inventory, seconds=1800)
        assert run.status == 0, run.screen
        return run

    def docker(self, asked, *options, image=None, command=(CLIENT,), check=True):
        argv = ["docker", "run", "--rm", "--network=none", "--runtime=nvidia"]
        argv += ["-e", f"NVIDIA_VISIBLE_DEVICES={asked}"]
        client = f"--volume={CLIENT}:{CLIENT}:ro"
        return self.host.run([*argv, client, *options, image or self.image(), *command], check=check)


def test_preflight_finds_nothing_against_it_and_changes_nothing(life):
    life.run("preflight")
    assert life.host.run(FINGERPRINT, check=False).stdout == life.fingerprint


def test_the_first_run_converges_and_verifies_it(life):
    (verdict,) = (host["verdict"] for host in life.run("site").report()["hosts"].values())
    assert verdict == "passed"


def test_runsc_asks_the_driver_for_its_version(life):
    settings = json.loads(life.host.run(["cat", "/etc/nvproxy-wrapper/settings.json"]).stdout)
    assert [flag for flag in settings["runsc_args"] if "driver-version" in flag] == []
    assert DRIVER_VERSION in life.host.run(["cat", "/proc/driver/nvidia/version"]).stdout


@pytest.mark.parametrize(("asked", "opens"), [("1", {1}), ("all", {0, 1}), ("void", set())])
def test_a_container_opens_the_gpus_that_it_asks_for_and_no_other(life, asked, opens):
    assert answered_minors(life.docker(asked).stdout) == opens


# Images whose author, and nobody else, wants more than was asked for: nodes in a layer, and a volume over
# them that Docker fills with what the layer has there.
NODES_IN_AN_IMAGE = """
set -eu
image=$1; made=/var/tmp/image-with-nodes
rm -rf $made; mkdir $made
container=$(docker create "$image" true)
docker export "$container" | tar -C $made -x
docker rm "$container" >/dev/null
for node in nvidia0 nvidia1; do
    rm -f $made/dev/$node
    cp -a /dev/$node $made/dev/
done
tar -C $made -c . | docker import -c 'VOLUME /dev' - with-nodes:volume >/dev/null
ln -s dev $made/data
tar -C $made -c . | docker import -c 'VOLUME /data' - with-nodes:link >/dev/null
tar -C $made -c . | docker import - with-nodes:plain >/dev/null
# By a name that the host has as well, as runsc looks for it there.
rm -rf $made/mnt; ln -s / $made/mnt
tar -C $made -c . | docker import - with-nodes:root >/dev/null
"""


@pytest.fixture(scope="module")
def images_with_nodes(life):
    life.host.run(["sh", "-c", NODES_IN_AN_IMAGE, "sh", life.image()], timeout=300)


@pytest.mark.usefixtures("images_with_nodes")
@pytest.mark.parametrize(
    "asked",
    ["0", pytest.param("none", marks=pytest.mark.long), pytest.param("void", marks=pytest.mark.long)],
)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param((None, "--volume=/dev:/dev"), id="a volume over dev"),
        pytest.param((None, "--volume=/dev/nvidia1:/dev/nvidia1"), id="a node as a volume"),
        pytest.param(("with-nodes:link", "--volume=/dev:/data"), id="a volume over dev by a link"),
        pytest.param(("with-nodes:volume",), id="an image with nodes and a volume over them"),
        pytest.param(("with-nodes:link",), id="the same through a link"),
        pytest.param(("with-nodes:plain",), id="an image with nodes"),
        pytest.param(("with-nodes:root", "--volume=/:/mnt:ro"), id="the host's root by a link"),
        pytest.param((None, "--privileged"), id="privileged"),
    ],
)
def test_no_way_opens_a_gpu_that_was_not_asked_for(life, asked, way):
    image, *options = way
    done = life.docker(asked, *options, image=image, check=False)
    # A container that is refused opens nothing.
    assert opened_minors(done.stdout) <= ({0} if asked == "0" else set())


@pytest.mark.usefixtures("images_with_nodes")
@pytest.mark.parametrize(
    ("image", "options"),
    [
        (None, ["--volume=/dev:/dev"]),
        (None, ["--volume=/dev/nvidia1:/dev/nvidia1"]),
        (None, ["--volume=/:/host:ro"]),
        ("with-nodes:volume", []),
    ],
)
def test_what_would_lie_over_the_nodes_is_refused_with_a_sentence(life, image, options):
    done = life.docker("0", *options, image=image, check=False)
    assert done.returncode
    assert "(mounts.dev)" in done.stderr


def test_an_ordinary_volume_is_read_and_written_as_before(life):
    life.docker("0", "--volume=written:/data", command=("sh", "-c", "echo here >/data/file"))
    assert life.docker("0", "--volume=written:/data", command=("cat", "/data/file")).stdout == "here\n"
    life.host.run(["docker", "volume", "rm", "written"])


def test_nvidia_smi_in_a_sandbox_is_answered_by_the_driver(life):
    said = life.docker("1", command=("nvidia-smi",)).stdout
    assert f"Driver Version: {DRIVER_VERSION}" in said
    assert "told by: the driver" in said


@pytest.mark.long
def test_a_second_run_changes_nothing(life):
    assert life.run("site").changed() == {}


def test_after_a_reboot_it_works_without_another_run(life):
    life.host.reboot()
    (verdict,) = (host["verdict"] for host in life.run("verify").report()["hosts"].values())
    assert verdict == "passed"
    assert answered_minors(life.docker("1").stdout) == {1}


@pytest.mark.long
def test_a_running_container_survives_another_release_of_runsc(life):
    life.host.run(
        "docker run -d --name survivor --network=none --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=0 "
        f"{life.image()} sh -c 'while :; do read -r line; done'"
    )
    sha512 = lab_state()["mirror"]["gvisor_releases"][OLDER_RELEASE]
    life.run("site", *data(gvisor_release=OLDER_RELEASE, gvisor_sha512=sha512))
    assert life.host.run("docker inspect -f '{{.State.Running}}' survivor").stdout.strip() == "true"
    assert answered_minors(life.docker("1").stdout) == {1}
    life.host.run("docker rm -f survivor")


def test_a_removed_host_is_as_it_was(life):
    life.run("remove")
    after = life.host.run(FINGERPRINT, check=False).stdout
    assert sorted(set(after.splitlines()) ^ set(life.fingerprint.splitlines())) == []
