"""Take everything of ours off a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Remove")
def remove(run: HostRun) -> None:
    """The runtime first, so that nobody starts a container by it while the rest goes."""
    operations.removed(name="Put the host back as it was", run=run)
