"""What else is on a host that decides whether GPU containers run in gVisor, and whom a change would reach.

Read from what really is there: processes, the kernel's own files, other engines' configuration. Standard
library of Python 3.8 only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from typing import Any

from deploys.host.remote.prelude import SEARCH_PATH, run

LIMIT = 262144
SHIM = "nvidia-container-runtime"
DXG = "/dev/dxg"
TEGRA_RELEASE = "/etc/nv_tegra_release"
# As NVIDIA's toolkit tells a Tegra system (go-nvlib v0.10, pkg/nvlib/info/property-extractor.go).
TEGRA_FAMILY = "/sys/devices/soc0/family"
USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
SELINUX = "/sys/fs/selinux/enforce"
CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
CSV_DIRECTORY = "/etc/nvidia-container-runtime/host-files-for-container.d"
RELEASES = "/opt/gvisor"
# Where engines besides Docker are told which program to run a container with.
ENGINE_FILES = {
    "containerd": (
        "/etc/containerd/config.toml",
        "/etc/containerd/conf.d/*.toml",
        "/etc/containerd/config.d/*.toml",
        "/var/lib/rancher/k3s/agent/etc/containerd/*.toml",
        "/var/lib/rancher/rke2/agent/etc/containerd/*.toml",
        "/var/snap/microk8s/current/args/containerd*.toml",
        "/etc/k0s/containerd.toml",
        "/etc/k0s/containerd.d/*.toml",
    ),
    "CRI-O": (
        "/etc/crio/crio.conf",
        "/etc/crio/crio.conf.d/*",
        "/etc/crio/conf.d/*",
        "/usr/lib/crio/crio.conf.d/*",
    ),
    "podman": (
        "/usr/share/containers/containers.conf",
        "/usr/share/containers/containers.conf.d/*.conf",
        "/etc/containers/containers.conf",
        "/etc/containers/containers.conf.d/*.conf",
        "/root/.config/containers/containers.conf",
    ),
}
CONFIG_FLAGS = ("--config", "-c")


def host_facts(release_directory: str = RELEASES) -> dict[str, Any]:
    """What `deploys.model.snapshot.Surroundings` holds."""
    found = processes()
    return {
        "wsl": os.path.exists(DXG),
        "tegra": tegra(),
        "selinux_enforcing": text_of(SELINUX).strip() == "1",
        "user_namespaces": number(text_of(USER_NAMESPACES)),
        "dockerds": [daemon(process) for process in found if process["name"] == "dockerd"],
        "sharing": sharing([process for process in found if process["name"] in {"containerd", "crio"}]),
        "kubelet": any(process["name"] == "kubelet" for process in found),
        "cdi_specs": cdi_specs(),
        "csv_files": sorted(os.path.basename(path) for path in glob.glob(CSV_DIRECTORY + "/*.csv")),
        "runsc": distributions_runsc(),
        "releases": releases(release_directory),
    }


def text_of(path: str) -> str:
    """The text of a small file; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def number(text: str) -> int | None:
    """A decimal number; None where it is none."""
    return int(text) if text.strip().isdigit() else None


def tegra() -> str | None:
    """By which file this is a Jetson or another Tegra system; None where it is none."""
    if os.path.isfile(TEGRA_RELEASE):
        return TEGRA_RELEASE
    return TEGRA_FAMILY if text_of(TEGRA_FAMILY).lower().startswith("tegra") else None


def processes() -> list[dict[str, Any]]:
    """The programs that run on this host itself: a container's have a PID namespace of their own.

    By the file that runs, and not by its words: a snap's dockerd, and one that a script has started, are that
    all the same.
    """
    found = []
    mine = link_of("/proc/self/ns/pid")
    for directory in glob.glob("/proc/[0-9]*"):
        program = link_of(directory + "/exe")
        if program is None or link_of(directory + "/ns/pid") != mine:
            continue
        program = program[: -len(" (deleted)")] if program.endswith(" (deleted)") else program
        with contextlib.suppress(OSError):
            found.append(
                {
                    "name": os.path.basename(program),
                    "program": program,
                    "owner": os.stat(directory).st_uid,
                    "words": text_of(directory + "/cmdline").split("\0")[:-1],
                }
            )
    return found


