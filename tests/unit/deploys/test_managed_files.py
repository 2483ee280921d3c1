"""The files of ours on a host: how one that has drifted is told, and what is an original."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deploys.model import paths
from deploys.model.changes import FileChange
from deploys.model.layouts import Layout
from deploys.model.managed_files import desired_files
from deploys.model.plan import Step
from deploys.model.site_plan import site_plan
from deploys.model.toolkit_config import config_toml
from tests.deploys.example_hosts import BLANK, PROBE, at, drifted, file_record, settings, snapshot, without
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES, converged

FILE_STEPS = {
    paths.MODULES_LOAD: Step.KERNEL,
    paths.DEVICE_NODES_PROGRAM: Step.KERNEL,
    paths.DEVICE_NODES_UNIT: Step.KERNEL,
    paths.LAUNCHER: Step.WRAPPER,
    paths.ADMIN_COMMAND: Step.WRAPPER,
    paths.WRAPPER_SETTINGS: Step.WRAPPER,
    paths.WRAPPER_LOGROTATE: Step.WRAPPER,
    paths.DEVICES_CSV: Step.DEVICE_SPECS,
    paths.DRIVERS_CSV: Step.DEVICE_SPECS,
    paths.TOOLKIT_CONFIG: Step.RUNTIME_CONFIG,
    paths.ENTRY: Step.RUNTIME_CONFIG,
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
    assert site_plan(SETTINGS, drifted(CONVERGED, drift(path)), SOURCES) == replace(
        NOTHING, files=((FILE_STEPS[path], change),)
    )


def test_a_file_that_was_there_before_the_first_run_is_an_original_in_every_run():
    theirs = drifted(BLANK, at("files", paths.TOOLKIT_CONFIG, value=file_record("disable-require = true\n")))
    first = {change.path: change.original for _, change in site_plan(SETTINGS, theirs, SOURCES).files}
    assert first.pop(paths.TOOLKIT_CONFIG) is True
    assert set(first.values()) == {False}
    # A run that failed after its first changes has left a record of what was there, and none of what it did.
    half = drifted(converged(SETTINGS, theirs, SOURCES), without("files", paths.APPLIED))
    again = dict(site_plan(settings(toolkit_mode="auto", runsc_args=["--debug"]), half, SOURCES).files)
    assert again[Step.RUNTIME_CONFIG].original is True
    assert again[Step.WRAPPER].original is False


def test_under_another_name_for_our_runtime_what_had_the_first_one_comes_back():
    theirs = {"path": "/opt/theirs", "runtimeArgs": ["--x"]}
    text = json.dumps({"runtimes": {"nvidia": theirs}})
    first = drifted(BLANK, at("files", paths.DAEMON_JSON, value=file_record(text)))
    renamed = settings(runtime_name="gv")
    again = dict(site_plan(renamed, converged(SETTINGS, first, SOURCES), SOURCES).files)
    change = site_plan(renamed, converged(SETTINGS, first, SOURCES), SOURCES).engine
    assert Step.DOCKER not in again
    runtimes = json.loads(change.file.text)["runtimes"]
    assert runtimes["nvidia"] == theirs
    assert runtimes["gv"]["path"] == paths.ENTRY


def test_nothing_of_a_host_in_a_file_is_open_to_others_for_writing():
    assert {file.mode & 0o022 for file in CONVERGED.files.values()} == {0}


def test_the_config_of_a_converged_host_is_the_rendered_one():
    assert CONVERGED.text_of(paths.TOOLKIT_CONFIG) == config_toml(SETTINGS.toolkit_mode)


def test_every_file_that_a_run_writes_is_among_those_that_a_look_reads():
    desired = {
        file.path
        for layout in Layout
        for file in desired_files(settings(layout=layout), snapshot(BLANK), SOURCES, PROBE)
    }
    assert sorted(desired) == sorted(paths.MANAGED_FILES)
