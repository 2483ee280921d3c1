"""`config.toml` of nvidia-container-runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Runtime configuration")
def runtime_config(run: HostRun) -> None:
    """The mode, and the wrapper as the only runtime."""
    operations.runtime_configured(name="config.toml", run=run)
