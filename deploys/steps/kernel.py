"""The driver's kernel modules and device nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations
from deploys.model.plan import Step

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Kernel")
def kernel(run: HostRun) -> None:
    """Modules at every boot; nodes now: in csv and cdi mode neither runsc nor the shim makes any."""
    operations.files_put(name="Modules to load at boot", run=run, step=Step.KERNEL)
    operations.devices_made(name="Device nodes", run=run)
