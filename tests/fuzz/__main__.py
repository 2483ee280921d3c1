"""`make fuzz`: odd specs for the rules' properties, odd bytes for what reads bytes; then the counts."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.properties import PROPERTIES
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Cases of one process: a share of its own is done in a minute or two, and a failure is not waited for longer.
_SHARE = 50_000
_NO_ATHERIS = (
    "atheris is not there (it comes for CPython 3.11 to 3.13 on x86-64 Linux): the scanner, the parser and"
    " the settings get as many inputs, changed at random and steered by nothing."
)


class Task(NamedTuple):
    """What one process does: `python -m tests.fuzz.MODULE NAME AMOUNT SEED`."""

    module: str
    name: str
    amount: int
    seed: int


class Run:
    """Many tasks, as many at once as there are processors; none is begun after a failure."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.has_failed = False
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def all(self, tasks: list[Task]) -> None:
        """Run them."""
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self._one, tasks))

    def elapsed(self) -> str:
        """Minutes and seconds since the beginning."""
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02}"

    def _one(self, task: Task) -> None:
        if self.has_failed:
            return
        command = [
            sys.executable,
            "-m",
            f"tests.fuzz.{task.module}",
            task.name,
            str(task.amount),
            str(task.seed),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        with self._lock:
            counts = _counts(done.stdout)
            self.counts[task.name] += counts
            if done.returncode or counts.total() < task.amount:
                self.has_failed = True
                print(f"\n{' '.join(command[1:])} ended with {done.returncode}:", file=sys.stderr)
                print(done.stdout, *_without_progress(done.stderr), sep="\n", file=sys.stderr, flush=True)
            print(f"{self.elapsed():>6}  {task.name}: {self.counts[task.name].total():,}", flush=True)


def _counts(printed: str) -> Counter[str]:
    """The line of counts among what a process printed; atheris prints a failure there as well."""
    lines = [line for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]
    return Counter(json.loads(lines[-1])) if lines else Counter()


def _without_progress(printed: str) -> list[str]:
    """What libFuzzer says but for its thousand lines on new coverage."""
    return [line for line in printed.splitlines() if not line.startswith(("#", "INFO:", "WARNING:"))]


def _tasks(cases: int, runs: int, seed: int, feeder: str) -> Iterator[Task]:
    # A seed that no other task has, whatever the amounts are.
    seeds = itertools.count(seed)
    for name in TARGETS:
        yield Task(feeder, name, runs, next(seeds))
    for name, prop in PROPERTIES.items():
        amount = cases // prop.for_each
        for start in range(0, amount, _SHARE):
            yield Task("property_run", name, min(_SHARE, amount - start), next(seeds))


def main() -> int:
    """Run everything, print the counts; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    for name, default, told in (
        ("cases", 1_000_000, "odd specs for the rules"),
        ("runs", 1_000_000, f"inputs for each of {', '.join(TARGETS)}"),
        ("jobs", len(os.sched_getaffinity(0)), "processes at once"),
        (
            "seed",
            random.SystemRandom().randrange(2**31),
            "the seed of a run whose odd specs are to be the same",
        ),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=told)
    chosen = parser.parse_args()
    is_guided = importlib.util.find_spec("atheris") is not None
    if not is_guided:
        print(_NO_ATHERIS)
    print(f"Seed {chosen.seed}, {chosen.jobs} processes at once.", flush=True)
    run = Run(chosen.jobs)
    run.all(list(_tasks(chosen.cases, chosen.runs, chosen.seed, "guided" if is_guided else "blind")))
    print(f"\n{'FAILED' if run.has_failed else 'All held'} after {run.elapsed()} minutes.")
    for name, counts in run.counts.items():
        inputs = "inputs guided by coverage" if is_guided else "inputs changed at random"
        kind = inputs if name in TARGETS else "odd specs"
        told = ", ".join(f"{count:,} {what}" for what, count in counts.most_common())
        print(f"{name}: {counts.total():,} {kind}: {told}")
    return int(run.has_failed)


if __name__ == "__main__":
    sys.exit(main())
