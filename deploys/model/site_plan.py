"""The plan of a site run: what has to be changed on a host, and what is recorded once it is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import device_specs, own_runtimes, paths
from deploys.model.applied import Applied, AppliedFile, AppliedRelease
from deploys.model.changes import (
    EngineChange,
    FileChange,
    KernelChange,
    LinkChange,
    PackageChange,
    ReleaseChange,
    WrapperChange,
)
from deploys.model.drift import way_past_gvisor
from deploys.model.driver_found import refusal_of_driver
from deploys.model.layout_change import restorations
from deploys.model.managed_files import desired_files, file_change, runtimes_besides
from deploys.model.old_releases import old_releases
from deploys.model.plan import Plan, Step
from deploys.model.preflight import notes, refusals, refusals_of_fetching
from deploys.model.settings import Architecture
from deploys.model.sources import FILE_MODE
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploys.model.managed_files import DesiredFile
    from deploys.model.plan import Refusal
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.sources import Sources, WrapperPackage


def site_plan(settings: Settings, snapshot: HostSnapshot, sources: Sources) -> Plan:
    """The plan for one host. Either there are refusals and nothing else, or the changes."""
    against = refusals(settings, snapshot)
    known = notes(snapshot)
    applied = Applied.read(snapshot)
    if against:
        return Plan(refusals=against, notes=known, asked=_asked(settings, snapshot, applied, against))
    release = _release(settings, snapshot, applied)
    probe = applied.gvisor.probe if applied.gvisor is not None and release is None else None
    if probe is not None and not probe.answers_for(settings.allowed_capabilities):
        probe = None
    desired = {file.path: file for file in desired_files(settings, snapshot, sources, probe)}
    changes = {path: file_change(snapshot, file) for path, file in desired.items()}
    daemon_json = changes.pop(paths.DAEMON_JSON)
    packages = _packages(settings, snapshot, desired, changes)
    release_directory = paths.release_directory(settings.gvisor_release)
    links = (
        (Step.KERNEL, _link(snapshot, paths.DEVICE_NODES_WANTED, paths.DEVICE_NODES_UNIT)),
        (Step.WRAPPER, _link(snapshot, paths.WRAPPER_CURRENT, sources.wrapper.directory)),
        (Step.GVISOR, _link(snapshot, paths.GVISOR_CURRENT, release_directory)),
    )
    made = Plan(
        refusals=(),
        kernel=_kernel(snapshot),
        packages=packages,
        release=release,
        wrapper=_wrapper(snapshot, sources.wrapper),
        engine=_engine(settings, snapshot, daemon_json),
        files=tuple((desired[path].step, change) for path, change in changes.items() if change is not None),
        links=tuple((step, change) for step, change in links if change is not None),
        directories=tuple({paths.DECISION_LOG_DIR} - set(snapshot.directories)),
        probe_runsc=probe is None,
        restored=restorations(settings, snapshot),
        installation_was_cut=packages is None and paths.KEPT_FROM_PACKAGES in snapshot.files,
        repair=way_past_gvisor(settings, snapshot, desired[settings.layout.toolkit_config]),
        notes=known,
        old_releases=old_releases(settings, snapshot),
    )
    against = refusals_of_fetching(snapshot) if made.fetches else ()
    return Plan(refusals=against, notes=known) if against else made


def _asked(
    settings: Settings, snapshot: HostSnapshot, applied: Applied, against: Sequence[Refusal]
) -> ReleaseChange | None:
    """The release, where a driver that is installed and not loaded is all that is wrong."""
    driver, there = snapshot.driver, {release.name for release in snapshot.surroundings.releases}
    is_all = against == (refusal_of_driver(snapshot),) and driver.version is None and bool(driver.installed)
    return _release(settings, snapshot, applied) if is_all and settings.gvisor_release not in there else None


def _kernel(snapshot: HostSnapshot) -> KernelChange | None:
    needed = device_specs.device_nodes(snapshot.gpus)
    there = {node.path for node in snapshot.nodes if node.kind == "c"}
    missing = tuple(path for path in needed if path not in there)
    if not missing:
        return None
    return KernelChange(f"device nodes are missing: {', '.join(missing)}")


def _packages(
    settings: Settings,
    snapshot: HostSnapshot,
    desired: Mapping[str, DesiredFile],
    changes: Mapping[str, FileChange | None],
) -> PackageChange | None:
    installed = {name: snapshot.packages.get(name) for name in TOOLKIT_PACKAGES}
    wrong = {name: version for name, version in installed.items() if version != settings.toolkit_version}
    sources = [path for path, file in desired.items() if file.step is Step.TOOLKIT]
    if not wrong and all(changes[path] is None for path in sources):
        return None
    has = ", ".join(f"{name} is {version or 'not installed'}" for name, version in wrong.items())
    return PackageChange(
        version=settings.toolkit_version,
        repository_url=settings.toolkit_repository_url,
        source=desired[paths.APT_SOURCE].text,
        key=desired[paths.APT_KEYRING].text,
        disabled=tuple(path for path in sources if desired[path].theirs),
        why=f"NVIDIA Container Toolkit {settings.toolkit_version}: {has or 'its repository or key differs'}",
    )


def _release(settings: Settings, snapshot: HostSnapshot, applied: Applied) -> ReleaseChange | None:
    release = settings.gvisor_release
    directory = paths.release_directory(release)
    tree = snapshot.trees.get(directory)
    if applied.gvisor is not None and applied.gvisor.release == release and applied.gvisor.tree == tree:
        return None
    machine = Architecture(snapshot.os.machine)
    return ReleaseChange(
        release=release,
        url=f"{settings.gvisor_url.rstrip('/')}/{release}/{machine}/gvisor.tar.bz2",
        sha512=settings.gvisor_sha512[machine],
        directory=directory,
        why=f"gVisor {release}: {'not installed' if tree is None else f'{directory} was changed there'}",
    )


def _wrapper(snapshot: HostSnapshot, package: WrapperPackage) -> WrapperChange | None:
    directory = package.directory
    tree = snapshot.trees.get(directory)
    if tree == package.tree:
        return None
    files = tuple(
        FileChange(f"{directory}/{name}", text, FILE_MODE, "part of the wrapper", original=False)
        for name, text in sorted(package.files.items())
    )
    state = "not installed" if tree is None else f"{directory} was changed on the host"
    return WrapperChange(directory, files, f"nvproxy-wrapper {package.version}: {state}")


def _engine(settings: Settings, snapshot: HostSnapshot, file: FileChange | None) -> EngineChange | None:
    name = settings.runtime_name
    loaded = snapshot.engine.runtimes.get(name)
    if file is None and loaded == paths.ENTRY:
        return None
    why = (
        file.why
        if file is not None
        else f"dockerd has {loaded or 'no such runtime'} loaded, not what the file says"
    )
    stay = own_runtimes.kept(settings, snapshot)
    if stay:
        why = f"{why}; {' and '.join(stay)} stays there while containers run by that name"
    text = snapshot.text_of(paths.DAEMON_JSON) if file is None else file.text
    return EngineChange.of(
        snapshot,
        file,
        runtime=(name, paths.ENTRY),
        also=runtimes_besides(settings, snapshot, text),
        why=f"{paths.DAEMON_JSON}: {why}",
    )


def _link(snapshot: HostSnapshot, path: str, target: str) -> LinkChange | None:
    now = snapshot.links.get(path)
    if now == target:
        return None
    return LinkChange(path, target, "not there" if now is None else f"it points to {now}")


def applied_after(
    settings: Settings, snapshot: HostSnapshot, sources: Sources, gvisor: AppliedRelease
) -> Applied:
    """The record of a host that is as these settings want it."""
    directories = {
        *Applied.read(snapshot).directories,
        paths.release_directory(gvisor.release),
        sources.wrapper.directory,
    } - set(old_releases(settings, snapshot))
    return Applied(
        gvisor=gvisor,
        layout=settings.layout,
        runtime=settings.runtime_name,
        kept_runtimes=own_runtimes.kept(settings, snapshot),
        directories=tuple(sorted(directories)),
        files={
            file.path: AppliedFile(sha256=file.sha256)
            for file in desired_files(settings, snapshot, sources, gvisor.probe)
        },
    )
