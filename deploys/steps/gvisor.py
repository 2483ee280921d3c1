"""gVisor: the whole release, side binaries and all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("gVisor")
def gvisor(run: HostRun) -> None:
    """Install the release beside what is there; `wrapper` makes it the current one once it was tried."""
    operations.release_installed(name="Release", run=run)
