"""The plan for a host: why it cannot be converged, or what will be changed on it and why. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from deploys.model import daemon_json, device_specs, drivers, paths
from deploys.model.applied import Applied, AppliedFile, AppliedRelease, Before, RuntimeProbe
from deploys.model.rendering import render
from deploys.model.settings import Architecture
from deploys.model.toolkit_config import config_toml, runtimes_of
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.sources import Sources

# The release, unpacked, is some 250 MB; staging holds it once more, and the packages some 30 MB.
DISK_NEEDED = 1_000_000_000
PYTHON_FLOOR = (3, 8)
_SHIM_NAME = paths.SHIM.rsplit("/", 1)[-1]
# Debian's architecture names by those of uname.
_DEBIAN = {Architecture.X86_64: "amd64", Architecture.AARCH64: "arm64"}


class Step(StrEnum):
    """The rooms of a site run, in their order."""

    KERNEL = "kernel"
    TOOLKIT = "toolkit"
    GVISOR = "gvisor"
    WRAPPER = "wrapper"
    DEVICE_SPECS = "device_specs"
    RUNTIME_CONFIG = "runtime_config"
    DOCKER = "docker"


@dataclass(frozen=True)
class Refusal:
    """Why a host is not touched: what is wrong and where, and what to do."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


@dataclass(frozen=True)
class FileChange:
    """A file to write. `original`: what is there now was there before the first run."""

    path: str
    text: str
    mode: int
    why: str
    original: bool


@dataclass(frozen=True)
class LinkChange:
    """A symbolic link to switch."""

    path: str
    target: str
    why: str


@dataclass(frozen=True)
class KernelChange:
    """Modules to load now and device nodes that must be there afterwards."""

    modules: tuple[str, ...]
    nodes: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class PackageChange:
    """The toolkit's packages to fetch and install, all at one version."""

    version: str
    repository_url: str
    source: str
    key: str
    why: str


@dataclass(frozen=True)
class ReleaseChange:
    """A release of gVisor to fetch and install."""

    release: str
    url: str
    sha512: str
    directory: str
    why: str


@dataclass(frozen=True)
class WrapperChange:
    """The wrapper's package to write into a directory of its own."""

    directory: str
    files: tuple[FileChange, ...]
    why: str


@dataclass(frozen=True)
class EngineChange:
    """Docker's configuration to write, or (without `file`) only to load again.

    `seen` is the sha256 of the file that the new text was made from. Afterwards the daemon must have the
    runtime at `runtime_path`; at none where that is None.
    """

    file: FileChange | None
    seen: str | None
    daemon: str
    can_validate: bool
    runtime: str
    runtime_path: str | None
    why: str


@dataclass(frozen=True)
class Plan:
    """What a run does on one host.

    `probe_runsc`: the wrapper's settings are only known once the installed runsc was tried.
    """

    refusals: tuple[Refusal, ...]
    kernel: KernelChange | None = None
    packages: PackageChange | None = None
    release: ReleaseChange | None = None
    wrapper: WrapperChange | None = None
    engine: EngineChange | None = None
    files: tuple[tuple[Step, FileChange], ...] = ()
    links: tuple[tuple[Step, LinkChange], ...] = ()
    directories: tuple[str, ...] = ()
    probe_runsc: bool = False

    @property
    def fetches(self) -> bool:
        """Whether anything must come over the network."""
        return self.packages is not None or self.release is not None

    @property
    def reasons(self) -> tuple[str, ...]:
        """A line per change, for people: what, and why."""
        parts = (self.kernel, self.packages, self.release, self.wrapper, self.engine)
        whole = [part.why for part in parts if part is not None]
        files = [f"{change.path}: {change.why}" for _, change in self.files]
        links = [f"{change.path} -> {change.target}: {change.why}" for _, change in self.links]
        probe = [f"{paths.WRAPPER_SETTINGS}: runsc has to be tried first"] if self.probe_runsc else []
        directories = [f"{path}: not there" for path in self.directories]
        return (*whole, *directories, *files, *probe, *links)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.reasons and not self.refusals

    def files_of(self, step: Step) -> tuple[FileChange, ...]:
        """The files that a step writes."""
        return tuple(change for owner, change in self.files if owner is step)

    def links_of(self, step: Step) -> tuple[LinkChange, ...]:
        """The links that a step switches."""
        return tuple(change for owner, change in self.links if owner is step)


