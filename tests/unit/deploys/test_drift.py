"""What somebody else has done to a host since the last run, and what of it must not wait."""

from __future__ import annotations

import tomllib

import pytest

from deploys.model import paths
from deploys.model.applied import Applied
from deploys.model.drift import drift, repaired_snapshot
from deploys.model.shim_users import obstacles
from deploys.model.site_plan import site_plan
from deploys.model.toolkit_config import runtimes_of
from tests.deploys.example_hosts import BLANK, at, drifted, file_record, settings, snapshot, without
from tests.deploys.simulated_host import CONVERGED, SETTINGS, SOURCES, converged

CONFIG = CONVERGED.text_of(paths.TOOLKIT_CONFIG)
PAST = CONFIG.replace(f'"{paths.LAUNCHER}"', '"runc"')
TO_RUNC = at("files", paths.TOOLKIT_CONFIG, value=file_record(PAST))


def repair(*drifts, **changes):
    return site_plan(settings(**changes), drifted(CONVERGED, *drifts), SOURCES).repair


DEDICATED = settings(layout="dedicated")
OWN_CONFIG = DEDICATED.layout.toolkit_config
BESIDE = converged(DEDICATED, snapshot(BLANK), SOURCES)


@pytest.mark.parametrize("path", sorted(Applied.read(CONVERGED).files))
def test_every_file_of_ours_that_somebody_has_touched_is_known(path):
    assert drift(CONVERGED, path) is None
    changed = drifted(CONVERGED, at("files", path, value=file_record("theirs")))
    assert drift(changed, path) == "somebody has changed it since the last run"
    assert "deleted" in drift(drifted(CONVERGED, without("files", path)), path)
    assert drift(snapshot(BLANK), path) is None, "no run has written it"


def test_a_file_that_is_to_be_other_by_new_settings_is_no_drift():
    made = site_plan(settings(kernel_modules=["nvidia"]), CONVERGED, SOURCES)
    (change,) = [change for _, change in made.files if change.path == paths.MODULES_LOAD]
    assert drift(CONVERGED, change.path) is None


@pytest.mark.parametrize(
    "runtimes", ['["runc"]', f'["{paths.LAUNCHER}", "runc"]', f'["runc", "{paths.LAUNCHER}"]', "[]"]
)
def test_a_configuration_that_leads_past_gvisor_is_led_back_at_once(runtimes):
    text = CONFIG.replace(f'["{paths.LAUNCHER}"]', runtimes).replace('mode = "csv"', 'mode = "legacy" # x')
    change = repair(at("files", paths.TOOLKIT_CONFIG, value=file_record(text)))
    assert change.path == paths.TOOLKIT_CONFIG
    read, was = tomllib.loads(change.text), tomllib.loads(text)
    was["nvidia-container-runtime"]["runtimes"] = [paths.LAUNCHER]
    assert read == was, "and nothing else is changed: the packages may be another version's"


def test_one_without_the_key_and_one_that_is_not_there_lead_to_runc():
    assert (
        repair(at("files", paths.TOOLKIT_CONFIG, value=file_record("disable-require = false\n"))) is not None
    )
    assert repair(without("files", paths.TOOLKIT_CONFIG)) is not None


def test_one_that_leads_to_the_wrapper_or_that_nobody_can_read_is_left_to_its_step():
    assert repair() is None
    assert repair(at("files", paths.TOOLKIT_CONFIG, value=file_record(CONFIG + "# theirs\n"))) is None
    assert repair(at("files", paths.TOOLKIT_CONFIG, value=file_record("[[["))) is None


@pytest.mark.parametrize(
    "broken",
    [
        without("files", paths.LAUNCHER),
        at("files", paths.LAUNCHER, value=file_record('#!/bin/sh\nexec runc "$@"\n')),
        without("links", paths.GVISOR_CURRENT),
        without("links", paths.WRAPPER_CURRENT),
        without("files", paths.APPLIED),
    ],
)
def test_what_would_lead_to_something_that_is_not_there_waits(broken):
    assert repair(TO_RUNC, broken) is None


def test_a_host_that_no_run_has_converged_has_nothing_to_go_back_to():
    assert site_plan(SETTINGS, snapshot(BLANK), SOURCES).repair is None


def test_in_the_layout_dedicated_it_is_our_own_file_that_is_repaired():
    text = BESIDE.text_of(OWN_CONFIG).replace(paths.LAUNCHER, "runc")
    for spoilt in (at("files", OWN_CONFIG, value=file_record(text)), without("files", OWN_CONFIG)):
        change = site_plan(DEDICATED, drifted(BESIDE, spoilt), SOURCES).repair
        assert change.path == OWN_CONFIG
        assert runtimes_of(change.text) == (paths.LAUNCHER,)
    hosts_own = at("files", paths.TOOLKIT_CONFIG, value=file_record(PAST))
    assert site_plan(DEDICATED, drifted(BESIDE, hosts_own), SOURCES).repair is None


def test_what_goes_with_a_change_of_the_layout_is_not_repaired():
    assert repair(TO_RUNC, layout="dedicated") is None


def test_containers_since_a_repair_stand_in_nobodys_way():
    looked = drifted(CONVERGED, TO_RUNC)
    change = site_plan(SETTINGS, looked, SOURCES).repair
    assert obstacles(SETTINGS, looked) != ()
    assert obstacles(SETTINGS, repaired_snapshot(looked, change)) == ()


def test_it_does_not_wait_for_another_release_of_gvisor():
    assert repair(TO_RUNC, gvisor_release="20261001") is not None
