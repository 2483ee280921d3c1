"""`make mutants`: the judge with one small change at a time; which changes no test sees."""

from __future__ import annotations

import argparse
import random
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mutants.trial import TESTS, Outcome, mutants, try_all

if TYPE_CHECKING:
    from tests.mutants.changes import Mutant

EXPLAINED = Path(__file__).with_name("explained.toml")
_BAR = 95


def explained() -> dict[tuple[str, str], str]:
    """(where, change) of the survivors that may be, and why."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    return {(entry["where"], entry["change"]): entry["why"] for entry in entries}


def stale(known: dict[tuple[str, str], str], made: list[Mutant]) -> list[str]:
    """The explanations of what is no mutant any more."""
    there = {(mutant.where, mutant.change) for mutant in made}
    return [f"{where}: {change}" for where, change in known if (where, change) not in there]


def main() -> int:
    """Try them, print the survivors and the counts; 1 where the tests are too weak."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="try so many, drawn at random, and not all")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**31), help="of the draw"
    )
    parser.add_argument("--only", default="", help="try those whose line has this text in it")
    parser.add_argument(
        "--tests", nargs="+", default=TESTS, help="run these alone, quickly: the others may notice more"
    )
    chosen = parser.parse_args()
    made, known = mutants(), explained()
    gone = stale(known, made)
    if gone:
        print(f"{EXPLAINED} explains what is no mutant any more; take it out:", *gone, sep="\n  ")
        return 1
    tried = [mutant for mutant in made if chosen.only in str(mutant)]
    random.Random(chosen.seed).shuffle(tried)
    tried = tried[: chosen.sample]
    print(f"{len(made)} mutants, {len(tried)} tried, seed {chosen.seed}.", flush=True)
    counts: Counter[Outcome] = Counter()
    survivors: list[Mutant] = []
    began = time.monotonic()

    def report(mutant: Mutant, outcome: Outcome) -> None:
        counts[outcome] += 1
        if outcome is Outcome.SURVIVED:
            survivors.append(mutant)
            print(f"survived: {mutant}", flush=True)
        if counts.total() % 50 == 0:
            minutes, seconds = divmod(round(time.monotonic() - began), 60)
            print(f"{minutes:>3}:{seconds:02}  {counts.total()} of {len(tried)}", flush=True)

    failures = try_all(tried, report, chosen.tests)
    if failures:
        print("The tests fail while nothing is changed; put them right first:", *failures, sep="\n")
        return 1
    return _verdict(counts, survivors, known)


def _verdict(counts: Counter[Outcome], survivors: list[Mutant], known: dict[tuple[str, str], str]) -> int:
    killed = counts.total() - counts[Outcome.SURVIVED]
    share = 100 * killed / max(counts.total(), 1)
    unexplained = [mutant for mutant in survivors if (mutant.where, mutant.change) not in known]
    told = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    print(f"\n{counts.total()} mutants: {told}. {share:.1f} % were noticed; {_BAR} % is the bar.")
    if survivors:
        print("Survivors:")
        for mutant in sorted(survivors, key=lambda mutant: (mutant.module, mutant.line, mutant.change)):
            print(f"  {mutant}\n      {known.get((mutant.where, mutant.change), 'NOT EXPLAINED')}")
    if unexplained:
        print(f"{len(unexplained)} not explained: write a test that fails, or say why in {EXPLAINED.name}.")
    return int(share < _BAR or bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