@dataclass(frozen=True)
class DesiredFile:
    """A file as it should be on a host, and the step that writes it."""

    step: Step
    path: str
    text: str
    mode: int = 0o644


def plan(settings: Settings, snapshot: HostSnapshot, sources: Sources) -> Plan:
    """The plan for one host. Either there are refusals and nothing else, or the changes."""
    refusals = _refusals(settings, snapshot)
    if refusals:
        return Plan(refusals=tuple(refusals))
    applied = Applied.read(snapshot)
    release = _release(settings, snapshot, applied)
    probe = applied.gvisor.probe if applied.gvisor is not None and release is None else None
    desired = desired_files(settings, snapshot, sources, probe)
    changes = {file.path: (file.step, file_change(snapshot, file)) for file in desired}
    wrapper_directory = f"{paths.WRAPPER_DIR}/{sources.wrapper.directory_name}"
    links = (
        (Step.WRAPPER, _link(snapshot, paths.WRAPPER_CURRENT, wrapper_directory)),
        (Step.GVISOR, _link(snapshot, paths.GVISOR_CURRENT, f"{paths.GVISOR_DIR}/{settings.gvisor_release}")),
    )
    daemon_json_change = changes.pop(paths.DAEMON_JSON)[1]
    packages = _packages(
        settings, snapshot, sources, changes[paths.APT_SOURCE][1], changes[paths.APT_KEYRING][1]
    )
    if packages is not None and changes[paths.TOOLKIT_CONFIG][1] is None:
        # The packages' own installation script writes config.toml anew (nvidia-ctk config --in-place).
        text = config_toml(settings.toolkit_mode)
        change = FileChange(paths.TOOLKIT_CONFIG, text, 0o644, "the packages rewrite it", original=False)
        changes[paths.TOOLKIT_CONFIG] = (Step.RUNTIME_CONFIG, change)
    refusals = _refusals_of_change(snapshot, fetches=packages is not None or release is not None)
    if refusals:
        return Plan(refusals=tuple(refusals))
    return Plan(
        refusals=(),
        kernel=_kernel(settings, snapshot),
        packages=packages,
        release=release,
        wrapper=_wrapper(snapshot, sources, wrapper_directory),
        engine=_engine(settings, snapshot, daemon_json_change),
        files=tuple((step, change) for step, change in changes.values() if change is not None),
        links=tuple((step, change) for step, change in links if change is not None),
        directories=tuple({paths.DECISION_LOG_DIR} - set(snapshot.directories)),
        probe_runsc=probe is None,
    )


def desired_files(
    settings: Settings, snapshot: HostSnapshot, sources: Sources, probe: RuntimeProbe | None
) -> tuple[DesiredFile, ...]:
    """Every file of ours on a host, but for the versioned directories.

    Without a probe, the wrapper's settings are not among them: whether a runsc runs hooks is only known once
    it was tried on the host.
    """
    files = [
        DesiredFile(
            Step.KERNEL, paths.MODULES_LOAD, render("modules-load.conf.j2", modules=settings.kernel_modules)
        ),
        DesiredFile(Step.TOOLKIT, paths.APT_KEYRING, sources.toolkit_key),
        DesiredFile(
            Step.TOOLKIT,
            paths.APT_SOURCE,
            render(
                "nvidia-container-toolkit.list.j2", key=paths.APT_KEYRING, url=settings.toolkit_repository_url
            ),
        ),
        DesiredFile(Step.WRAPPER, paths.LAUNCHER, launcher(settings), 0o755),
        DesiredFile(Step.WRAPPER, paths.ADMIN_COMMAND, admin_command(), 0o755),
        DesiredFile(
            Step.WRAPPER, paths.WRAPPER_LOGROTATE, render("logrotate.j2", audit_log=paths.DECISION_LOG)
        ),
        DesiredFile(Step.DEVICE_SPECS, paths.DEVICES_CSV, device_specs.devices_csv(snapshot)),
        DesiredFile(Step.DEVICE_SPECS, paths.DRIVERS_CSV, device_specs.drivers_csv(snapshot)),
        DesiredFile(Step.RUNTIME_CONFIG, paths.TOOLKIT_CONFIG, config_toml(settings.toolkit_mode)),
        DesiredFile(
            Step.DOCKER,
            paths.DAEMON_JSON,
            _daemon_json_text(settings, snapshot),
            _mode_of_daemon_json(snapshot),
        ),
    ]
    if probe is not None:
        files.append(DesiredFile(Step.WRAPPER, paths.WRAPPER_SETTINGS, wrapper_settings(settings, probe)))
    return tuple(files)


