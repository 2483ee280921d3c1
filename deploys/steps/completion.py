"""The end of a site run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from deploys.host.way_back import way_back_forgotten

if TYPE_CHECKING:
    from deploys.host.run import HostRun


@deploy("Completion")
def completion(run: HostRun) -> None:
    """Behind the verification: what that has refused is not what a host is left with."""
    way_back_forgotten(name="Let go of what was put aside", run=run)
