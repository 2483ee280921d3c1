"""A run goes on where a part of it cannot be done."""

from __future__ import annotations

import pytest

from tests.lab import LabError
from tests.lab.versions import CURRENT_ENGINE, GVISOR_RELEASES, TOOLKIT_VERSIONS
from tests.upstream import steps
from tests.upstream.components import Pins
from tests.upstream.engine import Trial
from tests.upstream.report import Findings

PINS = Pins(TOOLKIT_VERSIONS[:1], GVISOR_RELEASES[:2], CURRENT_ENGINE)
OFFERS = {
    "toolkit": ["v1.98.0", "v1.99.0"],
    "gvisor": ["v0.0.0-20991231035102-160fafc42237"],
    "dockerd": [CURRENT_ENGINE.dockerd],
    "containerd": ["v3.0.0", "v3.0.1"],
    "runc": [CURRENT_ENGINE.runc],
}


class FakeLab:
    """Builds everything but the parts whose names have one of these words in them."""

    def __init__(self, broken):
        self.broken = broken
        self.built = []

    def path(self, part):
        if any(word in part.name for word in self.broken):
            raise LabError(f"building {part.name} failed")
        self.built.append(part.name)


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(offers, broken=()):
        done = {}

        def offered(component):
            if offers[component.name] is None:
                raise LabError(f"no answer for {component.name}")
            return offers[component.name]

        def measure(findings, _pins, toolkits, releases):
            done["measured"] = [one.version for one in toolkits], [one.date for one in releases]
            if "matrix" in broken:
                raise LabError("another run of the matrix is at work")

        def compare(_lab, _findings, toolkits, releases, _specs):
            done["compared"] = [one.version for one in toolkits], [one.date for one in releases]

        def tried(_lab, versions):
            done["engine"] = versions
            return Trial(versions, passed=True, screen="")

        monkeypatch.setattr(steps, "offered", offered)
        monkeypatch.setattr(steps, "_measure", measure)
        monkeypatch.setattr(steps, "_compare", compare)
        monkeypatch.setattr(steps.engine, "tried", tried)
        findings = Findings("2026-01-02")
        steps.run(FakeLab(broken), PINS, findings, tmp_path)
        return findings, done

    return run


def test_every_newer_version_is_built_compared_with_the_pinned_one_and_measured(run):
    findings, done = run(OFFERS)
    pinned = PINS.toolkits[-1].version, PINS.releases[-1].date
    assert done["compared"] == ([pinned[0], "1.98.0", "1.99.0"], [pinned[1], "20991231"])
    assert done["measured"] == (["1.98.0", "1.99.0"], ["20991231"])
    assert findings.troubles == []


def test_of_an_engine_the_newest_of_each_program_is_tried_with_the_pinned_others(run):
    _, done = run(OFFERS)
    assert (done["engine"].containerd, done["engine"].runc) == ("v3.0.1", CURRENT_ENGINE.runc)


def test_nothing_is_built_where_nothing_is_newer(run):
    pinned = {component.name: [component.pinned] for component in PINS.components()}
    findings, done = run(pinned)
    assert done == {}
    assert findings.status == 0


def test_a_component_that_cannot_be_asked_is_said_and_the_others_go_on(run):
    findings, done = run({**OFFERS, "gvisor": None})
    assert findings.troubles == ["no answer for gvisor"]
    assert findings.status == 2
    assert done["measured"] == (["1.98.0", "1.99.0"], [])
    assert [component.name for component, newer in findings.newer.items() if newer is None] == ["gvisor"]


def test_a_version_that_cannot_be_built_is_said_and_the_others_go_on(run):
    findings, done = run(OFFERS, broken=["1.98.0"])
    assert findings.troubles == ["building toolkit-packages-1.98.0 failed"]
    assert done["measured"] == (["1.99.0"], ["20991231"])


def test_a_version_of_gvisor_without_a_date_is_said(run):
    findings, done = run({**OFFERS, "gvisor": ["v1.0.0"]})
    assert "v1.0.0" in findings.troubles[0]
    assert done["measured"][1] == []


def test_what_could_not_be_measured_is_said(run):
    findings, _ = run(OFFERS, broken=["matrix"])
    assert findings.troubles == ["another run of the matrix is at work"]