def _daemon_json_text(settings: Settings, snapshot: HostSnapshot) -> str:
    there = snapshot.files.get(paths.DAEMON_JSON)
    text = there.text if there is not None and there.text is not None else ""
    former = Applied.read(snapshot).runtime
    if former is not None and former != settings.runtime_name:
        text = daemon_json.without_runtime(text, former)
    return daemon_json.with_runtime(text, settings.runtime_name, paths.SHIM)


def _mode_of_daemon_json(snapshot: HostSnapshot) -> int:
    # It is not ours alone: a host may keep registry secrets in it and have it closed to others.
    there = snapshot.files.get(paths.DAEMON_JSON)
    return 0o644 if there is None else there.mode


def _refusals(settings: Settings, snapshot: HostSnapshot) -> list[Refusal]:
    """What would stop this host, all of it at once: an operator should not have to find out one by one."""
    found = [
        _python(snapshot),
        _rights(snapshot),
        _system(snapshot),
        _architecture(settings, snapshot),
        _docker(snapshot),
        _daemon_json(settings, snapshot),
        _before(snapshot),
        _containers(snapshot),
        _driver(settings, snapshot),
    ]
    return [refusal for refusal in found if refusal is not None]


def _refusals_of_change(snapshot: HostSnapshot, *, fetches: bool) -> list[Refusal]:
    """What would stop a change, and does not matter to a host that is as it should be."""
    found = [_disk(path, free) for path, free in snapshot.disk_free.items()] if fetches else []
    return [refusal for refusal in found if refusal is not None]


def _before(snapshot: HostSnapshot) -> Refusal | None:
    try:
        Before.read(snapshot)
    except ValueError:
        return Refusal(
            f"{paths.BEFORE}, which says how this host was before the first run, cannot be read",
            "Put it back from a backup of the host; without it, remove could not tell what is yours.",
        )
    return None


def _containers(snapshot: HostSnapshot) -> Refusal | None:
    """Containers that runc runs behind the shim could not be stopped: it reads config.toml on every call."""
    engine = snapshot.engine
    config = snapshot.files.get(paths.TOOLKIT_CONFIG)
    # Without the file the shim has its defaults: runc.
    if runtimes_of(config.text or "" if config is not None else "") == (paths.LAUNCHER,):
        return None
    behind = [name for name, path in engine.runtimes.items() if path.rsplit("/", 1)[-1] == _SHIM_NAME]
    if not behind or not engine.running:
        return None
    if engine.containers is None:
        return Refusal(
            "Docker does not tell which containers are running", "See to 'docker ps', and run again."
        )
    names = sorted(name for runtime in behind for name in engine.containers.get(runtime, ()))
    if not names:
        return None
    return Refusal(
        f"these containers run behind {paths.SHIM} without gVisor, and could not be stopped or entered any "
        f"more once it starts runsc: {', '.join(names)}",
        "Stop them, run again, and start them anew.",
    )


def _python(snapshot: HostSnapshot) -> Refusal | None:
    if snapshot.python >= PYTHON_FLOOR:
        return None
    version = ".".join(str(part) for part in snapshot.python)
    return Refusal(
        f"/usr/bin/python3 is {version}, and the wrapper needs 3.8 or later",
        "Install a newer python3 from the distribution, or upgrade the host.",
    )


def _rights(snapshot: HostSnapshot) -> Refusal | None:
    if snapshot.uid == 0:
        return None
    return Refusal(
        f"the connection has the rights of user id {snapshot.uid}, and root's are needed",
        "Set _sudo = True in the inventory, or connect as root.",
    )


