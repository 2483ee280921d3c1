"""What a run makes of a host, without one: the changes of a plan applied to a snapshot. Pure.

It stands in for the remote programs, which have tests of their own, and knows nothing of how a plan is made.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploys.model import paths
from deploys.model.applied import Applied, AppliedRelease, RuntimeProbe
from deploys.model.device_specs import device_nodes
from deploys.model.layout_change import remembered
from deploys.model.layouts import Layout
from deploys.model.managed_files import file_change, wrapper_settings_file
from deploys.model.plan import Plan
from deploys.model.site_plan import applied_after, site_plan
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.deploys.example_hosts import (
    BLANK,
    PROBE,
    RELEASE_TREE,
    brought,
    file_record,
    settings,
    snapshot,
)

if TYPE_CHECKING:
    from deploys.model.changes import FileChange, FileRestoration
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.sources import Sources


def _write(host: dict[str, Any], change: FileChange) -> None:
    kept = paths.original_of(change.path)
    if change.original and change.path in Layout.SHARED.files and change.path in host["files"]:
        # Of the others nobody looks whether a copy was kept.
        host["files"].setdefault(kept, host["files"][change.path])
    host["files"][change.path] = file_record(change.text, change.mode, change.encoding)


def after(
    changes: Plan, settings: Settings, before: HostSnapshot, sources: Sources, probe: RuntimeProbe = PROBE
) -> HostSnapshot:
    """The host once every change of a plan was made on it, in the order of a site run."""
    host = before.model_dump(mode="json")
    _install(host, changes, sources)
    _configure(host, changes)
    if changes.probe_runsc:
        change = file_change(before, wrapper_settings_file(settings, before, probe))
        if change is not None:
            _write(host, change)
    if not changes.empty:
        host["files"][paths.BEFORE] = file_record(remembered(settings, before).text(), 0o600)
    known = Applied.read(before).gvisor if changes.release is None else None
    gvisor = AppliedRelease(
        release=settings.gvisor_release,
        tree=known.tree if known is not None else RELEASE_TREE,
        probe=known.probe if known is not None and not changes.probe_runsc else probe,
    )
    host["files"][paths.APPLIED] = file_record(applied_after(settings, before, sources, gvisor).text())
    return snapshot(host)


def _configure(host: dict[str, Any], changes: Plan) -> None:
    host["directories"] = [*host["directories"], *changes.directories]
    for _, change in changes.files:
        _write(host, change)
    for file in changes.restored:
        _restore(host, file)
    for _, link in changes.links:
        host["links"][link.path] = link.target
    if changes.engine is not None:
        if changes.engine.file is not None:
            _write(host, changes.engine.file)
        # A reload of a file that names runtimes drops all others.
        host["engine"]["runtimes"] = {
            "runc": "runc",
            **{
                name: runtime["path"]
                for name, runtime in json.loads(changes.engine.load.lstrip("\ufeff"))["runtimes"].items()
            },
        }


def _restore(host: dict[str, Any], file: FileRestoration) -> None:
    kept = host["files"].pop(paths.original_of(file.path), None)
    if file.text is not None:
        host["files"][file.path] = file_record(file.text)
    elif kept is not None:
        host["files"][file.path] = kept
    elif not file.was_there:
        host["files"].pop(file.path, None)


def _install(host: dict[str, Any], changes: Plan, sources: Sources) -> None:
    if changes.kernel is not None:
        host["nodes"] = [
            {"path": path, "kind": "c", "major": 195, "minor": 0, "mode": 0o666}
            for path in device_nodes(snapshot(host).gpus)
        ]
    if changes.packages is not None:
        host["packages"] = dict.fromkeys(TOOLKIT_PACKAGES, changes.packages.version)
    if changes.release is not None:
        host["trees"][changes.release.directory] = RELEASE_TREE
    if changes.wrapper is not None:
        host["trees"][changes.wrapper.directory] = sources.wrapper.tree


def converged(settings: Settings, before: HostSnapshot, sources: Sources) -> HostSnapshot:
    """A host after a site run that nothing went wrong in."""
    return after(site_plan(settings, before, sources), settings, before, sources)


NOTHING = Plan(refusals=())
# The blank example host after a site run.
SETTINGS = settings()
SOURCES = brought()
CONVERGED = converged(SETTINGS, snapshot(BLANK), SOURCES)
WRAPPER_TREE = SOURCES.wrapper.directory
RELEASE_DIRECTORY = paths.release_directory(SETTINGS.gvisor_release)
