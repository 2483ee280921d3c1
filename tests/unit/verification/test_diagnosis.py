"""Error texts as hosts and issue trackers show them, and what is said to be behind them."""

from __future__ import annotations

import pytest

from deploys.model import paths
from deploys.model.diagnosis import diagnose

EOF = "cannot create sandbox: cannot read client sync file: waiting for sandbox to start: EOF"
DOCKER = (
    "docker: Error response from daemon: failed to create task for container: failed to create shim task: "
)
FAILED = f"{DOCKER}OCI runtime create failed: "


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        (
            f"{DOCKER}OCI runtime create failed: failed to locate nvidia-container-cli in PATH: unknown.",
            "legacy hook",
            "config.toml",
        ),
        (f"{DOCKER}OCI runtime create failed: {EOF}: unknown.", "sandbox died", "--debug-log"),
        (
            "docker: Error response from daemon: unknown or invalid runtime name: nvidia.",
            "the runtime nvidia",
            "reload",
        ),
        (
            "docker: Error response from daemon: Unknown runtime specified nvidia.",
            "the runtime nvidia",
            "reload",
        ),
        (
            "failed to get Nvidia driver version: failed to open /dev/nvidiactl",
            "ask the NVIDIA driver",
            "nvidia-smi",
        ),
        (
            (
                f"{FAILED}unable to retrieve OCI runtime error (open /x/log.json: no such file or directory):"
                f" fork/exec {paths.ENTRY}: permission denied: unknown."
            ),
            "cannot start its runtime /usr/local/bin/nvproxy-container-runtime: permission denied",
            "site.py",
        ),
        (
            f"{FAILED}nvproxy-container-runtime: /b/config.json could not be copied to /x: unknown.",
            "/b/config.json could not be copied",
            "",
        ),
        ("unsupported device id: 2", "mode csv", "toolkit_mode"),
        ("failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", "libnvidia-ml.so.1", "nvidia-smi"),
        ("unresolvable CDI devices nvidia.com/gpu=0", "CDI", "cdi list"),
        ("unsatisfied condition: cuda>=12.4 (cuda=)", "cuda>=12.4 (cuda=)", "verify_image"),
        ("could not exec '/usr/local/bin/nvproxy-runsc': exec format error", "#!/bin/sh", "nvproxy-runsc"),
        (
            'error reading OCI specification: json: unknown field "netDevices"',
            "netDevices",
            "toolkit_version",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            "dockerd",
            "systemctl start docker",
        ),
        ("docker: No such image: nvproxy-fleet/verify:1.", "image", "verify_image"),
        ("docker pull failed: Error response from daemon: Get https://: no route", "image", "verify_image"),
        (
            "/usr/local/bin/nvproxy-wrapper: No such file or directory",
            "nvproxy-wrapper is not there",
            "site.py",
        ),
    ],
)
def test_a_known_error_has_its_cause_and_what_to_do(text, cause, remedy):
    found = diagnose(text)
    assert cause in found.cause
    assert remedy in found.remedy


def test_a_cause_goes_before_its_consequence_whichever_was_said_first():
    cause = "error executing CreateContainer hooks: failed to mount modified params file: open o_path procfd"
    for text in (f"{cause}\n{EOF}", f"{EOF}\n{cause}"):
        assert "disable-device-node-modification" in diagnose(text).cause


def test_the_wrappers_own_sentence_is_passed_on_as_it_is():
    sentence = "GPU 7 is not on this host, which has 2 (devices.scope). Ask for one of 0, 1."
    for program in ("nvproxy-wrapper", "nvproxy-runsc"):
        found = diagnose(f"{DOCKER}OCI runtime create failed: {program}: {sentence}: unknown.\n{EOF}")
        assert found.cause == sentence
        assert found.remedy == ""


def test_a_path_of_the_wrapper_is_not_its_sentence():
    assert "is not there" in diagnose("/usr/local/bin/nvproxy-wrapper: No such file or directory").cause


def test_an_unknown_text_has_no_invented_cause():
    assert diagnose("something new").cause == ""
    assert "JSON report" in diagnose("something new").remedy
