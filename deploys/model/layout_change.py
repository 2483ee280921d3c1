"""A change of the layout: what goes back to the host, and what is remembered of it anew. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import daemon_json, device_specs, own_runtimes, paths
from deploys.model.applied import Applied, Before
from deploys.model.changes import FileRestoration
from deploys.model.layouts import Layout
from deploys.model.toolkit_config import runtimes_of, unmerged

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.versions import ToolkitVersion


def is_ours(snapshot: HostSnapshot, path: str) -> bool:
    """Whether a file in the host's own place is what a run in the layout `shared` has made of it.

    By the record of a run, or the copy that it kept; else, where a run died before it kept or recorded
    anything, by what the file says.
    """
    if path in Applied.read(snapshot).files or paths.original_of(path) in snapshot.files:
        return True
    before = Before.read(snapshot)
    if path not in snapshot.files or before is None or path in before.files:
        return False
    text = snapshot.text_of(path)
    if path == paths.TOOLKIT_CONFIG:
        return runtimes_of(text) == (paths.LAUNCHER,)
    return text in (device_specs.devices_csv(snapshot), device_specs.drivers_csv(snapshot))


def hosts_toolkit_config(snapshot: HostSnapshot, version: ToolkitVersion) -> str | None:
    """The text of `config.toml` that the host has without us; None where it had none before.

    Raises:
        ToolkitConfigError: our keys cannot be taken out of the one that is there.
    """
    before = Before.read(snapshot)
    former = None if before is None else before.toolkit_config
    if former is None:
        return None
    now = snapshot.text_of(paths.TOOLKIT_CONFIG)
    # One that nobody can read any more holds nothing that could be kept.
    is_readable = paths.TOOLKIT_CONFIG in snapshot.files and runtimes_of(now) is not None
    return unmerged(now, former, version) if is_readable else former


def restorations(settings: Settings, snapshot: HostSnapshot) -> tuple[FileRestoration, ...]:
    """The files of the other layout: ours go, and the host's own come back.

    Raises:
        ToolkitConfigError: our keys cannot be taken out of the host's `config.toml`.
    """
    if settings.layout is Layout.SHARED:
        return tuple(
            FileRestoration(path, why=f"the layout is {settings.layout}", was_there=False)
            for path in Layout.DEDICATED.files
            if path in snapshot.files
        )
    before = Before.read(snapshot)
    there = () if before is None else before.files
    return tuple(
        FileRestoration(
            path,
            why=f"the layout is {settings.layout}, so it is the host's own again",
            was_there=path in there,
            text=hosts_toolkit_config(snapshot, settings.toolkit) if path == paths.TOOLKIT_CONFIG else None,
        )
        for path in Layout.SHARED.files
        if is_ours(snapshot, path)
    )


def remembered(settings: Settings, snapshot: HostSnapshot) -> Before:
    """How the host was before this run put anything in its place.

    It is written once, before the first change. But what a run in the layout `dedicated` has left alone is
    the host's own to change, and where `shared` comes after it, that is what has to come back from there.
    """
    before = Before.read(snapshot)
    if before is None:
        return Before.of(snapshot)
    was_dedicated = Applied.read(snapshot).layout is Layout.DEDICATED
    if settings.layout is Layout.DEDICATED or not was_dedicated or is_ours(snapshot, paths.TOOLKIT_CONFIG):
        return before
    now = Before.of(snapshot)
    hosts = {path for path in Layout.SHARED.files if path in now.files and not is_ours(snapshot, path)}
    text: str | None = snapshot.text_of(paths.DAEMON_JSON) if paths.DAEMON_JSON in snapshot.files else None
    names = own_runtimes.former(settings, snapshot)
    for name in names:
        text = daemon_json.without_runtime(text, name, before.daemon_json)
    hosts |= {paths.DAEMON_JSON} if text is not None else set()
    kept = set(before.files) - {*Layout.SHARED.files, paths.DAEMON_JSON}
    return before.model_copy(
        update={
            "files": tuple(sorted(kept | hosts)),
            "toolkit_config": now.toolkit_config,
            "daemon_json": text,
            "daemon_json_encoding": before.daemon_json_encoding
            if text == before.daemon_json
            else now.daemon_json_encoding,
            "docker_loaded": {name: path for name, path in now.docker_loaded.items() if path != paths.ENTRY},
        }
    )
