"""`config.toml` of nvidia-container-runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations
from deploys.model.plan import Step

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Runtime configuration")
def runtime_config(run: HostRun) -> None:
    """The mode, and the wrapper as the only runtime."""
    operations.files_put(name="config.toml", run=run, step=Step.RUNTIME_CONFIG)
