"""A newer container engine under a host: do the deploys converge it, and does their verification pass?"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.site import pyinfra
from tests.lab import Engine, HostDefinition
from tests.lab.image import current_engine

if TYPE_CHECKING:
    from tests.lab import Lab
    from tests.lab.versions import EngineVersions

HOST = HostDefinition("upstream-engine", gpus=2, engine=Engine.CURRENT)


@dataclass(frozen=True)
class Trial:
    """How a site run went on a host with an engine, and what a user saw of it."""

    engine: EngineVersions
    passed: bool
    screen: str


def tried(lab: Lab, versions: EngineVersions) -> Trial:
    """Put an engine onto a host in place of the pinned one, and run the deploys there."""
    lab.down([HOST.name])  # so that it has the pinned engine, and nothing of an earlier run
    (host,) = lab.up([HOST])
    # Other files under the same names: programs that run cannot be written to.
    layer = lab.path(current_engine(versions))
    subprocess.run(["cp", "--archive", "--remove-destination", f"{layer}/.", host.root], check=True)
    host.run(["systemctl", "restart", "containerd.service", "docker.service"])
    run = pyinfra("site", "--limit", HOST.name)
    return Trial(versions, run.status == 0, run.screen)
