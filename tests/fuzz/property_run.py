"""One process' share of a property: odd specs out of random bytes, until as many were judged as asked for.

`python -m tests.fuzz.property_run NAME CASES SEED` prints one line of JSON: what became of the cases. Where
one fails, Hypothesis makes it as small as it can be; it is printed on the error stream, and the exit status
is 1.

Random bytes and not Hypothesis' own search: that remembers every case so as to draw none twice, which takes
twice the time, and memory without a bound. The same strategies make cases of the bytes.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.properties import COUNTS, PROPERTIES

# What a case takes, with room to spare; a case that runs out of bytes is not judged and not counted.
_BYTES = 600


def run(name: str, cases: int, seed: int) -> None:
    """Judge `cases` of the property `name`; fails with the smallest example where it does not hold."""
    prop = PROPERTIES[name]
    with tempfile.TemporaryDirectory() as folder:
        # A failure goes through this database from the one way of drawing to the other, which makes it small.
        # It is nobody else's: a shared one grows, and what it replays is no longer drawn at random.
        test = settings(
            database=DirectoryBasedExampleDatabase(folder),
            phases=[Phase.reuse, Phase.shrink],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(**prop.arguments)(prop.check))
        judge_one = test.hypothesis.fuzz_one_input
        drawn = random.Random(seed)
        try:
            while COUNTS.total() < cases:
                judge_one(drawn.randbytes(_BYTES))
        except Exception:
            judged = Counter(COUNTS)
            try:
                test()
            finally:
                COUNTS.clear()
                COUNTS.update(judged)
            raise


def main() -> int:
    """Run one share."""
    name, cases, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        run(name, cases, seed)
    except Exception as error:  # noqa: BLE001 - whatever the check fails with
        # Not what it was found by, which says the same of an example that is not small yet.
        error.__suppress_context__ = True
        traceback.print_exc()
        return 1
    finally:
        print(json.dumps(COUNTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
