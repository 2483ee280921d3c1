"""May this host be converged? What can fail for a reason outside of the run fails here, before any change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations
from deploys.host.way_back import way_back_kept

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Preflight")
def preflight(run: HostRun) -> None:
    """Refuse the host, or fetch and check everything that will be installed."""
    operations.refused(name="May this host be converged?", run=run)
    operations.repaired(name="Close a way past gVisor", run=run)
    operations.staged(name="Fetch and check what will be installed", run=run)
    operations.remembered(name="Write down how the host was", run=run)
    way_back_kept(name="Put aside what a run that fails goes back to", run=run)


@deploy("Preflight")
def inspect(run: HostRun) -> None:
    """As `preflight`, with what was fetched thrown away again, and nothing changed."""
    if run.plan.refusals:
        operations.paired(name="Driver and gVisor", run=run)
    operations.refused(name="May this host be converged?", run=run)
    operations.staged(name="Can everything be fetched, and does it fit?", run=run, keep=False)
    if not run.plan.refusals:
        operations.paired(name="Driver and gVisor", run=run)
