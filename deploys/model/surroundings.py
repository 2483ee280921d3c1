"""What else is on a host: what of it stops a run, and what an operator should know. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.layouts import Layout
from deploys.model.plan import Refusal
from deploys.model.shim_users import DEDICATED_INSTEAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot

# runsc makes a user namespace for the sandbox and one for its gofer (gVisor 20260905, runsc/hostsettings).
USER_NAMESPACES_NEEDED = 2
# Whom a change of the shared configuration would reach, and where an operator finds it.
_WITHOUT_SHIM = "take the runtime that names it out of that file and restart the engine"


def refusals_of_surroundings(settings: Settings, snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """Everything around Docker and the driver that stands against a run."""
    # In the other layout nothing changes for whoever else goes through the shim.
    shared = _shim_is_shared(snapshot) if settings.layout is Layout.SHARED else ()
    found = (_user_namespaces(snapshot), _selinux(snapshot), _config_file(snapshot), *shared)
    return tuple(refusal for refusal in found if refusal is not None)


def refusal_of_docker(snapshot: HostSnapshot) -> Refusal | None:
    """Why the Docker of this host is not one that could start our runtime, whether or not it answers."""
    engine, dockerds = snapshot.engine, snapshot.surroundings.dockerds
    words = [engine.client or "", engine.daemon or "", *(daemon.program for daemon in dockerds)]
    # The commands in /snap/bin are links to snap itself.
    if any(word.startswith("/snap/") or "/snapd/" in word or word.endswith("/snap") for word in words):
        return Refusal(
            "Docker is the snap, which cannot run programs of the host such as nvidia-container-runtime",
            "Remove it (snap remove docker) and install docker-ce or docker.io.",
        )
    rootless = [daemon.owner for daemon in dockerds if daemon.owner != 0]
    if "name=rootless" in engine.security_options or (rootless and not engine.running):
        whose = f" (dockerd of user id {rootless[0]})" if rootless else ""
        return Refusal(
            f"Docker runs rootless on this host{whose}, and gVisor serves GPUs to root's containers only",
            "Install Docker for the whole host (docker-ce or docker.io) beside it, and run again.",
        )
    return None


def notes_of_surroundings(snapshot: HostSnapshot) -> tuple[str, ...]:
    """What is as it may be, and may still surprise, each with what to do."""
    there, notes = snapshot.surroundings, [*_cdi(snapshot)]
    rootless = [str(daemon.owner) for daemon in there.dockerds if daemon.owner != 0]
    if rootless and snapshot.engine.running:
        notes.append(
            f"a rootless dockerd runs beside the host's (user id {', '.join(rootless)}): its containers have "
            "no "
            "part in this. Use the host's Docker for GPU containers."
        )
    if there.selinux_enforcing and "name=selinux" not in snapshot.engine.security_options:
        notes.append(
            "SELinux is enforcing: where a program of ours is denied something, 'ausearch -m avc -ts recent' "
            "says "
            "so. 'restorecon -R /opt/gvisor /opt/nvproxy-wrapper /usr/local/bin' gives our files their "
            "labels."
        )
    if there.kubelet and not there.sharing:
        notes.append(
            f"a kubelet runs here: no pod goes through {paths.SHIM} now. One that did so later would run in "
            "gVisor, "
            "too."
        )
    if there.runsc is not None:
        notes.append(
            f"{there.runsc.path} is of the package {there.runsc.package} {there.runsc.version}: it is left "
            "alone and "
            f"not used here, where {paths.RUNSC} is. Its list of drivers is its own."
        )
    return tuple(notes)


def _shim_is_shared(snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """Engines besides Docker that start containers through the shim, whose configuration would change."""
    return tuple(
        Refusal(
            f"{engine} starts containers through {paths.SHIM} too ({', '.join(files)}), and they would run "
            "in gVisor "
            f"once {paths.TOOLKIT_CONFIG} leads there",
            f"If that is not meant, {_WITHOUT_SHIM}, {DEDICATED_INSTEAD}.",
        )
        for engine, files in snapshot.surroundings.sharing.items()
    )


def _user_namespaces(snapshot: HostSnapshot) -> Refusal | None:
    limit = snapshot.surroundings.user_namespaces
    if limit is None or limit >= USER_NAMESPACES_NEEDED:
        return None
    return Refusal(
        f"user.max_user_namespaces is {limit}, and runsc needs {USER_NAMESPACES_NEEDED} for each container",
        "Raise it (sysctl -w user.max_user_namespaces=15000), also in the file below /etc/sysctl.d that sets "
        "it, "
        "and run again.",
    )


def _selinux(snapshot: HostSnapshot) -> Refusal | None:
    if "name=selinux" not in snapshot.engine.security_options:
        return None
    return Refusal(
        "Docker gives every container an SELinux label (selinux-enabled), and runsc starts none that has one",
        f'Set "selinux-enabled": false in {paths.DAEMON_JSON} and on dockerd\'s command line, restart '
        "Docker, and run again.",
    )


def _config_file(snapshot: HostSnapshot) -> Refusal | None:
    files = [daemon.config_file for daemon in snapshot.surroundings.dockerds if daemon.owner == 0]
    if not files or {None, paths.DAEMON_JSON} & set(files) or refusal_of_docker(snapshot) is not None:
        return None
    return Refusal(
        f"dockerd reads its configuration from {files[0]} (--config-file), and not from {paths.DAEMON_JSON}",
        f"Move that file to {paths.DAEMON_JSON}, take --config-file out of dockerd's command line (systemctl "
        "edit "
        "docker), restart Docker, and run again.",
    )


def _cdi(snapshot: HostSnapshot) -> Iterable[str]:
    specs, loaded = snapshot.surroundings.cdi_specs, snapshot.driver.version
    for spec in specs:
        if loaded is not None and spec.versions and loaded not in spec.versions:
            yield (
                f"{spec.path} is of the driver {', '.join(spec.versions)}, and {loaded} is loaded: CDI "
                "devices of "
                f"{spec.kind} fail. Make it anew (nvidia-ctk cdi generate --output={spec.path}), or remove "
                "it."
            )
    for kind in dict.fromkeys(spec.kind for spec in specs):
        files = [spec.path for spec in specs if spec.kind == kind]
        if len(files) > 1:
            # The CDI library: the later directory goes before; in one directory they are a conflict.
            yield (
                f"{' and '.join(files)} both are of the kind {kind}: /var/run/cdi goes before /etc/cdi, and "
                "of two "
                "in one directory neither is taken. Keep one of them."
            )
