"""`python -m tests.validation`: OCI's validation programs under runsc and under the launcher."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tests.lab import Lab, LabError
from tests.validation.on_host import HOST, Bench, bench
from tests.validation.report import Trial, table

if TYPE_CHECKING:
    from collections.abc import Sequence

# To see whether runsc says the same each time; of two runs one might be like the launcher's by chance.
TIMES_AGAIN = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where no difference is the launcher's, else 1; 2 where it could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__)
    parser.add_argument(
        "--through-python",
        action="store_true",
        help="put a trace of NVIDIA into every spec, so that Python judges it",
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab host up")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="these alone (all)")
    options = parser.parse_args(arguments)
    lab = Lab.open()
    try:
        there = bench(lab)
        unknown = set(options.programs) - set(there.programs)
        if unknown:
            parser.error(
                f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(there.programs)}"
            )
        launcher = there.through_python if options.through_python else there.launcher
        trials = [_tried(there, program, launcher) for program in options.programs or there.programs]
    except LabError as error:
        print(f"validation: {error}", file=sys.stderr)
        return 2
    finally:
        if not options.keep:
            lab.down([HOST.name])
    print(table(trials))
    return 1 if any(trial.is_launchers for trial in trials) else 0


def _tried(there: Bench, program: str, launcher: str) -> Trial:
    print(f"validation: {program}", file=sys.stderr)
    trial = Trial(program, there.run(program, there.runsc), there.run(program, launcher))
    if trial.is_same:
        return trial
    again = tuple(there.run(program, there.runsc) for _ in range(TIMES_AGAIN))
    return Trial(program, trial.runsc, trial.launcher, again)


if __name__ == "__main__":
    sys.exit(main())
