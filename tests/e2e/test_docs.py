"""The commands of docs/gpu-modes.md, run as they stand there."""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import verify_image
from tests.e2e.site import ROOT

COMMANDS = re.findall(r"^docker run .*$", (ROOT / "docs" / "gpu-modes.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_works(lab, site, host, command):
    done = lab.host(host).run(command.replace("IMAGE", verify_image(lab, host)), timeout=120)
    assert done.stdout


def test_docker_itself_may_take_the_gpu_from_a_cdi_file(lab, create):
    """`docker run --device nvidia.com/gpu=1 --runtime=nvidia`."""
    host = lab.host("gpu-b")
    host.run(["nvidia-ctk", "cdi", "generate", "--output=/run/cdi/nvidia.yaml"])
    try:
        asked = [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=1"]}]
        container = create("gpu-b", "ls /dev; nvidia-smi -L", DeviceRequests=asked)
        seen = host.run(["docker", "start", "--attach", container]).stdout.splitlines()
    finally:
        host.run(["rm", "/run/cdi/nvidia.yaml"])
    assert [line for line in seen if line.startswith("nvidia")] == ["nvidia-uvm", "nvidia1", "nvidiactl"]
    assert len([line for line in seen if line.startswith("GPU ")]) == 1


@pytest.mark.parametrize("image_says", [None, "all"])
def test_gpus_and_the_runtime_give_the_same_once_docker_was_restarted(lab, docker, image_says):
    """`docker run --gpus device=1 --runtime=nvidia`, also on an image that says `all`."""
    lab.host("gpu-b").run(["systemctl", "restart", "docker"])
    environment = {} if image_says is None else {"NVIDIA_VISIBLE_DEVICES": image_says}
    seen = docker("gpu-b", environment, "ls /dev", "--gpus=device=1").stdout.split()
    assert [name for name in seen if name.startswith("nvidia")] == ["nvidia-uvm", "nvidia1", "nvidiactl"]
