"""Which releases of gVisor on a host are no longer needed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.applied import Applied

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot


def old_releases(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """The directories that go: of those that runs have put there, all but the newest.

    The release that is wanted stays, so does the one before it, for the way back needs no download then, and
    one of which a sandbox still runs, whatever their number: its own programs start more from there.
    """
    applied = Applied.read(snapshot)
    before = applied.gvisor.release if applied.gvisor is not None else ""
    current = snapshot.links.get(paths.GVISOR_CURRENT, "").rpartition("/")[2]
    needed = {settings.gvisor_release, before, current}
    ours = [
        release
        for release in snapshot.surroundings.releases
        if paths.release_directory(release.name) in applied.directories
    ]
    others = sorted((release for release in ours if release.name not in needed), key=lambda one: one.name)
    # The one that is wanted may be still to come.
    there = needed & {settings.gvisor_release, *(release.name for release in snapshot.surroundings.releases)}
    kept = max(0, settings.gvisor_releases_kept - len(there))
    old = others[: max(0, len(others) - kept)]
    return tuple(paths.release_directory(release.name) for release in old if not release.in_use)
