"""Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Docker")
def docker(run: HostRun) -> None:
    """The runtime comes last: until then nobody can start a container by it. Then the record."""
    operations.engine_configured(name="daemon.json", run=run)
    operations.old_releases_removed(name="Old releases of gVisor", run=run)
    operations.recorded(name="Record", run=run)
