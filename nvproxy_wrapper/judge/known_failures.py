"""Failures of the chain that are known: what is said, what is behind it, what to do, where it is known from.

Engines show a consequence, rarely the cause. The deploys judge a verification by this table, and
`nvproxy-wrapper bundle-report` says what it finds. A container's creation never reads it.

Sources: the code of gVisor 20260905, nvidia-container-toolkit v1.20.0 and dockerd 20.10 to 29, their issue
trackers, and failures made on real hosts (tests/e2e/test_failures.py).
"""

from __future__ import annotations

import re
from typing import NamedTuple

LAUNCHER = "/usr/local/bin/nvproxy-runsc"
ENTRY = "/usr/local/bin/nvproxy-container-runtime"
TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"

_GVISOR = "https://github.com/google/gvisor/issues/"
_TOOLKIT = "https://github.com/NVIDIA/nvidia-container-toolkit/issues/"
_UNREPAIRED = (
    f"The spec reached runsc unrepaired: 'runtimes' in {TOOLKIT_CONFIG} must name {LAUNCHER} alone. "
    "Run site.py."
)
_OPERATIONS = "docs/operations.md"


class KnownFailure(NamedTuple):
    """One failure.

    Attributes:
        id: its name, which stays.
        pattern: a regular expression for what is said; upper and lower case count alike.
        cause: what is wrong, in one sentence; {0} is the pattern's first group.
        remedy: what to do.
        link: where it is known from: an issue, or a page of this project.
    """

    id: str
    pattern: str
    cause: str
    remedy: str
    link: str


