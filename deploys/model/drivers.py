"""Whether a runsc serves the host's driver. runsc matches the version exactly, and says so only as `EOF`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model.plan import Refusal
from deploys.model.versions import DriverVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.settings import Settings

# Lets a runsc from 20260615 on try a driver that is not in its list (google/gvisor 71e63624f).
ALLOW_UNSUPPORTED = "nvproxy-allow-unsupported-driver"


def unsupported(settings: Settings, driver: str, supported: Sequence[str]) -> Refusal | None:
    """Why the runsc of these settings would refuse every GPU container of the host; None where it would not.

    Args:
        settings: the host's; they may give runsc another version than the loaded one.
        driver: the loaded driver's version, as `/proc/driver/nvidia/version` has it.
        supported: what this runsc prints for `nvproxy list-supported-drivers`, a version each.

    Raises:
        ValueError: one of the versions is none.
    """
    versions = sorted(DriverVersion.parse(line) for line in supported)
    mine = DriverVersion.parse(settings.driver_version or driver)
    if mine in versions or _allowed(settings.runsc_flags):
        return None
    near = sorted(versions, key=lambda other: (other.major != mine.major, abs(_order(other) - _order(mine))))[
        :3
    ]
    listed = ", ".join(str(version) for version in sorted(near)) or "none"
    return Refusal(
        f"the NVIDIA driver {mine} is not among the {len(versions)} that gVisor "
        f"{settings.gvisor_release} supports (nearest: {listed})",
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
