"""Every file of ours on a host as it should be, and how one that is there differs from that. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploys.model import daemon_json, device_specs, own_runtimes, paths
from deploys.model.applied import Applied, Before
from deploys.model.apt_sources import SourceFile, debian_name, disabled, is_disabled, is_source
from deploys.model.changes import FileChange
from deploys.model.layout_change import hosts_toolkit_config, is_ours
from deploys.model.layouts import Layout
from deploys.model.plan import Step
from deploys.model.rendering import render
from deploys.model.toolkit_config import (
    ToolkitConfigError,
    beside,
    config_toml,
    differences,
    merged,
    runtimes_of,
    swarm_resources,
)
from deploys.model.versions import ToolkitVersion
from deploys.model.wrapper_files import admin_command, entry, launcher, wrapper_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.applied import RuntimeProbe
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.sources import Sources


@dataclass(frozen=True)
class DesiredFile:
    """A file as it should be on a host, and the step that writes it.

    `theirs`: it was there before, whenever it came, and comes back to the letter with a removal. `why`: what
    is said where another content is there.
    """

    step: Step
    path: str
    text: str
    mode: int = 0o644
    encoding: str = "utf-8"
    theirs: bool = False
    why: str = "its content differs"

    @property
    def sha256(self) -> str:
        """Of its content, in hex."""
        return hashlib.sha256(self.text.encode(self.encoding)).hexdigest()

    def change(self, why: str, *, original: bool = False) -> FileChange:
        """The change that writes it."""
        return FileChange(self.path, self.text, self.mode, why, original, self.encoding)


def desired_files(
    settings: Settings, snapshot: HostSnapshot, sources: Sources, probe: RuntimeProbe | None
) -> tuple[DesiredFile, ...]:
    """Every file of ours on a host, but for the versioned directories.

    Without a probe, the wrapper's settings are not among them: whether a runsc runs hooks is only known once
    it was tried on the host.
    """
    modules = render("modules-load.conf.j2", modules=settings.kernel_modules)
    nodes_program = render(
        "nvproxy-device-nodes.sh.j2",
        modules=settings.kernel_modules,
        control_nodes=device_specs.CONTROL_NODES,
        proc_driver=paths.PROC_DRIVER,
        unit=paths.DEVICE_NODES_UNIT.rsplit("/", 1)[-1],
    )
    nodes_unit = render("nvproxy-device-nodes.service.j2", program=paths.DEVICE_NODES_PROGRAM)
    apt_source = render(
        "nvidia-container-toolkit.list.j2", key=paths.APT_KEYRING, url=settings.toolkit_repository_url
    )
    logrotate = render("logrotate.j2", audit_log=paths.DECISION_LOG)
    layout = settings.layout
    drivers_csv = device_specs.drivers_csv(snapshot, with_32_bit="compat32" in settings.allowed_capabilities)
    files = [
        DesiredFile(Step.KERNEL, paths.MODULES_LOAD, modules),
        DesiredFile(Step.KERNEL, paths.DEVICE_NODES_PROGRAM, nodes_program, 0o755),
        DesiredFile(Step.KERNEL, paths.DEVICE_NODES_UNIT, nodes_unit),
        DesiredFile(Step.TOOLKIT, paths.APT_KEYRING, sources.toolkit_key),
        DesiredFile(Step.TOOLKIT, paths.APT_SOURCE, apt_source),
        DesiredFile(Step.WRAPPER, paths.LAUNCHER, launcher(settings), 0o755),
        DesiredFile(Step.WRAPPER, paths.ADMIN_COMMAND, admin_command(), 0o755),
        DesiredFile(Step.WRAPPER, paths.WRAPPER_LOGROTATE, logrotate),
        DesiredFile(Step.DEVICE_SPECS, layout.devices_csv, device_specs.devices_csv(snapshot)),
        DesiredFile(Step.DEVICE_SPECS, layout.drivers_csv, drivers_csv),
        toolkit_config_file(settings, snapshot),
        # After the configuration that it names, for without one the shim takes its defaults: runc.
        DesiredFile(Step.RUNTIME_CONFIG, paths.ENTRY, entry(layout.config_home), 0o755),
        daemon_json_file(settings, snapshot),
        *disabled_sources(settings, snapshot),
    ]
    if probe is not None:
        files.append(wrapper_settings_file(settings, snapshot, probe))
    return tuple(_kept_for_its_owner(file, snapshot) for file in files)


def _kept_for_its_owner(file: DesiredFile, snapshot: HostSnapshot) -> DesiredFile:
    """In a place of the host's own, what is not ours yet is the host's, whenever it came."""
    is_theirs = (
        file.path in Layout.SHARED.files
        and file.path in snapshot.files
        and Before.read(snapshot) is not None
        and not is_ours(snapshot, file.path)
    )
    return replace(file, theirs=True) if is_theirs else file


def toolkit_config_file(settings: Settings, snapshot: HostSnapshot) -> DesiredFile:
    """The toolkit's configuration: our keys in the file that is there, or ours where there is none.

    In the layout `dedicated` it is a file of ours beside that one.

    Raises:
        ToolkitConfigError: our keys cannot be put into the file.
    """
    there, mode = snapshot.files.get(paths.TOOLKIT_CONFIG), settings.toolkit_mode
    if settings.layout is Layout.DEDICATED:
        text = beside(_hosts_own(settings, snapshot), mode, settings.toolkit)
        return DesiredFile(Step.RUNTIME_CONFIG, settings.layout.toolkit_config, text)
    broken = there is None or runtimes_of(there.text or "=") is None
    if there is None or (broken and paths.TOOLKIT_CONFIG in Applied.read(snapshot).files):
        return DesiredFile(Step.RUNTIME_CONFIG, paths.TOOLKIT_CONFIG, config_toml(mode))
    if there.text is None or there.encoding != "utf-8":
        raise ToolkitConfigError("it is not UTF-8 text")
    text = merged(there.text, mode, ToolkitVersion.parse(settings.toolkit_version))
    changes = ", ".join(differences(there.text, mode)) or "our keys are not in it"
    return DesiredFile(Step.RUNTIME_CONFIG, paths.TOOLKIT_CONFIG, text, why=changes)


def _hosts_own(settings: Settings, snapshot: HostSnapshot) -> str:
    """What the host's `config.toml` says where nothing leads to us."""
    if is_ours(snapshot, paths.TOOLKIT_CONFIG):
        # Records of earlier releases have the copy alone.
        kept = snapshot.text_of(paths.original_of(paths.TOOLKIT_CONFIG))
        return hosts_toolkit_config(snapshot, settings.toolkit) or kept
    return snapshot.text_of(paths.TOOLKIT_CONFIG)