def _system(snapshot: HostSnapshot) -> Refusal | None:
    system = snapshot.os
    if not system.systemd:
        return Refusal(f"{system.name} was not booted with systemd", "Use a host that was.")
    if "debian" not in (system.id, *system.id_like):
        return Refusal(
            f"{system.name} ({system.id}) has no apt, and no other package manager is supported yet",
            "Use Debian or Ubuntu, or leave this host out of the inventory.",
        )
    return None


def _architecture(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    if snapshot.os.machine in settings.gvisor_sha512:
        return None
    pinned = ", ".join(settings.gvisor_sha512) or "no architecture"
    return Refusal(
        f"the host is {snapshot.os.machine}, and gvisor_sha512 pins {pinned}",
        f"Add the sha512 of {snapshot.os.machine}/gvisor.tar.bz2 to gvisor_sha512.",
    )


def _docker(snapshot: HostSnapshot) -> Refusal | None:
    engine = snapshot.engine
    if engine.client is None or engine.daemon is None:
        return Refusal(
            "there is no Docker on this host (no docker or no dockerd in its PATH)",
            "Install the packages docker-ce and docker-ce-cli, or docker.io, and run again.",
        )
    if engine.daemon.startswith("/snap/") or "/snapd/" in engine.client:
        return Refusal(
            "Docker is the snap, which cannot run programs of the host such as nvidia-container-runtime",
            "Remove it (snap remove docker) and install docker-ce or docker.io.",
        )
    if not engine.running:
        return Refusal(
            f"dockerd does not answer: {engine.error}", "Start it (systemctl start docker) and run again."
        )
    return None


def _daemon_json(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    there = snapshot.files.get(paths.DAEMON_JSON)
    if there is None:
        return None
    remedy = "Repair it by hand (dockerd reads it at its next start), and run again."
    if there.is_link:
        return Refusal(f"{paths.DAEMON_JSON} is a symbolic link", "Put the file itself there, and run again.")
    if there.text is None:
        return Refusal(f"{paths.DAEMON_JSON} is not UTF-8 text", remedy)
    try:
        daemon_json.with_runtime(there.text, settings.runtime_name, paths.SHIM)
    except daemon_json.DaemonJsonError as error:
        return Refusal(f"{paths.DAEMON_JSON}: {error}", remedy)
    return None


def _driver(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    version = snapshot.driver.version
    if version is None:
        return Refusal(
            f"no NVIDIA driver is loaded ({paths.PROC_DRIVER}/version is not there)",
            "Install the driver, load it (modprobe nvidia), and run again; or leave this host out.",
        )
    if not snapshot.gpus:
        return Refusal(
            f"the NVIDIA driver {version} is loaded, but it has no GPU ({paths.PROC_DRIVER}/gpus is empty)",
            "Look for the reason with 'dmesg | grep -i nvrm', or leave this host out.",
        )
    if not any("libcuda.so" in path for path in snapshot.driver.libraries):
        return Refusal(
            f"the kernel's NVIDIA driver is {version}, but the host's ldconfig knows no libcuda.so.{version}",
            "Install the driver's user-space packages of the same version, and run again.",
        )
    applied = Applied.read(snapshot).gvisor
    known = applied.probe if applied is not None and applied.release == settings.gvisor_release else None
    if known is None:
        return None  # the release has to be fetched to be asked; staging does that, and changes nothing
    return driver_refusal(settings, version, known.supported_drivers)


def driver_refusal(settings: Settings, version: str, supported: tuple[str, ...]) -> Refusal | None:
    """Whether the runsc of these settings would serve the host's driver.

    Args:
        settings: the host's.
        version: of the loaded driver.
        supported: what this runsc prints for `nvproxy list-supported-drivers`.
    """
    reason = drivers.unsupported(
        settings.driver_version or version, supported, settings.gvisor_release, settings.runsc_flags
    )
    return None if reason is None else Refusal(reason.what, reason.remedy)


def _disk(path: str, free: int) -> Refusal | None:
    if free >= DISK_NEEDED:
        return None
    return Refusal(
        f"{path} has {free // 1_000_000} MB free, and {DISK_NEEDED // 1_000_000} MB are needed",
        "Free some space there, and run again.",
    )


def _kernel(settings: Settings, snapshot: HostSnapshot) -> KernelChange | None:
    needed = (*device_specs.CONTROL_NODES, *device_specs.gpu_nodes(snapshot))
    there = {node.path for node in snapshot.nodes if node.kind == "c"}
    missing = tuple(path for path in needed if path not in there)
    if not missing:
        return None
    return KernelChange(settings.kernel_modules, needed, f"device nodes are missing: {', '.join(missing)}")


def _packages(
    settings: Settings, snapshot: HostSnapshot, sources: Sources, *repository: FileChange | None
) -> PackageChange | None:
    installed = {name: snapshot.packages.get(name) for name in TOOLKIT_PACKAGES}
    wrong = {name: version for name, version in installed.items() if version != settings.toolkit_version}
    if not wrong and not any(repository):
        return None
    has = ", ".join(f"{name} is {version or 'not installed'}" for name, version in wrong.items())
    texts = {file.path: file.text for file in desired_files(settings, snapshot, sources, None)}
    return PackageChange(
        version=settings.toolkit_version,
        repository_url=settings.toolkit_repository_url,
        source=texts[paths.APT_SOURCE],
        key=texts[paths.APT_KEYRING],
        why=f"NVIDIA Container Toolkit {settings.toolkit_version}: {has or 'its repository or key differs'}",
    )


def _release(settings: Settings, snapshot: HostSnapshot, applied: Applied) -> ReleaseChange | None:
    release = settings.gvisor_release
    directory = f"{paths.GVISOR_DIR}/{release}"
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


def _wrapper(snapshot: HostSnapshot, sources: Sources, directory: str) -> WrapperChange | None:
    tree = snapshot.trees.get(directory)
    if tree == sources.wrapper.tree:
        return None
    files = tuple(
        FileChange(f"{directory}/{name}", text, 0o644, "part of the wrapper", original=False)
        for name, text in sorted(sources.wrapper.files.items())
    )
    state = "not installed" if tree is None else f"{directory} was changed on the host"
    return WrapperChange(directory, files, f"nvproxy-wrapper {sources.wrapper.version}: {state}")


def _engine(settings: Settings, snapshot: HostSnapshot, file: FileChange | None) -> EngineChange | None:
    engine = snapshot.engine
    loaded = engine.runtimes.get(settings.runtime_name)
    if file is None and loaded == paths.SHIM:
        return None
    if engine.daemon is None:
        raise ValueError("a host without dockerd was not refused")
    why = file.why if file is not None else f"dockerd has {loaded!r} loaded, not what the file says"
    name = settings.runtime_name
    there = snapshot.files.get(paths.DAEMON_JSON)
    seen = None if there is None else there.sha256
    return EngineChange(
        file, seen, engine.daemon, engine.can_validate, name, paths.SHIM, f"{paths.DAEMON_JSON}: {why}"
    )


def runtime_on_host(settings: Settings, snapshot: HostSnapshot) -> str:
    """The name of our Docker runtime on a host: as recorded, or as set where no run came to recording it."""
    return Applied.read(snapshot).runtime or settings.runtime_name


def removal_of_runtime(
    settings: Settings, snapshot: HostSnapshot, before: Before
) -> EngineChange | Refusal | None:
    """The change that takes our runtime out of `daemon.json`; None where neither file nor daemon has it."""
    name = runtime_on_host(settings, snapshot)
    engine = snapshot.engine
    if engine.daemon is None:
        return None
    if engine.default_runtime == name:
        return Refusal(
            f"{name} is Docker's default runtime", f"Take default-runtime out of {paths.DAEMON_JSON} first."
        )
    there = snapshot.files.get(paths.DAEMON_JSON)
    text = there.text if there is not None and there.text is not None else ""
    try:
        without = daemon_json.without_runtime(text, name, before.docker_runtimes.get(name))
    except daemon_json.DaemonJsonError as error:
        return Refusal(f"{paths.DAEMON_JSON}: {error}", "Repair it by hand, and run again.")
    if daemon_json.parse(without) == daemon_json.parse(before.daemon_json or ""):
        # As it was to the letter, or gone where there was none.
        without = before.daemon_json or ""
    file = None
    if without != text:
        file = FileChange(paths.DAEMON_JSON, without, 0o644, "the runtime is taken out", original=False)
    if file is None and engine.runtimes.get(name) != paths.SHIM:
        return None
    path = (before.docker_runtimes.get(name) or {}).get("path")
    seen = None if there is None else there.sha256
    return EngineChange(file, seen, engine.daemon, engine.can_validate, name, path, paths.DAEMON_JSON)


def file_change(snapshot: HostSnapshot, file: DesiredFile) -> FileChange | None:
    """The change that makes a file be as it should, or None where it is."""
    there = snapshot.files.get(file.path)
    if there is None:
        return FileChange(file.path, file.text, file.mode, "not there", original=False)
    before = Before.read(snapshot)
    original = file.path in (before.files if before is not None else snapshot.files)
    if there.sha256 != hashlib.sha256(file.text.encode()).hexdigest():
        return FileChange(file.path, file.text, file.mode, "its content differs", original)
    # daemon.json keeps the owner that it has.
    owner = (there.owner, there.group) if file.path == paths.DAEMON_JSON else (0, 0)
    if (there.mode, there.owner, there.group, there.is_link) != (file.mode, *owner, False):
        return FileChange(
            file.path, file.text, file.mode, f"it is not root's with mode {file.mode:o}", original
        )
    return None


def _link(snapshot: HostSnapshot, path: str, target: str) -> LinkChange | None:
    now = snapshot.links.get(path)
    return (
        None
        if now == target
        else LinkChange(path, target, "not there" if now is None else f"it points to {now}")
    )


def launcher(settings: Settings) -> str:
    """`/usr/local/bin/nvproxy-runsc`."""
    return render(
        "nvproxy-runsc.sh.j2",
        runsc=paths.RUNSC,
        runsc_args=list(settings.runsc_flags),
        python="/usr/bin/python3",
        wrapper_dir=paths.WRAPPER_CURRENT,
        settings_path=paths.WRAPPER_SETTINGS,
    )


def admin_command() -> str:
    """`/usr/local/bin/nvproxy-wrapper`."""
    return render("nvproxy-wrapper.sh.j2", python="/usr/bin/python3", wrapper_dir=paths.WRAPPER_CURRENT)


def wrapper_settings(settings: Settings, probe: RuntimeProbe) -> str:
    """`/etc/nvproxy-wrapper/settings.json`: all that the wrapper needs to know at create time."""
    content = {
        "runsc": paths.RUNSC,
        "runsc_args": list(settings.runsc_flags),
        "hooks_run": probe.hooks_run,
        "runsc_flags": list(probe.flags),
        "toolkit_mode": settings.toolkit_mode.value,
        "toolkit_version": settings.toolkit.upstream,
        "trusted_hooks": list(settings.trusted_hooks),
        "allowed_capabilities": [capability.value for capability in settings.allowed_capabilities],
        "host_prep": [list(command) for command in settings.host_prep],
        "allow_user_annotations": settings.allow_user_annotations,
        "drop_update_ldcache": settings.drop_update_ldcache,
        "proc_driver": paths.PROC_DRIVER,
        "audit_log": paths.DECISION_LOG,
    }
    return json.dumps(content, indent=2) + "\n"


def applied_after(
    settings: Settings, snapshot: HostSnapshot, sources: Sources, gvisor: AppliedRelease
) -> Applied:
    """The record of a host that is as these settings want it."""
    directories = {
        *Applied.read(snapshot).directories,
        f"{paths.GVISOR_DIR}/{gvisor.release}",
        f"{paths.WRAPPER_DIR}/{sources.wrapper.directory_name}",
    }
    return Applied(
        gvisor=gvisor,
        runtime=settings.runtime_name,
        directories=tuple(sorted(directories)),
        files={
            file.path: AppliedFile(sha256=hashlib.sha256(file.text.encode()).hexdigest())
            for file in desired_files(settings, snapshot, sources, gvisor.probe)
        },
    )
