"""Verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host.reporting import report
from deploys.host.verification import verified

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Verify")
def verify(run: HostRun, *, alone: bool = False) -> None:
    """Prove that the host does what it is for. The report is opened first: it tells of every host.

    Args:
        run: the host's.
        alone: whether the run does nothing else, so that its exit status is the report's.
    """
    if alone:
        report().decide_status()
    report().write_to(run.settings.report_dir, run.settings.report, run.settings.since)
    verified(name="Run GPU containers and compare what they see with what they asked for", run=run)
