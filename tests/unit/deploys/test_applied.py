"""What runs leave on a host: how it was before the first one, and what the last one has put there."""

from __future__ import annotations

from deploys.model import paths
from deploys.model.applied import Applied, AppliedRelease, Before
from deploys.model.site_plan import applied_after
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.deploys.example_hosts import (
    BLANK,
    PROBE,
    RELEASE_TREE,
    at,
    drifted,
    file_record,
    recorded,
    settings,
    snapshot,
)
from tests.deploys.simulated_host import (
    CONVERGED,
    RELEASE_DIRECTORY,
    SETTINGS,
    SOURCES,
    WRAPPER_TREE,
    converged,
)


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


def test_a_record_of_other_versions_may_hold_more():
    more = drifted(CONVERGED, recorded(paths.APPLIED, "colour", value="green"))
    assert Applied.read(more) == Applied.read(CONVERGED)
