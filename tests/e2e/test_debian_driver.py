"""A host with Debian's own driver packages: each library behind two links, and nowhere by its own name."""

from __future__ import annotations

import json

import pytest

from deploys.host.remote_program import shell_line, stdin_for
from deploys.host.snapshot import TASK
from tests.e2e.conftest import verify_image
from tests.e2e.site import inventory_with, pyinfra
from tests.lab import DriverFiles, HostDefinition, Lab
from tests.lab.versions import DEBIAN_DRIVER_VERSION

pytestmark = pytest.mark.long

HOST = "debian-own"
CURRENT = "/usr/lib/x86_64-linux-gnu/nvidia/current"


@pytest.fixture(scope="module")
def host():
    lab = Lab.open()
    lab.up(
        [HostDefinition(HOST, driver_files=DriverFiles.DEBIAN, driver_version=DEBIAN_DRIVER_VERSION)],
        newest_only=True,
    )
    yield lab.host(HOST)
    lab.down([HOST])


@pytest.fixture(scope="module", params=["csv", "auto"])
def converged(request, host, tmp_path_factory):
    """The host in each mode, one after the other."""
    inventory = inventory_with(tmp_path_factory.mktemp("inventory"), {HOST: {"toolkit_mode": request.param}})
    run = pyinfra("site", inventory=inventory)
    assert run.status == 0, run.screen
    return host, inventory, run


def test_the_packages_are_debians_own_and_no_file_has_its_own_name_where_the_linker_looks(host):
    said = host.run(["dpkg-query", "--search", f"{CURRENT}/libcuda.so.{DEBIAN_DRIVER_VERSION}"]).stdout
    assert said.startswith("libcuda1:")
    listed = host.run(["/sbin/ldconfig", "-p"]).stdout
    assert "libcuda.so.1" in listed
    assert f"libcuda.so.{DEBIAN_DRIVER_VERSION}" not in listed


def test_it_is_converged_and_verified_and_a_second_run_changes_nothing(converged):
    _, inventory, run = converged
    assert [one["verdict"] for one in run.report()["hosts"].values()] == ["passed"]
    again = pyinfra("site", inventory=inventory)
    assert (again.status, again.changed()) == (0, {}), again.screen


def test_a_container_has_debians_libcuda_by_the_name_that_programs_load_it_by(converged):
    host, _, _ = converged
    command = "LD_PRELOAD=libcuda.so.1 cat /proc/self/maps; nvidia-smi -L; ls /dev"
    argv = ["docker", "run", "--rm", "--network=none", "--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=1"]
    done = host.run([*argv, verify_image(Lab.open(), HOST), "sh", "-c", command])
    assert f"{CURRENT}/libcuda.so.{DEBIAN_DRIVER_VERSION}" in done.stdout, done.stderr
    assert "GPU 0: " in done.stdout
    assert {name for name in done.stdout.split() if name in {"nvidia0", "nvidia1"}} == {"nvidia1"}


def in_use(host):
    """The releases of gVisor on the host, by whether a sandbox of each runs."""
    sent = stdin_for("snapshot_probe", {**TASK, "trees": []})
    answer = json.loads(host.run(shell_line("snapshot_probe", 120), stdin=sent).stdout)
    return {release["name"]: release["in_use"] for release in answer["surroundings"]["releases"]}


def test_a_release_of_which_a_sandbox_runs_is_told_from_one_that_nobody_uses(converged):
    host, _, _ = converged
    assert list(in_use(host).values()) == [False]
    argv = ["docker", "run", "--detach", "--name=held", "--network=none", "--runtime=nvidia"]
    host.run([*argv, verify_image(Lab.open(), HOST), "sh", "-c", "while :; do :; done"])
    try:
        assert list(in_use(host).values()) == [True]
    finally:
        host.run(["docker", "rm", "--force", "held"])


def test_preflight_says_which_driver_the_host_has_and_that_gvisor_lists_it(converged):
    _, inventory, _ = converged
    run = pyinfra("preflight", inventory=inventory)
    assert run.status == 0, run.screen
    assert f"driver {DEBIAN_DRIVER_VERSION} (loaded)" in run.screen
    assert "it lists this driver" in run.screen
