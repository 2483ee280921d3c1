"""What stops a host: each reason alone, with what to do, and all of them at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from deploys.model import paths
from deploys.model.applied import Before
from deploys.model.plan import Plan, Step
from deploys.model.site_plan import site_plan
from deploys.model.toolkit_config import config_toml
from tests.deploys.example_hosts import BLANK, DRIVER, at, drifted, file_record, recorded, settings
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES

if TYPE_CHECKING:
    from deploys.model.snapshot import HostSnapshot
    from tests.deploys.example_hosts import Drift


REFUSALS: dict[str, tuple[Drift, str]] = {
    "old python": (at("python", value=[3, 7, 3]), "/usr/bin/python3 is 3.7.3, and the wrapper needs 3.8"),
    "not root": (at("uid", value=1000), "rights of user id 1000, and root's are needed"),
    "no systemd": (at("os", "systemd", value=False), "was not booted with systemd"),
    "no apt": (
        lambda record: record["os"].update(id="rocky", id_like=["rhel", "fedora"], name="Rocky Linux 9.6"),
        "Rocky Linux 9.6 (rocky) has no apt",
    ),
    "not pinned": (
        at("os", "machine", value="aarch64"),
        "the host is aarch64, and gvisor_sha512 pins x86_64",
    ),
    "unknown machine": (at("os", "machine", value="riscv64"), "the host is riscv64"),
    "no docker": (at("engine", "client", value=None), "there is no Docker on this host"),
    "no dockerd": (at("engine", "daemon", value=None), "there is no Docker on this host"),
    "snap": (at("engine", "daemon", value="/snap/docker/2963/bin/dockerd"), "Docker is the snap"),
    "dockerd is down": (
        lambda record: record["engine"].update(running=False, error="Cannot connect to the Docker daemon"),
        "dockerd does not answer: Cannot connect to the Docker daemon",
    ),
    "daemon.json is not JSON": (
        at("files", paths.DAEMON_JSON, value=file_record('{\n  "debug": true,\n}\n')),
        "/etc/docker/daemon.json: it is not JSON: ",
    ),
    "daemon.json is a list": (
        at("files", paths.DAEMON_JSON, value=file_record("[]")),
        "/etc/docker/daemon.json: it holds list",
    ),
    "daemon.json is not text": (
        at("files", paths.DAEMON_JSON, value={**file_record(""), "text": None}),
        "/etc/docker/daemon.json is not UTF-8 text",
    ),
    "a default runtime that is nowhere": (
        at("engine", "default_runtime", value="kata"),
        "Docker's default runtime is kata, and /etc/docker/daemon.json would not name it",
    ),
    "a default runtime that the file says and dockerd has not loaded": (
        at("files", paths.DAEMON_JSON, value=file_record('{"default-runtime": "kata"}')),
        "Docker's default runtime is kata",
    ),
    "no driver": (at("driver", "version", value=None), "no NVIDIA driver is loaded"),
    "no gpu": (at("gpus", value=[]), f"the NVIDIA driver {DRIVER} is loaded, but it has no GPU"),
    "no libcuda": (at("driver", "libraries", value=[]), f"knows no libcuda.so.{DRIVER}"),
    "disk full": (
        at("disk_free", paths.STATE_DIR, value=12_345_678),
        "/var/lib/nvproxy-fleet has 12 MB free, and 1000 MB are needed",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_stands_alone_and_says_what_to_do(case):
    drift, sentence = REFUSALS[case]
    made = site_plan(SETTINGS, drifted(BLANK, drift), SOURCES)
    assert made == Plan(refusals=made.refusals), "a refused host gets no change"
    assert len(made.refusals) == 1
    text = str(made.refusals[0])
    assert sentence in text
    assert re.fullmatch(r"[^.].*[^.]\. [A-Z].*\.", text, re.DOTALL), "what is wrong, and what to do"
    assert "None" not in text


def test_a_default_runtime_that_the_file_names_refuses_nothing():
    ours = at("engine", "default_runtime", value="nvidia")
    assert site_plan(SETTINGS, drifted(CONVERGED, ours), SOURCES) == NOTHING
    text = '{"default-runtime": "kata", "runtimes": {"kata": {"path": "/k"}}}'
    theirs = [
        at("engine", "default_runtime", value="kata"),
        at("files", paths.DAEMON_JSON, value=file_record(text)),
    ]
    assert site_plan(SETTINGS, drifted(BLANK, *theirs), SOURCES).refusals == ()


def test_a_name_that_is_given_up_while_it_is_docker_s_default_runtime_is_refused():
    ours = at("engine", "default_runtime", value="nvidia")
    made = site_plan(settings(runtime_name="gv"), drifted(CONVERGED, ours), SOURCES)
    assert "Docker's default runtime is nvidia" in str(made.refusals[0])


def test_all_refusals_are_told_at_once():
    drifts = [REFUSALS[case][0] for case in ("old python", "not root", "no docker", "no driver")]
    assert len(site_plan(SETTINGS, drifted(BLANK, *drifts), SOURCES).refusals) == 4


@pytest.mark.parametrize("probed", ["550.90.12", "570.124.07", "580.65.06"])
def test_a_driver_that_the_tried_runsc_does_not_serve_is_refused(probed):
    only = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=[probed])
    made = site_plan(SETTINGS, drifted(CONVERGED, only), SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert f"the NVIDIA driver {DRIVER} is not among the 1 that gVisor 20260905 supports" in str(
        made.refusals[0]
    )


def test_the_drivers_of_another_release_do_not_count():
    only = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=["550.90.12"])
    other = settings(gvisor_release="20260616")
    assert site_plan(other, drifted(CONVERGED, only), SOURCES).refusals == ()


def test_a_capability_that_the_tried_runsc_does_not_take_is_refused():
    changed = settings(allowed_capabilities=["compute", "display"])
    made = site_plan(changed, CONVERGED, SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert "has display, which the runsc of gVisor 20260905 does not take" in str(made.refusals[0])
    assert "compute, utility, video" in str(made.refusals[0])


def test_a_capability_that_runsc_was_not_asked_about_has_it_tried_again():
    changed = settings(allowed_capabilities=["compute", "new-1"])
    made = site_plan(changed, CONVERGED, SOURCES)
    assert (made.refusals, made.probe_runsc, made.release) == ((), True, None)


@pytest.mark.parametrize(("known", "is_tried_again"), [(None, True), ({}, False)])
def test_a_runsc_without_the_flag_is_not_tried_again_and_one_that_was_never_asked_is(known, is_tried_again):
    host = drifted(CONVERGED, recorded(paths.APPLIED, "gvisor", "probe", "capabilities", value=known))
    assert site_plan(SETTINGS, host, SOURCES).probe_runsc == is_tried_again


@pytest.mark.parametrize(
    ("there", "is_refused"), [(["mig"], True), (["fabric-imex-mgmt", "mig"], False), (None, False)]
)
def test_a_capability_of_the_driver_has_to_be_there(there, is_refused):
    host = drifted(BLANK, at("driver", "capabilities", value=there))
    made = site_plan(settings(allowed_capabilities=["fabric-imex-mgmt"]), host, SOURCES)
    assert bool(made.refusals) == is_refused
    assert site_plan(SETTINGS, host, SOURCES).refusals == ()
    if is_refused:
        assert "/proc/driver/nvidia/capabilities/fabric-imex-mgmt is not there" in str(made.refusals[0])


def test_a_converged_host_with_a_full_disk_is_still_converged():
    full = at("disk_free", paths.STATE_DIR, value=0)
    assert site_plan(SETTINGS, drifted(CONVERGED, full), SOURCES) == NOTHING


SHIM_BY_NAME = "nvidia-container-runtime"
RUNC_BEHIND_IT = '[nvidia-container-runtime]\nruntimes = ["docker-runc", "runc", "crun"]\n'


def in_use(config: str | None, containers: object, path: str = SHIM_BY_NAME) -> HostSnapshot:
    """A host on which NVIDIA's runtime was in use with runc before us."""

    def drift(record: dict[str, Any]) -> None:
        if config is not None:
            record["files"][paths.TOOLKIT_CONFIG] = file_record(config)
        record["engine"]["runtimes"]["nvidia"] = path
        record["engine"]["containers"] = containers

    return drifted(BLANK, drift)


