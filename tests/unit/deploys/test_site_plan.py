"""The plan of a site run: all for a blank host, nothing for a converged one, for a drift what it needs."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.changes import EngineChange, KernelChange, LinkChange, PackageChange, ReleaseChange
from deploys.model.plan import Plan, Step
from deploys.model.site_plan import site_plan
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.deploys.example_hosts import (
    BLANK,
    DRIVER,
    at,
    drifted,
    file_record,
    recorded,
    settings,
    snapshot,
    without,
)
from tests.deploys.simulated_host import (
    CONVERGED,
    NOTHING,
    RELEASE_DIRECTORY,
    SETTINGS,
    SOURCES,
    WRAPPER_TREE,
    after,
)

if TYPE_CHECKING:
    from deploys.model.changes import FileChange
    from tests.deploys.example_hosts import Drift


def test_a_blank_host_gets_everything_and_a_reason_for_each_change():
    made = site_plan(SETTINGS, snapshot(BLANK), SOURCES)
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
        *(paths.DEVICE_NODES_PROGRAM, paths.DEVICE_NODES_UNIT, paths.ENTRY),
        *(paths.WRAPPER_LOGROTATE, paths.DEVICES_CSV, paths.DRIVERS_CSV, paths.TOOLKIT_CONFIG),
    }
    assert {change.path for _, change in made.links} == set(paths.MANAGED_LINKS)
    assert len(made.reasons) == 4 + 12 + 1 + 3 + len(made.directories)
    assert all(re.search(r"not (there|installed)|tried first", reason) for reason in made.reasons)
    assert not any("None" in reason or "{" in reason for reason in made.reasons)


def test_a_blank_host_without_nodes_gets_them_made():
    made = site_plan(SETTINGS, drifted(BLANK, at("nodes", value=[])), SOURCES)
    assert made.kernel == KernelChange(
        "device nodes are missing: /dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia1, /dev/nvidia0",
    )


def test_a_converged_host_has_an_empty_plan():
    assert site_plan(SETTINGS, CONVERGED, SOURCES) == NOTHING
    assert NOTHING.empty


@pytest.mark.parametrize("path", [paths.APT_KEYRING, paths.APT_SOURCE])
def test_a_drifted_repository_is_written_and_its_packages_are_checked_again(path):
    made = site_plan(SETTINGS, drifted(CONVERGED, without("files", path)), SOURCES)
    assert [change.path for _, change in made.files if change.path != paths.TOOLKIT_CONFIG] == [path]
    assert made.packages.why.endswith("its repository or key differs")
    assert (made.kernel, made.release, made.wrapper, made.engine, made.links) == (None, None, None, None, ())


@pytest.mark.parametrize("package", TOOLKIT_PACKAGES)
@pytest.mark.parametrize("version", [None, "1.17.8-1", "1.20.2-1"])
def test_one_package_at_another_version_means_all_four_are_installed_again(package, version):
    drift = without("packages", package) if version is None else at("packages", package, value=version)
    made = site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    is_now = version or "not installed"
    assert made.packages == PackageChange(
        version=SETTINGS.toolkit_version,
        repository_url=SETTINGS.toolkit_repository_url,
        source=CONVERGED.text_of(paths.APT_SOURCE),
        key=SOURCES.toolkit_key,
        why=f"NVIDIA Container Toolkit {SETTINGS.toolkit_version}: {package} is {is_now}",
    )
    assert (made.kernel, made.release, made.wrapper, made.engine, made.links) == (None, None, None, None, ())


def test_a_package_change_needs_no_other_since_what_the_packages_rewrite_is_put_back():
    old = drifted(CONVERGED, at("packages", TOOLKIT_PACKAGES[2], value="1.17.8-1"))
    made = site_plan(SETTINGS, old, SOURCES)
    assert made == replace(NOTHING, packages=made.packages)


@pytest.mark.parametrize(
    ("drift", "why"),
    [
        (without("trees", RELEASE_DIRECTORY), "not installed"),
        (at("trees", RELEASE_DIRECTORY, value="0" * 64), f"{RELEASE_DIRECTORY} was changed there"),
        (without("files", paths.APPLIED), f"{RELEASE_DIRECTORY} was changed there"),
    ],
)
def test_a_release_that_is_gone_or_not_as_it_was_is_fetched_and_tried_again(drift, why):
    made = site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    release = ReleaseChange(
        release="20260905",
        url="https://storage.googleapis.com/gvisor/releases/release/20260905/x86_64/gvisor.tar.bz2",
        sha512="0123456789abcdef" * 8,
        directory=RELEASE_DIRECTORY,
        why=f"gVisor 20260905: {why}",
    )
    assert made == replace(NOTHING, release=release, probe_runsc=True)


def test_a_runsc_that_was_never_tried_is_tried_and_nothing_else():
    made = site_plan(
        SETTINGS, drifted(CONVERGED, recorded(paths.APPLIED, "gvisor", "probe", value=None)), SOURCES
    )
    assert made == replace(NOTHING, probe_runsc=True)


def test_a_record_with_a_driver_that_is_none_counts_as_no_record():
    odd = recorded(paths.APPLIED, "gvisor", "probe", "supported_drivers", value=["WARNING:", DRIVER])
    made = site_plan(SETTINGS, drifted(CONVERGED, odd), SOURCES)
    assert made.release is not None
    assert made.probe_runsc


@pytest.mark.parametrize("drift", [without("trees", WRAPPER_TREE), at("trees", WRAPPER_TREE, value="0" * 64)])
def test_a_wrapper_that_is_gone_or_not_as_it_was_is_written_again(drift):
    made = site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
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
        made = site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
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
    made = site_plan(SETTINGS, drifted(CONVERGED, at("nodes", value=nodes)), SOURCES)
    assert made == replace(NOTHING, kernel=made.kernel)
    assert made.kernel.why == "device nodes are missing: /dev/nvidia-uvm"


def test_nodes_are_named_by_minor_since_minors_are_not_in_the_order_of_the_gpus():
    gpus = [{**gpu, "minor": minor} for gpu, minor in zip(BLANK["gpus"], (7, 3), strict=True)]
    made = site_plan(SETTINGS, drifted(BLANK, at("gpus", value=gpus)), SOURCES)
    assert made.kernel.why == "device nodes are missing: /dev/nvidia7, /dev/nvidia3"


def engine_change(file: FileChange | None, why: str) -> EngineChange:
    there = CONVERGED.files[paths.DAEMON_JSON]
    # Docker 20.10 would drop this one of its own with a load that does not name it.
    named = {**json.loads(there.text)["runtimes"], "io.containerd.runc.v2": {"path": "runc"}}
    load = json.dumps({"runtimes": named}, indent=4) + "\n"
    return EngineChange(
        file=file,
        seen=there.sha256,
        daemon="/usr/sbin/dockerd",
        can_validate=False,
        runtime="nvidia",
        runtime_path=paths.ENTRY,
        load=load,
        load_old=load,
        old_encoding="utf-8",
        why=f"{paths.DAEMON_JSON}: {why}",
    )


@pytest.mark.parametrize("loaded", [None, "nvidia-container-runtime", "/usr/bin/runc"])
def test_a_runtime_that_is_in_the_file_but_not_in_the_daemon_is_loaded_again(loaded):
    drift = (
        without("engine", "runtimes", "nvidia")
        if loaded is None
        else at("engine", "runtimes", "nvidia", value=loaded)
    )
    made = site_plan(SETTINGS, drifted(CONVERGED, drift), SOURCES)
    assert made == replace(
        NOTHING,
        engine=engine_change(
            None, f"dockerd has {loaded or 'no such runtime'} loaded, not what the file says"
        ),
    )


def test_a_host_of_a_release_without_the_entry_gets_it_and_docker_is_led_to_it_in_one_run():
    shim = json.dumps({"data-root": "/srv/docker", "runtimes": {"nvidia": {"path": paths.SHIM}}})
    former = drifted(
        CONVERGED,
        without("files", paths.ENTRY),
        at("files", paths.DAEMON_JSON, value=file_record(shim)),
        at("engine", "runtimes", "nvidia", value=paths.SHIM),
        at("engine", "containers", value={"nvidia": ["at-work"]}),
    )
    made = site_plan(SETTINGS, former, SOURCES)
    assert [(step, change.path) for step, change in made.files] == [(Step.RUNTIME_CONFIG, paths.ENTRY)]
    assert made == replace(NOTHING, files=made.files, engine=made.engine)
    assert json.loads(made.engine.file.text) == {
        "data-root": "/srv/docker",
        "runtimes": {"nvidia": {"path": paths.ENTRY}},
    }
    assert made.engine.runtime_path == paths.ENTRY


def test_a_runtime_taken_out_of_daemon_json_is_put_back_beside_what_stands_there():
    theirs = file_record('{"data-root": "/srv/docker", "runtimes": {"other": {"path": "/x"}}}', 0o640)
    made = site_plan(SETTINGS, drifted(CONVERGED, at("files", paths.DAEMON_JSON, value=theirs)), SOURCES)
    assert made == replace(NOTHING, engine=made.engine)
    assert made.engine.file.mode == 0o640
    assert json.loads(made.engine.file.text) == {
        "data-root": "/srv/docker",
        "runtimes": {"other": {"path": "/x"}, "nvidia": {"path": paths.ENTRY}},
    }


def test_a_runtime_that_went_by_another_name_is_taken_out_by_that_name():
    renamed = drifted(CONVERGED, recorded(paths.APPLIED, "runtime", value="gpu"))
    changed = site_plan(SETTINGS, renamed, SOURCES)
    assert changed == NOTHING, "daemon.json has not the old name"
    both = '{"runtimes": {"gpu": {"path": "/usr/bin/nvidia-container-runtime"}}}'
    made = site_plan(
        SETTINGS, drifted(renamed, at("files", paths.DAEMON_JSON, value=file_record(both))), SOURCES
    )
    assert json.loads(made.engine.file.text) == {"runtimes": {"nvidia": {"path": paths.ENTRY}}}


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
    "trusted_ldconfig": (["/opt/ldconfig"], {"files"}),
    "allow_user_annotations": (True, {"files"}),
    "drop_update_ldcache": (True, {"files"}),
}


@pytest.mark.parametrize("key", SETTING_CHANGES)
def test_a_changed_setting_changes_its_own_parts_and_then_nothing(key):
    value, parts = SETTING_CHANGES[key]
    changed = settings(**{key: value})
    made = site_plan(changed, CONVERGED, SOURCES)
    different = {
        field.name for field in fields(Plan) if getattr(made, field.name) != getattr(NOTHING, field.name)
    }
    may_follow = {"files"} if key == "toolkit_version" else set()  # settings.json names the toolkit's version
    assert parts <= different <= parts | may_follow
    assert site_plan(changed, after(made, changed, CONVERGED, SOURCES), SOURCES) == NOTHING


# A host that is anywhere between blank and converged, with what may have been changed on it since.
OURS = [path for path in CONVERGED.files if path not in {paths.DAEMON_JSON, paths.BEFORE}]


DRIFTS: dict[str, Drift] = {
    **{f"{path} deleted": without("files", path) for path in OURS},
    **{f"{path} edited": at("files", path, value=file_record("# x")) for path in OURS},
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
    made = site_plan(changed, host, SOURCES)
    assert made.refusals == ()
    converged_now = after(made, changed, host, SOURCES)
    assert site_plan(changed, converged_now, SOURCES) == NOTHING
    assert after(NOTHING, changed, converged_now, SOURCES) == converged_now, "a second run records the same"
