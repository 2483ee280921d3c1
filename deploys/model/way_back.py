"""Out of a run that does not end: what is put aside for that, and whether there is a way back. Pure."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Any

from deploys.model import paths
from deploys.model.applied import Applied, Before
from deploys.model.changes import FileChange
from deploys.model.layouts import Layout
from deploys.model.toolkit_config import runtimes_of

if TYPE_CHECKING:
    from deploys.model.changes import EngineChange
    from deploys.model.plan import Plan
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot

# Others write into these too, so that the record of what was written does not say whether they are whole.
_SHARED = (paths.DAEMON_JSON, paths.TOOLKIT_CONFIG)


class Open(Enum):
    """Whether there is a way back: none, to a host that no run has changed yet, to what a run has left."""

    NOT = "not"
    FIRST = "first"
    LATER = "later"


def opening(settings: Settings, snapshot: HostSnapshot, plan: Plan) -> Open:
    """Whether a run keeps a way back, and to what."""
    is_left = paths.WAY_BACK in snapshot.files
    if plan.refusals or (plan.empty and not is_left) or not (is_left or is_whole(settings, snapshot)):
        return Open.NOT
    return Open.FIRST if Applied.read(snapshot).gvisor is None else Open.LATER


def is_whole(settings: Settings, snapshot: HostSnapshot) -> bool:
    """Whether a host is as a run has left it, or as it was before any: only to such a state a run goes back.

    One that somebody has damaged is repaired as far as a run comes, and not damaged again.
    """
    applied = Applied.read(snapshot)
    if applied.gvisor is None:
        return _is_untouched(settings, snapshot)
    ours = {path: file.sha256 for path, file in applied.files.items() if path not in _SHARED}
    there = {path: file.sha256 for path, file in snapshot.files.items() if path in ours}
    release = paths.release_directory(applied.gvisor.release)
    leads_to_gvisor = paths.TOOLKIT_CONFIG not in applied.files or runtimes_of(
        snapshot.text_of(paths.TOOLKIT_CONFIG)
    ) == (paths.LAUNCHER,)
    return (
        there == ours
        and snapshot.links.get(paths.GVISOR_CURRENT) == release
        and paths.WRAPPER_CURRENT in snapshot.links
        and snapshot.trees.get(release, applied.gvisor.tree) == applied.gvisor.tree
        and leads_to_gvisor
        and snapshot.engine.runtimes.get(applied.runtime or settings.runtime_name) == paths.ENTRY
    )


def _is_untouched(settings: Settings, snapshot: HostSnapshot) -> bool:
    before = Before.read(snapshot)
    theirs = set(before.files) if before is not None else set(snapshot.files)
    ours = {path for path in paths.MANAGED_FILES if path in snapshot.files} - theirs
    return (
        not ours and not snapshot.links and snapshot.engine.runtimes.get(settings.runtime_name) != paths.ENTRY
    )


def task(plan: Plan, snapshot: HostSnapshot) -> dict[str, Any]:
    """What `keep_way_back` is given: the paths that a run may write, and how Docker is given its old file."""
    layout = Applied.read(snapshot).layout
    # The last goes back first: the configuration that the entry is to name again, the entry, and then the one
    # that it names no more.
    led = [*layout.other.files, paths.ENTRY, *layout.files]
    rest = [path for path in paths.MANAGED_FILES if path not in {*led, paths.DAEMON_JSON}]
    written = [*rest, *led, *(paths.original_of(path) for path in Layout.SHARED.files)]
    others = [change.path for _, change in plan.files if change.path not in written]
    made = [part.directory for part in (plan.release, plan.wrapper) if part is not None]
    return {
        "directory": paths.WAY_BACK_DIR,
        "paths": [*written, *others, *paths.MANAGED_LINKS, paths.KEPT_FROM_PACKAGES, paths.APPLIED],
        # A release is in its place whole or not at all, and one that is there needs no second download.
        "made": [plan.wrapper.directory] if plan.wrapper is not None else [],
        "strays": [*made, paths.DAEMON_JSON],
        "staging": paths.STAGING_DIR,
        "packages": plan.packages is not None,
        "engine": plan.engine and _engine(plan.engine, snapshot),
        "unit": paths.WAY_BACK_UNIT,
        "wanted": paths.WAY_BACK_WANTED,
    }


def _engine(change: EngineChange, snapshot: HostSnapshot) -> dict[str, Any]:
    new = [change.load.encode(change.encoding), change.load_old.encode(change.old_encoding)]
    if isinstance(change.file, FileChange):
        new.append(change.file.text.encode(change.encoding))
    return {
        "path": paths.DAEMON_JSON,
        "daemon": change.daemon,
        "runtime": change.runtime,
        "runtime_path": snapshot.engine.runtimes.get(change.runtime),
        "load": {"text": change.load_old, "encoding": change.old_encoding},
        # Another content than these is somebody else's, who has come in between: it stays.
        "ours": [hashlib.sha256(text).hexdigest() for text in new],
    }
