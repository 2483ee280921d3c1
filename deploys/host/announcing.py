"""What a run would change, said before it changes anything: for all hosts at once, the same once.

pyinfra's own table (3.10) counts the hosts of an operation, and no more. This comes before it, in a dry run,
before the question, and with --yes alike; with --diff, as pyinfra's own file operations, also what differs.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pyinfra import host, logger, state
from pyinfra.api.output import format_text

from deploys.host.removal import leaving
from deploys.model import paths
from deploys.model.change_text import NOTHING, Told, grouped, refused, removal_text, site_text
from deploys.model.removal_plan import RemovalPlan
from deploys.model.text_difference import hidden, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.host.run import HostRun

# So many hosts are told apart by the names of their containers.
_FEW = 8
_COLOURS = {"-": "red", "+": "green"}


class _Announcement:
    """Collects what is told of each host, and says it once nobody is waited for any more."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Told, ...]] = {}

    def add(self, name: str, told: tuple[Told, ...]) -> None:
        self._told[name] = told
        # pyinfra has no moment between its last look and its question. A host that fails is not waited for.
        if {host.name for host in state.active_hosts} <= self._told.keys():
            told_of = {
                host.name: self._told[host.name] for host in state.inventory if host.name in self._told
            }
            self._told = {}
            _say(told_of)


def _say(told: dict[str, tuple[Told, ...]]) -> None:
    leaves_out = not state.config.DIFF and any(
        change.lines for changes in told.values() for change in changes
    )
    if not state.config.DIFF:
        told = {name: tuple(Told(change.sentence) for change in changes) for name, changes in told.items()}
    logger.info("--> What is to be changed, and why:")
    for group in grouped(told):
        logger.info(format_text(group.names, bold=True))
        for change in group.told:
            logger.info(f"  {shown(hidden(change.sentence))}")
            say_difference(change.lines)
    if leaves_out:
        logger.info("--diff shows what differs in each file.")


def say_difference(lines: Sequence[str]) -> None:
    """Print what differs in a file, coloured as pyinfra does."""
    for line in lines:
        logger.info(f"      {format_text(line, _COLOURS.get(line[:1]))}")


@cache
def _announcement() -> _Announcement:
    return _Announcement()


def announce_site(run: HostRun) -> None:
    """Say what a site run would change on the current host."""
    if run.plan.refusals:
        told = refused(run.plan.refusals)
    else:
        few = len(state.activated_hosts) <= _FEW
        differs = run.snapshot.text_of(paths.APPLIED) != run.record
        told = site_text(run.settings, run.snapshot, run.plan, few=few, record_differs=differs)
    _announcement().add(host.name, told)


def announce_removal(run: HostRun) -> None:
    """Say what a removal would change on the current host."""
    plan = leaving(run)
    if plan is None:
        told: tuple[Told, ...] = (Told(NOTHING),)
    elif isinstance(plan, RemovalPlan):
        told = removal_text(run.snapshot, plan)
    else:
        told = refused(plan)
    _announcement().add(host.name, told)
