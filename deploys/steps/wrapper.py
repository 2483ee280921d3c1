"""The wrapper between nvidia-container-runtime and runsc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host import operations

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Wrapper")
def wrapper(run: HostRun) -> None:
    """Package, launcher and admin command; then settings from what the installed runsc really does."""
    operations.wrapper_installed(name="Package, launcher and admin command", run=run)
    operations.runsc_tried(name="What this runsc does, and make it the current one", run=run)
