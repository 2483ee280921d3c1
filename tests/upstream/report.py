"""What a run has found out, as Markdown. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.matrix.cells import Behind
from tests.matrix.report import tables
from tests.upstream.capture import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.lab.versions import GvisorRelease, ToolkitVersion
    from tests.matrix.cells import Cell
    from tests.matrix.judgement import Measured, Measurement
    from tests.upstream.components import Component
    from tests.upstream.engine import Trial
    from tests.upstream.facts import Difference

_HEAD = """\
# Upstream on {date}

By `make upstream`. [What to do with what it finds](../docs/upstream.md).

| component | newest pinned | newer |
|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class ToolkitChange:
    """What a toolkit's shim does to specs that the version before did not: by mode, with the requests."""

    old: ToolkitVersion
    new: ToolkitVersion
    by_mode: Mapping[str, Mapping[Difference, tuple[str, ...]]]


@dataclass(frozen=True)
class ReleaseChange:
    """What a release's runsc knows that the one before did not."""

    old: GvisorRelease
    new: GvisorRelease
    found: tuple[Difference, ...]


@dataclass
class Findings:
    """All that one run has found out; it grows while the run goes on.

    Attributes:
        date: in words.
        newer: the newer versions of each component, None where it could not be asked.
        troubles: what could not be asked, built or tried, a sentence each.
        cells: the cells of the short matrix, the pinned versions' too.
        new_cells: those of them with a newer version.
    """

    date: str
    newer: dict[Component, tuple[str, ...] | None] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    toolkits: list[ToolkitChange] = field(default_factory=list)
    releases: list[ReleaseChange] = field(default_factory=list)
    engine: Trial | None = None
    cells: Sequence[Cell] = ()
    new_cells: frozenset[Cell] = frozenset()
    measurement: Measurement | None = None

    @property
    def tried(self) -> list[Measured]:
        """The cells with a newer version, as they are behind the wrapper."""
        results = self.measurement.results if self.measurement else ()
        return [one for one in results if one.cell in self.new_cells and one.behind is Behind.WRAPPER]

    @property
    def failed(self) -> list[Measured]:
        """Those of them that are not as they should be."""
        return [one for one in self.tried if one.faults]

    @property
    def status(self) -> int:
        """1 where something fails with a newer version, else 2 where not everything was tried, else 0."""
        if self.failed or (self.engine and not self.engine.passed):
            return 1
        return 2 if self.troubles else 0


def markdown(findings: Findings) -> str:
    """build/upstream.md."""
    head = _HEAD.format(
        date=findings.date, rows="\n".join(map(_row, *zip(*findings.newer.items(), strict=True)))
    )
    parts = [head]
    if findings.troubles:
        parts.append("## Not asked, not built or not tried\n")
        parts.append("".join(f"- {trouble}\n" for trouble in findings.troubles))
    parts += [_of_toolkit(change) for change in findings.toolkits]
    parts += [_of_release(change) for change in findings.releases]
    if findings.engine:
        parts.append(_of_engine(findings.engine))
    if findings.measurement:
        parts.append(_of_matrix(findings))
    return "\n".join(parts)


def _row(component: Component, newer: tuple[str, ...] | None) -> str:
    told = "not asked" if newer is None else ", ".join(newer) or "none"
    return f"| {component.name} | {component.pinned} | {told} |"


def _of_toolkit(change: ToolkitChange) -> str:
    lines = [f"## Toolkit {change.new.version}: what its shim does that {change.old.version} did not\n"]
    alike: dict[tuple[tuple[Difference, tuple[str, ...]], ...], list[str]] = {}
    for mode, found in change.by_mode.items():
        alike.setdefault(tuple(found.items()), []).append(mode)
    for found, modes in alike.items():
        lines.append(f"Mode {', '.join(modes)}:\n")
        lines += [f"- {_told(difference)} ({_asked(requests)})" for difference, requests in found]
        lines += [] if found else ["- the specs are the same"]
        lines.append("")
    return "\n".join(lines)


def _of_release(change: ReleaseChange) -> str:
    lines = [f"## gVisor {change.new.date}: what its runsc knows that {change.old.date} did not\n"]
    lines += [f"- {_told(difference)}" for difference in change.found] or ["- nothing"]
    return "\n".join([*lines, ""])


def _of_engine(trial: Trial) -> str:
    engine = trial.engine
    lines = [
        f"## dockerd {engine.dockerd}, containerd {engine.containerd}, runc {engine.runc}\n",
        f"A site run on a host with them has {'passed' if trial.passed else 'FAILED'}. Its last lines:\n",
        *(f"    {line}".rstrip() for line in trial.screen.splitlines()[-20:]),
        "",
    ]
    return "\n".join(lines)


def _of_matrix(findings: Findings) -> str:
    failed, tried = len(findings.failed), len(findings.tried)
    lines = [
        "## The short matrix\n",
        f"{failed} of {tried} cells with a newer version fail behind the wrapper.",
        "In the tables the wrapper comes first in a cell, then the one line that gVisor's documentation",
        "suggests; [what a cell is](../docs/compatibility.md).\n",
        tables(findings.cells, findings.measurement),
    ]
    return "\n".join(lines)


def _told(difference: Difference) -> str:
    return f"{difference.how} {difference.fact.kind}: `{difference.fact.text}`"


def _asked(requests: Iterable[str]) -> str:
    """The requests by name, the shorter way."""
    others = [name for name in REQUESTS if name not in set(requests)]
    if not others:
        return "every request"
    return f"every request but {', '.join(others)}" if len(others) <= 4 else ", ".join(requests)
