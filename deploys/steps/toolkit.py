"""The NVIDIA Container Toolkit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("NVIDIA Container Toolkit")
def toolkit(run: HostRun) -> None:
    """Repository, key and the four packages at one version."""
    operations.packages_installed(name="Packages", run=run)
