"""The steps of a run: ask, build, try. What cannot be done is said in the findings, and the rest goes on."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from tests.lab import LabError
from tests.lab.gvisor import gvisor_release
from tests.lab.image import current_engine
from tests.lab.toolkit import toolkit_packages
from tests.matrix.cells import cells, short
from tests.matrix.measure import measure, site_on
from tests.upstream import capture, engine, runsc
from tests.upstream.components import ENGINE, GVISOR, TOOLKIT, newer, release_of, toolkit_of
from tests.upstream.facts import differences
from tests.upstream.proxy import offered
from tests.upstream.report import ReleaseChange, ToolkitChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.lab import Lab
    from tests.lab.cache import Part
    from tests.lab.versions import GvisorRelease, ToolkitVersion
    from tests.upstream.components import Pins
    from tests.upstream.report import Findings

Offered = TypeVar("Offered")
Version = TypeVar("Version")


def run(lab: Lab, pins: Pins, findings: Findings, specs: Path) -> None:
    """Every step, in the order in which they need each other. Captured specs go to `specs`."""
    for component in pins.components():
        findings.newer[component] = None
        with _said(findings):
            findings.newer[component] = newer(component.pinned, offered(component))
    found = {component.name: versions or () for component, versions in findings.newer.items()}

    toolkits = _built(lab, findings, found[TOOLKIT], toolkit_of, toolkit_packages)
    releases = _built(lab, findings, found[GVISOR], release_of, gvisor_release)
    # The newest of each: that is what somebody gets who installs an engine.
    newest = {name: found[name][-1] for name in ENGINE if found[name]}
    engines = _built(
        lab, findings, [newest] if newest else [], lambda it: replace(pins.engine, **it), current_engine
    )
    # First, while the mirror has no newer release: a site run takes the newest that is there.
    for versions in engines:
        with _said(findings):
            findings.engine = engine.tried(lab, versions)
    if toolkits or releases:
        with _said(findings):
            _compare(lab, findings, [pins.toolkits[-1], *toolkits], [pins.releases[-1], *releases], specs)
        with _said(findings):
            _measure(findings, pins, toolkits, releases)


@contextmanager
def _said(findings: Findings) -> Iterator[None]:
    """What fails inside becomes a trouble of this run, and is said at once."""
    try:
        yield
    except LabError as error:
        print(f"upstream: {error}", file=sys.stderr)
        findings.troubles.append(str(error))


def _built(
    lab: Lab,
    findings: Findings,
    offers: Iterable[Offered],
    version_of: Callable[[Offered], Version],
    part_of: Callable[[Version], Part],
) -> list[Version]:
    """Those that can be built. Each by itself: one that cannot takes none of the others with it."""
    good = []
    for offer in offers:
        with _said(findings):
            version = version_of(offer)
            lab.path(part_of(version))
            good.append(version)
    return good


def _compare(
    lab: Lab,
    findings: Findings,
    toolkits: list[ToolkitVersion],
    releases: list[GvisorRelease],
    specs: Path,
) -> None:
    """Each version with the one before it; the first of both lists is the newest pinned one."""
    lab.down([capture.HOST.name])  # so that no other version was ever on it
    site = site_on(lab, capture.HOST, releases, toolkits)
    if len(releases) > 1:
        known = {release: runsc.facts(site, lab.cache, release) for release in releases}
        findings.releases += [
            ReleaseChange(old, new, differences(known[old], known[new])) for old, new in pairwise(releases)
        ]
    if len(toolkits) > 1:
        captured = {toolkit: capture.captured(site, toolkit) for toolkit in toolkits}
        for toolkit, found in captured.items():
            capture.keep(found, toolkit, specs)
        findings.toolkits += [
            ToolkitChange(old, new, capture.changes(captured[old], captured[new]))
            for old, new in pairwise(toolkits)
        ]


def _measure(
    findings: Findings, pins: Pins, toolkits: list[ToolkitVersion], releases: list[GvisorRelease]
) -> None:
    """The short matrix with the newer versions in it."""
    findings.cells = list(cells(short([*pins.toolkits, *toolkits]), short([*pins.releases, *releases])))
    findings.new_cells = frozenset(
        cell for cell in findings.cells if cell.toolkit in toolkits or cell.release in releases
    )
    findings.measurement = measure(findings.cells)
