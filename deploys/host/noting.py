"""What an operator should know of a host, and what neither stops it nor is changed on it.

Not by an operation: one that says something counts as a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import host

from deploys.host.remote_program import printable
from deploys.model.drivers import pair

if TYPE_CHECKING:
    from deploys.host.run import HostRun


def say_notes(run: HostRun) -> None:
    """Say the notes of the current host's plan."""
    for note in run.plan.notes:
        host.log_styled(printable(f"note: {note}"), fg="yellow")


def say_pair(run: HostRun) -> None:
    """Say which driver the host has, and which releases of gVisor that were asked list it."""
    if run.looked is not None:
        host.log(printable(str(pair(run.settings, run.looked, run.listed))))
