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
ELF_64_BIT = b"\x7fELF\x02"
APT_PARTS = "/etc/apt/sources.list.d"
SCRIPT_LIMIT = 65536
PROGRAMS_LIMIT = 64
WAY_BACK_SECONDS = 60
PROGRAMS = ("/usr/bin/nvidia-smi",)


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
    """The GPUs of the loaded driver, in PCI order."""
    found = []
    for directory in sorted(glob.glob(glob.escape(proc_driver) + "/gpus/*")):
        text = read(directory + "/information")
        fields = dict(re.findall(r"^([^:\n]+):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
        minor = fields.get("Device Minor", "")
        found.append(
            {
                "pci": os.path.basename(directory),
                "uuid": fields.get("GPU UUID") or None,
                "minor": int(minor) if minor.isdigit() else None,
                "model": fields.get("Model") or None,
            }
        )
    return found


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
    """The kernel driver's version and the user-space files that carry the same version in their names."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", read(proc_driver + "/version"))
    version = match.group(1) if match else None
    libraries: list[str] = []
    links: list[str] = []
    if version is not None:
        _, listing, _ = run(["/sbin/ldconfig", "-p"])
        known = re.findall(r"=> (\S*/lib(?:cuda|nvidia-\S*)\.so\S*)", listing)
        directories = {os.path.dirname(path) for path in known}
        candidates = {
            os.path.realpath(path)
            for directory in directories
            for path in glob.glob(glob.escape(directory) + "/lib*.so." + version)
        }
        libraries = sorted(path for path in candidates if is_64_bit(path))
        links = sorted(
            path
            for directory in directories
            for path in glob.glob(glob.escape(directory) + "/lib*.so.[0-9]")
            if os.path.islink(path) and os.path.realpath(path) in libraries
        )
    return {
        "version": version,
        "libraries": libraries,
        "links": links,
        "programs": [path for path in PROGRAMS if os.path.isfile(path)],
        "capabilities": names_in(proc_driver + "/capabilities"),
    }


def names_in(directory: str) -> list[str] | None:
    """What lies in a directory; None where there is none."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return None


def is_64_bit(path: str) -> bool:
    """Whether a file is a 64-bit ELF file: 32-bit driver libraries may lie beside the others."""
    try:
        with open(path, "rb") as file:
            return file.read(5) == ELF_64_BIT
    except OSError:
        return False


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
    paths = [*task["files"], *apt_sources(task["apt_words"])]
    files = {path: managed_file(path) for path in paths}
    return {
        "python": list(sys.version_info[:3]),
        "uid": os.getuid(),
        "os": operating_system(),
        "disk_free": {path: free(path) for path in task["disk"]},
        "driver": driver(task["proc_driver"]),
        "gpus": gpus(task["proc_driver"]),
        "nodes": nodes(),
        "packages": packages(task["packages"]),
        "engine": engine(),
        "files": {path: value for path, value in files.items() if value is not None},
        "links": {path: os.readlink(path) for path in task["links"] if os.path.islink(path)},
        "directories": [path for path in task["directories"] if os.path.isdir(path)],
        "trees": {path: tree_digest(path) for path in task["trees"] if os.path.isdir(path)},
    }


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))  # set by the sender
