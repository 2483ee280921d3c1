"""One look at a host: one program, one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pyinfra import host, state
from pyinfra.api.facts import get_fact

from deploys.host.remote_program import ProgramAnswer, stdin_for
from deploys.model import apt_sources, paths
from deploys.model.layouts import Layout
from deploys.model.plan import Refusal
from deploys.model.snapshot import HostSnapshot
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.sources import Sources

TASK = {
    "files": [
        *paths.MANAGED_FILES,
        *(paths.original_of(path) for path in Layout.SHARED.files),
        *(paths.APPLIED, paths.BEFORE, paths.KEPT_FROM_PACKAGES, paths.WAY_BACK),
    ],
    "apt_words": [apt_sources.WORD],
    "links": list(paths.MANAGED_LINKS),
    "directories": [paths.DECISION_LOG_DIR],
    "packages": list(TOOLKIT_PACKAGES),
    "disk": [paths.GVISOR_DIR, paths.STATE_DIR],
    "proc_driver": paths.PROC_DRIVER,
    "way_back": paths.WAY_BACK,
}


class SnapshotProbe(ProgramAnswer):
    """What the probe printed. It is never taken for a snapshot unread: see `take`."""

    program = "snapshot_probe"
    seconds = 120


def task(settings: Settings, sources: Sources) -> dict[str, Any]:
    """What to look at on a host that has these settings."""
    words = [apt_sources.WORD, settings.toolkit_repository_url.lower()]
    trees = [paths.release_directory(settings.gvisor_release), sources.wrapper.directory]
    return {**TASK, "trees": trees, "apt_words": words}


def take(settings: Settings, sources: Sources) -> HostSnapshot | Refusal:
    """Look at the current host; a host that gives no usable answer is a refusal, and stops nobody else."""
    # Not host.get_fact: for a host that is silent it asks "continue?", in a dry run too, and raises where no
    # other is left. It is a refusal like any other.
    found = get_fact(
        state,
        host,
        SnapshotProbe,
        kwargs={"_stdin": stdin_for(SnapshotProbe.program, task(settings, sources))},
        apply_failed_hosts=False,
    )
    if "error" in found:
        return Refusal(str(found["error"]).rstrip("."), "Repair that, and run again.")
    try:
        return HostSnapshot.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Refusal(
            f"the probe's answer has {first['input']!r} at {where}: {first['msg']}",
            "This is a fault of nvproxy-fleet; please report it with this sentence.",
        )