# Looked for from top to bottom: what names a cause stands before what names only a consequence.
KNOWN_FAILURES = (
    KnownFailure(
        "legacy-hook-missing",
        r"failed to locate nvidia-container-cli in PATH",
        "runsc took the way of the legacy hook and found no nvidia-container-cli",
        _UNREPAIRED,
        _GVISOR + "9435",
    ),
    KnownFailure(
        "device-node-hook",
        r"disable-device-node-modification|failed to mount modified params file",
        "the hook disable-device-node-modification, which gVisor cannot run, reached it",
        _UNREPAIRED,
        _GVISOR + "13283",
    ),
    KnownFailure(
        "ldcache-hook",
        r"(?:error updating ldcache|update-ldcache)[^\n]*(?:operation not permitted|permission denied)",
        "the hook update-ldcache may not mount a /proc of its own on this host",
        "Set drop_update_ldcache to true and run site.py: links take the hook's place.",
        _TOOLKIT + "2059",
    ),
    KnownFailure(
        "driver-unsupported",
        r"unsupported Nvidia driver version: ([\d.]*\d)",
        "this release of gVisor does not support the NVIDIA driver {0}",
        "Set a gvisor_release that lists it ('runsc nvproxy list-supported-drivers'), or install a driver "
        "that this one lists.",
        _GVISOR + "12773",
    ),
    KnownFailure(
        "driver-forced",
        r"nvproxy-driver-version[^\n]*(?:invalid|unknown|unsupported)[^\n]*",
        "the driver version that the settings force upon runsc is none that it knows",
        "Take driver_version out of the inventory, or set one that runsc has in its list "
        "('runsc nvproxy list-supported-drivers').",
        _GVISOR + "12773",
    ),
    KnownFailure(
        "driver-silent",
        r"failed to get Nvidia driver version",
        "runsc could not ask the NVIDIA driver for its version",
        "See that /dev/nvidiactl is there and that 'nvidia-smi' works on the host.",
        _GVISOR + "9996",
    ),
    KnownFailure(
        "driver-mismatch",
        r"(?:Driver/library version mismatch|NVRM: API mismatch|ERROR_LIB_RM_VERSION_MISMATCH)",
        "the loaded kernel driver is of another version than its libraries: the driver was upgraded",
        "Reboot the host, then run site.py.",
        _TOOLKIT + "1611",
    ),
    KnownFailure(
        "mig",
        r"\bMIG-[0-9a-f]|nvidia-caps[^\n]*(?:unsupported|no such|not found)|invalid MIG",
        "a MIG device is asked for, and gVisor serves none",
        "Ask for a whole GPU, or switch MIG off (nvidia-smi -mig 0).",
        "https://gvisor.dev/docs/user_guide/gpu/",
    ),
    KnownFailure(
        "socket-mount",
        r"open(?:ing|at)?[^\n]*?(/(?:var/)?run/nvidia-[^\s:\"\)]+)[^\n]*no such device or address",
        "the socket {0} of a service of NVIDIA's is among the mounts, and gVisor cannot open sockets",
        _UNREPAIRED,
        _GVISOR + "14214",
    ),
    KnownFailure(
        "device-without-mode",
        r"(?:createDeviceFile|CreateDeviceFile)[^\n]*",
        "the sandbox died when it made a device node: one without fileMode, or in a pod whose sandbox has "
        "no GPU",
        _UNREPAIRED,
        _GVISOR + "12616",
    ),
    KnownFailure(
        "csv-id",
        r"unsupported device id",
        "in mode csv the toolkit takes no other ids than all, 0 and 1",
        "Set toolkit_mode to auto where single GPUs are asked for.",
        _OPERATIONS,
    ),
    KnownFailure(
        "nvml",
        r"failed to initialize NVML",
        "the NVIDIA runtime could not load or use the driver's libnvidia-ml.so.1",
        "See that 'nvidia-smi' works on the host; after a driver upgrade, reboot.",
        _TOOLKIT + "48",
    ),
    KnownFailure(
        "cdi-version",
        r"additionalGids|unsupported CDI[^\n]*version|invalid CDI[^\n]*version",
        "a CDI specification of this host is newer than what its engine reads",
        "Update the engine, or write the specification anew with "
        "'nvidia-ctk cdi generate --no-additional-gids-for-device-nodes'.",
        _TOOLKIT + "1860",
    ),
    KnownFailure(
        "cdi-conflict",
        r"conflicting device [^\n]*",
        "two CDI specifications of this host have the same device",
        "Remove one of them from /etc/cdi and /var/run/cdi.",
        _TOOLKIT + "1239",
    ),
    KnownFailure(
        "cdi-unresolvable",
        r"unresolvable CDI devices",
        "the GPU asked for is in no CDI specification of the host",
        "'nvidia-ctk cdi list' shows what is there; toolkit_mode auto and csv need no such file.",
        _TOOLKIT + "1239",
    ),
    KnownFailure(
        "gpu-not-there",
        r"failed to (?:get|locate|construct)[^\n]*(?:device (?:handle|by index|from UUID|by UUID)|identifier)"
        r"|unable to get device[^\n]*|error getting device handle[^\n]*",
        "the NVIDIA runtime found no GPU of that index or UUID on this host",
        "Ask for one that 'nvidia-smi -L' lists on the host.",
        _OPERATIONS,
    ),
    KnownFailure(
        "requirement",
        r"unsatisfied condition: ([^,\n\"]+)",
        "the image requires what this host does not have: {0}",
        "Use another verify_image, or a newer driver.",
        "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html",
    ),
    KnownFailure(
        "gpus-option",
        r"invoking the NVIDIA Container Runtime Hook directly",
        "docker --gpus reached the NVIDIA hook, which the mode of the NVIDIA runtime does not allow",
        "Start GPU containers by --runtime and NVIDIA_VISIBLE_DEVICES, not by --gpus.",
        _TOOLKIT + "51",
    ),
    KnownFailure(
        "gpus-no-driver",
        r"could not select device driver",
        "docker --gpus found no NVIDIA hook: Docker looks for it only when it starts",
        "Start GPU containers by --runtime and NVIDIA_VISIBLE_DEVICES; for --gpus, restart Docker.",
        _OPERATIONS,
    ),
    KnownFailure(
        "launcher-missing",
        r"no runtime binary found from candidate list|error locating runtime",
        f"the NVIDIA runtime found no low-level runtime: {LAUNCHER} is missing or not executable",
        "Run site.py: it puts the launcher back.",
        _OPERATIONS,
    ),
    KnownFailure(
        "entry-missing",
        # containerd's shim, which starts what daemon.json names.
        rf"exec:? \"?({re.escape(ENTRY)})\"?: (?:stat \S+: )?((?:no such|permission)[\w ]*)",
        "Docker cannot start its runtime {0}: {1}",
        "Run site.py: it puts the entry back.",
        _OPERATIONS,
    ),
    KnownFailure(
        "exec-format",
        r"exec format error",
        "a program of the chain has no valid first line (#!/bin/sh), or is for another architecture",
        f"See the first line of {ENTRY} and of {LAUNCHER}; run site.py.",
        _OPERATIONS,
    ),
    KnownFailure(
        "toolkit-config",
        r"(?:error loading config|failed to load config|unable to load config)[^\n]*",
        f"the NVIDIA runtime cannot read its configuration {TOOLKIT_CONFIG}",
        "Run preflight.py: it names the line. Then repair it, and run site.py.",
        "https://github.com/NVIDIA/nvidia-container-toolkit/pull/2023",
    ),
    KnownFailure(
        "toolkit-mode",
        r"invalid (?:runtime )?mode:? \\?\"?([\w-]+)",
        f"the NVIDIA runtime knows no mode {{0}}, which {TOOLKIT_CONFIG} names",
        "Set toolkit_mode to auto or csv, and run site.py.",
        _OPERATIONS,
    ),
    KnownFailure(
        "spec-field",
        r"unknown field \"(\w+)\"",
        "the NVIDIA runtime refuses a field that the container engine writes into the spec: {0}",
        "Install a newer toolkit (toolkit_version).",
        _TOOLKIT + "1865",
    ),
    KnownFailure(
        "runsc-flag",
        r"flag provided but not defined: (-[\w-]+)",
        "runsc is called with a flag that this release does not know: {0}",
        "Take it out of runsc_args, or set a gvisor_release that knows it. Run site.py.",
        _OPERATIONS,
    ),
    KnownFailure(
        "runsc-flag-value",
        r"invalid value \"([^\"]*)\" for flag (-[\w-]+)",
        "runsc refuses the value {0} of its flag {1}",
        "Correct runsc_args, and run site.py.",
        _OPERATIONS,
    ),
    KnownFailure(
        "runsc-permissions",
        # gVisor's FAQ, runsc-perms: it drops its privileges and starts its own file again.
        r"(/opt/gvisor/\S*|/proc/self/exe): permission denied",
        "runsc may not be read and executed by everybody: {0}",
        "Run site.py: it gives the release's files and directories their modes back.",
        "https://gvisor.dev/docs/user_guide/faq/#runsc-perms",
    ),
    KnownFailure(
        "side-binaries",
        r"(?:gvisor-bin|gvisor_sentry|side-?car)[^\n]*"
        r"(?:no such file|not found|not exist|missing|mismatch|different release|permission denied)",
        "the programs beside runsc (gvisor-bin) are missing, or of another release",
        "Run site.py: it installs the release whole.",
        _GVISOR + "12167",
    ),
    KnownFailure(
        "cgroup-path",
        r"expected cgroupsPath to be of format[^\n]*",
        "the engine and runsc do not use the same cgroup driver",
        "Give Docker native.cgroupdriver=cgroupfs or runsc --systemd-cgroup, so that they are one.",
        _GVISOR + "7671",
    ),
    KnownFailure(
        "user-namespaces",
        r"max_user_namespaces[^\n]*(?:too low|must|mandatory)"
        r"|(?:clone|fork/exec)[^\n]*no space left on device",
        "runsc may make no user namespace on this host: user.max_user_namespaces is too low",
        "sysctl -w user.max_user_namespaces=256 or more, also below /etc/sysctl.d.",
        "https://gvisor.dev/docs/user_guide/production/",
    ),
    KnownFailure(
        "memory-maps",
        r"(?:error|fatal)[^\n]*vm\.max_map_count",
        "vm.max_map_count of this host is too low for programs that map much memory",
        "sysctl -w vm.max_map_count=4194304, also below /etc/sysctl.d.",
        "https://gvisor.dev/docs/user_guide/gpu/",
    ),
    KnownFailure(
        "rootless",
        r"Rootless mode not supported",
        "runsc is called by a user other than root, for whom it serves no GPU",
        "Start GPU containers by root's engine.",
        _GVISOR + "11076",
    ),
    KnownFailure(
        "selinux",
        r"SELinux is not supported",
        "gVisor refuses containers with an SELinux label",
        "Start containers with --security-opt label=disable.",
        _OPERATIONS,
    ),
    KnownFailure(
        "mount-propagation",
        r"mount propagation option must specify private or slave"
        r"|mount option \"?r?shared\"? is not supported",
        "a mount asks for shared propagation, which gVisor has not",
        "Take :shared or :rshared from the volume.",
        _OPERATIONS,
    ),
    KnownFailure(
        "runtime-unknown",
        r"(?:unknown or invalid runtime name|unknown runtime specified):? ([\w.-]*\w)",
        "Docker has not loaded the runtime {0}",
        "See to 'runtimes' in /etc/docker/daemon.json and 'systemctl reload docker'; run site.py.",
        "https://github.com/NVIDIA/nvidia-container-toolkit/issues/653",
    ),
    KnownFailure(
        "engine-down",
        # `docker info --format` without a daemon gives only the second (docker 20.10 to 29).
        r"Cannot connect to the Docker daemon|nil pointer to embedded struct field Info",
        "dockerd does not answer",
        "Start it (systemctl start docker); 'journalctl -u docker' tells why it ended.",
        _OPERATIONS,
    ),
    KnownFailure(
        "containerd-down",
        r"connection error: desc = [^\n]*containerd\.sock",
        "containerd does not answer Docker",
        "Start it (systemctl start containerd); 'journalctl -u containerd' tells why it ended.",
        _OPERATIONS,
    ),
    KnownFailure(
        "image-missing",
        r"docker pull failed|Unable to find image|No such image|pull access denied|manifest unknown",
        "the image is not on the host and could not be pulled",
        "Leave verify_image out, or name an image that the host has.",
        _OPERATIONS,
    ),
    KnownFailure(
        "disk-full",
        r"no space left on device",
        "a file system of this host is full",
        "'df -h' and 'df -i' show which.",
        _OPERATIONS,
    ),
    KnownFailure(
        "xid",
        r"NVRM: Xid \(([^)]*)\): (\d+)",
        "the GPU {0} has reported a fault, Xid {1}",
        "Look Xid {1} up at NVIDIA's; 79, 119 and 120 ask for a reset or a reboot.",
        "https://docs.nvidia.com/deploy/xid-errors/index.html",
    ),
    KnownFailure(
        "hook",
        r"error executing CreateContainer hooks: failure executing hook \"([^\"]+)\"",
        "the hook {0} failed",
        _UNREPAIRED,
        _GVISOR + "13283",
    ),
    KnownFailure(
        "program-missing",
        r"exec: \\?\"?([^\s\"\\]+)\\?\"?: executable file not found|"
        r"error finding executable \\?\"?([^\s\"\\]+)\\?\"? in PATH",
        "the container's program {0} is not in its image",
        "Name a program that the image has.",
        _OPERATIONS,
    ),
    KnownFailure(
        "file-missing",
        r"(?<!\S)(\S{1,256}): No such file or directory$",
        "{0} is not there",
        "Run site.py: it installs what it can, and says what else is missing.",
        _OPERATIONS,
    ),
)

