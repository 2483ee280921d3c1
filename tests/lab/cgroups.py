"""A cgroup for each host, so that the engines of two hosts do not share /docker.

Chosen by what is mounted: cgroup v1, hybrid (both tried), or v2 (written to the manual, not tried).
"""

import os
import time
from pathlib import Path

REMOVAL_SECONDS = 10


def _mounted() -> list[tuple[Path, str]]:
    """(mount point, "cgroup" or "cgroup2") of each hierarchy below /sys/fs/cgroup."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [(Path(point), kind) for _, point, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def host_groups(name: str) -> list[Path]:
    """The group of a host in each hierarchy."""
    return [point / name for point, _ in _mounted()]


def groups_of_process(name: str, pid: int) -> list[Path]:
    """Where a process of a host is, in each hierarchy.

    Not the host's own group: in v2 a group whose children have controllers takes no process.
    """
    return [place for group in host_groups(name) for place in _at_and_below(group) if pid in _pids_in(place)]


def processes(name: str) -> set[int]:
    """The pids, on this machine, of all of a host's processes."""
    return {pid for group in host_groups(name) for place in _at_and_below(group) for pid in _pids_in(place)}


def make(name: str) -> list[Path]:
    """Make a host's groups; a process enters by its pid written into each one's cgroup.procs."""
    groups = host_groups(name)
    for group in groups:
        group.mkdir(exist_ok=True)
        for setting in (
            "cpuset.cpus",
            "cpuset.mems",
        ):  # v1: empty in a new group, and then no process may enter
            inherited = group.parent / setting
            if inherited.exists() and (group / setting).exists():
                (group / setting).write_text(inherited.read_text())
    return groups


def remove(name: str) -> None:
    """Remove a host's groups with all below. Its processes are dead; the kernel may need a moment."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    for group in host_groups(name):
        while group.exists():
            try:
                for place in reversed(_at_and_below(group)):
                    place.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _at_and_below(group: Path) -> list[Path]:
    """Parents first. Not Path.rglob: a group may vanish while one looks, and os.walk passes over that."""
    return [Path(directory) for directory, _, _ in os.walk(group)]


def _pids_in(group: Path) -> list[int]:
    try:
        # 0 stands for a process of a pid namespace that is not ours.
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split() if pid != "0"]
    except OSError:  # it has vanished
        return []