@pytest.mark.parametrize(
    "path", [SHIM_BY_NAME, paths.SHIM, f"{paths.SHIM}.cdi", f"{SHIM_BY_NAME}.legacy", paths.ENTRY]
)
def test_containers_that_run_under_runc_behind_the_shim_are_not_pulled_away_from_it(path):
    made = site_plan(SETTINGS, in_use(RUNC_BEHIND_IT, {"nvidia": ["train-1", "train-2"]}, path), SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert (
        "could not be stopped or entered any more once it starts runsc: train-1, train-2. Stop them"
        in str(made.refusals[0])
    )


@pytest.mark.parametrize(
    ("path", "binaries", "programs"),
    [
        (f"{SHIM_BY_NAME}-experimental", {}, {}),
        ("wrapper", {}, {"wrapper": ("/usr/bin/wrapper", f'#!/bin/sh\nDEBUG=1 exec {SHIM_BY_NAME} "$@"\n')}),
        ("/opt/run", {}, {"/opt/run": (paths.SHIM, None)}),
        (
            "/opt/a",
            {},
            {
                "/opt/a": ("/opt/a", "#!/bin/sh\n. /opt/env\n/opt/b $@"),
                "/opt/b": ("/opt/b", "#!/bin/bash\n'" + paths.SHIM + "'"),
            },
        ),
        ("/opt/a", {}, {"/opt/a": ("/opt/a", f'#!/bin/sh\n$(dirname $0)/{SHIM_BY_NAME}.real "$@"')}),
        ("io.containerd.runc.v2", {"nvidia": paths.SHIM}, {}),
    ],
)
def test_a_link_a_script_or_a_type_is_followed_to_the_shim_that_it_starts(path, binaries, programs):
    host = drifted(in_use(RUNC_BEHIND_IT, {"nvidia": ["train-1"]}, path), following(binaries, programs))
    assert "train-1" in str(site_plan(SETTINGS, host, SOURCES).refusals)


@pytest.mark.parametrize(
    ("path", "programs"),
    [
        ("/opt/a", {"/opt/a": ("/opt/a", f'#!/bin/sh\n# unlike {SHIM_BY_NAME}\nexec runc "$@"')}),
        ("/opt/a", {"/opt/a": ("/opt/a", "#!/bin/sh\n/opt/b"), "/opt/b": ("/opt/b", "#!/bin/sh\n/opt/a")}),
        ("io.containerd.runc.v2", {}),
    ],
)
def test_a_script_that_starts_something_else_is_no_hindrance(path, programs):
    host = drifted(in_use(RUNC_BEHIND_IT, {"nvidia": ["web"]}, path), following({}, programs))
    assert site_plan(SETTINGS, host, SOURCES).refusals == ()


def following(binaries, programs):
    def drift(record):
        record["engine"]["binaries"] = binaries
        record["engine"]["programs"] = {
            word: {"path": path, "script": script} for word, (path, script) in programs.items()
        }

    return drift


def test_a_byte_order_mark_that_this_docker_does_not_take_is_a_refusal_with_the_version():
    host = drifted(BLANK, at("files", paths.DAEMON_JSON, value=file_record("\ufeff{}")))
    assert "Docker 20.10.24+dfsg1 does not take" in str(site_plan(SETTINGS, host, SOURCES).refusals)


def test_a_shim_without_a_config_has_runc_behind_it():
    assert site_plan(SETTINGS, in_use(None, {"nvidia": ["train-1"]}), SOURCES).refusals


def test_containers_that_cannot_be_told_are_not_taken_for_none():
    assert "does not tell which containers" in str(
        site_plan(SETTINGS, in_use(RUNC_BEHIND_IT, None), SOURCES).refusals[0]
    )


@pytest.mark.parametrize(
    ("config", "containers"),
    [
        (RUNC_BEHIND_IT, {"runc": ["web"]}),
        (config_toml(SETTINGS.toolkit_mode), {"nvidia": ["train-1"]}),
        (RUNC_BEHIND_IT, {}),
    ],
)
def test_containers_that_stay_behind_what_they_were_started_by_refuse_nothing(config, containers):
    assert site_plan(SETTINGS, in_use(config, containers), SOURCES).refusals == ()


def test_a_config_that_cannot_be_understood_is_not_thrown_away():
    (refusal,) = site_plan(SETTINGS, in_use("mode = ", {}), SOURCES).refusals
    assert "config.toml cannot be kept as it is: it is not TOML: Invalid value (at line 1, " in str(refusal)


def test_a_rule_that_keeps_gpus_from_containers_is_refused_and_one_that_gives_them_in_another_way_is_kept():
    def says(line: str) -> Plan:
        return site_plan(SETTINGS, in_use(f"{line}\n{RUNC_BEHIND_IT}", {}), SOURCES)

    (refusal,) = says("accept-nvidia-visible-devices-envvar-when-unprivileged = false").refusals
    assert "accept-nvidia-visible-devices-envvar-when-unprivileged = false keeps GPUs from" in str(refusal)
    kept = "accept-nvidia-visible-devices-as-volume-mounts = true"
    change, _entry = says(kept).files_of(Step.RUNTIME_CONFIG)
    assert change.text.startswith(kept)
    assert "runtimes = [" in change.why


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"files": 7, "packages": {}}', '{"files": [], "packages": {"a": 1}}']
)
def test_a_record_of_before_that_cannot_be_read_is_a_refusal_and_never_taken_for_none(text):
    broken = drifted(CONVERGED, at("files", paths.BEFORE, value=file_record(text)))
    made = site_plan(SETTINGS, broken, SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert paths.BEFORE in str(made.refusals[0])
    with pytest.raises(ValueError):
        Before.read(broken)
