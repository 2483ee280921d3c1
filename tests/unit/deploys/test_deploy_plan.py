"""The plan of a host: everything on a blank one, nothing on a converged one, and of a drift just what it needs."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from deploys.model import paths
from deploys.model.applied import Applied, AppliedRelease
from deploys.model.plan import (
    DISK_NEEDED,
    EngineChange,
    FileChange,
    KernelChange,
    LinkChange,
    PackageChange,
    Plan,
    ReleaseChange,
    Step,
    applied_after,
    launcher,
    plan,
    removal_of_runtime,
    wrapper_settings,
)
from deploys.model.toolkit_config import config_toml
from deploys.model.versions import TOOLKIT_PACKAGES
from hypothesis import given
from hypothesis import strategies as st

from tests.deploys.example_hosts import (
    BLANK,
    DRIVER,
    PROBE,
    RELEASE_TREE,
    brought,
    file_record,
    settings,
    snapshot,
)
from tests.deploys.simulated_host import after, converged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deploys.model.snapshot import HostSnapshot

SETTINGS = settings()
SOURCES = brought()
CONVERGED = converged(SETTINGS, snapshot(BLANK), SOURCES)
NOTHING = Plan(refusals=())
WRAPPER_TREE = f"{paths.WRAPPER_DIR}/{SOURCES.wrapper.directory_name}"
RELEASE_DIRECTORY = f"{paths.GVISOR_DIR}/{SETTINGS.gvisor_release}"

Drift = "Callable[[dict[str, Any]], None]"


def drifted(base: HostSnapshot | Mapping[str, Any], *drifts: Drift) -> HostSnapshot:
    record = copy.deepcopy(dict(base)) if isinstance(base, dict) else base.model_dump(mode="json")
    for drift in drifts:
        drift(record)
    return snapshot(record)


def at(*keys: str, value: Any) -> Drift:
    """A drift that gives one place of the snapshot another value."""

    def drift(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return drift


def without(*keys: str) -> Drift:
    """A drift that takes one place of the snapshot out."""

    def drift(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        del record[keys[-1]]

    return drift


def text_of(path: str) -> str:
    text = CONVERGED.files[path].text
    assert text is not None
    return text


def test_a_blank_host_gets_everything_and_a_reason_for_each_change():
    made = plan(SETTINGS, snapshot(BLANK), SOURCES)
    assert made.refusals == ()
    assert made.kernel is None, "every node is there"
    assert made.packages.version == SETTINGS.toolkit_version
    assert made.release.directory == RELEASE_DIRECTORY
    assert made.wrapper.directory == WRAPPER_TREE
    assert made.engine.file.path == paths.DAEMON_JSON
    assert made.probe_runsc
    assert {change.path for _, change in made.files} == {
        *(paths.MODULES_LOAD, paths.APT_KEYRING, paths.APT_SOURCE, paths.LAUNCHER, paths.ADMIN_COMMAND),
        *(paths.WRAPPER_LOGROTATE, paths.DEVICES_CSV, paths.DRIVERS_CSV, paths.TOOLKIT_CONFIG),
    }
    assert {change.path for _, change in made.links} == {paths.GVISOR_CURRENT, paths.WRAPPER_CURRENT}
    assert len(made.reasons) == 4 + 9 + 1 + 2
    assert all(re.search(r"not (there|installed)|tried first", reason) for reason in made.reasons)
    assert not any("None" in reason or "{" in reason for reason in made.reasons)


def test_a_blank_host_without_nodes_gets_them_made():
    made = plan(SETTINGS, drifted(BLANK, at("nodes", value=[])), SOURCES)
    assert made.kernel == KernelChange(
        ("nvidia", "nvidia-uvm"),
        ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1", "/dev/nvidia0"),
        "device nodes are missing: /dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia1, /dev/nvidia0",
    )


def test_a_converged_host_has_an_empty_plan():
    assert plan(SETTINGS, CONVERGED, SOURCES) == NOTHING
    assert NOTHING.empty


def test_nothing_of_a_host_in_a_file_is_open_to_others_for_writing():
    assert {file.mode & 0o022 for file in CONVERGED.files.values()} == {0}


FILE_STEPS = {
    paths.MODULES_LOAD: Step.KERNEL,
    paths.LAUNCHER: Step.WRAPPER,
    paths.ADMIN_COMMAND: Step.WRAPPER,
    paths.WRAPPER_SETTINGS: Step.WRAPPER,
    paths.WRAPPER_LOGROTATE: Step.WRAPPER,
    paths.DEVICES_CSV: Step.DEVICE_SPECS,
    paths.DRIVERS_CSV: Step.DEVICE_SPECS,
    paths.TOOLKIT_CONFIG: Step.RUNTIME_CONFIG,
}


@pytest.mark.parametrize("path", FILE_STEPS)
@pytest.mark.parametrize(
    ("drift", "why", "ours"),
    [
        (lambda path: without("files", path), "not there", None),
        (
            lambda path: at("files", path, value=file_record("somebody wrote here\n")),
            "its content differs",
            True,
        ),
        (lambda path: at("files", path, "mode", value=0o666), "it is not root's with mode", True),
        (lambda path: at("files", path, "owner", value=1000), "it is not root's with mode", True),
        (lambda path: at("files", path, "group", value=1000), "it is not root's with mode", True),
        (lambda path: at("files", path, "is_link", value=True), "it is not root's with mode", True),
    ],
    ids=["deleted", "edited", "mode", "owner", "group", "link"],
)
def test_a_drifted_file_is_written_and_nothing_else(path, drift, why, ours):
    wanted = CONVERGED.files[path]
    if why.endswith("mode"):
        why = f"{why} {wanted.mode:o}"
    change = FileChange(path, wanted.text, wanted.mode, why, ours)
    assert plan(SETTINGS, drifted(CONVERGED, drift(path)), SOURCES) == replace(
        NOTHING, files=((FILE_STEPS[path], change),)
    )


@pytest.mark.parametrize("path", [paths.APT_KEYRING, paths.APT_SOURCE])
def test_a_drifted_repository_is_written_and_its_packages_are_checked_again(path):
    made = plan(SETTINGS, drifted(CONVERGED, without("files", path)), SOURCES)
    assert [change.path for _, change in made.files if change.path != paths.TOOLKIT_CONFIG] == [path]
    assert made.packages.why.endswith("its repository or key differs")
    assert (made.kernel, made.release, made.wrapper, made.engine, made.links) == (None, None, None, None, ())


@pytest.mark.parametrize("package", TOOLKIT_PACKAGES)
@pytest.mark.parametrize("version", [None, "1.17.8-1", "1.20.1-1"])
def test_one_package_at_another_version_means_all_four_are_installed_again(package, version):
    drift = (
        without("packages", package) if version is None else at("packages", package, value=version)
    )
    made = plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    is_now = version or "not installed"
    assert made.packages == PackageChange(
        version="1.20.0-1",
        repository_url=SETTINGS.toolkit_repository_url,
        source=text_of(paths.APT_SOURCE),
        key=SOURCES.toolkit_key,
        why=f"NVIDIA Container Toolkit 1.20.0-1: {package} is {is_now}",
    )
    assert (made.kernel, made.release, made.wrapper, made.engine, made.links) == (None, None, None, None, ())


@pytest.mark.xfail(strict=True, reason="A3: postinst rewrites config.toml after the plan was made")
def test_a_package_change_writes_config_toml_again_since_the_postinst_rewrites_it():
    made = plan(SETTINGS, drifted(CONVERGED, at("packages", TOOLKIT_PACKAGES[2], value="1.17.8-1")), SOURCES)
    assert paths.TOOLKIT_CONFIG in {change.path for _, change in made.files}


@pytest.mark.parametrize(
    ("drift", "why"),
    [
        (without("trees", RELEASE_DIRECTORY), "not installed"),
        (at("trees", RELEASE_DIRECTORY, value="0" * 64), f"{RELEASE_DIRECTORY} was changed there"),
        (without("applied", "gvisor"), f"{RELEASE_DIRECTORY} was changed there"),
    ],
)
def test_a_release_that_is_gone_or_not_as_it_was_is_fetched_and_tried_again(drift, why):
    made = plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    release = ReleaseChange(
        release="20260905",
        url="https://storage.googleapis.com/gvisor/releases/release/20260905/x86_64/gvisor.tar.bz2",
        sha512="0123456789abcdef" * 8,
        directory=RELEASE_DIRECTORY,
        why=f"gVisor 20260905: {why}",
    )
    assert made == replace(NOTHING, release=release, probe_runsc=True)


def test_a_runsc_that_was_never_tried_is_tried_and_nothing_else():
    made = plan(SETTINGS, drifted(CONVERGED, at("applied", "gvisor", "probe", value=None)), SOURCES)
    assert made == replace(NOTHING, probe_runsc=True)


@pytest.mark.parametrize("drift", [without("trees", WRAPPER_TREE), at("trees", WRAPPER_TREE, value="0" * 64)])
def test_a_wrapper_that_is_gone_or_not_as_it_was_is_written_again(drift):
    made = plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    assert made == replace(NOTHING, wrapper=made.wrapper)
    assert {file.path for file in made.wrapper.files} == {
        f"{WRAPPER_TREE}/{name}" for name in SOURCES.wrapper.files
    }


@pytest.mark.parametrize(
    ("path", "step", "target"),
    [
        (paths.GVISOR_CURRENT, Step.GVISOR, RELEASE_DIRECTORY),
        (paths.WRAPPER_CURRENT, Step.WRAPPER, WRAPPER_TREE),
    ],
)
def test_a_link_that_points_elsewhere_is_switched_and_nothing_else(path, step, target):
    for drift, why in (
        (without("links", path), "not there"),
        (at("links", path, value="/opt/old"), "it points to /opt/old"),
    ):
        made = plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
        assert made == replace(NOTHING, links=((step, LinkChange(path, target, why)),))


@pytest.mark.parametrize(
    "nodes",
    [
        [node for node in BLANK["nodes"] if node["path"] != "/dev/nvidia-uvm"],
        [{**node, "kind": "-"} if node["path"] == "/dev/nvidia-uvm" else node for node in BLANK["nodes"]],
    ],
    ids=["missing", "a regular file"],
)
def test_a_node_that_is_missing_is_made_and_nothing_else(nodes):
    made = plan(SETTINGS, drifted(CONVERGED, at("nodes", value=nodes)), SOURCES)
    assert made == replace(NOTHING, kernel=made.kernel)
    assert made.kernel.why == "device nodes are missing: /dev/nvidia-uvm"


def test_nodes_are_named_by_minor_since_minors_are_not_in_the_order_of_the_gpus():
    gpus = [{**gpu, "minor": minor} for gpu, minor in zip(BLANK["gpus"], (7, 3), strict=True)]
    made = plan(SETTINGS, drifted(BLANK, at("gpus", value=gpus)), SOURCES)
    assert made.kernel.nodes[2:] == ("/dev/nvidia7", "/dev/nvidia3")


def engine_change(file: FileChange | None, why: str) -> EngineChange:
    return EngineChange(file, "/usr/sbin/dockerd", False, "nvidia", f"{paths.DAEMON_JSON}: {why}")


@pytest.mark.parametrize("loaded", [None, "nvidia-container-runtime", "/usr/bin/runc"])
def test_a_runtime_that_is_in_the_file_but_not_in_the_daemon_is_loaded_again(loaded):
    drift = (
        without("engine", "runtimes", "nvidia")
        if loaded is None
        else at("engine", "runtimes", "nvidia", value=loaded)
    )
    made = plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    assert made == replace(
        NOTHING, engine=engine_change(None, f"dockerd has {loaded!r} loaded, not what the file says")
    )


def test_a_runtime_taken_out_of_daemon_json_is_put_back_beside_what_stands_there():
    theirs = file_record('{"data-root": "/srv/docker", "runtimes": {"other": {"path": "/x"}}}', 0o640)
    made = plan(SETTINGS, drifted(CONVERGED, at("files", paths.DAEMON_JSON, value=theirs)), SOURCES)
    assert made == replace(NOTHING, engine=made.engine)
    assert made.engine.file.mode == 0o640
    assert json.loads(made.engine.file.text) == {
        "data-root": "/srv/docker",
        "runtimes": {"other": {"path": "/x"}, "nvidia": {"path": paths.SHIM}},
    }


def test_a_foreign_file_is_marked_as_not_ours_so_that_it_is_kept():
    theirs = drifted(BLANK, at("files", paths.TOOLKIT_CONFIG, value=file_record("disable-require = true\n")))
    kept = {change.path: change.ours for _, change in plan(SETTINGS, theirs, SOURCES).files}
    assert kept[paths.TOOLKIT_CONFIG] is False
    assert kept[paths.DEVICES_CSV] is None


SETTING_CHANGES = {
    "gvisor_release": ("20260616", {"release", "links", "probe_runsc"}),
    "toolkit_version": ("1.19.1-1", {"packages"}),
    "toolkit_mode": ("auto", {"files"}),
    "toolkit_repository_url": ("https://mirror.example/stable", {"packages", "files"}),
    "runtime_name": ("gpu", {"engine"}),
    "runsc_args": (["--network=host"], {"files"}),
    "driver_version": ("550.90.12", {"files"}),
    "allowed_capabilities": (["compute"], {"files"}),
    "kernel_modules": (["nvidia"], {"files"}),
    "host_prep": ([["/bin/true"]], {"files"}),
    "trusted_hooks": (["/opt/nvidia-ctk"], {"files"}),
    "allow_user_annotations": (True, {"files"}),
    "drop_update_ldcache": (True, {"files"}),
}


@pytest.mark.parametrize("key", SETTING_CHANGES)
def test_a_changed_setting_changes_its_own_parts_and_then_nothing(key):
    value, parts = SETTING_CHANGES[key]
    changed = settings(**{key: value})
    made = plan(changed, CONVERGED, SOURCES)
    different = {field.name for field in fields(Plan) if getattr(made, field.name) != getattr(NOTHING, field.name)}
    may_follow = {"files"} if key == "toolkit_version" else set()  # settings.json names the toolkit's version
    assert parts <= different <= parts | may_follow
    assert plan(changed, after(made, changed, CONVERGED, SOURCES), SOURCES) == NOTHING


REFUSALS: dict[str, tuple[Drift, str]] = {
    "old python": (at("python", value=[3, 7, 3]), "/usr/bin/python3 is 3.7.3, and the wrapper needs 3.8"),
    "not root": (at("uid", value=1000), "rights of user id 1000, and root's are needed"),
    "no systemd": (at("os", "systemd", value=False), "was not booted with systemd"),
    "no apt": (
        lambda record: record["os"].update(id="rocky", id_like=["rhel", "fedora"], name="Rocky Linux 9.6"),
        "Rocky Linux 9.6 (rocky) has no apt",
    ),
    "not pinned": (at("os", "machine", value="aarch64"), "the host is aarch64, and gvisor_sha512 pins x86_64"),
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
    made = plan(SETTINGS, drifted(BLANK, drift), SOURCES)
    assert made == Plan(refusals=made.refusals), "a refused host gets no change"
    assert len(made.refusals) == 1
    text = str(made.refusals[0])
    assert sentence in text
    assert re.fullmatch(r"[^.].*[^.]\. [A-Z].*\.", text, re.DOTALL), "what is wrong, and what to do"
    assert "None" not in text


def test_all_refusals_are_told_at_once():
    drifts = [REFUSALS[case][0] for case in ("old python", "no docker", "no driver", "disk full")]
    assert len(plan(SETTINGS, drifted(BLANK, *drifts), SOURCES).refusals) == 4


@pytest.mark.parametrize("probed", ["550.90.12", "570.124.07", "580.65.06"])
def test_a_driver_that_the_tried_runsc_does_not_serve_is_refused(probed):
    only = at("applied", "gvisor", "probe", "supported_drivers", value=[probed])
    made = plan(SETTINGS, drifted(CONVERGED, only), SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert f"the NVIDIA driver {DRIVER} is not among the 1 that gVisor 20260905 supports" in str(made.refusals[0])


def test_the_drivers_of_another_release_do_not_count():
    only = at("applied", "gvisor", "probe", "supported_drivers", value=["550.90.12"])
    other = settings(gvisor_release="20260616")
    assert plan(other, drifted(CONVERGED, only), SOURCES).refusals == ()


@pytest.mark.xfail(strict=True, reason="D9: a converged host with little room is refused though nothing comes")
def test_a_converged_host_with_a_full_disk_is_still_converged():
    full = at("disk_free", paths.STATE_DIR, value=0)
    assert plan(SETTINGS, drifted(CONVERGED, full), SOURCES) == NOTHING


@pytest.mark.xfail(strict=True, raises=ValueError, reason="A2b: one word in applied.json stops the fleet")
def test_a_record_with_a_driver_that_is_none_stops_nobody():
    odd = at("applied", "gvisor", "probe", "supported_drivers", value=["WARNING:", DRIVER])
    plan(SETTINGS, drifted(CONVERGED, odd), SOURCES)


@pytest.mark.xfail(strict=True, reason="A1: the shim reads config.toml also for containers that run already")
def test_a_host_whose_nvidia_containers_run_under_runc_is_not_converged_under_them():
    assert "containers" in type(CONVERGED.engine).model_fields


# A host that is anywhere between blank and converged, with what may have been changed on it since.
DRIFTS: list[Drift] = [
    *(without("files", path) for path in CONVERGED.files if path != paths.DAEMON_JSON),
    *(at("files", path, value=file_record("x")) for path in CONVERGED.files if path != paths.DAEMON_JSON),
    *(at("files", path, "mode", value=0o600) for path in CONVERGED.files),
    *(at("files", path, "owner", value=33) for path in CONVERGED.files),
    *(at("files", path, "is_link", value=True) for path in CONVERGED.files if path != paths.DAEMON_JSON),
    *(at("files", paths.DAEMON_JSON, value=file_record(text)) for text in ("", "{}", '{"runtimes": {}}')),
    at("packages", value={}),
    at("packages", TOOLKIT_PACKAGES[0], value="1.17.8-1"),
    at("trees", value={}),
    at("trees", RELEASE_DIRECTORY, value="0" * 64),
    at("trees", WRAPPER_TREE, value="0" * 64),
    at("links", value={}),
    at("links", paths.GVISOR_CURRENT, value=f"{paths.GVISOR_DIR}/20250101"),
    at("nodes", value=[]),
    at("engine", "runtimes", value={}),
    at("applied", value=None),
    at("applied", value={"gvisor": {"release": 20260905}}),
    at("applied", value={"gvisor": None}),
]


@given(st.lists(st.sampled_from(DRIFTS), max_size=6), st.sampled_from([BLANK, CONVERGED]), st.data())
def test_after_a_plan_was_carried_out_the_next_one_is_empty(drifts, base, data):
    key = data.draw(st.sampled_from([None, *SETTING_CHANGES]))
    changed = SETTINGS if key is None else settings(**{key: SETTING_CHANGES[key][0]})
    try:
        host = drifted(base, *drifts)
    except (KeyError, TypeError):
        return  # two drifts that do not go together: what one changes, the other has taken away
    made = plan(changed, host, SOURCES)
    assert made.refusals == ()
    converged_now = after(made, changed, host, SOURCES)
    assert plan(changed, converged_now, SOURCES) == NOTHING
    again = after(NOTHING, changed, converged_now, SOURCES)
    assert again == converged_now, "and the record of a second run is the same text"


def test_the_record_names_every_file_as_it_was_written_and_the_packages_of_before():
    before = drifted(BLANK, at("packages", value={TOOLKIT_PACKAGES[0]: "1.17.8-1"}))
    gvisor = AppliedRelease(release=SETTINGS.gvisor_release, tree=RELEASE_TREE, probe=PROBE)
    record = applied_after(SETTINGS, before, SOURCES, gvisor)
    assert {path: file.sha256 for path, file in record.files.items()} == {
        path: file.sha256 for path, file in CONVERGED.files.items() if path != paths.APPLIED
    }
    assert record.packages_before == {TOOLKIT_PACKAGES[0]: "1.17.8-1"}
    assert Applied.read(json.loads(record.text())) == record


def test_the_packages_of_before_stay_those_of_the_first_run():
    gvisor = Applied.read(CONVERGED.applied).gvisor
    assert applied_after(SETTINGS, CONVERGED, SOURCES, gvisor).packages_before == {}


@pytest.mark.xfail(strict=True, reason="B2: an unreadable record means that remove.py purges what was there before")
def test_a_record_that_cannot_be_read_does_not_make_the_hosts_packages_ours():
    host = drifted(CONVERGED, at("applied", value={"gvisor": {"release": 20260905}}))
    gvisor = AppliedRelease(release=SETTINGS.gvisor_release, tree=RELEASE_TREE, probe=PROBE)
    assert applied_after(SETTINGS, host, SOURCES, gvisor).packages_before == host.packages


@pytest.mark.xfail(strict=True, reason="B1: a run that failed before its last step has recorded nothing")
def test_a_file_of_a_run_that_failed_half_way_is_not_taken_for_one_of_before():
    # The first run wrote everything and then failed in Docker; the second is to write it again, in mode auto.
    half = drifted(CONVERGED, at("applied", value=None), without("files", paths.APPLIED))
    changes = dict(plan(settings(toolkit_mode="auto"), half, SOURCES).files)
    assert changes[Step.RUNTIME_CONFIG].ours is not False


def test_taking_the_runtime_out_changes_daemon_json_alone():
    change = removal_of_runtime(SETTINGS, CONVERGED)
    assert json.loads(change.file.text) == {}
    assert removal_of_runtime(SETTINGS, snapshot(BLANK)) is None
    only_loaded = removal_of_runtime(SETTINGS, drifted(CONVERGED, without("files", paths.DAEMON_JSON)))
    assert only_loaded.file is None, "the daemon has it still: reload"


@pytest.mark.xfail(strict=True, reason="A2a: remove.py stops the whole fleet for one host's broken daemon.json")
def test_taking_the_runtime_out_of_a_broken_daemon_json_stops_nobody_else():
    removal_of_runtime(
        SETTINGS, drifted(CONVERGED, at("files", paths.DAEMON_JSON, value=file_record("{,}")))
    )


def test_the_wrappers_settings_say_what_the_tried_runsc_does():
    content = json.loads(wrapper_settings(settings(runsc_args=["--debug"], driver_version=DRIVER), PROBE))
    assert content["runsc"] == paths.RUNSC
    assert content["hooks_run"] is True
    assert content["runsc_args"] == ["--debug", f"--nvproxy-driver-version={DRIVER}"]
    assert content["toolkit_version"] == "1.20.0"


def test_the_launcher_quotes_what_the_inventory_says():
    text = launcher(settings(runsc_args=["--label=it's; $(reboot) `x`"]))
    assert "'--label=it'\\''s; $(reboot) `x`'" in text


def test_the_settings_file_is_the_one_that_the_wrapper_itself_accepts():
    from nvproxy_wrapper import settings as wrappers_own  # noqa: PLC0415 - named apart from the deploys' settings

    assert wrappers_own.parse(wrapper_settings(SETTINGS, PROBE).encode())


def test_the_config_of_a_converged_host_is_the_rendered_one():
    assert text_of(paths.TOOLKIT_CONFIG) == config_toml(SETTINGS.toolkit_mode)
