"""What earlier runs found, in one SQLite file beside the reports."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from deploys.model.checks import State
from deploys.model.comparison import states

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from pathlib import Path

    from deploys.model.checks import HostResult

NAME = "history.sqlite"
_SECONDS = 30
_TABLES = """
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS result (
    run INTEGER NOT NULL REFERENCES run, host TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (host, id, run)
) WITHOUT ROWID;
"""
_BEFORE = """
SELECT host, id, state FROM result AS one WHERE run = (
    SELECT max(run) FROM result JOIN run ON run.id = result.run
    WHERE host = one.host AND (:since IS NULL OR started < :since)
)
"""


def append(
    directory: Path,
    results: Sequence[HostResult],
    started: datetime,
    finished: datetime,
    since: date | None = None,
) -> dict[str, dict[str, State]]:
    """Keep a run, and tell what was known of each host before.

    Args:
        directory: where the file lies; it is there.
        results: of this run.
        started: when it began, UTC.
        finished: when it ended, UTC.
        since: the day before which a run has to lie; the last one where there is none.

    Returns:
        The state of each check by host and id, as the last run has left it that had this host.

    Raises:
        sqlite3.Error: the file is another thing, is locked, or cannot be written.
    """
    with closing(sqlite3.connect(directory / NAME, timeout=_SECONDS, isolation_level=None)) as file, file:
        # Looked up and written in one turn: of two runs that end together, one comes after the other.
        file.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _TABLES.split(";")):
            file.execute(statement)
        before: dict[str, dict[str, State]] = {}
        wanted = {"since": since.isoformat() if since else None}
        for host, name, state in file.execute(_BEFORE, wanted):
            before.setdefault(host, {})[name] = State(state)
        times = (started.isoformat(timespec="seconds"), finished.isoformat(timespec="seconds"))
        run = file.execute("INSERT INTO run (started, finished) VALUES (?, ?)", times).lastrowid
        rows = [
            (run, result.host, name, state.value)
            for result in results
            for name, state in states(result).items()
        ]
        file.executemany("INSERT INTO result VALUES (?, ?, ?, ?)", rows)
    return before
