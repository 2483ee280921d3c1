"""The entry between real Docker and NVIDIA's real runtime: what is kept, which configuration is read."""

from __future__ import annotations

import json

import pytest

from deploys.model import paths
from nvproxy_wrapper.host.kept_spec import NAME


@pytest.mark.parametrize("host", ["gpu-a", "gpu-b"])
def test_beside_a_containers_spec_lies_the_one_that_docker_wrote_open_to_root_alone(lab, docker, host):
    running = docker(host, {"NVIDIA_VISIBLE_DEVICES": "1"}, "while :; do sleep 1; done", "--detach")
    container = running.stdout.strip()
    try:
        found = lab.host(host).run(f"find /run -name {NAME} -path '*{container}*'").stdout.split()
        assert len(found) == 1
        assert (
            lab.host(host).run(["stat", "-c", "%F %a %u %g %h", *found]).stdout == "regular file 600 0 0 1\n"
        )
        kept = json.loads(lab.host(host).run(["cat", *found]).stdout)
        used = json.loads(lab.host(host).run(["cat", found[0].replace(NAME, "config.json")]).stdout)
        assert "NVIDIA_VISIBLE_DEVICES=1" in kept["process"]["env"]
        assert "nvidia" not in json.dumps(kept["linux"].get("devices", []))
        assert "nvidia" not in json.dumps(kept.get("hooks", {}))
        assert "NVIDIA_VISIBLE_DEVICES=void" in used["process"]["env"]
        assert kept["process"]["args"] == used["process"]["args"]
    finally:
        lab.host(host).run(["docker", "rm", "--force", container])
    assert lab.host(host).run(f"find /run -name {NAME} -path '*{container}*'").stdout == ""


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "NVIDIA_CTK_CONFIG_FILE_PATH"])
@pytest.mark.usefixtures("site")
def test_through_the_entry_the_shim_reads_the_configuration_of_the_deploys_whatever_its_caller_says(
    lab, variable
):
    host = lab.host("gpu-a")
    host.run(
        "mkdir -p /root/theirs/nvidia-container-runtime && "
        "printf '[nvidia-container-runtime]\\nruntimes = [\"/bin/echo\"]\\n' "
        "> /root/theirs/nvidia-container-runtime/config.toml"
    )
    theirs = "/root/theirs"
    if variable == "NVIDIA_CTK_CONFIG_FILE_PATH":
        theirs += "/nvidia-container-runtime/config.toml"
    try:
        by_hand = host.run(["env", f"{variable}={theirs}", paths.SHIM, "state", "x"], check=False)
        assert by_hand.stdout == "state x\n", "their configuration is one that the shim reads"
        ours = host.run(["env", f"{variable}={theirs}", paths.ENTRY, "state", "x"], check=False)
        assert ours.returncode != 0
        assert "state x" not in ours.stdout
    finally:
        host.run("rm -r /root/theirs")
