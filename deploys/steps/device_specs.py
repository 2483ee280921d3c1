"""The CSV files that name the host's devices and driver libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations
from deploys.model.plan import Step

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Device specs")
def device_specs(run: HostRun) -> None:
    """Made from what is on the host; a driver upgrade changes them at the next run."""
    operations.files_put(name="devices.csv and drivers.csv", run=run, step=Step.DEVICE_SPECS)
