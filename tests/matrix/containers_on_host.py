"""Starts the containers of the matrix on the host where it runs, and prints one JSON line for each.

Sent to a lab host together with `deploys/host/remote`, out of which it takes what is not its own business.
On stdin: `{"rootfs": what host_entries takes, "script": text, "end_line": text, "workers": int, "groups": [{
"files": {path: [text, mode]}, "links": {path: target}, "runs": [{"id", "program": the OCI runtime, "config":
its config.toml or null for the host's, "env": [text], "hooks": [prestart hook]}]}]}`. A group's files and
links are in place for all of its runs, and for no others.

A line: `{"id", "out": the container's output, "error": what the runtimes said, "cli": the calls of
nvidia-container-cli for it, as the stand-in has recorded them, "seconds": float}`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploys.host.remote import bundle_containers, processes, smoke_image
from deploys.host.remote.prelude import SEARCH_PATH, replace_file, switch_link

HOME = Path("/var/lib/nvproxy-matrix")
ROOTFS = HOME / "rootfs"
STATE = "/run/nvproxy-matrix"
SHIM = "/usr/bin/nvidia-container-runtime"
CLI_LOG = "/var/log/nvidia-container-cli.stand-in.log"
SECONDS_EACH = 40

# What Docker gives a container that asks for nothing (moby, oci/caps/defaults.go and oci/defaults.go).
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
        "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    )
]  # fmt: skip
MOUNTS = [
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
]
DEVICES = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]


def spec(task: dict[str, Any], what: dict[str, Any], name: str) -> dict[str, Any]:
    """The config.json that Docker writes, but for its network hook and its seccomp profile."""
    allowed = [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in DEVICES
    ]
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "args": ["sh", "-c", task["script"]],
            "env": [f"PATH={SEARCH_PATH}", f"HOSTNAME={name}", *what["env"]],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "oomScoreAdj": 0,
        },
        "root": {"path": "rootfs"},
        "hostname": name,
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options}
            for place, kind, options in MOUNTS
        ],
        **({"hooks": {"prestart": what["hooks"]}} if what["hooks"] else {}),
        "linux": {
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}, *allowed],
                "memory": {"disableOOMKiller": False},
                "cpu": {"shares": 0},
            },
            "cgroupsPath": f"/nvproxy-matrix/{name}",
            "namespaces": [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")],
        },
    }


def write_bundle(task: dict[str, Any], what: dict[str, Any], bundle: Path) -> None:
    """The spec, a file system, and where the run has one, a configuration of its own for the shim."""
    # A copy for each: the toolkit's hooks write links and a loader cache into it.
    shutil.copytree(ROOTFS, bundle / "rootfs", symlinks=True)
    (bundle / "config.json").write_text(json.dumps(spec(task, what, bundle.name)))
    if what["config"] is not None:
        (bundle / "nvidia-container-runtime").mkdir()
        (bundle / "nvidia-container-runtime/config.toml").write_text(what["config"])


def call(bundle: Path, program: str, *words: str) -> bool:
    """One call of the runtime, as dockerd makes it; whether it succeeded."""
    log = bundle / "log.json"
    own = {"XDG_CONFIG_HOME": str(bundle)} if (bundle / "nvidia-container-runtime").exists() else {}
    argv = [program, "--root", STATE, "--log", str(log), "--log-format", "json", *words, bundle.name]
    # Files and no pipes: the sandbox inherits them, and a pipe would end only with it.
    with (bundle / "out").open("ab") as out, (bundle / "err").open("ab") as err:
        done = processes.run(argv, SECONDS_EACH, files=(out, err), extra=own)
    return done.code == 0


def container(task: dict[str, Any], what: dict[str, Any], name: str) -> dict[str, Any]:
    """One container, from its bundle to its removal."""
    bundle = HOME / name
    try:
        write_bundle(task, what, bundle)
        begin = time.monotonic()
        create = ("create", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"))
        if call(bundle, what["program"], *create) and call(bundle, what["program"], "start"):
            bundle_containers.wait_for_end(str(bundle), task["end_line"], time.monotonic() + SECONDS_EACH)
        seconds = round(time.monotonic() - begin, 2)
        errors = [
            *bundle_containers.logged_errors(f"{bundle}/log.json"),
            processes.read_end(f"{bundle}/err", processes.ERROR_LIMIT),
        ]
        calls = processes.read_end(CLI_LOG, processes.OUTPUT_LIMIT).splitlines()
        return {
            "id": what["id"],
            "out": processes.read_end(f"{bundle}/out", processes.OUTPUT_LIMIT),
            "error": "\n".join(error.strip() for error in errors),
            "cli": [line for line in calls if f"{bundle}/" in line],
            "seconds": seconds,
        }
    finally:
        remove(bundle)


def remove(bundle: Path) -> None:
    """Remove a container, and what it left: a runtime that was killed early knows nothing to delete."""
    call(bundle, SHIM, "delete", "--force")
    processes.kill_processes_of(bundle.name)
    smoke_image.remove_tree(str(bundle))


def main() -> None:
    """Every group in its turn, the runs of a group by several workers."""
    task = json.load(sys.stdin)
    HOME.mkdir(exist_ok=True)
    for leftover in HOME.glob("nvproxy-matrix-*"):
        remove(leftover)
    # runsc keeps a network namespace mounted there, long after its last container.
    smoke_image.remove_tree(STATE)
    shutil.rmtree(ROOTFS, ignore_errors=True)
    smoke_image.build_root(smoke_image.host_entries(task["rootfs"]), str(ROOTFS))
    number = 0
    with ThreadPoolExecutor(task["workers"]) as workers:
        for group in task["groups"]:
            for path, (text, mode) in group["files"].items():
                replace_file(path, text.encode(), mode)
            for path, target in group["links"].items():
                switch_link(path, target)
            # The process id: the stand-in's log has the calls of earlier runs too. No name begins another.
            names = [
                f"nvproxy-matrix-{os.getpid()}-{number + place:04d}" for place in range(len(group["runs"]))
            ]
            number += len(names)
            for answer in workers.map(container, [task] * len(names), group["runs"], names):
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
