"""The plan of a host: everything for a blank one, nothing for a converged one, for a drift what it needs."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.applied import Applied, AppliedRelease, Before
from deploys.model.plan import (
    EngineChange,
    FileChange,
    KernelChange,
    LinkChange,
    PackageChange,
    Plan,
    Refusal,
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
    from collections.abc import Mapping

    from deploys.model.settings import Settings
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


def recorded(path: str, *keys: str, value: Any) -> Drift:
    """A drift inside one of the records that runs leave on a host."""

    def drift(record: dict[str, Any]) -> None:
        content = json.loads(record["files"][path]["text"])
        at(*keys, value=value)(content)
        record["files"][path] = file_record(json.dumps(content))

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
    assert made.directories == (paths.DECISION_LOG_DIR,)
    assert {change.path for _, change in made.files} == {
        *(paths.MODULES_LOAD, paths.APT_KEYRING, paths.APT_SOURCE, paths.LAUNCHER, paths.ADMIN_COMMAND),
        *(paths.WRAPPER_LOGROTATE, paths.DEVICES_CSV, paths.DRIVERS_CSV, paths.TOOLKIT_CONFIG),
    }
    assert {change.path for _, change in made.links} == {paths.GVISOR_CURRENT, paths.WRAPPER_CURRENT}
    assert len(made.reasons) == 4 + 9 + 1 + 2 + len(made.directories)
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
    ("drift", "why"),
    [
        (lambda path: without("files", path), "not there"),
        (lambda path: at("files", path, value=file_record("somebody wrote here\n")), "its content differs"),
        (lambda path: at("files", path, "mode", value=0o666), "it is not root's with mode"),
        (lambda path: at("files", path, "owner", value=1000), "it is not root's with mode"),
        (lambda path: at("files", path, "group", value=1000), "it is not root's with mode"),
        (lambda path: at("files", path, "is_link", value=True), "it is not root's with mode"),
    ],
    ids=["deleted", "edited", "mode", "owner", "group", "link"],
)
def test_a_drifted_file_is_written_and_nothing_else(path, drift, why):
    wanted = CONVERGED.files[path]
    if why.endswith("mode"):
        why = f"{why} {wanted.mode:o}"
    change = FileChange(path, wanted.text, wanted.mode, why, original=False)
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
    drift = without("packages", package) if version is None else at("packages", package, value=version)
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


def test_a_package_change_writes_config_toml_again_since_the_postinst_rewrites_it():
    made = plan(SETTINGS, drifted(CONVERGED, at("packages", TOOLKIT_PACKAGES[2], value="1.17.8-1")), SOURCES)
    assert paths.TOOLKIT_CONFIG in {change.path for _, change in made.files}


@pytest.mark.parametrize(
    ("drift", "why"),
    [
        (without("trees", RELEASE_DIRECTORY), "not installed"),
        (at("trees", RELEASE_DIRECTORY, value="0" * 64), f"{RELEASE_DIRECTORY} was changed there"),
        (without("files", paths.APPLIED), f"{RELEASE_DIRECTORY} was changed there"),
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
    made = plan(SETTINGS, drifted(CONVERGED, recorded(paths.APPLIED, "gvisor", "probe", value=None)), SOURCES)
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
    seen = CONVERGED.files[paths.DAEMON_JSON].sha256
    return EngineChange(
        file, seen, "/usr/sbin/dockerd", False, "nvidia", paths.SHIM, f"{paths.DAEMON_JSON}: {why}"
    )


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


def test_a_file_that_was_there_before_the_first_run_is_an_original_in_every_run():
    theirs = drifted(BLANK, at("files", paths.TOOLKIT_CONFIG, value=file_record("disable-require = true\n")))
    first = {change.path: change.original for _, change in plan(SETTINGS, theirs, SOURCES).files}
    assert first.pop(paths.TOOLKIT_CONFIG) is True
    assert set(first.values()) == {False}
    # A run that failed after its first changes has left a record of what was there, and none of what it did.
    half = drifted(converged(SETTINGS, theirs, SOURCES), without("files", paths.APPLIED))
    again = dict(plan(settings(toolkit_mode="auto", runsc_args=["--debug"]), half, SOURCES).files)
    assert again[Step.RUNTIME_CONFIG].original is True
    assert again[Step.WRAPPER].original is False


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
    different = {
        field.name for field in fields(Plan) if getattr(made, field.name) != getattr(NOTHING, field.name)
    }
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
    drifts = [REFUSALS[case][0] for case in ("old python", "not root", "no docker", "no driver")]
    assert len(plan(SETTINGS, drifted(BLANK, *drifts), SOURCES).refusals) == 4


@pytest.mark.parametrize("probed", ["550.90.12", "570.124.07", "580.65.06"])
def test_a_driver_that_the_tried_runsc_does_not_serve_is_refused(probed):
    only = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=[probed])
    made = plan(SETTINGS, drifted(CONVERGED, only), SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert f"the NVIDIA driver {DRIVER} is not among the 1 that gVisor 20260905 supports" in str(
        made.refusals[0]
    )


def test_the_drivers_of_another_release_do_not_count():
    only = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=["550.90.12"])
    other = settings(gvisor_release="20260616")
    assert plan(other, drifted(CONVERGED, only), SOURCES).refusals == ()


def test_a_converged_host_with_a_full_disk_is_still_converged():
    full = at("disk_free", paths.STATE_DIR, value=0)
    assert plan(SETTINGS, drifted(CONVERGED, full), SOURCES) == NOTHING


def test_a_record_with_a_driver_that_is_none_counts_as_no_record():
    odd = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=["WARNING:", DRIVER])
    made = plan(SETTINGS, drifted(CONVERGED, odd), SOURCES)
    assert made.release is not None
    assert made.probe_runsc


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


@pytest.mark.parametrize("path", [SHIM_BY_NAME, paths.SHIM])
def test_containers_that_run_under_runc_behind_the_shim_are_not_pulled_away_from_it(path):
    made = plan(SETTINGS, in_use(RUNC_BEHIND_IT, {"nvidia": ["train-1", "train-2"]}, path), SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert (
        "could not be stopped or entered any more once it starts runsc: train-1, train-2. Stop them"
        in str(made.refusals[0])
    )


def test_a_shim_without_a_config_has_runc_behind_it():
    assert plan(SETTINGS, in_use(None, {"nvidia": ["train-1"]}), SOURCES).refusals


def test_containers_that_cannot_be_told_are_not_taken_for_none():
    assert "does not tell which containers" in str(
        plan(SETTINGS, in_use(RUNC_BEHIND_IT, None), SOURCES).refusals[0]
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
    assert plan(SETTINGS, in_use(config, containers), SOURCES).refusals == ()


# A host that is anywhere between blank and converged, with what may have been changed on it since.
OURS = [path for path in CONVERGED.files if path not in {paths.DAEMON_JSON, paths.BEFORE}]
DRIFTS: dict[str, Drift] = {
    **{f"{path} deleted": without("files", path) for path in OURS},
    **{f"{path} edited": at("files", path, value=file_record("x")) for path in OURS},
    **{f"{path} closed": at("files", path, "mode", value=0o600) for path in CONVERGED.files},
    **{f"{path} given away": at("files", path, "owner", value=33) for path in CONVERGED.files},
    **{f"{path} a link": at("files", path, "is_link", value=True) for path in OURS},
    **{
        f"daemon.json {text!r}": at("files", paths.DAEMON_JSON, value=file_record(text))
        for text in ("", "{}", '{"runtimes": {}}', '{"runtimes": {"former": {"path": "/x"}}, "debug": true}')
    },
    "no packages": at("packages", value={}),
    "an old package": at("packages", TOOLKIT_PACKAGES[0], value="1.17.8-1"),
    "no trees": at("trees", value={}),
    "another release": at("trees", RELEASE_DIRECTORY, value="0" * 64),
    "another wrapper": at("trees", WRAPPER_TREE, value="0" * 64),
    "no links": at("links", value={}),
    "an old link": at("links", paths.GVISOR_CURRENT, value=f"{paths.GVISOR_DIR}/20250101"),
    "no nodes": at("nodes", value=[]),
    "not loaded": at("engine", "runtimes", value={}),
    "no release recorded": recorded(paths.APPLIED, "gvisor", value=None),
    "an odd release recorded": recorded(paths.APPLIED, "gvisor", value={"release": 20260905}),
    "another runtime recorded": recorded(paths.APPLIED, "runtime", value="former"),
}
BASES = {"blank": BLANK, "converged": CONVERGED}


@given(st.lists(st.sampled_from(sorted(DRIFTS)), max_size=6), st.sampled_from(sorted(BASES)), st.data())
def test_after_a_plan_was_carried_out_the_next_one_is_empty(drifts, base, data):
    key = data.draw(st.sampled_from([None, *SETTING_CHANGES]))
    changed = SETTINGS if key is None else settings(**{key: SETTING_CHANGES[key][0]})
    try:
        host = drifted(BASES[base], *(DRIFTS[name] for name in drifts))
    except (KeyError, ValueError):
        return  # two drifts that do not go together: what one changes, the other has taken away
    made = plan(changed, host, SOURCES)
    assert made.refusals == ()
    converged_now = after(made, changed, host, SOURCES)
    assert plan(changed, converged_now, SOURCES) == NOTHING
    assert after(NOTHING, changed, converged_now, SOURCES) == converged_now, "a second run records the same"


def test_the_record_names_what_was_put_on_the_host_and_what_it_was():
    gvisor = AppliedRelease(release=SETTINGS.gvisor_release, tree=RELEASE_TREE, probe=PROBE)
    record = applied_after(SETTINGS, snapshot(BLANK), SOURCES, gvisor)
    assert {path: file.sha256 for path, file in record.files.items()} == {
        path: file.sha256
        for path, file in CONVERGED.files.items()
        if path not in {paths.APPLIED, paths.BEFORE}
    }
    assert record.directories == (RELEASE_DIRECTORY, WRAPPER_TREE)
    assert record.runtime == "nvidia"
    assert Applied.read(CONVERGED) == record


def test_the_record_of_before_is_that_of_the_first_run_whatever_comes_after():
    theirs = {TOOLKIT_PACKAGES[0]: "1.17.8-1"}
    first = drifted(BLANK, at("packages", value=theirs), at("files", "/etc/x", value=file_record("theirs")))
    second = converged(SETTINGS, first, SOURCES)
    third = converged(settings(toolkit_mode="auto"), second, SOURCES)
    assert Before.read(third) == Before.of(first)
    assert Before.of(first).files == ("/etc/x",)
    assert Before.of(first).packages == theirs


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"files": 7, "packages": {}}', '{"files": [], "packages": {"a": 1}}']
)
def test_a_record_of_before_that_cannot_be_read_is_a_refusal_and_never_taken_for_none(text):
    broken = drifted(CONVERGED, at("files", paths.BEFORE, value=file_record(text)))
    made = plan(SETTINGS, broken, SOURCES)
    assert made == Plan(refusals=made.refusals)
    assert paths.BEFORE in str(made.refusals[0])
    with pytest.raises(ValueError):
        Before.read(broken)


def test_a_record_of_other_versions_may_hold_more():
    more = drifted(CONVERGED, recorded(paths.APPLIED, "colour", value="green"))
    assert Applied.read(more) == Applied.read(CONVERGED)


def removal(host: HostSnapshot, of: Settings = SETTINGS) -> EngineChange | Refusal | None:
    return removal_of_runtime(of, host, Before.read(host))


def converged_from(daemon_json: str) -> HostSnapshot:
    first = drifted(BLANK, at("files", paths.DAEMON_JSON, value=file_record(daemon_json)))
    return converged(SETTINGS, first, SOURCES)


@pytest.mark.parametrize(
    ("theirs", "path"),
    [
        ('{"runtimes": {"kata": {"path": "/k"}}, "debug": true}', None),
        (
            '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}',
            "nvidia-container-runtime",
        ),
        ("{}", None),
    ],
)
def test_taking_the_runtime_out_puts_daemon_json_back_as_it_was(theirs, path):
    change = removal(converged_from(theirs))
    assert json.loads(change.file.text) == json.loads(theirs)
    assert (change.runtime, change.runtime_path) == ("nvidia", path)


def test_taking_the_runtime_out_of_a_file_that_was_not_there_before_takes_the_file_away():
    assert removal(CONVERGED).file.text == "", "docker_engine's word for no file"


def test_a_runtime_that_is_only_loaded_is_taken_out_by_a_reload():
    assert removal(drifted(CONVERGED, without("files", paths.DAEMON_JSON))).file is None


def test_a_runtime_that_is_neither_in_the_file_nor_loaded_needs_nothing():
    gone = drifted(CONVERGED, without("files", paths.DAEMON_JSON), without("engine", "runtimes", "nvidia"))
    assert removal(gone) is None


def test_a_runtime_is_taken_out_though_no_run_came_to_recording_it():
    assert removal(drifted(CONVERGED, without("files", paths.APPLIED))).runtime == "nvidia"


def test_a_runtime_that_went_by_another_name_is_taken_out_by_that_name():
    renamed = drifted(CONVERGED, recorded(paths.APPLIED, "runtime", value="gpu"))
    changed = plan(SETTINGS, renamed, SOURCES)
    assert changed == NOTHING, "daemon.json has not the old name"
    both = '{"runtimes": {"gpu": {"path": "/usr/bin/nvidia-container-runtime"}}}'
    made = plan(SETTINGS, drifted(renamed, at("files", paths.DAEMON_JSON, value=file_record(both))), SOURCES)
    assert json.loads(made.engine.file.text) == {"runtimes": {"nvidia": {"path": paths.SHIM}}}


@pytest.mark.parametrize(
    ("drift", "sentence"),
    [
        (at("files", paths.DAEMON_JSON, value=file_record("{,}")), "it is not JSON: "),
        (at("engine", "default_runtime", value="nvidia"), "nvidia is Docker's default runtime"),
    ],
)
def test_what_stands_against_taking_the_runtime_out_is_a_refusal_of_this_host(drift, sentence):
    refusal = removal(drifted(CONVERGED, drift))
    assert isinstance(refusal, Refusal)
    assert sentence in str(refusal)


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

    text = wrapper_settings(settings(runsc_args=["--debug"]), PROBE)
    read = wrappers_own.parse_settings(text.encode(), paths.WRAPPER_SETTINGS)
    assert read.runsc_args == ["--debug"]


def test_the_config_of_a_converged_host_is_the_rendered_one():
    assert text_of(paths.TOOLKIT_CONFIG) == config_toml(SETTINGS.toolkit_mode)
