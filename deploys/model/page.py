"""The results of a run as one HTML page: no script, and nothing that is fetched from anywhere. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2

from deploys.model.checks import State, Subject
from deploys.model.rendering import TEMPLATES
from deploys.model.report import SUBJECTS, grouped, named, open_causes, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from deploys.model.checks import Check, HostResult
    from deploys.model.comparison import Difference

_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters["anchor"] = lambda name: (
    "host-"
    + "".join(letter if letter.isascii() and letter.isalnum() else f"-{ord(letter):x}-" for letter in name)
)
_PAGE = _ENVIRONMENT.from_string((TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))

# The worst first: what a cell of several checks shows.
_WORST = (State.FAILED, State.UNKNOWN, State.PASSED, State.SKIPPED)
# Beside the colour, which not everybody sees.
_GLYPHS = {State.PASSED: "✓", State.FAILED: "✗", State.UNKNOWN: "?", State.SKIPPED: "-"}
# So many rows of the grid are read at a glance; of more, those that did not pass come first.
_ROWS = 30


@dataclass(frozen=True)
class _Column:
    subject: Subject
    title: str


@dataclass(frozen=True)
class _Cell:
    """`state` is empty where there is no check."""

    state: State | str
    text: str
    changed: bool = False


@dataclass(frozen=True)
class _Row:
    id: str
    asked: str
    state: State
    was: str
    shown: str
    next: str
    output: str
    link: str


@dataclass(frozen=True)
class _Host:
    name: str
    verdict: State
    about: str
    why: str
    cells: tuple[_Cell, ...]
    checks: tuple[_Row, ...]
    said: Mapping[str, str]


@dataclass(frozen=True)
class _Rows:
    """The grid: what is seen at once, and what a click unfolds."""

    shown: tuple[_Host, ...]
    more: tuple[_Host, ...]
    folded: tuple[_Host, ...]


@dataclass(frozen=True)
class _Changed:
    host: str
    lines: tuple[str, ...]


def page(
    results: Sequence[HostResult],
    differences: Sequence[Difference],
    started: datetime,
    finished: datetime,
) -> str:
    """The page."""
    was = {(one.host, one.check): one.before or "not there" for one in differences}
    stand_ins = [(line, result.host) for result in results for line in result.stand_ins]
    hosts = [_host(result, was) for result in results]
    verdicts = Counter(result.verdict for result in results)
    return _PAGE.render(
        glyphs=_GLYPHS,
        counts=[(state, verdicts[state]) for state in _WORST if verdicts[state]],
        started=started.isoformat(sep=" ", timespec="seconds"),
        finished=finished.isoformat(sep=" ", timespec="seconds"),
        passed=verdicts[State.PASSED],
        subjects=[_Column(subject, title) for subject, title in SUBJECTS.items()],
        stand_ins=[(sentence, named(names)) for sentence, names in grouped(stand_ins)],
        causes=open_causes(results),
        differences=_changes(differences),
        hosts=hosts,
        rows=_rows(hosts),
    )


def _changes(differences: Sequence[Difference]) -> list[_Changed]:
    by_host: dict[str, list[str]] = {}
    for one in differences:
        by_host.setdefault(one.host, []).append(str(one))
    return [_Changed(host, tuple(lines)) for host, lines in by_host.items()]


def _rows(hosts: Sequence[_Host]) -> _Rows:
    if len(hosts) <= _ROWS:
        return _Rows(tuple(hosts), (), ())
    open_ones = [host for host in hosts if host.verdict is not State.PASSED]
    return _Rows(
        tuple(open_ones[:_ROWS]),
        tuple(open_ones[_ROWS:]),
        tuple(host for host in hosts if host.verdict is State.PASSED),
    )


def _host(result: HostResult, was: Mapping[tuple[str, str], str]) -> _Host:
    about = ", ".join(f"{name} {value}" for name, value in result.versions.items())
    rows = tuple(
        _Row(
            check.id,
            check.asked,
            check.state,
            was.get((result.host, check.id), ""),
            shown(check),
            check.next,
            check.output,
            check.link,
        )
        for check in result.checks
    )
    return _Host(
        result.host, result.verdict, about, result.why, tuple(_cells(result, was)), rows, result.said
    )


def _cells(result: HostResult, was: Mapping[tuple[str, str], str]) -> list[_Cell]:
    cells = []
    for subject in SUBJECTS:
        checks: list[Check] = [check for check in result.checks if check.subject is subject]
        if not checks:
            cells.append(_Cell("", "not verified" if result.why else "-"))
            continue
        worst = next(state for state in _WORST if any(check.state is state for check in checks))
        count = sum(check.state is worst for check in checks)
        text = f"{count} {worst}" if count < len(checks) else f"{worst}"
        cells.append(_Cell(worst, text, any((result.host, check.id) in was for check in checks)))
    return cells
