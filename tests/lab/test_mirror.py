"""Which versions the mirror holds, and says that it holds."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS, GvisorRelease, ToolkitVersion

NEW_TOOLKIT = ToolkitVersion("9.10.0")
NEW_RELEASE = GvisorRelease("20991231", "v0.0.0-20991231000000-000000000000")
DEFAULT_TOOLKITS = [one for one in TOOLKIT_VERSIONS if one.by_default]
DEFAULT_RELEASES = [one for one in GVISOR_RELEASES if one.by_default]


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """A lab whose mirror holds the oldest pinned versions, and those that versions.py does not know."""
    monkeypatch.setenv("NVPROXY_LAB_CACHE", str(tmp_path))
    lab = Lab.open()
    debs = lab._mirror_server.link / "libnvidia-container/stable/deb/amd64"
    debs.mkdir(parents=True)
    for toolkit in (TOOLKIT_VERSIONS[0], NEW_TOOLKIT):
        (debs / f"libnvidia-container1_{toolkit.package_version}_amd64.deb").touch()
    for release in (GVISOR_RELEASES[0], NEW_RELEASE):
        place = lab._mirror_server.link / "gvisor/releases/release" / release.date / "x86_64"
        place.mkdir(parents=True)
        (place / "gvisor.tar.bz2.sha512").write_text(f"{release.date:0>128}  gvisor.tar.bz2\n")
    return lab


def test_an_inventory_is_told_everything_that_is_served(lab):
    told = lab._mirror_server.description()
    assert told["toolkit_versions"] == [f"{TOOLKIT_VERSIONS[0].version}-1", "9.10.0-1"]
    assert told["gvisor_releases"] == {
        date: {"x86_64": f"{date:0>128}"} for date in (GVISOR_RELEASES[0].date, "20991231")
    }


def test_a_version_that_nobody_asks_for_any_more_goes_unless_it_is_pinned(lab):
    contents = lab._contents([], [])
    assert contents.toolkits == tuple(dict.fromkeys([TOOLKIT_VERSIONS[0], *DEFAULT_TOOLKITS]))
    assert contents.releases == tuple(dict.fromkeys([GVISOR_RELEASES[0], *DEFAULT_RELEASES]))


def test_a_version_that_is_not_pinned_is_served_where_it_is_asked_for_and_once(lab):
    contents = lab._contents([NEW_RELEASE, GVISOR_RELEASES[0]], [NEW_TOOLKIT, DEFAULT_TOOLKITS[0]])
    assert contents.toolkits[-1] is NEW_TOOLKIT
    assert contents.releases[-1] is NEW_RELEASE
    assert len(set(contents.toolkits)) == len(contents.toolkits)
    assert len(set(contents.releases)) == len(contents.releases)
