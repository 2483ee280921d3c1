"""What stops a host before anything is changed on it, each reason with what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import daemon_json, own_runtimes, paths
from deploys.model.applied import Applied, Before
from deploys.model.apt_sources import MAIN, SourceFile
from deploys.model.capabilities import not_taken, not_there
from deploys.model.driver_found import notes_of_driver, refusal_of_driver, refusal_of_jetsons_csv
from deploys.model.drivers import unsupported
from deploys.model.layout_change import restorations
from deploys.model.layouts import Layout
from deploys.model.managed_files import (
    daemon_json_file,
    left_sources,
    package_directory,
    runtimes_besides,
    toolkit_config_file,
)
from deploys.model.plan import Refusal
from deploys.model.shim_users import refusals_of_containers
from deploys.model.surroundings import notes_of_surroundings, refusal_of_docker, refusals_of_surroundings
from deploys.model.toolkit_config import ToolkitConfigError

if TYPE_CHECKING:
    from deploys.model.applied import RuntimeProbe
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot

# The release, unpacked, is some 250 MB; staging holds it once more, and the packages some 30 MB.
DISK_NEEDED = 1_000_000_000
PYTHON_FLOOR = (3, 8)


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
        _runtime_name(settings, snapshot),
        _toolkit_config(settings, snapshot),
        *_apt_sources(settings, snapshot),
        _before(snapshot),
        *_containers(settings, snapshot),
        _driver(settings, snapshot),
        refusal_of_jetsons_csv(snapshot) if settings.layout is Layout.SHARED else None,
        _capabilities(settings, snapshot),
        *refusals_of_surroundings(settings, snapshot),
    )
    return tuple(refusal for refusal in found if refusal is not None)


def notes(snapshot: HostSnapshot) -> tuple[str, ...]:
    """What stops nothing, and an operator should know of this host."""
    return (*notes_of_driver(snapshot), *notes_of_surroundings(snapshot))


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
    engine, another = snapshot.engine, refusal_of_docker(snapshot)
    if another is not None:
        return another
    if engine.client is None or engine.daemon is None:
        return Refusal(
            "there is no Docker on this host (no docker or no dockerd in its PATH)",
            "Install the packages docker-ce and docker-ce-cli, or docker.io, and run again.",
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
    also = runtimes_besides(settings, snapshot, text)
    lost = daemon_json.lost_default(text, snapshot.engine.default_runtime, also)
    if lost is None:
        return None
    return Refusal(
        f"Docker's default runtime is {lost}, and {paths.DAEMON_JSON} would not name it: dockerd would not "
        "find it any more after a reload, of which Docker 20.10 dies",
        'Name it under "runtimes" there, also where dockerd\'s command line has it, or make runc the default '
        "runtime; then 'systemctl reload docker', and run again.",
    )


def _runtime_name(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    """In the layout `dedicated` the host keeps every runtime that is its own."""
    if settings.layout is Layout.SHARED or _before(snapshot) is not None:
        return None
    path = own_runtimes.of_the_host(snapshot).get(settings.runtime_name)
    if path is None:
        return None
    return Refusal(
        f"Docker has a runtime {settings.runtime_name} of the host's own ({path}), which the layout "
        f"{settings.layout} leaves alone",
        f"Set another runtime_name, as {Layout.DEDICATED.runtime_name}, or take that one out of Docker.",
    )


def _toolkit_config(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    if _before(snapshot) is not None:
        return None
    try:
        toolkit_config_file(settings, snapshot)
        restorations(settings, snapshot)
    except ToolkitConfigError as error:
        remedy = (
            "Repair it, or remove it for NVIDIA's defaults, and run again; or set "
            f'layout = "{Layout.DEDICATED}", which leaves it alone.'
            if settings.layout is Layout.SHARED
            else "Repair it, and run again."
        )
        return Refusal(f"{paths.TOOLKIT_CONFIG} cannot be kept as it is: {error}", remedy)
    return None


def _containers(settings: Settings, snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    # Without the record of before it is not known what would come back.
    return () if _before(snapshot) is not None else refusals_of_containers(settings, snapshot)


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


def _driver(settings: Settings, snapshot: HostSnapshot) -> Refusal | None:
    refusal, version = refusal_of_driver(snapshot), snapshot.driver.version
    known = _tried(settings, snapshot)
    if refusal is not None or version is None or known is None:
        return refusal
    return unsupported(settings, version, known.supported_drivers, snapshot.surroundings.releases)


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
