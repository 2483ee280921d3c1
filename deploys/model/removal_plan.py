"""The plan of a removal: what goes from a host, and what of before comes back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import daemon_json, layouts, own_runtimes, paths
from deploys.model.applied import Applied
from deploys.model.changes import EngineChange, FileChange, FileRemoval
from deploys.model.layout_change import hosts_toolkit_config, is_ours
from deploys.model.layouts import Layout
from deploys.model.managed_files import disabled_sources
from deploys.model.plan import Refusal
from deploys.model.toolkit_config import ToolkitConfigError
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from deploys.model.applied import Before
    from deploys.model.settings import Settings
    from deploys.model.snapshot import Engine, HostSnapshot, ManagedFile

# The second is what a release without the entry has given to Docker.
_OURS = (paths.ENTRY, paths.SHIM)


@dataclass(frozen=True)
class RemovalPlan:
    """What a removal does on one host.

    Attributes:
        runtimes: our Docker runtime, and names that it had before. While containers of them are running,
            nothing may be removed.
        engine: takes the runtime out of Docker; None where neither `daemon.json` nor the daemon has it.
        held: packages that are held at our version.
        purged: those of them that were not there before the first run.
        files: ours, and those of before that a run has replaced.
        links: they go.
        directories: they go with all that is in them, in this order.
        parents: they go where nothing else is in them.
        before: the files that were there before the first run.
        rewritten: files of before with what others have written into them since; they come last.
    """

    runtimes: tuple[str, ...]
    engine: EngineChange | None
    held: tuple[str, ...]
    purged: tuple[str, ...]
    files: tuple[str, ...]
    links: tuple[str, ...]
    directories: tuple[str, ...]
    parents: tuple[str, ...]
    before: tuple[str, ...]
    rewritten: tuple[FileChange, ...]


def removal_plan(settings: Settings, snapshot: HostSnapshot, before: Before) -> RemovalPlan | Refusal:
    """The plan for one host that a run has changed, or what stands against it.

    What would stop a site run does not stop this: a host whose driver is gone must be able to be left, too.
    """
    applied = Applied.read(snapshot)
    try:
        rewritten = _toolkit_config(settings, snapshot)
    except ToolkitConfigError as error:
        return Refusal(f"{paths.TOOLKIT_CONFIG}: {error}", "Repair it by hand, and run again.")
    # As recorded, or as set where no run came to recording it.
    runtime = applied.runtime or settings.runtime_name
    known = (*own_runtimes.former(settings, snapshot), *own_runtimes.unrecorded(settings, snapshot))
    former = tuple(name for name in known if name != runtime)
    engine = _without_runtime(snapshot, before, runtime, former)
    if isinstance(engine, Refusal):
        return engine
    # Those of a run that did not come to its record are known by what they say.
    disabled = (file.path for file in disabled_sources(settings, snapshot))
    not_ours = {path for path in Layout.SHARED.files if not is_ours(snapshot, path)}
    if paths.KEPT_FROM_PACKAGES in snapshot.files and paths.TOOLKIT_CONFIG not in snapshot.files:
        # Packages that were being installed have made it.
        not_ours -= {paths.TOOLKIT_CONFIG}
    not_there = set(Layout.DEDICATED.files) - set(snapshot.files)
    ours = {*applied.files, *paths.MANAGED_FILES, *disabled, paths.WAY_BACK_UNIT} - not_ours - not_there
    held = tuple(name for name in TOOLKIT_PACKAGES if name in snapshot.packages)
    return RemovalPlan(
        runtimes=(runtime, *former),
        engine=engine,
        held=held,
        purged=tuple(name for name in held if name not in before.packages),
        files=tuple(sorted(ours - {paths.DAEMON_JSON})),
        links=(*paths.MANAGED_LINKS, paths.WAY_BACK_WANTED),
        # The records last: a removal that was killed can be started again.
        directories=(*applied.directories, *snapshot.trees, paths.STATE_DIR),
        parents=(*layouts.DIRECTORIES, paths.GVISOR_DIR, paths.WRAPPER_DIR, paths.WRAPPER_SETTINGS_DIR),
        before=before.files,
        rewritten=rewritten,
    )


def _toolkit_config(settings: Settings, snapshot: HostSnapshot) -> tuple[FileChange, ...]:
    there = snapshot.files.get(paths.TOOLKIT_CONFIG)
    if is_ours(snapshot, paths.TOOLKIT_CONFIG):
        text = hosts_toolkit_config(snapshot, settings.toolkit)
    elif paths.KEPT_FROM_PACKAGES in snapshot.files:
        text = None if there is None else there.text
    else:
        return ()
    if text is None:
        return ()
    return (FileChange(paths.TOOLKIT_CONFIG, text, 0o644, "it was there before", original=False),)


def _without_runtime(
    snapshot: HostSnapshot, before: Before, name: str, former: tuple[str, ...]
) -> EngineChange | Refusal | None:
    engine = snapshot.engine
    there = snapshot.files.get(paths.DAEMON_JSON)
    try:
        text = _text_of(there)
        without = text
        for ours in (*former, name):
            without = daemon_json.without_runtime(without, ours, before.daemon_json)
        also = _besides(engine, before, {name, *former}, text, without)
        was = daemon_json.runtime_path(before.docker_runtimes.get(name), engine.version)
        lost = daemon_json.lost_default(without, engine.default_runtime, also)
    except daemon_json.DaemonJsonError as error:
        if engine.daemon is None:
            # Nothing reads it any more, and nobody can be asked to repair it for that.
            return None
        return Refusal(f"{paths.DAEMON_JSON}: {error}", "Repair it by hand, and run again.")
    if lost is not None:
        return Refusal(
            f"{lost} is Docker's default runtime, and would not be there any more",
            f'Write "default-runtime": "runc" into {paths.DAEMON_JSON} (to take the line out does not do: '
            "dockerd keeps the one that it has), 'systemctl reload docker', and run again.",
        )
    file: FileChange | FileRemoval | None = None
    if without is None and there is not None:
        file = FileRemoval(paths.DAEMON_JSON, "it was not there")
    elif without is not None and without != text:
        as_before = there is None or without == before.daemon_json
        file = FileChange(
            paths.DAEMON_JSON,
            without,
            0o644,
            "the runtime is taken out",
            original=False,
            encoding=before.daemon_json_encoding if as_before or there is None else there.encoding,
        )
    if file is None and not any(engine.runtimes.get(ours) in _OURS for ours in (name, *former)):
        return None
    return EngineChange.of(
        snapshot,
        file,
        runtime=(name, also.get(name) if was is None else was),
        also=also,
        why=paths.DAEMON_JSON,
    )


def _besides(
    engine: Engine, before: Before, ours: set[str], text: str | None, without: str | None
) -> dict[str, str]:
    """The runtimes that dockerd's command line names, and no file: those of before the first run, and now."""
    then = daemon_json.unnamed(before.docker_loaded, engine.version, before.daemon_json, without)
    now = daemon_json.unnamed(engine.runtimes, engine.version, text, without)
    return {**{name: path for name, path in now.items() if name not in ours}, **then}


def _text_of(file: ManagedFile | None) -> str | None:
    if file is not None and file.text is None:
        raise daemon_json.DaemonJsonError("it is not UTF-8 text, nor UTF-16 with a byte order mark")
    return None if file is None else file.text
