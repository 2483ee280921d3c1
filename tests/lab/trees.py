"""Directories with mounts in them: what is mounted, and how to take all of it away."""

import shutil
import subprocess
from pathlib import Path

from .errors import LabError


def mount_points_below(directory: Path) -> list[Path]:
    """Mount points at or below a directory, the innermost first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].replace("\\040", " "))
        if point.is_relative_to(directory):
            points.append(point)
    return points[::-1]


def remove_tree(directory: Path) -> None:
    """Remove a directory after unmounting whatever is mounted in it.

    Never a plain rmtree: a debootstrap or a host that was killed leaves mounts of /proc and of other trees
    behind.
    """
    for point in mount_points_below(directory):
        done = subprocess.run(["umount", point], capture_output=True, text=True, check=False)
        if done.returncode:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    if left := mount_points_below(directory):
        raise LabError(f"{left[0]} cannot be unmounted: something still uses it; end that and try again")
    if directory.exists():
        shutil.rmtree(directory)