# The end of a text that is longer: who asks for a container can make it long.
_LIMIT = 65536
# What was said by whom did not die itself. It names no cause, so it stands behind every other.
_CONSEQUENCE = re.compile(
    r"(?:waiting for sandbox to start|cannot read client sync file).*EOF", re.IGNORECASE
)
# What runsc's processes say when they end: into --log as errors, into --debug-log with these words.
_LAST_WORDS = re.compile(r"(?:FATAL ERROR: |panic: |fatal error: )([^\n\"]+)")
_SANDBOX_DIED = (
    "Look at the lines before the last in the output. Usual causes: a driver that this runsc does not "
    "support, a hook that gVisor cannot run, a socket among the mounts. To see more, add "
    "'--debug-log=/var/log/runsc/%ID%.%COMMAND%.log' to runsc_args."
)
# The chain's own programs say what, where and what to do themselves.
_OWN_WORDS = re.compile(r"(?<![\w/])nvproxy-(?:wrapper|runsc|container-runtime): ([^\n]+)")
_PATTERNS = tuple((known, re.compile(known.pattern, re.DOTALL | re.IGNORECASE)) for known in KNOWN_FAILURES)


class Found(NamedTuple):
    """What is behind a text: `id` is empty where it is not known, and then so are the others."""

    id: str
    cause: str
    remedy: str
    link: str


