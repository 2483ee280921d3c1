"""Which versions are newer than the pinned ones."""

from __future__ import annotations

import random

import pytest

from tests.lab import LabError
from tests.lab.versions import CURRENT_ENGINE, GVISOR_RELEASES, TOOLKIT_VERSIONS
from tests.upstream.components import ENGINE, Pins, newer, release_of, toolkit_of

# semver.org, 11: an example of the order, from its text; then what Go's module proxy has listed.
IN_ORDER = {
    "the example of Semantic Versioning": [
        f"v1.0.0{before}"
        for before in ("-alpha", "-alpha.1", "-alpha.beta", "-beta", "-beta.2", "-beta.11", "-rc.1", "")
    ],
    "toolkit": ["v1.17.8", "v1.19.0", "v1.19.1", "v1.20.0", "v1.20.1", "v1.20.2"],
    "dockerd": ["v2.0.0-beta.1", "v2.0.0-beta.15", "v2.0.0-beta.23", "v2.0.0-beta.24", "v2.0.0", "v10.0.0"],
    "gVisor": [release.module_version for release in GVISOR_RELEASES if release.module_version],
}
RUNC = ["v1.0.0-rc9", "v1.1.10", "v1.1.3", "v1.4.3", "v1.5.0-rc.2", "v1.5.1", "v1.5.2", "v1.6.0-rc.1"]


@pytest.mark.parametrize("versions", IN_ORDER.values(), ids=IN_ORDER)
def test_versions_are_in_the_order_of_semantic_versioning_whatever_the_proxys(versions):
    shuffled = random.Random(5).sample(versions, len(versions))
    for place, pinned in enumerate(versions):
        wanted = [one for one in versions[place + 1 :] if "-" in pinned or "-" not in one]
        assert list(newer(pinned, shuffled)) == wanted


def test_a_pre_release_is_newer_only_than_a_pre_release():
    assert newer("v1.5.1", RUNC) == ("v1.5.2",)
    assert newer("v1.5.0-rc.2", RUNC) == ("v1.5.1", "v1.5.2", "v1.6.0-rc.1")


def test_nothing_is_newer_than_what_is_offered_and_pinned():
    assert newer("v1.5.2", RUNC) == ()


def test_a_version_that_is_pinned_is_the_pinned_one_and_not_its_twin():
    """Two parts of one version, one by default and one not, would both be put into the mirror."""
    for toolkit in TOOLKIT_VERSIONS:
        assert toolkit_of(f"v{toolkit.version}") is toolkit
    for release in GVISOR_RELEASES:
        if release.module_version:
            assert release_of(release.module_version) is release


def test_a_release_is_named_by_its_commits_time():
    release = release_of("v0.0.0-20261101035102-160fafc42237")
    assert (release.date, release.by_default) == ("20261101", False)
    with pytest.raises(LabError, match=r"v1\.0\.0"):
        release_of("v1.0.0")


def test_the_newest_pinned_version_of_each_is_compared_with():
    pinned = {component.name: component.pinned for component in Pins().components()}
    assert pinned == {
        "toolkit": f"v{TOOLKIT_VERSIONS[-1].version}",
        "gvisor": GVISOR_RELEASES[-1].module_version,
        "dockerd": CURRENT_ENGINE.dockerd,
        "containerd": CURRENT_ENGINE.containerd,
        "runc": CURRENT_ENGINE.runc,
    }


def test_the_pins_are_told_the_oldest_first():
    """The newest is taken to be the last one, here and in the matrix."""
    assert list(TOOLKIT_VERSIONS) == sorted(TOOLKIT_VERSIONS, key=lambda one: one.number)
    assert list(GVISOR_RELEASES) == sorted(GVISOR_RELEASES, key=lambda one: one.date)


def test_as_if_an_older_one_were_pinned_finds_those_after_it():
    offered = [f"v{toolkit.version}" for toolkit in TOOLKIT_VERSIONS]
    for place, toolkit in enumerate(TOOLKIT_VERSIONS):
        (component, *_) = Pins().as_if("toolkit", toolkit.version).components()
        assert [toolkit_of(one) for one in newer(component.pinned, offered)] == list(
            TOOLKIT_VERSIONS[place + 1 :]
        )
    assert Pins().as_if("gvisor", GVISOR_RELEASES[-2].date).releases == GVISOR_RELEASES[:-1]
    for name in ENGINE:
        assert getattr(Pins().as_if(name, "v1.0.0").engine, name) == "v1.0.0"


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("docker", "v2.0.0", "toolkit, gvisor, dockerd, containerd, runc are"),
        ("toolkit", "1.20.9", "'1.20.9' is not pinned: 1.17.8,"),
        ("gvisor", "", "'' is not pinned: 20240729,"),
        ("runc", "1.5.1", f"'1.5.1' is not a version of a module, as {CURRENT_ENGINE.runc} is"),
    ],
)
def test_what_cannot_be_as_if_is_refused_with_what_can(name, version, told):
    with pytest.raises(ValueError, match=told):
        Pins().as_if(name, version)
