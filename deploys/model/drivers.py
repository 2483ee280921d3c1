"""Whether a runsc serves the host's driver. runsc matches the version exactly, and says so only as `EOF`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model.versions import DriverVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

# Lets a runsc from 20260615 on try a driver that is not in its list (google/gvisor 71e63624f).
ALLOW_UNSUPPORTED = "nvproxy-allow-unsupported-driver"


@dataclass(frozen=True)
class Unsupported:
    """Why a driver is not served, and what to do."""

    what: str
    remedy: str


def unsupported(
    driver: str, supported: Sequence[str], release: str, flags: Sequence[str]
) -> Unsupported | None:
    """Why this runsc would refuse every GPU container of the host, or None where it would not.

    Args:
        driver: the driver's version, as `/proc/driver/nvidia/version` has it.
        supported: what `runsc nvproxy list-supported-drivers` printed, a version per line.
        release: gVisor's release, for the sentence.
        flags: runsc's global flags on this host.
    """
    versions = sorted(DriverVersion.parse(line) for line in supported)
    mine = DriverVersion.parse(driver)
    if mine in versions or _allowed(flags):
        return None
    near = sorted(versions, key=lambda other: (other.major != mine.major, abs(_order(other) - _order(mine))))[
        :3
    ]
    listed = ", ".join(str(version) for version in sorted(near)) or "none"
    return Unsupported(
        f"the NVIDIA driver {mine} is not among the {len(versions)} that gVisor {release} supports "
        f"(nearest: {listed})",
        "Install a driver that it supports, or set gvisor_release to one whose "
        f"'runsc nvproxy list-supported-drivers' prints {mine}.",
    )


def _allowed(flags: Sequence[str]) -> bool:
    """Go's flags: a boolean alone is true, and the last one wins."""
    given = [flag.lstrip("-").partition("=") for flag in flags]
    values = [value for name, _, value in given if name == ALLOW_UNSUPPORTED]
    return bool(values) and values[-1].lower() in {"", "1", "t", "true"}


def _order(version: DriverVersion) -> int:
    return version.major * 1_000_000 + version.minor * 1_000 + version.patch
