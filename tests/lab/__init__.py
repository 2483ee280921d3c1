"""Real hosts for tests, on one machine: systemd, sshd, dockerd, a pretend GPU, and a mirror to install from.

from tests.lab import Engine, HostDefinition, Lab

lab = Lab.open()
lab.up([HostDefinition("truth-1", gpus=8, engine=Engine.CURRENT)])
lab.host("truth-1").run("docker info").stdout
lab.down(["truth-1"])
"""

from .definition import (
    DEFAULT_HOSTS,
    GPU_A,
    GPU_B,
    MACHINE,
    DriverFiles,
    Engine,
    HostDefinition,
    Machine,
    NodeMakers,
    PretendGpu,
)
from .errors import LabError
from .host import Host
from .lab import Lab

__all__ = [
    "DEFAULT_HOSTS",
    "GPU_A",
    "GPU_B",
    "MACHINE",
    "DriverFiles",
    "Engine",
    "Host",
    "HostDefinition",
    "Lab",
    "LabError",
    "Machine",
    "NodeMakers",
    "PretendGpu",
]
