"""Whether there is a state to go back to, and what is put aside for it."""

from __future__ import annotations

import pytest

from deploys.model import paths, way_back
from deploys.model.layouts import Layout
from deploys.model.site_plan import site_plan
from deploys.model.way_back import Open
from tests.deploys.example_hosts import (
    BLANK,
    at,
    brought,
    drifted,
    file_record,
    settings,
    snapshot,
    without,
)
from tests.deploys.simulated_host import CONVERGED, RELEASE_DIRECTORY, SETTINGS, converged

SOURCES = brought()
OTHER = settings(toolkit_mode="auto")


def opening(host, wanted=OTHER):
    return way_back.opening(wanted, host, site_plan(wanted, host, SOURCES))


def test_a_host_that_no_run_has_touched_is_one_to_go_back_to():
    assert opening(snapshot(BLANK)) is Open.FIRST


def test_a_host_as_a_run_has_left_it_is_one_to_go_back_to():
    assert opening(CONVERGED) is Open.LATER


def test_a_run_that_changes_nothing_puts_nothing_aside():
    assert opening(CONVERGED, SETTINGS) is Open.NOT


DAMAGES = {
    "a file": at("files", paths.LAUNCHER, value=file_record("damaged")),
    "a file is gone": without("files", paths.WRAPPER_SETTINGS),
    "the link to gVisor": at("links", paths.GVISOR_CURRENT, value="/opt/gvisor/other"),
    "no link to the wrapper": without("links", paths.WRAPPER_CURRENT),
    "the release": at("trees", RELEASE_DIRECTORY, value="0" * 64),
    "config.toml leads past gVisor": at(
        "files",
        paths.TOOLKIT_CONFIG,
        value=file_record('[nvidia-container-runtime]\nruntimes = ["runc"]\n'),
    ),
    "config.toml is broken": at("files", paths.TOOLKIT_CONFIG, value=file_record("runtimes = [")),
    "dockerd has another runtime": at("engine", "runtimes", "nvidia", value="/usr/bin/runc"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_host_is_not_damaged_again(damage):
    assert opening(drifted(CONVERGED, DAMAGES[damage])) is Open.NOT


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_an_earlier_run_has_put_aside_is_gone_back_to_whatever_is_there(damage):
    left = at("files", paths.WAY_BACK, value=file_record("{}"))
    assert opening(drifted(CONVERGED, DAMAGES[damage], left)) is Open.LATER


def test_what_an_earlier_run_has_put_aside_is_let_go_of_where_nothing_is_left_to_change():
    left = at("files", paths.WAY_BACK, value=file_record("{}"))
    assert opening(drifted(CONVERGED, left), SETTINGS) is Open.LATER


def test_an_owners_lines_in_the_shared_files_are_no_damage():
    text = CONVERGED.text_of(paths.DAEMON_JSON).replace("{", '{"debug": true,', 1)
    assert opening(drifted(CONVERGED, at("files", paths.DAEMON_JSON, value=file_record(text)))) is Open.LATER


@pytest.mark.parametrize("layout", Layout)
def test_the_entry_goes_back_between_what_it_is_to_name_again_and_what_it_names_no_more(layout):
    """Without its configuration the shim has its defaults: runc."""
    there = converged(settings(layout=layout), snapshot(BLANK), SOURCES)
    wanted = settings(layout=layout.other)
    # The last that is put aside goes back first.
    order = way_back.task(site_plan(wanted, there, SOURCES), there)["paths"][::-1]
    at_entry = order.index(paths.ENTRY)
    assert order.index(layout.toolkit_config) < at_entry < order.index(layout.other.toolkit_config)
    assert {paths.original_of(path) for path in Layout.SHARED.files} <= set(order)
    assert len(order) == len(set(order))


def test_every_path_that_a_run_writes_is_put_aside():
    for host in (snapshot(BLANK), CONVERGED):
        plan = site_plan(OTHER, host, SOURCES)
        task = way_back.task(plan, host)
        written = {change.path for _, change in plan.files} | {link.path for _, link in plan.links}
        assert written | {paths.APPLIED, paths.WRAPPER_SETTINGS} <= set(task["paths"])
        assert paths.DAEMON_JSON not in task["paths"], "Docker has to load it too"
        assert (task["engine"] is None) == (plan.engine is None)