def left_sources(settings: Settings, snapshot: HostSnapshot) -> tuple[SourceFile, ...]:
    """Source files that name what ours does, or keep APT from working; the one at our own path may be one."""
    repository = package_directory(settings, snapshot)
    files = (
        SourceFile.read(path, file.text, snapshot.os.machine)
        for path, file in snapshot.files.items()
        if is_source(path) and file.text is not None and file.encoding == "utf-8"
    )
    return tuple(file for file in files if file.is_in_the_way(repository))


def package_directory(settings: Settings, snapshot: HostSnapshot) -> str:
    """The address of the directory that the packages for this host come from."""
    return f"{settings.toolkit_repository_url.rstrip('/')}/deb/{debian_name(snapshot.os.machine)}"


def disabled_sources(settings: Settings, snapshot: HostSnapshot) -> tuple[DesiredFile, ...]:
    """Source files of others that are to be, or are, switched off: every line a comment."""
    repository = package_directory(settings, snapshot)
    left = {file.path: file for file in left_sources(settings, snapshot) if file.path != paths.APT_SOURCE}
    off = {path for path in snapshot.files if is_source(path) and is_disabled(snapshot.text_of(path))}
    return tuple(
        DesiredFile(
            Step.TOOLKIT,
            path,
            disabled(snapshot.text_of(path)),
            snapshot.files[path].mode,
            theirs=True,
            why=f"is disabled, as its {left[path].why(repository, paths.APT_KEYRING)}"
            if path in left
            else "",
        )
        for path in sorted(off | left.keys())
    )


def wrapper_settings_file(settings: Settings, snapshot: HostSnapshot, probe: RuntimeProbe) -> DesiredFile:
    """The one file that is only known once runsc was tried.

    Raises:
        ToolkitConfigError: our keys cannot be put into the toolkit's configuration.
    """
    asking = swarm_resources(toolkit_config_file(settings, snapshot).text)
    return DesiredFile(Step.WRAPPER, paths.WRAPPER_SETTINGS, wrapper_settings(settings, probe, asking))


def daemon_json_file(settings: Settings, snapshot: HostSnapshot) -> DesiredFile:
    """Docker's configuration with our runtime in it.

    Raises:
        DaemonJsonError: the file that is there is not what dockerd could read.
    """
    text = snapshot.text_of(paths.DAEMON_JSON)
    before = Before.read(snapshot)
    theirs = before.daemon_json if before is not None else None
    for former in own_runtimes.given_up(settings, snapshot):
        # What had that name before the first run comes back, as at a removal.
        text = daemon_json.without_runtime(text, former, theirs) or ""
    text = daemon_json.with_runtime(text, settings.runtime_name, paths.ENTRY)
    # It is not ours alone: a host may keep registry secrets in it and have it closed to others.
    there = snapshot.files.get(paths.DAEMON_JSON)
    if there is None:
        return DesiredFile(Step.DOCKER, paths.DAEMON_JSON, text)
    return DesiredFile(Step.DOCKER, paths.DAEMON_JSON, text, there.mode, there.encoding)


def runtimes_besides(settings: Settings, snapshot: HostSnapshot, text: str) -> Mapping[str, str]:
    """The runtimes that dockerd has from its command line alone, and that a load of a new text would drop.

    Among them what a name of ours that is given up led to there before the first run.
    """
    engine, before = snapshot.engine, Before.read(snapshot)
    gone = own_runtimes.given_up(settings, snapshot)
    now = daemon_json.unnamed(engine.runtimes, engine.version, snapshot.text_of(paths.DAEMON_JSON), text)
    loaded, named = ({}, None) if before is None else (before.docker_loaded, before.daemon_json)
    then = daemon_json.unnamed(loaded, engine.version, named, text)
    return {
        **{name: path for name, path in now.items() if name not in gone},
        **{name: path for name, path in then.items() if name in gone},
    }


def file_change(snapshot: HostSnapshot, file: DesiredFile) -> FileChange | None:
    """The change that makes a file be as it should, or None where it is."""
    there = snapshot.files.get(file.path)
    if there is None:
        return file.change("not there")
    # daemon.json keeps the owner that it has.
    owner = (there.owner, there.group) if file.path == paths.DAEMON_JSON else (0, 0)
    if there.sha256 != file.sha256:
        why = file.why
    elif (there.mode, there.owner, there.group, there.is_link) != (file.mode, *owner, False):
        why = f"it is not root's with mode {file.mode:o}"
    else:
        return None
    before = Before.read(snapshot)
    return file.change(why, original=before is None or file.theirs or file.path in before.files)
