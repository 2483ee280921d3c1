"""The results of a run as a JSON document and as a table. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deploys.model.checks import State, Subject
from deploys.model.sight import Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from deploys.model.checks import Check, HostResult

SCHEMA = 1
WIDTH = 110
# Of what there may be hundreds: so many stand on a screen.
_LINES = 12
_NAMES = 8

_STYLES = {State.PASSED: "green", State.FAILED: "bold red", State.UNKNOWN: "yellow", State.SKIPPED: "dim"}
SUBJECTS = {
    Subject.HOST: "the host",
    Subject.CONTROL: "without gVisor",
    Subject.DOCKER: "docker run",
    Subject.BUNDLE: "OCI bundle",
}


def document(results: Sequence[HostResult], started: datetime, finished: datetime) -> dict[str, Any]:
    """The JSON document of a run; `report_schema` says what it holds, and its keys stay."""
    return {
        "schema": SCHEMA,
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "settings": {result.host: dict(result.versions) for result in results},
        "hosts": {
            result.host: {
                "verdict": result.verdict,
                "why": result.why,
                "stand_ins": list(result.stand_ins),
                "said": dict(result.said),
                "checks": [{"host": result.host, **asdict(check)} for check in result.checks],
            }
            for result in results
        },
    }


def exit_status(results: Sequence[HostResult]) -> int:
    """0: all passed. 1: a required check has failed. 2: none has, and of some host it cannot be told."""
    verdicts = {result.verdict for result in results}
    if State.FAILED in verdicts:
        return 1
    return 0 if verdicts == {State.PASSED} else 2


def summary(result: HostResult) -> str:
    """One line about a host, as in `gpu-a: 13 passed, 1 skipped`."""
    if result.why:
        return f"{result.host}: not verified: {result.why}"
    counts = Counter(check.state for check in result.checks)
    return f"{result.host}: " + ", ".join(f"{counts[state]} {state}" for state in State if counts[state])


def sentence(check: Check) -> str:
    """One line about a check that did not pass."""
    return f"{SUBJECTS[check.subject]}, {check.asked}: {check.state}: {check.why}"


def remedies(result: HostResult) -> list[str]:
    """What to do on a host, each once: the same cause fails many checks."""
    return list(dict.fromkeys(check.next for check in result.checks if check.next))


def overview(results: Sequence[HostResult]) -> list[str]:
    """A run on one screen: a line for each host, or for each that did not pass, and every cause once."""
    lines = [
        f"NOT REAL ({named(hosts)}): {sentence}"
        for sentence, hosts in grouped((line, result.host) for result in results for line in result.stand_ins)
    ]
    open_ones = [result for result in results if result.verdict is not State.PASSED]
    if len(results) <= _LINES:
        lines += map(summary, results)
    else:
        lines += map(summary, open_ones[:_LINES])
        unsaid = len(open_ones) - _LINES
        lines += [f"and {_many(unsaid, 'host')} more that did not pass"] if unsaid > 0 else []
        lines.append(f"{len(results) - len(open_ones)} of {_many(len(results), 'host')} passed")
    causes = open_causes(results)
    for cause in causes[:_LINES]:
        lines += ["", f"{_many(len(cause.hosts), 'host')}: {cause.text}", f"    {named(cause.hosts)}"]
        lines += [f"    -> {cause.next}"] if cause.next else []
    unsaid = len(causes) - _LINES
    return lines + ([f"and {_many(unsaid, 'cause')} more: see the report"] if unsaid > 0 else [])


@dataclass(frozen=True)
class Cause:
    """What is wrong, and where.

    Attributes:
        text: what.
        next: what to do about it; may be empty.
        state: `failed`, or `unknown` where it could not be told.
        hosts: the names of those that have it.
    """

    text: str
    next: str
    state: State
    hosts: tuple[str, ...]


def open_causes(results: Sequence[HostResult]) -> list[Cause]:
    """Every cause over a fleet once, that of most hosts first."""
    told: dict[str, list[tuple[HostResult, Check]]] = {}
    for result in results:
        for check in result.checks:
            if check.state in (State.FAILED, State.UNKNOWN):
                told.setdefault(check.cause or check.why, []).append((result, check))
    causes = [
        Cause(
            text,
            next((check.next for _, check in found if check.next), ""),
            State.FAILED if any(check.state is State.FAILED for _, check in found) else State.UNKNOWN,
            tuple(dict.fromkeys(result.host for result, _ in found)),
        )
        for text, found in told.items()
    ]
    return sorted(causes, key=lambda cause: -len(cause.hosts))


def grouped(told: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """(what, the hosts it is told of), what is told of most hosts first."""
    groups: dict[str, dict[str, None]] = {}
    for what, host in told:
        groups.setdefault(what, {})[host] = None
    return sorted(((what, list(hosts)) for what, hosts in groups.items()), key=lambda group: -len(group[1]))


def named(hosts: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(hosts) - _NAMES
    return ", ".join(hosts[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def table(results: Sequence[HostResult]) -> RenderableType:
    """The table for a terminal or a log: a part for each host, a row for each check, a line at the end."""
    # Not at the top: rich takes longer to import than a host takes to judge, and only a run's end needs it.
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    last = [Text(summary(result), style=_STYLES[result.verdict]) for result in results]
    return Group(*(_host_table(result) for result in results if result.checks), Text(), *last)


def _host_table(result: HostResult) -> RenderableType:
    from rich import box  # noqa: PLC0415 - as in table
    from rich.console import Group  # noqa: PLC0415 - as in table
    from rich.table import Table  # noqa: PLC0415 - as in table
    from rich.text import Text  # noqa: PLC0415 - as in table

    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False, show_edge=False)
    for title in ("started by", "asks for", "result"):
        rows.add_column(title, no_wrap=title != "asks for", max_width=26)
    rows.add_column("what it shows", overflow="fold")
    for check in result.checks:
        rows.add_row(
            SUBJECTS[check.subject],
            check.asked,
            Text(check.state, style=_STYLES[check.state]),
            Text(shown(check)),
        )
    versions = result.versions
    title = (
        f"{result.host}: gVisor {versions['gvisor_release']}, toolkit {versions['toolkit_version']} in mode "
        f"{versions['toolkit_mode']}, driver {versions['driver']}, Docker {versions['docker']}"
    )
    notes = [Text(f"NOT REAL: {line}", style="bold yellow") for line in result.stand_ins]
    return Group(
        Text(), Text(title, style="bold"), *notes, rows, *(Text(f"-> {step}") for step in remedies(result))
    )


def shown(check: Check) -> str:
    """What a check shows, or why it does not."""
    if check.state is not State.PASSED:
        return check.why
    return _sight(check.seen) if isinstance(check.seen, Sight) else check.seen or ""


def _sight(seen: Sight) -> str:
    kernel = {True: "gVisor", False: "the host's kernel", None: "kernel not told"}[seen.gvisor]
    if not seen.devices and not seen.gpus:
        return f"{kernel}; no GPU"
    devices = " ".join(path.removeprefix("/dev/") for path in seen.devices)
    count = f"{len(seen.gpus)} GPU{'' if len(seen.gpus) == 1 else 's'} in nvidia-smi"
    loaded = " and ".join(name.partition(".")[0] for name in seen.libraries)
    return f"{kernel}; {devices}; {count}; {loaded} load"
