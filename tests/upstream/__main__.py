"""`python -m tests.upstream`: what is newer upstream, and what it changes."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import Lab
from tests.upstream.components import Pins
from tests.upstream.report import Findings, markdown
from tests.upstream.steps import run

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "build" / "upstream.md"
SPECS = ROOT / "build" / "upstream-specs"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all that is newer works, 1 where something fails, else 2 where not all was asked or tried."""
    pins = pins_of(arguments)
    findings = Findings(f"{datetime.now(UTC):%Y-%m-%d}")
    run(Lab.open(), pins, findings, SPECS)
    text = markdown(findings)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(text, encoding="utf-8")
    print(text)
    print(f"upstream: {REPORT.relative_to(ROOT)} has this report", file=sys.stderr)
    return findings.status


def pins_of(arguments: Sequence[str] | None) -> Pins:
    """The pinned versions, as the command line wants them."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument(
        "--as-if",
        action="append",
        default=[],
        metavar="NAME=VERSION",
        help="as if this were the newest pinned version: toolkit=1.20.0, gvisor=20260616, runc=v1.5.1",
    )
    pins = Pins()
    for choice in parser.parse_args(arguments).as_if:
        try:
            name, _, version = choice.partition("=")
            pins = pins.as_if(name, version)
        except ValueError as error:
            parser.error(str(error))
    return pins


if __name__ == "__main__":
    sys.exit(main())
