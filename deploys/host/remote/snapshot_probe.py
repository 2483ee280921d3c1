"""Look at a host, change nothing: prints the JSON that `deploys.model.snapshot.HostSnapshot` is parsed from.

Runs on the host with its own Python 3.8 or later. The task says what to look at:
`{"files": [path], "apt_words": [word], "links": [path], "directories": [path], "trees": [path],
"packages": [name], "disk": [path], "proc_driver": path}`.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import stat
import sys
import time
from typing import Any

from deploys.host.remote.driver_files import driver_files
from deploys.host.remote.host_facts import host_facts
from deploys.host.remote.prelude import (
    SEARCH_PATH,
    decoded,
    digest,
    identity,
    run,
    running_containers,
    tree_digest,
)

TEXT_LIMIT = 262144
APT_PARTS = "/etc/apt/sources.list.d"
SCRIPT_LIMIT = 65536
PROGRAMS_LIMIT = 64
WAY_BACK_SECONDS = 60


def read(path: str) -> str:
    """The text of a small file, or the empty string where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(TEXT_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def operating_system() -> dict[str, Any]:
    """`/etc/os-release` and uname."""
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', read("/etc/os-release"), re.MULTILINE))
    kernel = os.uname()
    return {
        "id": fields.get("ID", ""),
        "id_like": fields.get("ID_LIKE", "").split(),
        "version": fields.get("VERSION_ID", ""),
        "name": fields.get("PRETTY_NAME", ""),
        "kernel": kernel.release,
        "machine": kernel.machine,
        "systemd": os.path.isdir("/run/systemd/system"),
    }


def gpus(proc_driver: str) -> list[dict[str, Any]]:
    """The GPUs of the loaded driver, in PCI order, without those that it leaves alone."""
    found = []
    for pci, fields in information(proc_driver).items():
        minor, uuid = fields.get("Device Minor", ""), fields.get("GPU UUID", "")
        if is_excluded(fields):
            continue
        found.append(
            {
                "pci": pci,
                # The driver prints ? for what it knows only once a program has opened the GPU.
                "uuid": uuid if uuid and "?" not in uuid else None,
                "minor": int(minor) if minor.isdigit() else None,
                "model": fields.get("Model") or None,
            }
        )
    return found


def mig_gpus(proc_driver: str, found: list[dict[str, Any]]) -> list[str]:
    """The PCI addresses of those of these GPUs that are in MIG mode."""
    known = {gpu["pci"]: has_instances(proc_driver, gpu["minor"]) for gpu in found}
    # The program opens every GPU, which takes seconds where nothing else holds them open.
    enabled = partitioned() if None in known.values() else set()
    return [pci for pci, is_known in known.items() if is_known or pci in enabled]


def information(proc_driver: str) -> dict[str, dict[str, str]]:
    """What the driver says of each GPU, by its PCI address and in that order."""
    texts = {
        os.path.basename(directory): read(directory + "/information")
        for directory in sorted(glob.glob(glob.escape(proc_driver) + "/gpus/*"))
    }
    line = re.compile(r"^([^:\n]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
    return {pci: dict(line.findall(text)) for pci, text in texts.items()}


def is_excluded(fields: dict[str, str]) -> bool:
    """Whether NVreg_ExcludedGpus hides a GPU from NVML; before 470 it was NVreg_GpuBlacklist."""
    return "yes" in {fields.get(name, "").lower() for name in ("GPU Excluded", "Blacklisted")}


def has_instances(proc_driver: str, minor: int | None) -> bool | None:
    """Whether a GPU has MIG instances; None where it has none and could have some."""
    names = names_in(f"{proc_driver}/capabilities/gpu{minor}/mig")
    if names is None:
        return False
    return True if any(name.startswith("gi") for name in names) else None


def partitioned() -> set[str]:
    """The PCI addresses, as the kernel writes them, of the GPUs that nvidia-smi says are in MIG mode."""
    query = ["nvidia-smi", "--query-gpu=gpu_bus_id,mig.mode.current", "--format=csv,noheader"]
    status, out, _ = run(query, 30)
    rows = (line.partition(",") for line in out.splitlines()) if status == 0 else ()
    # NVML writes the domain with eight digits, the kernel with four, in lower case.
    return {bus.strip().lower()[4:] for bus, _, mode in rows if mode.strip() == "Enabled"}


def nodes() -> list[dict[str, Any]]:
    """What lies below `/dev` by a name that begins with nvidia."""
    found = []
    for path in sorted(glob.glob("/dev/nvidia*")):
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            continue
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else "-"
        found.append(
            {
                "path": path,
                "kind": kind,
                "major": os.major(status.st_rdev),
                "minor": os.minor(status.st_rdev),
                "mode": stat.S_IMODE(status.st_mode),
            }
        )
    return found


def driver(proc_driver: str) -> dict[str, Any]:
    """The kernel driver's version, and the user-space files that go with it."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", read(proc_driver + "/version") + "\n")
    version = match.group(1) if match else None
    _, listing, _ = run(["/sbin/ldconfig", "-p"])
    return {
        "version": version,
        **driver_files(listing, version),
        "capabilities": names_in(proc_driver + "/capabilities"),
    }


def names_in(directory: str) -> list[str] | None:
    """What lies in a directory; None where there is none."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return None


def engine() -> dict[str, Any]:
    """Docker, asked itself."""
    client = shutil.which("docker", path=SEARCH_PATH + ":/snap/bin")
    daemon = shutil.which("dockerd", path=SEARCH_PATH + ":/snap/bin")
    answer: dict[str, Any] = {
        "client": os.path.realpath(client) if client else None,
        "daemon": os.path.realpath(daemon) if daemon else None,
        "version": None,
        "running": False,
        "error": None,
        "can_validate": False,
        "runtimes": {},
        "binaries": {},
        "programs": {},
        "default_runtime": None,
        "containers": None,
        "security_options": [],
    }
    if client is None:
        return answer
    status, out, err = run([client, "info", "--format", "{{json .}}"])
    try:
        info = json.loads(out)
    except ValueError:
        info = None
    info = info if isinstance(info, dict) else {}
    if status == 0 and info.get("ServerVersion"):
        answer["running"] = True
        answer["version"] = info["ServerVersion"]
        answer["default_runtime"] = info.get("DefaultRuntime")
        answer["security_options"] = info.get("SecurityOptions") or []
        answer["containers"] = running_containers()
        runtimes = info.get("Runtimes") or {}
        runtimes = {name: runtime for name, runtime in runtimes.items() if isinstance(runtime, dict)}
        answer["runtimes"] = {
            name: runtime.get("path") or runtime.get("runtimeType") or ""
            for name, runtime in runtimes.items()
        }
        options = {name: runtime.get("options") or {} for name, runtime in runtimes.items()}
        answer["binaries"] = {
            name: option["BinaryName"] for name, option in options.items() if option.get("BinaryName")
        }
        answer["programs"] = programs([*answer["runtimes"].values(), *answer["binaries"].values()])
    else:
        errors = info.get("ServerErrors") or [err.strip() or out.strip() or "no answer"]
        answer["error"] = errors[0][:500]
    if daemon is not None:
        _, usage, _ = run([daemon, "--help"])
        answer["can_validate"] = "--validate" in usage
    return answer


def programs(words: list[str]) -> dict[str, dict[str, Any]]:
    """The scripts and links that these words name, by word, and those that the scripts among them name.

    Which of the words in a script are commands is not asked: one too many is harmless.
    """
    found: dict[str, dict[str, Any]] = {}
    waiting = list(words)
    while waiting and len(found) < PROGRAMS_LIMIT:
        word = waiting.pop(0)
        path = shutil.which(word, path=SEARCH_PATH) if word else None
        if word in found or path is None:
            continue
        text = read(path)
        script = text[:SCRIPT_LIMIT] if text.startswith("#!") else None
        if script is not None or os.path.realpath(path) != word:
            found[word] = {"path": os.path.realpath(path), "script": script}
        if script is not None:
            waiting += re.findall(r"[\w./+-]+", script)
    return found


def packages(names: list[str]) -> dict[str, str]:
    """Installed versions by package name, as dpkg knows them; empty where there is no dpkg."""
    _, out, _ = run(["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n", *names])
    rows = (line.split("\t") for line in out.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}


def managed_file(path: str) -> dict[str, Any] | None:
    """What `ManagedFile` holds, or None where nothing is there."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        text, encoding = None, "utf-8"
        if status.st_size <= TEXT_LIMIT:
            with open(path, "rb") as file, contextlib.suppress(UnicodeDecodeError):
                text, encoding = decoded(file.read())
        return {
            "sha256": digest(path),
            "mode": stat.S_IMODE(status.st_mode),
            "owner": status.st_uid,
            "group": status.st_gid,
            "is_link": stat.S_ISLNK(status.st_mode),
            "text": text,
            "encoding": encoding,
        }
    except OSError:
        return None


def apt_sources(words: list[str]) -> list[str]:
    """The paths of APT's source files that have one of these words in their name or text."""
    paths = ["/etc/apt/sources.list", *sorted(glob.glob(glob.escape(APT_PARTS) + "/*"))]
    return [path for path in paths if any(word in (path + read(path)).lower() for word in words)]


def free(path: str) -> int:
    """Bytes free on the file system that a path is on, or would be on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def wait_for_way_back(record: str) -> None:
    """A run that was cut off may just be taken back (`go_back`); what is seen meanwhile is neither state."""
    end = time.monotonic() + WAY_BACK_SECONDS
    while time.monotonic() < end:
        try:
            holder = json.loads(read(record))["connection"]
        except (ValueError, KeyError, TypeError):
            return
        if identity(holder.split()[0]) == holder:
            return  # It is at work: the lock will say so.
        time.sleep(0.2)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Everything that the task names."""
    wait_for_way_back(task["way_back"])
    proc_driver = task["proc_driver"]
    found = gpus(proc_driver)
    paths = [*task["files"], *apt_sources(task["apt_words"])]
    files = {path: managed_file(path) for path in paths}
    return {
        "python": list(sys.version_info[:3]),
        "uid": os.getuid(),
        "os": operating_system(),
        "disk_free": {path: free(path) for path in task["disk"]},
        "driver": driver(proc_driver),
        "gpus": found,
        "excluded_gpus": [pci for pci, fields in information(proc_driver).items() if is_excluded(fields)],
        "mig_gpus": mig_gpus(proc_driver, found),
        "nodes": nodes(),
        "packages": packages(task["packages"]),
        "engine": engine(),
        "surroundings": host_facts(),
        "files": {path: value for path, value in files.items() if value is not None},
        "links": {path: os.readlink(path) for path in task["links"] if os.path.islink(path)},
        "directories": [path for path in task["directories"] if os.path.isdir(path)],
        "trees": {path: tree_digest(path) for path in task["trees"] if os.path.isdir(path)},
    }


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))  # set by the sender
