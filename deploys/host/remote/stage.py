"""Fetch and check what will be installed, without touching what is.

Everything that can fail for a reason outside of the host fails here.

Task: `{"staging": path, "toolkit": {...} | null, "gvisor": {...} | null}`.
Answer: `{"release": {"drivers": [version], "capabilities": {name: bool}, "directory": path} | null}`.
"""

from __future__ import annotations

import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
from typing import Any

from deploys.host.remote.prelude import Fault, finish_packages, is_dpkg_interrupted, run

APT_PARTS = "/etc/apt/sources.list.d"
DRIVER_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
CAPABILITIES_FLAG = "nvproxy-allowed-driver-capabilities"
DOWNLOAD_LIMIT = 1 << 30
DOWNLOAD_SECONDS = 60  # without a byte, not in all
MODE_PROGRAM = 0o755
MODE_DATA = 0o644


def fetch(url: str, path: str) -> str:
    """Download to a file; returns the sha512 of what came."""
    sha = hashlib.sha512()
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer, open(path, "wb") as file:  # noqa: S310
            for block in iter(lambda: answer.read(1 << 20), b""):
                sha.update(block)
                file.write(block)
                if file.tell() > DOWNLOAD_LIMIT:
                    raise Fault(f"{url} is larger than {DOWNLOAD_LIMIT >> 20} MiB, which no release is")
    except urllib.error.HTTPError as error:
        raise Fault(f"{url}: the server answered {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Fault(f"{url} cannot be downloaded: {getattr(error, 'reason', error)}") from None
    return sha.hexdigest()


def unpack(archive: str, directory: str) -> None:
    """Unpack a release: plain files and directories only, below the directory, writable by root alone."""
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = os.path.normpath(member.name)
            if name == ".":
                continue
            if name.startswith(("..", "/")) or not (member.isfile() or member.isdir()):
                raise Fault(
                    f"{archive} holds {member.name!r}, which is neither a plain file nor below the archive"
                )
            target = os.path.join(directory, name)
            if member.isdir():
                os.makedirs(target, MODE_PROGRAM, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), MODE_PROGRAM, exist_ok=True)
            source = tar.extractfile(member)
            if source is None:
                raise Fault(f"{archive} holds {member.name!r}, which cannot be read")
            with source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                os.fchmod(file.fileno(), MODE_PROGRAM if member.mode & stat.S_IXUSR else MODE_DATA)


def stage_gvisor(staging: str, task: dict[str, Any]) -> dict[str, Any]:
    """Download a release, check it against the pinned hash, unpack it, ask its runsc what it serves."""
    archive = os.path.join(staging, "gvisor.tar.bz2")
    directory = os.path.join(staging, "gvisor")
    try:
        found = fetch(task["url"], archive)
    except Fault as fault:
        raise Fault(
            f"gVisor {task['release']}: {fault}. Set gvisor_release to a release that is there, or "
            "gvisor_url to a mirror that this host reaches."
        ) from None
    if found != task["sha512"]:
        raise Fault(
            f"gVisor {task['release']}: {task['url']} has the sha512 {found}, but the inventory pins "
            f"{task['sha512']}. Nothing was installed. If the pin is old, set gvisor_sha512 to the published "
            "one; if not, somebody changed the file."
        )
    os.makedirs(directory, MODE_PROGRAM)
    try:
        unpack(archive, directory)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Fault(f"gVisor {task['release']}: {task['url']} cannot be unpacked: {error}") from None
    os.unlink(archive)
    runsc = os.path.join(directory, "runsc")
    status, drivers, err = run([runsc, "nvproxy", "list-supported-drivers"])
    if status != 0:
        raise Fault(
            f"gVisor {task['release']}: 'runsc nvproxy list-supported-drivers' failed: "
            f"{err.strip() or status}. This release cannot serve GPUs; "
            "set gvisor_release to one from 20231106 on."
        )
    if not all(DRIVER_VERSION.fullmatch(word) for word in drivers.split()):
        raise Fault(
            f"gVisor {task['release']}: 'runsc nvproxy list-supported-drivers' printed {drivers[:200]!r}, "
            "which is no list of versions. Set gvisor_release to another one."
        )
    return {
        "drivers": drivers.split(),
        "capabilities": capabilities(runsc, task["capabilities"]),
        "directory": directory,
    }


