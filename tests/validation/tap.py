"""What a validation program says (TAP, Test Anything Protocol), and whether two runs say the same. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_MADE_UP = (
    # Containers and the files of their streams are named at random (validation/util/container.go).
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "UUID"),
    # Bundles, and what is mounted inside, are temporary directories (validation/util/test.go, PrepareBundle;
    # cmd/runtimetest, validateRootfsPropagation).
    (re.compile(r"(/[A-Za-z_-]*)\d{6,}\b"), r"\1NUMBER"),
    # Processes and namespaces are numbered by the kernel.
    (re.compile(r"\b(pid|PID|process)([ =:]+)\d+"), r"\1\2PID"),
    (re.compile(r"/proc/\d+/"), "/proc/PID/"),
    (re.compile(r"\b([a-z]+:\[)\d+\]"), r"\1INODE]"),
    # Addresses: Go's in a panic, and those that a program prints where a number is meant
    # (validation/linux_cgroups_relative_cpus).
    (re.compile(r"0x[0-9a-f]{6,}|\b\d{12,15}\b"), "ADDRESS"),
    # How long something took, and when it was.
    (re.compile(r"\b\d+(?:\.\d+)?(?:ns|µs|ms|s)\b"), "DURATION"),
    (re.compile(r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
)
"""What is another in every run, whatever the runtime, and the word that stands for it."""


@dataclass(frozen=True)
class Output:
    """What one run of a program said, and how it ended.

    Attributes:
        text: its standard output and error.
        status: exit status; None where its time was up.
        seconds: how long it took.
    """

    text: str
    status: int | None
    seconds: float

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines, sorted and without what is another in each run; how it ended is the last."""
        ended = "killed: its time was up" if self.status is None else f"exit status {self.status}"
        return (*comparable(self.text), ended)

    @property
    def counts(self) -> Counts:
        """How many of its tests passed, failed and were skipped."""
        tests = [line for line in self.text.splitlines() if re.match(r"(not )?ok\b", line)]
        skipped = [line for line in tests if re.search(r"#\s*skip", line, re.IGNORECASE)]
        failed = [line for line in tests if line.startswith("not ") and line not in skipped]
        return Counts(len(tests) - len(skipped) - len(failed), len(failed), len(skipped))


@dataclass(frozen=True)
class Counts:
    """Tests of a program, by how they ended."""

    ok: int = 0
    not_ok: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.ok + other.ok, self.not_ok + other.not_ok, self.skipped + other.skipped)


def comparable(text: str) -> list[str]:
    """The lines of an output without what is another in each run, sorted by tests with what is said of each.

    `runtimetest` goes through Go's maps (mounts, symlinks, limits), and so tests in another order each time.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line[:1] == " " and blocks:
            blocks[-1] += _with_output_inside(without_made_up(line))
        else:
            blocks.append([re.sub(r"^((?:not )?ok) \d+", r"\1", without_made_up(line))])
    return [line for block in sorted(blocks) for line in block]


def _with_output_inside(line: str) -> list[str]:
    """A line of a diagnostic; where it holds the output of a program, that one's lines, sorted as well."""
    found = re.match(r'(\s*"std(?:out|err)": )(".*"),?$', line)
    return [line] if found is None else [found[1], *comparable(json.loads(found[2]))]


def without_made_up(line: str) -> str:
    """A line without what is another in every run."""
    for pattern, word in _MADE_UP:
        line = pattern.sub(word, line)
    return line


def differences(one: Output, other: Output) -> list[str]:
    """The places where two runs do not say the same, as `line N: this | that`."""
    mine, others = one.lines, other.lines
    length = max(len(mine), len(others))
    pad = ("nothing",) * length
    pairs = zip((mine + pad)[:length], (others + pad)[:length], strict=True)
    return [f"line {number}: {a} | {b}" for number, (a, b) in enumerate(pairs, 1) if a != b]
