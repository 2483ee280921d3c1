"""A plan as an operator reads it: each change with its reason, and what differs in the files. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import daemon_json, paths
from deploys.model.applied import Applied, Before, RuntimeProbe
from deploys.model.changes import FileChange, FileRemoval
from deploys.model.drift import drift
from deploys.model.managed_files import wrapper_settings_file
from deploys.model.plan import Step
from deploys.model.shim_users import pulled_into_gvisor
from deploys.model.text_difference import difference
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deploys.model.changes import (
        EngineChange,
        FileRestoration,
        PackageChange,
        ReleaseChange,
        WrapperChange,
    )
    from deploys.model.plan import Plan, Refusal
    from deploys.model.removal_plan import RemovalPlan
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot

NOTHING = "nothing is to be changed"
_NOT_TRIED = RuntimeProbe(hooks_run=False, flags=(), supported_drivers=(), version=None)
_NAMES = 8


@dataclass(frozen=True)
class Told:
    """One change: a sentence, and the lines of what differs where that is a text."""

    sentence: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """What is told of the same hosts, and of no other."""

    hosts: tuple[str, ...]
    told: tuple[Told, ...]

    @property
    def names(self) -> str:
        """The first hosts by name, and how many there are."""
        more = len(self.hosts) - _NAMES
        names = ", ".join(self.hosts[:_NAMES]) + (f" and {more} more" if more > 0 else "")
        return f"[{names}]" + (f" {len(self.hosts)} hosts:" if len(self.hosts) > 1 else "")


def grouped(told: Mapping[str, Sequence[Told]]) -> list[Group]:
    """What is told of each host, the same once for all its hosts; what concerns most hosts comes first.

    Args:
        told: by host, in the order in which hosts are named; what each is told is in the order of a run.
    """
    hosts: dict[Told, dict[str, None]] = {}
    for host, changes in told.items():
        for change in changes:
            hosts.setdefault(change, {})[host] = None
    groups: dict[tuple[str, ...], list[Told]] = {}
    for changes in told.values():
        for change in changes:
            group = groups.setdefault(tuple(hosts[change]), [])
            if change not in group:
                group.append(change)
    return sorted((Group(*group) for group in _frozen(groups)), key=lambda group: -len(group.hosts))


def _frozen(
    groups: Mapping[tuple[str, ...], Sequence[Told]],
) -> Iterator[tuple[tuple[str, ...], tuple[Told, ...]]]:
    return ((hosts, tuple(told)) for hosts, told in groups.items())


def refused(refusals: Sequence[Refusal]) -> tuple[Told, ...]:
    """What is told of a host that is not touched."""
    return tuple(Told(f"not touched: {refusal}") for refusal in refusals)


def site_text(
    settings: Settings, snapshot: HostSnapshot, plan: Plan, *, few: bool, record_differs: bool = False
) -> tuple[Told, ...]:
    """What a site run would change on one host, in the order in which it does.

    Args:
        settings: the host's.
        snapshot: the look that the plan was made from.
        plan: the host's.
        few: whether containers are told by their names. No two hosts have the same ones, so that over a fleet
            their number has to do.
        record_differs: whether the record of the last run is not what this one would write; it goes without
            saying where something else is to be changed.
    """
    told: list[Told] = []
    if not plan.empty and Before.read(snapshot) is None:
        told.append(Told(f"write {paths.BEFORE}: how this host was before the first run"))
    if plan.repair is not None:
        told.append(_written(snapshot, plan.repair, "first of all, "))
    for step in Step:
        files = (change for change in plan.files_of(step) if not _is_said(plan, change))
        told += [_written(snapshot, change) for change in files]
        told += _of_step(settings, snapshot, plan, step)
        told += [Told(f"link {link.path} -> {link.target}: {link.why}") for link in plan.links_of(step)]
        if step is Step.RUNTIME_CONFIG:
            told += [_restored(snapshot, file) for file in plan.restored]
    told += _containers(settings, snapshot, plan, few=few)
    if not told and record_differs:
        told.append(Told(f"write {paths.APPLIED}: it is not the record of what is there"))
    return tuple(told) or (Told(NOTHING),)


def _is_said(plan: Plan, change: FileChange) -> bool:
    return plan.repair is not None and (plan.repair.path, plan.repair.text) == (change.path, change.text)


def _of_step(settings: Settings, snapshot: HostSnapshot, plan: Plan, step: Step) -> Iterator[Told]:
    if step is Step.KERNEL and plan.kernel is not None:
        yield Told(f"load the driver's modules and make device nodes: {plan.kernel.why}")
    if step is Step.TOOLKIT and plan.installation_was_cut:
        yield Told(f"put {paths.TOOLKIT_CONFIG} back: packages that were being installed have rewritten it")
    if step is Step.TOOLKIT and plan.packages is not None:
        yield _packages(snapshot, plan.packages)
    if step is Step.GVISOR and plan.release is not None:
        yield _release(snapshot, plan.release)
    if step is Step.WRAPPER:
        if plan.wrapper is not None:
            yield _wrapper(snapshot, plan.wrapper)
        for path in plan.directories:
            yield Told(f"make the directory {path}: not there")
        if plan.probe_runsc:
            yield _settings_to_come(settings, snapshot)
    if step is Step.DOCKER:
        yield from _at_the_end(snapshot, plan)


def _at_the_end(snapshot: HostSnapshot, plan: Plan) -> Iterator[Told]:
    if plan.engine is not None:
        yield _engine(snapshot, plan.engine)
    for path in plan.old_releases:
        yield Told(f"remove {path}: newer releases are there, and no sandbox of it runs")


def _written(snapshot: HostSnapshot, change: FileChange, when: str = "") -> Told:
    return Told(
        f"{when}write {change.path}: {_why(snapshot, change.path, change.why)}",
        _lines(snapshot, change.path, change.text, change.mode),
    )


def _restored(snapshot: HostSnapshot, file: FileRestoration) -> Told:
    if file.text is not None:
        return Told(f"put {file.path} back: {file.why}", _lines(snapshot, file.path, file.text))
    verb, end = ("put", "back") if file.was_there else ("take", "away")
    return Told(f"{verb} {file.path} {end}: {file.why}")


def _why(snapshot: HostSnapshot, path: str, why: str) -> str:
    theirs = drift(snapshot, path)
    if theirs is None:
        return why
    kept = f" (what is there now is kept in {paths.BACKUP_DIR})" if path in snapshot.files else ""
    return f"{theirs}{kept}; {why}"


def _lines(snapshot: HostSnapshot, path: str, new: str | None, mode: int | None = None) -> tuple[str, ...]:
    there = snapshot.files.get(path)
    if there is None:
        return difference(path, None, new)
    if not there.mode & 0o004:
        return ("(not shown: on the host not everybody may read this file)",)
    if there.text is None:
        return ("(not shown: what is there is no text, or too large)",)
    lines = difference(path, there.text, new)
    if mode is not None and (there.mode, there.owner, there.group) != (mode, 0, 0):
        owner = f"{there.owner}:{there.group}"
        lines += (
            (f"(mode {there.mode:o} of {owner} becomes {mode:o} of 0:0)",)
            if path != paths.DAEMON_JSON
            else ()
        )
    return lines


def _packages(snapshot: HostSnapshot, change: PackageChange) -> Told:
    has = {name: snapshot.packages.get(name) for name in TOOLKIT_PACKAGES}
    moves = [
        f"{name} {old or '(not installed)'} -> {change.version}"
        for name, old in has.items()
        if old != change.version
    ]
    why = ", ".join(moves) or change.why
    return Told(f"install the packages of NVIDIA Container Toolkit {change.version}: {why}")


def _release(snapshot: HostSnapshot, change: ReleaseChange) -> Told:
    return Told(
        f"install gVisor {_now(snapshot, paths.GVISOR_CURRENT)} -> {change.release}: {_last(change.why)}"
    )


def _wrapper(snapshot: HostSnapshot, change: WrapperChange) -> Told:
    new = change.directory.rsplit("/", 1)[-1]
    return Told(f"install the wrapper {_now(snapshot, paths.WRAPPER_CURRENT)} -> {new}: {_last(change.why)}")


def _last(why: str) -> str:
    """A reason without what it is a reason for, which has been said."""
    return why.partition(": ")[2] or why


def _now(snapshot: HostSnapshot, link: str) -> str:
    target = snapshot.links.get(link)
    return "(none)" if target is None else target.rstrip("/").rsplit("/", 1)[-1]


def _settings_to_come(settings: Settings, snapshot: HostSnapshot) -> Told:
    """The settings as far as they are known: what runsc does is not, before it was tried."""
    path, found = paths.WRAPPER_SETTINGS, _object(snapshot.text_of(paths.WRAPPER_SETTINGS))
    content = json.loads(wrapper_settings_file(settings, snapshot, _NOT_TRIED).text)
    for key in ("hooks_run", "runsc_flags", "runsc_capabilities"):
        content[key] = found.get(key, "known once runsc was tried")
    why = _why(snapshot, path, "hooks_run, runsc_flags and runsc_capabilities are known once runsc was tried")
    return Told(f"write {path}: {why}", _lines(snapshot, path, json.dumps(content, indent=2) + "\n"))


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _engine(snapshot: HostSnapshot, change: EngineChange) -> Told:
    new = change.file.text if isinstance(change.file, FileChange) else None
    lines = () if change.file is None else _lines(snapshot, paths.DAEMON_JSON, new)
    return Told(f"{_reload(snapshot, change)}: {change.why}", lines)


def _reload(snapshot: HostSnapshot, change: EngineChange) -> str:
    if change.daemon is None:
        return "no dockerd to reload"
    engine = snapshot.engine
    named = {
        name: daemon_json.runtime_path(entry, engine.version) or ""
        for name, entry in daemon_json.runtimes(change.load).items()
    }
    gone = daemon_json.unnamed(engine.runtimes, engine.version, change.load)
    said = [
        f"adds the runtime {name} -> {path}" for name, path in named.items() if name not in engine.runtimes
    ]
    said += [
        f"leads the runtime {name} to {path}, no longer to {engine.runtimes[name]}"
        for name, path in named.items()
        if engine.runtimes.get(name, path) != path
    ]
    said += [f"takes away the runtime {name} -> {path}" for name, path in gone.items()]
    return f"reload dockerd, without a restart, which {' and '.join(said) or 'changes no runtime'}"


def _containers(settings: Settings, snapshot: HostSnapshot, plan: Plan, *, few: bool) -> Iterator[Told]:
    changed = {link.path for _, link in plan.links} | {change.path for _, change in plan.files}
    config = settings.layout.toolkit_config
    if config in changed:
        behind = sorted(pulled_into_gvisor(settings, snapshot))
        if behind:
            yield Told(f"from then on containers of these Docker runtimes run in gVisor: {', '.join(behind)}")
    chain = {paths.WRAPPER_CURRENT, paths.GVISOR_CURRENT, paths.ENTRY, paths.LAUNCHER, config}
    running = snapshot.engine.containers or {}
    ours = {settings.runtime_name, Applied.read(snapshot).runtime}
    names = sorted(name for runtime, names in running.items() if runtime in ours for name in names)
    if chain & changed and names:
        who = ", ".join(names) if few else f"{len(names)}"
        yield Told(f"running containers go on, their exec, stop and kill by what is new: {who}")


def removal_text(snapshot: HostSnapshot, plan: RemovalPlan) -> tuple[Told, ...]:
    """What a removal would change on one host, in the order in which it does."""
    return tuple(_removal(snapshot, plan))


def _removal(snapshot: HostSnapshot, plan: RemovalPlan) -> Iterator[Told]:
    containers = snapshot.engine.containers or {}
    running = sorted(name for runtime in plan.runtimes for name in containers.get(runtime, ()))
    if running:
        ours = " and ".join(plan.runtimes)
        yield Told(f"stops before any change, as containers of the runtime {ours} run: {', '.join(running)}")
    if plan.engine is not None:
        deletes = isinstance(plan.engine.file, FileRemoval)
        told = _engine(snapshot, plan.engine)
        yield Told(
            f"{told.sentence} ({'deleted' if deletes else 'as it was before the first run'})", told.lines
        )
    for name in plan.held:
        version = snapshot.packages[name]
        purge = f"purge {name} {version}: it was not there before the first run"
        yield Told(purge if name in plan.purged else f"unhold {name}, which stays at {version}")
    rewritten = {change.path: change for change in plan.rewritten}
    for path in plan.files:
        if path in rewritten:
            yield _written(snapshot, rewritten[path])
        elif path in plan.before:
            yield Told(
                f"put {path} back: {_removed_why(snapshot, path, 'it was there before the first run')}"
            )
        elif path in snapshot.files:
            why = _removed_why(snapshot, path, "it was not there before the first run")
            # A text that is all ours is not worth reading; one with somebody's hand in it is lost here.
            lines = _lines(snapshot, path, None) if drift(snapshot, path) is not None else ()
            yield Told(f"delete {path}: {why}", lines)
    for path in (*(link for link in plan.links if link in snapshot.links), *plan.directories):
        yield Told(f"delete {path}: a run has made it")


def _removed_why(snapshot: HostSnapshot, path: str, why: str) -> str:
    theirs = drift(snapshot, path)
    return why if theirs is None else f"{why}; {theirs}, and that is lost"
