"""`python -m tests.matrix`: measure, tell, write."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import LabError
from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS
from tests.matrix.cells import Behind, Cell, cells
from tests.matrix.measure import measure
from tests.matrix.report import Circumstances, as_json, markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.matrix.judgement import Measured

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "compatibility.md"
REPORT = ROOT / "reports" / "matrix.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every cell that exists is as it should be behind the wrapper, else 1."""
    options = _parser().parse_args(arguments)
    whole = list(cells(TOOLKIT_VERSIONS, GVISOR_RELEASES))
    wanted = [cell for cell in whole if _is_meant(cell, options)]
    if not wanted:
        print("matrix: no cell has all of these words: see tests/matrix/cells.py for theirs", file=sys.stderr)
        return 1
    started = time.monotonic()
    progress = _Progress(sum(len(cell.ways) for cell in wanted if cell.absence is None), started)
    try:
        measurement = measure(wanted, progress.say, debug=options.debug)
    except LabError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    circumstances = Circumstances(
        f"{datetime.now(UTC):%Y-%m-%d}", os.cpu_count() or 1, (time.monotonic() - started) / 60
    )
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(as_json(measurement, circumstances), indent=1) + "\n", encoding="utf-8")
    if wanted == whole:
        DOCUMENT.write_text(markdown(whole, measurement, circumstances), encoding="utf-8")
    bad = [result for result in measurement.results if result.faults and result.behind is Behind.WRAPPER]
    print(f"{len(bad)} cells are wrong behind the wrapper; {REPORT.relative_to(ROOT)} has every cell")
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only cells with all of these words (csv 1.20.0 20260905); docs/compatibility.md then stays",
    )
    parser.add_argument(
        "--debug", action="store_true", help="runsc writes debug logs: /var/log/nvproxy-matrix on the hosts"
    )
    return parser


def _is_meant(cell: Cell, options: argparse.Namespace) -> bool:
    of_cell = {cell.mode, cell.toolkit.version, cell.release.date, cell.request.name}
    return of_cell.issuperset(options.words)


class _Progress:
    """A line for each release in a mode, and one for each cell that is not as it should be."""

    def __init__(self, total: int, started: float) -> None:
        self.total = total
        self.started = started
        self.done = 0
        self.heading = ""

    def say(self, result: Measured) -> None:
        """One more container is measured."""
        cell = result.cell
        heading = f"toolkit {cell.toolkit.version}, runsc {cell.release.date}, {cell.mode}"
        if heading != self.heading:
            self.heading = heading
            self._print(f"{self.done} of {self.total} containers; {heading}")
        self.done += cell.absence is None
        if result.faults and result.behind is Behind.WRAPPER:
            self._print(f"WRONG: {cell.id}: {'; '.join(result.faults)}")

    def _print(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
