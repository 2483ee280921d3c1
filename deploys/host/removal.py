"""One host's way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model.applied import Before
from deploys.model.plan import Refusal
from deploys.model.removal_plan import removal_plan

if TYPE_CHECKING:
    from deploys.host.run import HostRun
    from deploys.model.removal_plan import RemovalPlan


def leaving(run: HostRun) -> RemovalPlan | tuple[Refusal, ...] | None:
    """What a removal does on a host, or what stands against it; None where no run has changed the host."""
    if run.looked is None:
        return run.plan.refusals
    try:
        before = Before.read(run.looked)
    except ValueError:
        # Among the reasons against a site run.
        return run.plan.refusals
    if before is None:
        return None
    plan = removal_plan(run.settings, run.looked, before)
    return (plan,) if isinstance(plan, Refusal) else plan
