"""Error texts of the chain's parts and what is behind them: Docker shows a consequence, rarely the cause.

Sources: gVisor 20260817, nvidia-container-toolkit v1.20.0, dockerd 20.10 to 29, and their issue trackers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploys.model import paths
from deploys.model.layouts import TOOLKIT_CONFIGS


@dataclass(frozen=True)
class Diagnosis:
    """Why something failed, and what to do; both are empty sentences where the text is not a known one."""

    cause: str
    remedy: str


_UNREPAIRED = (
    "The spec reached runsc unrepaired: "
    f"'runtimes' in {TOOLKIT_CONFIGS} must name {paths.LAUNCHER} alone. Run site.py."
)
_SANDBOX_DIED = (
    "Look at the lines before the last in the output. Usual causes: a driver that this runsc does not "
    "support, a hook that gVisor cannot run, a socket among the mounts. To see more, add "
    "'--debug-log=/var/log/runsc/%ID%.%COMMAND%.log' to runsc_args."
)

# A text is looked for from top to bottom: what names a cause stands before what names only a consequence.
_KNOWN = (
    (
        r"failed to locate nvidia-container-cli in PATH",
        "runsc took the way of the legacy hook and found no nvidia-container-cli",
        _UNREPAIRED,
    ),
    (
        r"disable-device-node-modification|failed to mount modified params file",
        "the hook disable-device-node-modification, which gVisor cannot run, reached it",
        _UNREPAIRED,
    ),
    (
        r"failed to get Nvidia driver version",
        "runsc could not ask the NVIDIA driver for its version",
        "See that /dev/nvidiactl is there and that 'nvidia-smi' works on the host.",
    ),
    (
        r"unsupported device id",
        "in mode csv the toolkit takes no other ids than all, 0 and 1",
        "Set toolkit_mode to auto where single GPUs are asked for.",
    ),
    (
        r"failed to initialize NVML",
        "the NVIDIA runtime could not load or use the driver's libnvidia-ml.so.1",
        "See that 'nvidia-smi' works on the host; after a driver upgrade, reboot.",
    ),
    (
        r"unresolvable CDI devices",
        "the GPU asked for is in no CDI specification of the host",
        "'nvidia-ctk cdi list' shows what is there; toolkit_mode auto and csv need no such file.",
    ),
    (
        r"unsatisfied condition: ([^,\n\"]+)",
        "the image requires what this host does not have: {0}",
        "Use another verify_image, or a newer driver.",
    ),
    (
        r"invoking the NVIDIA Container Runtime Hook directly",
        "docker --gpus reached the NVIDIA hook, which the mode of the NVIDIA runtime does not allow",
        "Start GPU containers by --runtime and NVIDIA_VISIBLE_DEVICES, not by --gpus.",
    ),
    (
        r"no runtime binary found from candidate list|error locating runtime",
        f"the NVIDIA runtime found no low-level runtime: {paths.LAUNCHER} is missing or not executable",
        "Run site.py: it puts the launcher back.",
    ),
    (
        # containerd's shim, which starts what daemon.json names.
        rf"exec:? \"?({re.escape(paths.ENTRY)})\"?: (?:stat \S+: )?((?:no such|permission)[\w ]*)",
        "Docker cannot start its runtime {0}: {1}",
        "Run site.py: it puts the entry back.",
    ),
    (
        r"exec format error",
        "a program of the chain has no valid first line (#!/bin/sh), or is for another architecture",
        f"See the first line of {paths.ENTRY} and of {paths.LAUNCHER}; run site.py.",
    ),
    (
        r"unknown field \"(\w+)\"",
        "the NVIDIA runtime refuses a field that the container engine writes into the spec: {0}",
        "Install a newer toolkit (toolkit_version).",
    ),
    (
        r"(?:unknown or invalid runtime name|unknown runtime specified):? ([\w.-]*\w)",
        "Docker has not loaded the runtime {0}",
        f"See to 'runtimes' in {paths.DAEMON_JSON} and 'systemctl reload docker'; run site.py.",
    ),
    (
        # `docker info --format` without a daemon gives only the second (docker 20.10 to 29).
        r"Cannot connect to the Docker daemon|nil pointer to embedded struct field Info",
        "dockerd does not answer",
        "Start it (systemctl start docker); 'journalctl -u docker' tells why it ended.",
    ),
    (
        r"docker pull failed|Unable to find image|No such image|pull access denied|manifest unknown",
        "the image is not on the host and could not be pulled",
        "Leave verify_image out, or name an image that the host has.",
    ),
    (
        r"SELinux is not supported",
        "gVisor refuses containers with an SELinux label",
        "Start containers with --security-opt label=disable.",
    ),
    (
        r"error executing CreateContainer hooks: failure executing hook \"([^\"]+)\"",
        "the hook {0} failed",
        _UNREPAIRED,
    ),
    (
        r"(\S+): No such file or directory$",
        "{0} is not there",
        "Run site.py: it installs what it can, and says what else is missing.",
    ),
    (
        r"(?:waiting for sandbox to start|cannot read client sync file).*EOF",
        "the gVisor sandbox died while it started",
        _SANDBOX_DIED,
    ),
)

_PATTERNS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), cause, remedy) for pattern, cause, remedy in _KNOWN
)
# The wrapper's errors say what, where and what to do themselves.
_WRAPPER = re.compile(r"(?<![\w/])nvproxy-(?:wrapper|runsc|container-runtime): ([^\n]+)")


def diagnose(text: str) -> Diagnosis:
    """What is behind an error text.

    Args:
        text: all that was said, the real cause often long before the last line.
    """
    own_words = _WRAPPER.search(text)
    if own_words is not None:
        return Diagnosis(own_words.group(1).removesuffix(": unknown."), "")
    for pattern, cause, remedy in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            return Diagnosis(cause.format(*match.groups()), remedy)
    return Diagnosis("", "See the output in the JSON report.")
