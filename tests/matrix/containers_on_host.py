"""Starts the containers of the matrix on the host where it runs, and prints one JSON line for each.

Sent to a lab host together with `deploys/host/remote`. The task on stdin:
`{"rootfs": {as host_entries}, "script", "end_line", "workers", "groups": [{"files": {path: [text, mode]}, "links": {path: target},
"runs": [{"id", "config", "env", "hooks"}]}]}`. A group's files are in place before its first run, and stay until the last is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploys.host.remote import container_runs as runs
from deploys.host.remote.prelude import SEARCH_PATH, replace_file, switch_link

HOME = "/var/lib/nvproxy-matrix"
STATE = "/run/nvproxy-matrix"
SHIM = "/usr/bin/nvidia-container-runtime"
CLI_LOG = "/var/log/nvidia-container-cli.stand-in.log"
SECONDS_EACH = 40

# What Docker gives a container by default (moby, oci/caps/defaults.go and oci/defaults.go).
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
DEVICE_RULES = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]


def spec(task: dict[str, Any], what: dict[str, Any], name: str) -> dict[str, Any]:
    """The config.json that Docker writes, but for its network hook and its seccomp profile."""
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
        "mounts": [{"destination": d, "type": t, "source": t, "options": o} for d, t, o in MOUNTS],
        **({"hooks": {"prestart": what["hooks"]}} if what["hooks"] else {}),
        "linux": {
            "resources": {
                "devices": [
                    {"allow": False, "access": "rwm"},
                    *({"allow": True, "type": "c", "major": a, "minor": b, "access": "rwm"} for a, b in DEVICE_RULES),
                ],
                "memory": {"disableOOMKiller": False},
                "cpu": {"shares": 0},
            },
            "cgroupsPath": f"/nvproxy-matrix/{name}",
            "namespaces": [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")],
        },
    }


def call(bundle: str, name: str, *words: str, seconds: float) -> runs.Finished:
    """One call of the shim, as dockerd makes it."""
    argv = [SHIM, "--root", STATE, "--log", f"{bundle}/log.json", "--log-format", "json", *words, name]
    # Files and no pipes: the sandbox inherits them, and a pipe would end only with it.
    with open(f"{bundle}/out", "ab") as out, open(f"{bundle}/err", "ab") as err:
        return runs.run(argv, seconds, files=(out, err), extra={"XDG_CONFIG_HOME": bundle})


def container(task: dict[str, Any], what: dict[str, Any], name: str) -> dict[str, Any]:
    """One container, from its bundle to its removal."""
    bundle = os.path.join(HOME, name)
    begin = time.monotonic()
    try:
        # A copy for each: the toolkit's hooks write links and a loader cache into it.
        shutil.copytree(os.path.join(HOME, "rootfs"), f"{bundle}/rootfs", symlinks=True)
        os.makedirs(f"{bundle}/nvidia-container-runtime")
        for path, text in (
            ("config.json", json.dumps(spec(task, what, name))),
            ("nvidia-container-runtime/config.toml", what["config"]),
        ):
            with open(f"{bundle}/{path}", "w") as file:
                file.write(text)
        begin = time.monotonic()
        steps = (["create", "--bundle", bundle, "--pid-file", f"{bundle}/pid"], ["start"])
        started = all(call(bundle, name, *step, seconds=SECONDS_EACH).code == 0 for step in steps)
        if started:
            runs.wait_for_end(bundle, task["end_line"], time.monotonic() + SECONDS_EACH)
        errors = [*runs.logged_errors(f"{bundle}/log.json"), runs.read_end(f"{bundle}/err", runs.ERROR_LIMIT)]
        return {
            "id": what["id"],
            "out": runs.read_end(f"{bundle}/out", runs.OUTPUT_LIMIT),
            "error": "\n".join(error.strip() for error in errors),
            "cli": [line for line in runs.read_end(CLI_LOG, runs.OUTPUT_LIMIT).splitlines() if f"{name}/" in line],
            "seconds": round(time.monotonic() - begin, 2),
        }
    finally:
        call(bundle, name, "delete", "--force", seconds=SECONDS_EACH)
        remove(bundle, name)


def remove(bundle: str, name: str) -> None:
    """Remove what a container left: its processes first, as a runtime that was killed knows nothing to delete."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = runs.read_end(f"/proc/{pid}/cmdline", runs.OUTPUT_LIMIT).split("\0")
        if name in words or bundle in words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    runs.remove_tree(bundle)


def main() -> None:
    """Every group in its turn, a group's runs by several workers."""
    task = json.load(sys.stdin)
    shutil.rmtree(os.path.join(HOME, "rootfs"), ignore_errors=True)
    os.makedirs(HOME, exist_ok=True)
    runs.build_root(runs.host_entries(task["rootfs"]), os.path.join(HOME, "rootfs"))
    number = 0
    with ThreadPoolExecutor(task["workers"]) as workers:
        for group in task["groups"]:
            for path, (text, mode) in group["files"].items():
                replace_file(path, text.encode(), mode)
            for path, target in group["links"].items():
                switch_link(path, target)
            names = [f"nvproxy-matrix-{number + place}" for place in range(len(group["runs"]))]
            number += len(names)
            for answer in workers.map(lambda what, name: container(task, what, name), group["runs"], names):
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
