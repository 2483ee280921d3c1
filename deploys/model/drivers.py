"""Whether a runsc serves the host's driver. runsc matches the version exactly, and says so only as `EOF`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model.plan import Refusal
from deploys.model.versions import DriverVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot, InstalledRelease

# Lets a runsc from 20260615 on try a driver that is not in its list (google/gvisor 71e63624f).
ALLOW_UNSUPPORTED = "nvproxy-allow-unsupported-driver"
ASK = "runsc nvproxy list-supported-drivers"


def unsupported(
    settings: Settings, driver: str, supported: Sequence[str], releases: Sequence[InstalledRelease] = ()
) -> Refusal | None:
    """Why the runsc of these settings would refuse every GPU container of the host; None where it would not.

    Args:
        settings: the host's; they may give runsc another version than the loaded one.
        driver: the loaded driver's version, as `/proc/driver/nvidia/version` has it.
        supported: what this runsc prints for `nvproxy list-supported-drivers`, a version each.
        releases: of gVisor on this host, which were asked the same.

    Raises:
        ValueError: one of the versions is none.
    """
    versions = sorted(DriverVersion.parse(line) for line in supported)
    mine = DriverVersion.parse(settings.driver_version or driver)
    if mine in versions or _allowed(settings.runsc_flags):
        return None
    listed = ", ".join(str(version) for version in sorted(nearest(mine, versions))) or "none"
    lists_it = ", ".join(release.name for release in releases if _lists(release.drivers, mine))
    return Refusal(
        f"the NVIDIA driver {mine} is not among the {len(versions)} that gVisor "
        f"{settings.gvisor_release} supports (nearest: {listed})",
        f"Install a driver that it supports, or set gvisor_release to {lists_it or 'one'}"
        f"{', which lists it' if lists_it else f' whose {ASK!r} prints {mine}'}.",
    )


def nearest(mine: DriverVersion, versions: Sequence[DriverVersion], count: int = 3) -> list[DriverVersion]:
    """Those of the same branch first, then by how far their numbers are."""
    return sorted(versions, key=lambda other: (other.major != mine.major, abs(_order(other) - _order(mine))))[
        :count
    ]


def _lists(drivers: Sequence[str], mine: DriverVersion) -> bool:
    return any(DriverVersion.parse(line) == mine for line in drivers)


@dataclass(frozen=True)
class Pair:
    """A host's driver, and which releases of gVisor serve it.

    Attributes:
        driver: its version; None where there is none.
        state: `loaded`, or where its version was read as long as it is not.
        release: the one that the settings want.
        listed: whether that one lists it; None where nobody could be asked.
        near: the nearest that it lists.
        others: of the other releases that were asked, those that list it.
    """

    driver: DriverVersion | None
    state: str
    release: str
    listed: bool | None
    near: tuple[DriverVersion, ...]
    others: tuple[str, ...]

    def __str__(self) -> str:
        if self.driver is None:
            return f"driver: none is loaded, and none is installed; gVisor {self.release} is wanted"
        head = f"driver {self.driver} ({self.state}), gVisor {self.release}"
        others = f"; also listed by gVisor {', '.join(self.others)}" if self.others else ""
        if self.listed is None:
            return f"{head}: not known yet whether it lists this driver{others}"
        if self.listed:
            return f"{head}: it lists this driver{others}"
        return f"{head}: not listed, nearest are {', '.join(map(str, self.near)) or 'none'}{others}"


def pair(settings: Settings, snapshot: HostSnapshot, asked: Mapping[str, Sequence[str]]) -> Pair:
    """The driver of a host, loaded or only installed, and the releases of gVisor that were asked.

    Args:
        settings: the host's.
        snapshot: the host.
        asked: what runsc lists, by release: of one that was only fetched. Those on the host are known.
    """
    lists = {**{release.name: release.drivers for release in snapshot.surroundings.releases}, **asked}
    lists = {name: drivers for name, drivers in lists.items() if drivers}
    driver, state = snapshot.driver.version, "loaded"
    if driver is None:
        state, driver = next(iter(snapshot.driver.installed.items()), ("", None))
    if driver is None:
        return Pair(None, "", settings.gvisor_release, None, (), ())
    mine, wanted = DriverVersion.parse(driver), lists.get(settings.gvisor_release)
    versions = [DriverVersion.parse(line) for line in wanted or ()]
    others = sorted(name for name in lists if name != settings.gvisor_release and _lists(lists[name], mine))
    return Pair(
        mine,
        state,
        settings.gvisor_release,
        None if wanted is None else mine in versions,
        tuple(sorted(nearest(mine, versions))),
        tuple(others),
    )


def _allowed(flags: Sequence[str]) -> bool:
    """Go's flags: a boolean alone is true, and the last one wins."""
    given = [flag.lstrip("-").partition("=") for flag in flags]
    values = [value for name, _, value in given if name == ALLOW_UNSUPPORTED]
    return bool(values) and values[-1].lower() in {"", "1", "t", "true"}


def _order(version: DriverVersion) -> int:
    return version.major * 1_000_000 + version.minor * 1_000 + version.patch
