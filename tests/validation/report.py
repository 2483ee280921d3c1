"""The table of a run, and its verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.validation.tap import Counts, differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.validation.tap import Output

MAX_SHOWN = 5


@dataclass(frozen=True)
class Trial:
    """One program under runsc and under the launcher.

    Attributes:
        again: further runs under runsc, to see whether it says the same each time.
    """

    program: str
    runsc: Output
    launcher: Output
    again: tuple[Output, ...] = field(default=())

    @property
    def is_same(self) -> bool:
        """Line by line the same."""
        return not differences(self.runsc, self.launcher)

    @property
    def is_unsteady(self) -> bool:
        """Under runsc alone it does not say the same each time."""
        return any(differences(self.runsc, other) for other in self.again)

    @property
    def is_launchers(self) -> bool:
        """A difference that is the launcher's: runsc alone has never said that."""
        unlike_all = all(differences(one, self.launcher) for one in (self.runsc, *self.again))
        return unlike_all and (not self.is_unsteady or self._says_what_runsc_never_says())

    def _says_what_runsc_never_says(self) -> bool:
        """Of an unsteady program the single lines count, as there is no one output to compare with."""
        known = {line for one in (self.runsc, *self.again) for line in one.lines}
        return not known.issuperset(self.launcher.lines)

    @property
    def verdict(self) -> str:
        if self.is_same:
            return "the same"
        return "DIFFERENT" if self.is_launchers else "runsc differs from itself"


def table(trials: Sequence[Trial]) -> str:
    """A line for each program, the sum, and the lines that differ."""
    rows = [("program", "ok", "not ok", "skipped", "line by line", "runsc", "launcher")]
    for trial in trials:
        counts = trial.runsc.counts
        times = (f"{trial.runsc.seconds:.1f} s", f"{trial.launcher.seconds:.1f} s")
        rows.append((trial.program, *_numbers(counts), trial.verdict, *times))
    total = sum((trial.runsc.counts for trial in trials), Counts())
    same = sum(trial.is_same for trial in trials)
    rows.append(("all", *_numbers(total), f"{same} of {len(trials)} the same", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for trial in trials:
        found = differences(trial.runsc, trial.launcher)
        if found:
            lines += ["", f"{trial.program}, {trial.verdict} (runsc | launcher):"]
            lines += [f"  {difference}" for difference in found[:MAX_SHOWN]]
            lines += [f"  and {len(found) - MAX_SHOWN} more"] * (len(found) > MAX_SHOWN)
    return "\n".join(lines)


def _numbers(counts: Counts) -> tuple[str, str, str]:
    return str(counts.ok), str(counts.not_ok), str(counts.skipped)
