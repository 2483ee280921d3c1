"""The results of all hosts of one run: kept while it lasts, written and shown at its end, however it ends."""

from __future__ import annotations

import atexit
import fcntl
import itertools
import json
import logging
import os
import sqlite3
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import state
from pyinfra.api.state import StateStage

from deploys.host import history
from deploys.model import junit
from deploys.model.checks import HostResult
from deploys.model.comparison import differences
from deploys.model.page import page
from deploys.model.report import WIDTH, document, exit_status, overview, table
from deploys.model.settings import ReportForm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from deploys.model.comparison import Difference

_CHANGES_SHOWN = 12
_NEVER_REACHED = "it failed before, or the run ended; see the messages above"


class Report:
    """Collects results, and writes them when the process ends.

    By `atexit`, as pyinfra has no end that every run comes to: when the last host fails, it raises past its
    own table of results (3.10, pyinfra_cli/main.py).
    """

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._directories: set[Path] = set()
        self._form = ReportForm.SHORT
        self._since: date | None = None
        self._results: dict[str, HostResult] = {}
        self._decides_status = False
        atexit.register(self._close)

    def write_to(self, directory: Path, form: ReportForm, since: date | None) -> None:
        """Have the report written to a directory, shown, and compared; hosts may name different ones."""
        self._directories.add(directory)
        self._since = since or self._since
        if form is ReportForm.FULL:
            self._form = form

    def decide_status(self) -> None:
        """End the process with `exit_status`: a run that only verifies is over when its report is."""
        self._decides_status = True

    def add(self, result: HostResult) -> str:
        """Keep the result of a host; how many of this run's hosts have one now, as in `3 of 8`."""
        self._results[result.host] = result
        return f"{len(self._results)} of {len(_hosts())}"

    def _close(self) -> None:
        if state.current_stage < StateStage.Execute:
            return  # a dry run: nothing was verified, so there is nothing to tell
        results = [self._results.get(name) or HostResult(name, why=_NEVER_REACHED) for name in _hosts()]
        finished = datetime.now(UTC)
        lines = [
            line
            for directory in sorted(self._directories)
            for line in store(directory, results, self._started, finished, self._since)
        ]
        show(results, self._form, lines)
        if self._decides_status:
            _end(exit_status(results))


def _hosts() -> list[str]:
    """The hosts of this run."""
    return [host.name for host in state.inventory if state.is_host_in_limit(host)]


def _end(status: int) -> None:
    """End the process now, with this status.

    pyinfra knows 0 and 1 alone, 0 even for a run that was interrupted (3.10, pyinfra_cli/cli.py and main.py),
    and Python has settled the status before it comes to what `atexit` was given. What that would still do is
    done here: texts on their way are written out.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def store(
    directory: Path,
    results: Sequence[HostResult],
    started: datetime,
    finished: datetime,
    since: date | None = None,
) -> list[str]:
    """Write a report to a directory, under its own name and as the latest.

    Returns:
        What changed since an earlier run, and where the report is, or why it is not there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _turn(directory):
            path = _free_path(directory, started)
            changed, notice = _compared(directory, results, started, finished, since)
            texts = {
                ".json": json.dumps(document(results, started, finished), indent=2) + "\n",
                ".xml": junit.document(results, started),
                ".html": page(results, changed, started, finished),
            }
            for suffix, text in texts.items():
                _replace(path.with_suffix(suffix), text)
                _replace(directory / f"latest{suffix}", text)
    except OSError as fault:
        return [
            f"No report in {directory}: {fault.strerror}. Set report_dir to a directory that can be written."
        ]
    more = len(changed) - _CHANGES_SHOWN
    said = [f"CHANGED: {difference}" for difference in changed[:_CHANGES_SHOWN]]
    said += [f"and {more} changes more: see the report"] if more > 0 else []
    return [*said, *notice, f"Report: {path}"]


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """One run writes at a time: two that end together would mix their files, or miss each other."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_path(directory: Path, started: datetime) -> Path:
    """The path of a report that no run before has taken: two may begin in one second."""
    stem = f"verify-{started:%Y%m%dT%H%M%SZ}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for name in names if not (path := directory / f"{name}.json").exists())


def _compared(
    directory: Path,
    results: Sequence[HostResult],
    started: datetime,
    finished: datetime,
    since: date | None,
) -> tuple[tuple[Difference, ...], list[str]]:
    try:
        before = history.append(directory, results, started, finished, since)
    except (sqlite3.Error, ValueError) as fault:
        file = directory / history.NAME
        return (), [f"Not compared with earlier runs: {file}: {fault}. Move it away, and a new one is begun."]
    return differences(before, results), []


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: whoever reads the latest report meanwhile gets the one before."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        beside = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            beside.chmod(0o644)
            beside.replace(path)
        except BaseException:
            beside.unlink()
            raise


def show(results: Sequence[HostResult], form: ReportForm, last_lines: Sequence[str]) -> None:
    """Print the results where pyinfra prints all that is for people: on stderr, as stdout may be its JSON."""
    from rich.console import Console  # noqa: PLC0415 - it takes long to import, and is needed once, here

    width = None if sys.stderr.isatty() else WIDTH
    console = Console(stderr=True, width=width, highlight=False, markup=False, soft_wrap=False)
    if form is ReportForm.FULL:
        console.print(table(results))
    for line in [*([] if form is ReportForm.FULL else overview(results)), *last_lines]:
        console.print(line, soft_wrap=True)


@cache
def report() -> Report:
    """The one report of this process: pyinfra runs the deploy files once for each host."""
    return Report()
