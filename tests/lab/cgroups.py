"""A cgroup for each host, so that the engines of two hosts do not share /docker. Chosen by what is mounted: v1, hybrid or v2."""

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


def make(name: str) -> list[Path]:
    """Make a host's groups; a process enters by its pid written into each one's cgroup.procs."""
    groups = host_groups(name)
    for group in groups:
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group, and then no process may enter
            inherited = group.parent / setting
            if inherited.exists() and (group / setting).exists():
                (group / setting).write_text(inherited.read_text())
    return groups


def remove(name: str) -> None:
    """Remove a host's groups with all below. Its processes are dead; the kernel may need a moment to notice."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    for group in host_groups(name):
        while group.exists():
            try:
                for directory in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                    directory.rmdir()
                group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
