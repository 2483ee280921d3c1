"""Versions of the toolkit, the driver and gVisor: how they are written and compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

# The four packages are pinned to one version: pinning only the first two broke with 1.17.7
# (NVIDIA/nvidia-container-toolkit issue 1093).
TOOLKIT_PACKAGES = (
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
)

_TOOLKIT = re.compile(r"(\d+)\.(\d+)\.(\d+)-(\d+)", re.ASCII)
_DRIVER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?", re.ASCII)
GVISOR_RELEASE = re.compile(r"20\d{6}(\.\d+)?", re.ASCII)


@total_ordering
@dataclass(frozen=True)
class ToolkitVersion:
    """A Debian package version of the toolkit, as in `1.20.0-1`."""

    major: int
    minor: int
    patch: int
    revision: int

    @classmethod
    def parse(cls, text: str) -> ToolkitVersion:
        """Read `1.20.0-1`; ValueError says what was expected."""
        match = _TOOLKIT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a package version like '1.20.0-1'")
        return cls(*(int(part) for part in match.groups()))

    def __lt__(self, other: ToolkitVersion) -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[int, int, int, int]:
        return (self.major, self.minor, self.patch, self.revision)

    @property
    def upstream(self) -> str:
        """The version without the package revision, as in `1.20.0`."""
        return f"{self.major}.{self.minor}.{self.patch}"

    def __str__(self) -> str:
        return f"{self.upstream}-{self.revision}"


# Below it, CVE-2025-23266 (NVIDIAScape) and CVE-2025-23267 let a container out (NVIDIA bulletin, July 2025).
TOOLKIT_FLOOR = ToolkitVersion(1, 17, 8, 1)
# From it on, mode auto means jit-cdi where it used to mean legacy (nvidia-container-toolkit commit 6149592b).
AUTO_FLOOR = ToolkitVersion(1, 18, 0, 1)
# What an inventory that names none gets. The lab's mirror has it by that.
TOOLKIT_DEFAULT = ToolkitVersion(1, 20, 1, 1)


@total_ordering
@dataclass(frozen=True)
class DriverVersion:
    """An NVIDIA driver version, as in `570.124.06` or `610.57.04`.

    runsc matches it exactly, and prints it with the last two parts two digits wide (gVisor 20260817,
    runsc/cmd/nvproxy/list_supported_drivers.go), so `550.90.7` and `550.90.07` are one version.
    """

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> DriverVersion:
        """Read `570.124.06`; ValueError says what was expected."""
        match = _DRIVER.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a driver version like '570.124.06'")
        major, minor, patch = match.groups()
        return cls(int(major), int(minor), int(patch or 0))

    def __lt__(self, other: DriverVersion) -> bool:
        return (self.major, self.minor, self.patch) < (other.major, other.minor, other.patch)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor:02d}.{self.patch:02d}"