UNKNOWN = Found("", "", "", "")
OWN = "chain"
MASKED = "sandbox-died"


def find(*texts: str) -> Found:
    """What is behind all that was said about one start; the cause often stands long before the last line.

    Args:
        texts: the surest first: what may be about another container stands last.
    """
    texts = tuple(text[-_LIMIT:] for text in texts)
    for text in texts:
        found = _known(text)
        if found is not None:
            return found
    # Only now, as every other text may have the cause of it.
    if not any(map(_CONSEQUENCE.search, texts)):
        return UNKNOWN
    died = "the gVisor sandbox died while it started"
    said = next((words.group(1).strip() for words in map(_LAST_WORDS.search, texts) if words), "")
    return Found(MASKED, f"{died}: {said}" if said else died, _SANDBOX_DIED, _GVISOR + "9996")


def _known(text: str) -> Found | None:
    own_words = _OWN_WORDS.search(text)
    if own_words is not None:
        return Found(OWN, _trimmed(own_words.group(1)), "", "docs/wrapper.md")
    for known, pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            groups = [group for group in match.groups() if group is not None]
            return Found(known.id, known.cause.format(*groups), known.remedy.format(*groups), known.link)
    return None


def markdown() -> str:
    """The table of the documentation."""
    rows = [
        f"| `{known.id}` | {_plain(known.cause)} | {_plain(known.remedy)} | {_source(known.link)} |"
        for known in KNOWN_FAILURES
    ]
    head = "| failure | what is wrong | what to do | known from |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _plain(sentence: str) -> str:
    return sentence.replace("{0}", "…").replace("{1}", "…").replace("|", "\\|")


def _source(link: str) -> str:
    if not link.startswith("https:"):
        return "our own tests"
    parts = link.split("/")
    name = f"{parts[4]} {parts[-1]}" if parts[2] == "github.com" else parts[2]
    return f"[{name}]({link})"


def _trimmed(sentence: str) -> str:
    end = ": unknown."
    return sentence[: -len(end)] if sentence.endswith(end) else sentence