def link_of(path: str) -> str | None:
    """Where a link leads; None where it cannot be told."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def daemon(process: dict[str, Any]) -> dict[str, Any]:
    """A dockerd that runs: what `deploys.model.snapshot.RunningDockerd` holds."""
    return {
        "program": process["program"],
        "owner": process["owner"],
        "config_file": flag(process["words"], ("--config-file",)),
    }


def flag(words: list[str], names: tuple[str, ...]) -> str | None:
    """The value of a flag that may be written as `--name value` or `--name=value`; the last one counts."""
    value = None
    for place, word in enumerate(words):
        name, is_joined, joined = word.partition("=")
        if name in names:
            value = joined if is_joined else words[place + 1] if place + 1 < len(words) else None
    return value


def sharing(engines: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Files of engines besides Docker in which NVIDIA's shim is what a container is started by."""
    named = {"containerd": "containerd", "crio": "CRI-O"}
    configured: dict[str, list[str]] = {}
    for process in engines:
        path = flag(process["words"], CONFIG_FLAGS)
        if path is not None:
            configured.setdefault(named[process["name"]], []).append(path)
    found = {}
    for engine, patterns in ENGINE_FILES.items():
        paths = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
        paths += [path for path in configured.get(engine, []) if path not in paths]
        naming = [path for path in paths if names_the_shim(text_of(path))]
        if naming:
            found[engine] = naming
    return found


def names_the_shim(text: str) -> bool:
    """Whether a line of a TOML file that is no comment names it; the hook's name begins in the same way."""
    return re.search(rf"(?m)^[^#\n]*[\"'/]{SHIM}(?:\.\w+)?[\"']", text) is not None


def cdi_specs() -> list[dict[str, Any]]:
    """CDI specifications of NVIDIA's GPUs: their kind, and the versions of the libraries that they name."""
    found = []
    for path in (path for directory in CDI_DIRECTORIES for path in sorted(glob.glob(directory + "/*"))):
        text = text_of(path) if path.endswith((".json", ".yaml", ".yml")) else ""
        kind = re.search(r"\bkind\"?\s*:\s*[\"']?(nvidia\.com/[\w.-]+)", text)
        if kind is not None:
            versions = set(re.findall(r"/lib(?:cuda|nvidia-ml)\.so\.(\d+\.\d+(?:\.\d+)?)\b", text))
            found.append({"path": path, "kind": kind.group(1), "versions": sorted(versions)})
    return found


def distributions_runsc() -> dict[str, str] | None:
    """A runsc in the PATH that a package has brought: its path, its package and its version."""
    path = shutil.which("runsc", path=SEARCH_PATH)
    if path is None:
        return None
    path = os.path.realpath(path)
    _, out, _ = run(["dpkg-query", "--search", path])
    package = out.partition(":")[0].strip()
    if package:
        _, version, _ = run(["dpkg-query", "-W", "-f", "${Version}", package])
    else:
        status, out, _ = run(["rpm", "-qf", "--qf", "%{NAME} %{VERSION}-%{RELEASE}", path])
        package, _, version = out.partition(" ") if status == 0 else ("", "", "")
    return {"path": path, "package": package, "version": version.strip()} if package else None


def releases(directory: str) -> list[dict[str, Any]]:
    """The releases of gVisor that lie here: the drivers that each lists, and whether a sandbox of it runs."""
    programs = {link_of(path) for path in glob.glob("/proc/[0-9]*/exe")}
    found = []
    for runsc in sorted(glob.glob(glob.escape(directory) + "/*/runsc")):
        folder = os.path.dirname(runsc)
        if os.path.islink(folder) or not re.fullmatch(r"20\d{6}(\.\d+)?", os.path.basename(folder)):
            continue
        status, out, _ = run([runsc, "nvproxy", "list-supported-drivers"])
        found.append(
            {
                "name": os.path.basename(folder),
                "drivers": out.split() if status == 0 else [],
                "in_use": any(
                    program is not None and program.startswith(folder + "/") for program in programs
                ),
            }
        )
    return found
