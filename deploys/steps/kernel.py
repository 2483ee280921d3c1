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
    """At every boot, and now where a node is missing: neither runsc nor the shim makes any."""
    operations.files_put(name="Modules and device nodes at boot", run=run, step=Step.KERNEL)
    operations.devices_made(name="Device nodes", run=run)
