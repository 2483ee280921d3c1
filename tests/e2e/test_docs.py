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
