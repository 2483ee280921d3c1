"""The main job, end to end: two blank hosts become hosts where a GPU container runs inside gVisor."""

from __future__ import annotations

import json

import pytest

from deploys.model import paths
from tests.e2e.conftest import verify_image
from tests.e2e.site import data, lab_state, pyinfra

LOAD = "LD_PRELOAD={library} cat /proc/self/maps"


def gpu_devices(done):
    """The names of NVIDIA's nodes that a container saw."""
    return sorted(name for name in done.stdout.split() if name.startswith("nvidia"))


def minors(lab, host):
    """Minor by NVML index, as the lab defines the host."""
    rows = lab.host(host).run(["cat", "/etc/nvproxy-lab/gpus"]).stdout.splitlines()
    return [int(row.split()[0]) for row in rows]


def test_the_first_run_converges_and_verifies_both_hosts(site):
    verdicts = {name: host["verdict"] for name, host in site.report()["hosts"].items()}
    assert verdicts == {"gpu-a": "passed", "gpu-b": "passed"}


def test_a_second_run_changes_nothing(site):
    run = pyinfra("site")
    assert run.status == 0, run.screen
    assert run.changed() == {}
    assert "no changes" in run.screen.lower()


def test_preflight_changes_nothing_and_says_so(site):
    run = pyinfra("preflight")
    assert run.status == 0, run.screen
    assert run.changed() == {}


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
@pytest.mark.parametrize("asked", ["0", "1", "all"])
def test_a_container_has_the_gpus_it_asks_for_and_no_other(lab, docker, host, asked):
    table = minors(lab, host)
    wanted = table if asked == "all" else [table[int(asked)]]
    done = docker(host, {"NVIDIA_VISIBLE_DEVICES": asked}, "ls /dev; dmesg")
    assert gpu_devices(done) == sorted(["nvidia-uvm", "nvidiactl", *(f"nvidia{minor}" for minor in wanted)])
    assert "Starting gVisor" in done.stdout


def test_an_index_is_not_a_minor(lab, docker):
    """gpu-b's minors are not all in PCI order, as on real machines."""
    table = minors(lab, "gpu-b")
    index = next(index for index, minor in enumerate(table) if index != minor)
    done = docker("gpu-b", {"NVIDIA_VISIBLE_DEVICES": str(index)}, "ls /dev")
    assert f"nvidia{table[index]}" in gpu_devices(done)
    assert f"nvidia{index}" not in gpu_devices(done)


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
@pytest.mark.parametrize("library", ["libcuda.so.1", "libnvidia-ml.so.1"])
def test_the_driver_libraries_load_by_name(docker, host, library):
    done = docker(host, {"NVIDIA_VISIBLE_DEVICES": "0"}, LOAD.format(library=library))
    assert library.removesuffix(".1") in done.stdout, done.stderr


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
def test_a_container_that_asks_for_nothing_has_no_gpu_and_is_in_gvisor(docker, host):
    done = docker(host, {"NVIDIA_VISIBLE_DEVICES": "void"}, "ls /dev; dmesg")
    assert gpu_devices(done) == []
    assert "Starting gVisor" in done.stdout


def test_a_container_that_asks_for_nothing_runs_without_a_driver(lab, docker):
    """A broken driver must not break containers that have no need of it."""
    host = lab.host("gpu-a")
    host.run("mkdir /dev/hidden && mv /dev/nvidia* /dev/hidden/ && mount -t tmpfs none /proc/driver")
    try:
        done = docker("gpu-a", {"NVIDIA_VISIBLE_DEVICES": "void"}, "dmesg")
    finally:
        host.run("umount /proc/driver && mv /dev/hidden/* /dev/ && rmdir /dev/hidden")
    assert "Starting gVisor" in done.stdout


def test_a_running_container_survives_a_run(lab, site):
    host = lab.host("gpu-a")
    image = verify_image(lab, "gpu-a")
    host.run(
        f"docker run -d --name survivor --network=none --runtime=nvidia {image} sh -c 'while :; do :; done'"
    )
    try:
        broken = {
            "log-level": "info",
            "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime-gone"}},
        }
        host.run("cat > /etc/docker/daemon.json && systemctl reload docker", stdin=json.dumps(broken))
        run = pyinfra("site", "--limit", "gpu-a")
        assert run.status == 0, run.screen
        assert host.run("docker inspect -f '{{.State.Running}}' survivor").stdout.strip() == "true"
        config = json.loads(host.run(["cat", "/etc/docker/daemon.json"]).stdout)
        assert config["log-level"] == "info"
        assert config["runtimes"]["nvidia"] == {"path": paths.ENTRY}
    finally:
        host.run("docker rm -f survivor")


OLDER_RELEASE = "20260224"  # runs no createContainer hooks
OLDEST_TOOLKIT = "1.17.8-1"


@pytest.fixture(scope="module")
def newest_again(site):
    """For tests that put other versions on the hosts."""
    yield
    run = pyinfra("site")
    assert run.status == 0, run.screen


@pytest.mark.usefixtures("newest_again")
class TestOtherVersions:
    def test_an_older_runsc_that_runs_no_hooks_serves_all_the_same(self, lab, docker):
        sha512 = lab_state()["mirror"]["gvisor_releases"][OLDER_RELEASE]
        run = pyinfra("site", *data(gvisor_release=OLDER_RELEASE, gvisor_sha512=sha512))
        assert run.status == 0, run.screen
        settings = json.loads(lab.host("gpu-a").run(["cat", "/etc/nvproxy-wrapper/settings.json"]).stdout)
        assert settings["hooks_run"] is False
        for host in ("gpu-a", "gpu-b"):
            table = minors(lab, host)
            for asked in ("1", "all"):
                wanted = table if asked == "all" else [table[1]]
                done = docker(
                    host, {"NVIDIA_VISIBLE_DEVICES": asked}, "ls /dev; " + LOAD.format(library="libcuda.so.1")
                )
                assert gpu_devices(done) == sorted(
                    ["nvidia-uvm", "nvidiactl", *(f"nvidia{minor}" for minor in wanted)]
                )
                assert "libcuda.so" in done.stdout, done.stderr

    def test_the_oldest_toolkit_serves_in_csv_mode(self, lab, docker):
        run = pyinfra("site", "--limit", "gpu-a", *data(toolkit_version=OLDEST_TOOLKIT))
        assert run.status == 0, run.screen
        for asked, wanted in (("0", [0]), ("1", [1]), ("all", [0, 1])):
            done = docker(
                "gpu-a", {"NVIDIA_VISIBLE_DEVICES": asked}, "ls /dev; " + LOAD.format(library="libcuda.so.1")
            )
            assert gpu_devices(done) == sorted(
                ["nvidia-uvm", "nvidiactl", *(f"nvidia{minor}" for minor in wanted)]
            )
            assert "libcuda.so" in done.stdout, done.stderr
