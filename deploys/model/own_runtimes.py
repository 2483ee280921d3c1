"""Which of Docker's runtimes are ours: that of the settings, those of earlier settings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploys.model import daemon_json, paths
from deploys.model.applied import Applied, Before
from deploys.model.layouts import Layout

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot


def former(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """Names that runs of earlier settings have given to Docker, as they are recorded.

    A run that did not come to its record is told by the names that our runtime has by itself.
    """
    applied = Applied.read(snapshot)
    recorded = {*applied.kept_runtimes} | ({applied.runtime} if applied.runtime is not None else set())
    there = _named(snapshot)
    by_itself = {
        layout.runtime_name for layout in Layout if is_entry(there.get(layout.runtime_name), snapshot)
    }
    return tuple(sorted((recorded | by_itself) - {settings.runtime_name}))


def unrecorded(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """The name of the settings, where a run has given it to Docker and did not come to its record."""
    entry = _named(snapshot).get(settings.runtime_name)
    return (settings.runtime_name,) if is_entry(entry, snapshot) else ()


def kept(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """The former names that stay for now: containers run by them, which could not be started again."""
    containers = snapshot.engine.containers
    return tuple(
        name for name in former(settings, snapshot) if containers is None or containers.get(name, ())
    )


def given_up(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """The former names that go, or are the host's own again."""
    stay = kept(settings, snapshot)
    return tuple(name for name in former(settings, snapshot) if name not in stay)


def of_the_host(snapshot: HostSnapshot) -> dict[str, str]:
    """The runtimes that Docker had before the first run, or has now where there was none: name to path."""
    before = Before.read(snapshot)
    version = snapshot.engine.version
    loaded = snapshot.engine.runtimes if before is None else before.docker_loaded
    named = _named(snapshot) if before is None else before.docker_runtimes
    in_file = {name: daemon_json.runtime_path(entry, version) or "" for name, entry in named.items()}
    return {name: path for name, path in {**loaded, **in_file}.items() if path != paths.ENTRY}


def _named(snapshot: HostSnapshot) -> dict[str, Any]:
    """The runtimes of `daemon.json`; none where it cannot be read, which preflight says."""
    try:
        return daemon_json.runtimes(snapshot.text_of(paths.DAEMON_JSON))
    except daemon_json.DaemonJsonError:
        return {}


def is_entry(entry: Any, snapshot: HostSnapshot) -> bool:
    """Whether a runtime of `daemon.json` leads to our entry."""
    return daemon_json.runtime_path(entry, snapshot.engine.version) == paths.ENTRY
