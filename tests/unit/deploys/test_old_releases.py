"""Which releases of gVisor go from a host, and which never do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.applied import Applied
from deploys.model.change_text import site_text
from deploys.model.old_releases import old_releases
from deploys.model.site_plan import applied_after, site_plan
from tests.deploys.example_hosts import RELEASE, at, drifted, recorded, settings
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES

NAMES = ("20250503", "20250812", "20260224", "20260518", "20260616", "20260616.1", RELEASE)


def having(*names, in_use=(), theirs=()):
    """A converged host with these releases, `theirs` put there by somebody else."""
    releases = [{"name": name, "drivers": [], "in_use": name in in_use} for name in names]
    ours = [paths.release_directory(name) for name in names if name not in theirs]
    kept = [path for path in Applied.read(CONVERGED).directories if not path.startswith(paths.GVISOR_DIR)]
    return drifted(
        CONVERGED,
        at("surroundings", "releases", value=releases),
        recorded(paths.APPLIED, "directories", value=[*kept, *ours]),
    )


def gone(host, **changes):
    return {path.rpartition("/")[2] for path in old_releases(settings(**changes), host)}


def test_the_one_in_use_and_the_newest_before_it_stay():
    assert gone(having(*NAMES)) == set(NAMES) - {RELEASE, "20260616.1"}


@pytest.mark.parametrize(("kept", "left"), [(1, 1), (2, 2), (4, 4), (7, 7), (20, 7)])
def test_as_many_stay_as_the_settings_say(kept, left):
    assert len(NAMES) - len(gone(having(*NAMES), gvisor_releases_kept=kept)) == left


def test_a_run_that_changes_the_release_keeps_the_one_before_whatever_its_age():
    changed = having(*NAMES)
    assert RELEASE not in gone(changed, gvisor_release="20250503")
    assert "20250503" not in gone(changed, gvisor_release="20250503")


def test_one_of_which_a_sandbox_runs_stays():
    assert gone(having(*NAMES, in_use=["20250503"])) == set(NAMES) - {RELEASE, "20260616.1", "20250503"}


def test_one_that_somebody_else_has_put_there_stays():
    assert "20250812" not in gone(having(*NAMES, theirs=["20250812"]))


def test_one_that_the_link_leads_to_stays_though_no_record_says_so():
    host = drifted(having(*NAMES), at("links", paths.GVISOR_CURRENT, value=f"{paths.GVISOR_DIR}/20250503"))
    assert "20250503" not in gone(host, gvisor_releases_kept=1)


@given(
    st.sets(st.sampled_from(NAMES)),
    st.sets(st.sampled_from(NAMES)),
    st.sampled_from(NAMES),
    st.integers(1, 9),
)
def test_nothing_goes_that_is_wanted_used_or_the_way_back(names, in_use, wanted, kept):
    removed = gone(having(*names, in_use=in_use), gvisor_release=wanted, gvisor_releases_kept=kept)
    assert removed <= names - in_use - {wanted, RELEASE}
    assert len((names - removed) | {wanted}) >= min(kept, len(names | {wanted}))


def test_a_plan_says_it_and_the_record_forgets_it():
    host = having("20250503", "20250812", RELEASE)
    made = site_plan(SETTINGS, host, SOURCES)
    path = paths.release_directory("20250503")
    assert made == replace(NOTHING, old_releases=(path,))
    (told,) = site_text(SETTINGS, host, made, few=True)
    assert told.sentence.startswith(f"remove {path}: ")
    assert any(path in reason for reason in made.reasons)
    gvisor = Applied.read(host).gvisor
    assert gvisor is not None
    directories = applied_after(SETTINGS, host, SOURCES, gvisor).directories
    assert path not in directories
    assert paths.release_directory("20250812") in directories
