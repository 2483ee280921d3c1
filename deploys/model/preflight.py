"""What stops a host before anything is changed on it, each reason with what to do. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploys.model import daemon_json, paths
from deploys.model.applied import Applied, Before
from deploys.model.apt_sources import MAIN, SourceFile
from deploys.model.capabilities import not_taken, not_there
from deploys.model.drivers import unsupported
from deploys.model.managed_files import (
    daemon_json_file,
    left_sources,
    package_directory,
    runtimes_besides,
    toolkit_config_file,
)
from deploys.model.plan import Refusal
from deploys.model.toolkit_config import ToolkitConfigError, runtimes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploys.model.applied import RuntimeProbe
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot, Program

# The release, unpacked, is some 250 MB; staging holds it once more, and the packages some 30 MB.
DISK_NEEDED = 1_000_000_000
PYTHON_FLOOR = (3, 8)
# All of them read the same config.toml (nvidia-container-toolkit v1.20.0, cmd/nvidia-container-runtime*; the
# last two are of 1.9 to 1.11, and what the GPU operator's toolkit container puts behind a script).
_SHIM_NAMES = {
    paths.SHIM.rsplit("/", 1)[-1] + mode for mode in ("", ".cdi", ".legacy", "-experimental", ".real")
}
# The entry leads to one of them.
_LEADING_TO_IT = {*_SHIM_NAMES, paths.ENTRY.rsplit("/", 1)[-1]}


def refusals(settings: Settings, snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """What would stop this host, all of it at once: an operator should not have to find out one by one."""
    found = (
        _python(snapshot),
        _rights(snapshot),
        _system(snapshot),
        _architecture(settings, snapshot),
        _docker(snapshot),
        _daemon_json(snapshot),
        _default_runtime(settings, snapshot),
        _toolkit_config(settings, snapshot),
        *_apt_sources(settings, snapshot),
        _before(snapshot),
        _containers(snapshot),
        _driver(settings, snapshot),
        _capabilities(settings, snapshot),
    )
    return tuple(refusal for refusal in found if refusal is not None)


def refusals_of_fetching(snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """What would stop a run that has to fetch, and does not matter to a host that is as it should be."""
    return tuple(
        Refusal(
            f"{path} has {free // 1_000_000} MB free, and {DISK_NEEDED // 1_000_000} MB are needed",
            "Free some space there, and run again.",
        )
        for path, free in snapshot.disk_free.items()
        if free < DISK_NEEDED
    )


def _python(snapshot: HostSnapshot) -> Refusal | None:
    if snapshot.python >= PYTHON_FLOOR:
        return None
    version = ".".join(str(part) for part in snapshot.python)
    return Refusal(
        f"{paths.PYTHON} is {version}, and the wrapper needs 3.8 or later",
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


def _daemon_json(snapshot: HostSnapshot) -> Refusal | None:
    there = snapshot.files.get(paths.DAEMON_JSON)
    if there is None:
        return None
    remedy = "Repair it by hand (dockerd reads it at its next start), and run again."
    if there.is_link:
        return Refusal(f"{paths.DAEMON_JSON} is a symbolic link", "Put the file itself there, and run again.")
    if there.text is None:
        return Refusal(f"{paths.DAEMON_JSON} is not UTF-8 text, nor UTF-16 with a byte order mark", remedy)
    try:
        daemon_json.parse(there.text)
    except daemon_json.DaemonJsonError as error:
        return Refusal(f"{paths.DAEMON_JSON}: {error}", remedy)
    wrong = daemon_json.refusal_of_mark(there.text, snapshot.engine.version)
    return None if wrong is None else Refusal(f"{paths.DAEMON_JSON}: {wrong}", remedy)


def _default_runtime(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    if _daemon_json(snapshot) is not None or _before(snapshot) is not None:
        return None  # What would be loaded is not known.
    text = daemon_json_file(settings, snapshot).text
    lost = daemon_json.lost_default(text, snapshot.engine.default_runtime, runtimes_besides(snapshot, text))
    if lost is None:
        return None
    return Refusal(
        f"Docker's default runtime is {lost}, and {paths.DAEMON_JSON} would not name it: dockerd would not "
        "find it any more after a reload, of which Docker 20.10 dies",
        'Name it under "runtimes" there, also where dockerd\'s command line has it, or make runc the default '
        "runtime; then 'systemctl reload docker', and run again.",
    )


def _toolkit_config(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    try:
        toolkit_config_file(settings, snapshot)
    except ToolkitConfigError as error:
        return Refusal(
            f"{paths.TOOLKIT_CONFIG} cannot be kept as it is: {error}",
            "Repair it, or remove it for NVIDIA's defaults, and run again.",
        )
    return None


def _apt_sources(settings: Settings, snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """Files that would have to be disabled or replaced, and name something else that would be lost."""
    repository = package_directory(settings, snapshot)
    mixed = [
        Refusal(
            f"{file.path}: {file.why(repository, paths.APT_KEYRING)}",
            "The file also has what is none of that, so it is left to you: take the line out, and run again.",
        )
        for file in left_sources(settings, snapshot)
        if file.path == MAIN or (file.path != paths.APT_SOURCE and file.others(repository))
    ]
    own = SourceFile.read(paths.APT_SOURCE, snapshot.text_of(paths.APT_SOURCE), snapshot.os.machine)
    lost = [
        Refusal(
            f"{own.path}: line {entry.line} names {entry.uri}, and would be lost: the file is replaced",
            "Move that line to another file below /etc/apt/sources.list.d, and run again.",
        )
        for entry in own.others(repository)
    ]
    return (*mixed, *lost)


def _before(snapshot: HostSnapshot) -> Refusal | None:
    try:
        Before.read(snapshot)
    except ValueError:
        return Refusal(
            f"{paths.BEFORE}, which says how this host was before the first run, cannot be read",
            "Put it back from a backup of the host; without it, remove could not tell what is yours.",
        )
    return None


def runtimes_behind_the_shim(snapshot: HostSnapshot) -> tuple[str, ...]:
    """Docker's runtimes that run something else than gVisor through NVIDIA's shim, up to this run."""
    # Without the file the shim has its defaults: runc.
    if runtimes_of(snapshot.text_of(paths.TOOLKIT_CONFIG)) == (paths.LAUNCHER,):
        return ()
    engine = snapshot.engine
    return tuple(
        name
        for name, path in engine.runtimes.items()
        if _leads_to_the_shim(engine.binaries.get(name, path), engine.programs, set())
    )


def _leads_to_the_shim(word: str, programs: Mapping[str, Program], seen: set[str]) -> bool:
    """Whether a command is the shim, or a link or script that names one of its names in the end.

    A script that names it may give it another configuration file, and would be no hindrance then. To tell
    that takes a shell, and to take it for a hindrance only asks for containers to be stopped.
    """
    if word.rsplit("/", 1)[-1] in _LEADING_TO_IT:
        return True
    program = programs.get(word)
    if program is None or word in seen:
        return False
    seen.add(word)
    if program.path.rsplit("/", 1)[-1] in _LEADING_TO_IT:
        return True
    said = re.sub(r"(?m)^\s*#.*", "", program.script or "")
    return any(_leads_to_the_shim(other, programs, seen) for other in re.findall(r"[\w./+-]+", said))


def _containers(snapshot: HostSnapshot) -> Refusal | None:
    engine = snapshot.engine
    behind = runtimes_behind_the_shim(snapshot)
    if not behind or not engine.running:
        return None
    if engine.containers is None:
        return Refusal(
            "Docker does not tell which containers are running", "See to 'docker ps', and run again."
        )
    return containers_refusal([name for runtime in behind for name in engine.containers.get(runtime, ())])


def containers_refusal(names: Sequence[str]) -> Refusal | None:
    """Containers that runc runs behind the shim could not be stopped: it reads config.toml on every call."""
    if not names:
        return None
    return Refusal(
        f"these containers run behind {paths.SHIM} without gVisor, and could not be stopped or entered any "
        f"more once it starts runsc: {', '.join(sorted(names))}",
        "Stop them, run again, and start them anew.",
    )


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
    known = _tried(settings, snapshot)
    if known is None:
        return None
    return unsupported(settings, version, known.supported_drivers)


def _capabilities(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    known = _tried(settings, snapshot)
    answers = None if known is None else known.capabilities
    return not_taken(settings, answers or {}) or not_there(settings, snapshot.driver)


def _tried(settings: Settings, snapshot: HostSnapshot) -> RuntimeProbe | None:
    """What is known of the release that these settings want.

    None where it has to be fetched to be asked: staging does that, and changes nothing.
    """
    applied = Applied.read(snapshot).gvisor
    return applied.probe if applied is not None and applied.release == settings.gvisor_release else None