def capabilities(runsc: str, names: list[str]) -> dict[str, bool]:
    """Whether a runsc takes each of these as allowed; nothing of one that has no flag to be told them by."""
    _, out, err = run([runsc, "flags"])
    if f" -{CAPABILITIES_FLAG}" not in out + err:
        return {}
    return {name: run([runsc, f"--{CAPABILITIES_FLAG}={name}", "flags"])[0] == 0 for name in names}


def stage_toolkit(staging: str, task: dict[str, Any]) -> None:
    """Download the packages through apt, from the repository and by the key that will be installed."""
    if is_dpkg_interrupted():
        finish_packages()
    apt = os.path.join(staging, "apt")
    parts = os.path.join(apt, "parts")
    archives = os.path.join(apt, "archives")
    for directory in (parts, os.path.join(archives, "partial"), os.path.join(apt, "lists", "partial")):
        os.makedirs(directory, MODE_PROGRAM)
    # apt drops its rights to the user _apt while it downloads, and checks as that user.
    key = os.path.join(apt, "key.asc")
    source = os.path.join(parts, os.path.basename(task["source_path"]))
    for path, text in ((key, task["key"]), (source, task["source"].replace(task["key_path"], key))):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, MODE_DATA)
    options = [
        *("-o", f"Dir::State::Lists={apt}/lists"),
        *("-o", f"Dir::Cache={apt}"),
        *("-o", f"Dir::Cache::archives={archives}"),
    ]
    refresh = [
        *("-o", f"Dir::Etc::SourceList={source}"),
        *("-o", "Dir::Etc::SourceParts=-"),
        *("-o", "APT::Update::Error-Mode=any"),
        *("-o", "Acquire::Retries=2"),
        *("-o", "Acquire::http::Timeout=30"),
    ]
    status, out, err = run(["apt-get", "update", *options, *refresh], 300)
    if status != 0:
        raise Fault(
            f"the repository {task['url']} cannot be used: {complaint(out, err)}. Set toolkit_repository_url "
            "to one that this host reaches, and toolkit_key to the key that it is signed with."
        )
    # The host's own lists and sources too: a dependency may have to come from the distribution.
    for path in glob.glob(APT_PARTS + "/*"):
        if os.path.basename(path) != os.path.basename(source) and path not in task["disabled"]:
            shutil.copy(path, parts)
    for path in glob.glob("/var/lib/apt/lists/*_*"):
        if not os.path.exists(os.path.join(apt, "lists", os.path.basename(path))):
            shutil.copy(path, os.path.join(apt, "lists"))
    pins = [f"{name}={task['version']}" for name in task["packages"]]
    download = [
        "--yes",
        "--download-only",
        "--no-install-recommends",
        "--allow-downgrades",
        "--allow-change-held-packages",
        # nvidia-docker2 and its like are the operator's: what would have to go is said instead.
        "--no-remove",
        *("-o", f"Dir::Etc::SourceParts={parts}"),
        *("-o", "DPkg::Lock::Timeout=300"),
    ]
    status, out, err = run(["apt-get", "install", *options, *download, *pins], 900)
    if status != 0:
        raise Fault(
            f"the packages {', '.join(pins)} cannot be had: {complaint(out, err)}. Set toolkit_version to "
            f"one that {task['url']} has."
        )


def complaint(out: str, err: str) -> str:
    """The errors of apt in one line; its last words where it names none."""
    lines = [line.strip() for line in (err + "\n" + out).splitlines() if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith(("E:", "W: GPG", "W: Failed"))]
    return " ".join((errors or lines[-2:])[:3]).rstrip(".") or "apt-get said nothing"


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Stage what the task names; a fault leaves nothing behind."""
    staging = task["staging"]
    try:
        shutil.rmtree(staging, ignore_errors=True)
        os.makedirs(staging, MODE_PROGRAM)
        release = stage_gvisor(staging, task["gvisor"]) if task["gvisor"] else None
        if task["toolkit"]:
            stage_toolkit(staging, task["toolkit"])
    except (Fault, OSError) as fault:
        shutil.rmtree(staging, ignore_errors=True)
        return {"error": str(fault) if isinstance(fault, Fault) else f"{staging} cannot be filled: {fault}"}
    return {"release": release}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
