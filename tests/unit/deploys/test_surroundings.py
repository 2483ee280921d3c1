"""What else is on a host: what stops it, and what is only said, each with what to do."""

from __future__ import annotations

import re

import pytest

from deploys.model.site_plan import site_plan
from tests.deploys.example_hosts import BLANK, DRIVER, drifted, settings
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES

CDI = {"path": "/etc/cdi/nvidia.yaml", "kind": "nvidia.com/gpu", "versions": [DRIVER]}


def facts(**said):
    return lambda record: record.setdefault("surroundings", {}).update(said)


def engine(**said):
    return lambda record: record["engine"].update(said)


def dockerd(program="/usr/bin/dockerd", owner=0, config_file=None):
    return {"program": program, "owner": owner, "config_file": config_file}


ROOTLESS = dockerd(owner=1000)
DOWN = engine(running=False, error="Cannot connect to the Docker daemon")
REFUSALS = {
    "no user namespaces": ([facts(user_namespaces=0)], ("user.max_user_namespaces is 0", "sysctl")),
    "labels": (
        [engine(security_options=["name=seccomp,profile=builtin", "name=selinux"])],
        ("SELinux label", '"selinux-enabled": false'),
    ),
    "another config file": (
        [facts(dockerds=[dockerd(config_file="/srv/docker.json")])],
        ("from /srv/docker.json (--config-file)", "take --config-file out"),
    ),
    "the snap by its link": (
        [engine(client="/usr/bin/snap", daemon=None, running=False)],
        ("Docker is the snap", "snap remove docker"),
    ),
    "the snap by what runs": (
        [
            facts(
                dockerds=[
                    dockerd("/snap/docker/3265/bin/dockerd", config_file="/var/snap/docker/3265/d.json")
                ]
            )
        ],
        ("Docker is the snap",),
    ),
    "rootless alone": (
        [facts(dockerds=[ROOTLESS]), DOWN],
        ("rootless", "user id 1000", "docker-ce or docker.io"),
    ),
    "rootless by its own word": (
        [engine(security_options=["name=seccomp", "name=rootless"])],
        ("Docker runs rootless",),
    ),
    "containerd": (
        [facts(sharing={"containerd": ["/etc/containerd/conf.d/99-nvidia.toml"]})],
        (
            "containerd starts containers through",
            "99-nvidia.toml",
            "would run in gVisor",
            'layout = "dedicated"',
        ),
    ),
    "podman": (
        [facts(sharing={"podman": ["/etc/containers/containers.conf"]}, kubelet=True)],
        ("podman starts containers through",),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_stands_against_a_run_is_one_refusal_and_says_what_to_do(case):
    drifts, words = REFUSALS[case]
    made = site_plan(SETTINGS, drifted(BLANK, *drifts), SOURCES)
    (refusal,) = made.refusals
    for word in words:
        assert word in str(refusal)
    assert re.fullmatch(r"[^.].*[^.]\. [A-Z].*\.", str(refusal), re.DOTALL)


def test_every_engine_that_shares_the_shim_is_named():
    host = drifted(BLANK, facts(sharing={"containerd": ["/a"], "CRI-O": ["/b"], "podman": ["/c"]}))
    assert [str(one).split()[0] for one in site_plan(SETTINGS, host, SOURCES).refusals] == [
        "containerd",
        "CRI-O",
        "podman",
    ]


def test_whoever_else_goes_through_the_shim_stops_nothing_where_its_configuration_stays():
    host = drifted(BLANK, facts(sharing={"containerd": ["/etc/containerd/config.toml"]}))
    assert site_plan(settings(layout="dedicated"), host, SOURCES).refusals == ()


NOTES = {
    "rootless beside": ([facts(dockerds=[dockerd(), ROOTLESS])], ("rootless dockerd", "user id 1000")),
    "enforcing": ([facts(selinux_enforcing=True)], ("SELinux is enforcing", "restorecon")),
    "kubelet": ([facts(kubelet=True)], ("a kubelet runs here",)),
    "runsc of a package": (
        [facts(runsc={"path": "/usr/bin/runsc", "package": "runsc", "version": "0.0~20240729.0-5"})],
        (
            "/usr/bin/runsc is of the package runsc 0.0~20240729.0-5",
            "left alone",
            "/opt/gvisor/current/runsc",
        ),
    ),
    "stale": (
        [facts(cdi_specs=[{**CDI, "versions": ["550.90.07"]}])],
        (
            "/etc/cdi/nvidia.yaml is of the driver 550.90.07",
            "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        ),
    ),
    "double": (
        [facts(cdi_specs=[CDI, {**CDI, "path": "/var/run/cdi/nvidia.yaml"}])],
        ("/etc/cdi/nvidia.yaml and /var/run/cdi/nvidia.yaml both", "Keep one"),
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_may_surprise_is_said_and_stops_nothing(case):
    drifts, words = NOTES[case]
    made = site_plan(SETTINGS, drifted(CONVERGED, *drifts), SOURCES)
    assert (made.refusals, made.empty) == ((), True)
    (note,) = made.notes
    for word in words:
        assert word in note


@pytest.mark.parametrize(
    "drift",
    [
        facts(user_namespaces=15000),
        facts(user_namespaces=2),
        facts(dockerds=[dockerd(config_file="/etc/docker/daemon.json")]),
        facts(dockerds=[dockerd(), dockerd(config_file="/srv/second.json")]),
        facts(
            cdi_specs=[
                CDI,
                {**CDI, "kind": "nvidia.com/gds"},
                {**CDI, "kind": "nvidia.com/x", "versions": []},
            ]
        ),
        engine(security_options=["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"]),
    ],
)
def test_what_is_as_it_is_on_most_hosts_is_not_even_said(drift):
    assert site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES) == NOTHING
