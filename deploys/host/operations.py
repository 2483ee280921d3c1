"""The pyinfra operations. Each does nothing, and says so, where its part of the plan is empty.

None raises for a host's condition: an exception in an operation stops the whole fleet (pyinfra 3.10,
api/operations.py), while a command that fails stops the one host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyinfra import host, state
from pyinfra.api import FunctionCommand, StringCommand, operation

from deploys.host.announcing import say_difference
from deploys.host.noting import say_pair
from deploys.host.remote_program import JsonCommand, RemoteProgram, printable
from deploys.host.removal import leaving
from deploys.model import layouts, paths
from deploys.model.applied import Before, RuntimeProbe
from deploys.model.capabilities import not_taken
from deploys.model.changes import FileChange
from deploys.model.drift import repaired_snapshot
from deploys.model.drivers import unsupported
from deploys.model.layout_change import remembered as remembered_before
from deploys.model.managed_files import file_change, wrapper_settings_file
from deploys.model.plan import Step
from deploys.model.removal_plan import RemovalPlan
from deploys.model.shim_users import obstacles
from deploys.model.text_difference import difference, hidden
from deploys.model.toolkit_config import is_broken
from deploys.model.versions import TOOLKIT_PACKAGES
from nvproxy_wrapper.judge.capabilities import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pyinfra.api import Host, State
    from pyinfra.api.command import PyinfraCommand

    from deploys.host.run import HostRun
    from deploys.model.changes import EngineChange, FileRestoration, LinkChange, ReleaseChange
    from deploys.model.plan import Refusal
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot

    Commands = Generator[PyinfraCommand, None, None]


class RunscProbe(JsonCommand):
    """`nvproxy-wrapper probe`, which says in its own member why it could not tell whether hooks run."""

    error_key = "why_not_told"


STAGED_RELEASE = f"{paths.STAGING_DIR}/gvisor"
STAGED_PACKAGES = f"{paths.STAGING_DIR}/apt"


def _say_and_fail(state: State, host: Host, sentences: Sequence[str]) -> bool:  # noqa: ARG001 - pyinfra's signature
    for sentence in sentences:
        host.log_styled(printable(hidden(sentence)), fg="red")
    return False


def _fail(reasons: Sequence[Refusal | str]) -> FunctionCommand:
    return FunctionCommand(_say_and_fail, (tuple(str(reason) for reason in reasons),), {})


def put_files(
    changes: Sequence[FileChange] = (),
    links: Sequence[LinkChange] = (),
    compile_directories: Sequence[str] = (),
    remove: Sequence[str] = (),
    directories: Sequence[str] = (),
) -> RemoteProgram:
    """The command that puts directories, files, byte-code and links in place, and then removes trees."""
    task = {
        "directories": [{"path": path, "mode": 0o750} for path in directories],
        "files": [
            {"path": change.path, "text": change.text, "mode": change.mode, "original": change.original}
            for change in changes
        ],
        "links": [{"path": link.path, "target": link.target} for link in links],
        "compile": list(compile_directories),
        "remove": list(remove),
        "backup": paths.BACKUP_DIR,
    }
    return RemoteProgram("put_files", task, seconds=120)


@operation()
def refused(run: HostRun) -> Commands:
    """Stop this host before anything is changed on it, with every reason at once."""
    if not run.plan.refusals:
        host.noop("nothing stands against it")
        return
    yield _fail(run.plan.refusals)


@operation()
def remembered(run: HostRun) -> Commands:
    """Write down how the host was before the first run, once, before anything is changed.

    Once more where the layout changes: until now the host's own files were not ours to remember.
    """
    if run.plan.empty or run.plan.refusals:
        host.noop("nothing will be changed")
        return
    before = remembered_before(run.settings, run.snapshot)
    if before == Before.read(run.snapshot):
        host.noop("it is written down")
        return
    yield put_files([FileChange(paths.BEFORE, before.text(), 0o600, "not there", original=False)])


@operation()
def staged(run: HostRun, *, keep: bool = True) -> Commands:
    """Fetch and check what will be installed. What fails here leaves the host as it was.

    Args:
        run: the host's.
        keep: whether what was fetched stays in the staging directory, to be installed.
    """
    packages, release = run.plan.packages, run.plan.release
    if packages is None and release is None:
        host.noop("nothing to fetch")
        return
    task = {
        "staging": paths.STAGING_DIR,
        "toolkit": packages
        and {
            "url": packages.repository_url,
            "version": packages.version,
            "packages": list(TOOLKIT_PACKAGES),
            "source": packages.source,
            "source_path": paths.APT_SOURCE,
            "key": packages.key,
            "key_path": paths.APT_KEYRING,
            "disabled": list(packages.disabled),
        },
        "gvisor": release and _release_task(run, release),
    }
    command = RemoteProgram("stage", task, seconds=1500)
    yield command
    fetched, driver = command.result.get("release"), run.snapshot.driver.version
    refusal = None
    if fetched is not None and driver is not None:
        run.listed[run.settings.gvisor_release] = tuple(fetched["drivers"])
        refusal = unsupported(
            run.settings, driver, fetched["drivers"], run.snapshot.surroundings.releases
        ) or not_taken(run.settings, fetched["capabilities"])
    if refusal is not None or not keep:
        yield StringCommand("rm", "-rf", paths.STAGING_DIR)
    if refusal is not None:
        yield _fail([refusal])


def _release_task(run: HostRun, release: ReleaseChange) -> dict[str, Any]:
    return {
        "release": release.release,
        "url": release.url,
        "sha512": release.sha512,
        "capabilities": list(run.settings.allowed_capabilities),
    }


@operation()
def paired(run: HostRun) -> Commands:
    """Say which driver a host has, and which releases of gVisor list it.

    A release that nobody could ask is fetched for it where nothing else is wrong with a host than that its
    driver is not loaded, as in an image that is being built, and thrown away again.
    """
    release = run.plan.asked
    if release is not None:
        task = {"staging": paths.STAGING_DIR, "toolkit": None, "gvisor": _release_task(run, release)}
        command = RemoteProgram("stage", task, seconds=1500)
        yield command
        fetched = command.result.get("release")
        if fetched is not None:
            run.listed[release.release] = tuple(fetched["drivers"])
        yield StringCommand("rm", "-rf", paths.STAGING_DIR)
    if state.is_executing:
        say_pair(run)
    host.noop("nothing is changed by that")


@operation()
def files_put(run: HostRun, step: Step) -> Commands:
    """Write the files and links of a step, each whole or not at all."""
    changes, links = run.plan.files_of(step), run.plan.links_of(step)
    if not changes and not links:
        host.noop("the files are as they should be")
        return
    yield put_files(changes, links)


@operation()
def runtime_configured(run: HostRun) -> Commands:
    """Write config.toml, unless a container has come that could not be stopped any more after it.

    They were looked for before anything was changed; a download later there may be one. The file that the
    entry names comes before the entry, and what was in use until then goes last.
    """
    changes, restored = run.plan.files_of(Step.RUNTIME_CONFIG), run.plan.restored
    if not changes and not restored:
        host.noop("the file is as it should be")
        return
    repair = run.plan.repair if run.repaired else None
    # What has started since a repair runs in gVisor.
    seen = run.snapshot if repair is None else repaired_snapshot(run.snapshot, repair)
    yield from _unhindered(run.settings, seen)
    if changes:
        yield put_files(changes)
    if restored:
        yield _given_back(restored)


@operation()
def repaired(run: HostRun) -> Commands:
    """Close a way past gVisor before anything that may fail, or take long: downloads, packages."""
    if run.plan.repair is None:
        host.noop("nothing leads past gVisor, or what it should lead to is not there yet")
        return
    yield from _unhindered(run.settings, run.snapshot)
    yield put_files([run.plan.repair])
    run.repaired = True


def _unhindered(settings: Settings, snapshot: HostSnapshot) -> Commands:
    """Ask once more for containers that stand against the run; pyinfra ends an operation that fails here."""
    for obstacle in obstacles(settings, snapshot):
        running = _containers_of(obstacle.runtimes)
        yield running
        refusal = obstacle.refusal(running.result.get("containers", []))
        if refusal is not None:
            yield _fail([refusal])
            return


def _given_back(files: Sequence[FileRestoration]) -> RemoteProgram:
    task = {
        "files": [{"path": file.path, "text": file.text, "was_there": file.was_there} for file in files],
        "emptied": layouts.DIRECTORIES,
        "backup": paths.BACKUP_DIR,
    }
    return RemoteProgram("give_back", task, seconds=120)


def _containers_of(runtimes: Sequence[str]) -> RemoteProgram:
    return RemoteProgram("containers_of_runtime", {"runtimes": list(runtimes)}, seconds=120)


@operation()
def devices_made(run: HostRun) -> Commands:
    """Load the driver's modules and make its device nodes."""
    if run.plan.kernel is None:
        host.noop("every device node is there")
        return
    yield RemoteProgram("kernel_devices", {"program": paths.DEVICE_NODES_PROGRAM}, seconds=300)


@operation()
def packages_installed(run: HostRun) -> Commands:
    """Install the toolkit's four packages at one version, and hold them there."""
    change = run.plan.packages
    if change is None and not run.plan.installation_was_cut:
        host.noop("the packages are installed")
        return
    repository = run.plan.files_of(Step.TOOLKIT)
    if repository:
        yield put_files(repository)
    there = run.snapshot.files.get(paths.TOOLKIT_CONFIG)
    task = {
        "packages": list(TOOLKIT_PACKAGES) if change is not None else [],
        "version": run.settings.toolkit_version,
        "apt": STAGED_PACKAGES,
        "left_alone": paths.TOOLKIT_CONFIG,
        "kept": paths.KEPT_FROM_PACKAGES,
        # A file that it cannot read makes nvidia-ctk fail, and with it the packages.
        "set_aside": there is not None and is_broken(there.text),
    }
    yield RemoteProgram("install_packages", task, seconds=1500)


@operation()
def release_installed(run: HostRun) -> Commands:
    """Move a fetched release to its directory. It is not in use yet: its runsc has to be tried first."""
    change = run.plan.release
    if change is None:
        host.noop("the release is installed")
        return
    task = {"staged": STAGED_RELEASE, "directory": change.directory}
    command = RemoteProgram("install_release", task, seconds=300)
    yield command
    run.tree = command.result.get("tree")


@operation()
def wrapper_installed(run: HostRun) -> Commands:
    """Write the wrapper's package into its own directory, then make it live."""
    package = run.plan.wrapper
    links, files = run.plan.links_of(Step.WRAPPER), run.plan.files_of(Step.WRAPPER)
    if package is None and not links and not files and not run.plan.directories:
        host.noop("the wrapper is installed")
        return
    if package is not None:
        yield put_files(package.files, compile_directories=[package.directory])
    yield put_files(files, links, directories=run.plan.directories)


@operation()
def runsc_tried(run: HostRun) -> Commands:
    """Try what this runsc does, write the wrapper's settings from it, then make the release the current one.

    In this order: a current runsc that runs no hooks, under settings that count on them, would start
    containers in which libcuda.so.1 is missing.
    """
    links = run.plan.links_of(Step.GVISOR)
    if not run.plan.probe_runsc:
        if links:
            yield put_files(links=links)
        else:
            host.noop("runsc was tried, and is the current one")
        return
    runsc = f"{paths.release_directory(run.settings.gvisor_release)}/runsc"
    asked = [name for name in run.settings.allowed_capabilities if name not in DEFAULT]
    more = f" --capabilities {','.join(asked)}" if asked else ""
    command = RunscProbe(f"timeout -k 5 180 {paths.ADMIN_COMMAND} probe {runsc}{more} --format json")
    yield command
    try:
        run.probe = RuntimeProbe.model_validate(command.result)
    except ValueError as error:
        yield _fail([f"'{command}' did not answer as it should: {error}. Run it on the host to see why."])
        return
    refusal = not_taken(run.settings, run.probe.capabilities or {})
    if refusal is not None:
        yield _fail([refusal])
        return
    change = file_change(run.snapshot, wrapper_settings_file(run.settings, run.snapshot, run.probe))
    if change is not None and state.config.DIFF:
        # The plan had to leave open what runsc does.
        there = run.snapshot.files.get(change.path)
        say_difference(difference(change.path, None if there is None else there.text, change.text))
    yield put_files([change] if change is not None else [], links)


@operation()
def engine_configured(run: HostRun) -> Commands:
    """Give Docker the runtime: validated, reloaded, never restarted, read back, undone if not taken."""
    change = run.plan.engine
    if change is None:
        host.noop("dockerd has the runtime loaded")
        return
    yield _docker_engine(change)


def _docker_engine(change: EngineChange) -> RemoteProgram:
    written = change.file if isinstance(change.file, FileChange) else None
    task = {
        "path": paths.DAEMON_JSON,
        "file": change.file
        and {
            "text": written and written.text,
            "encoding": change.encoding,
            "original": bool(written and written.original),
        },
        "load": {"text": change.load, "encoding": change.encoding},
        "load_old": {"text": change.load_old, "encoding": change.old_encoding},
        "seen": change.seen,
        "backup": paths.BACKUP_DIR,
        "runtime": change.runtime,
        "runtime_path": change.runtime_path,
        "daemon": change.daemon,
        "can_validate": change.can_validate,
    }
    return RemoteProgram("docker_engine", task, seconds=240)


@operation()
def old_releases_removed(run: HostRun) -> Commands:
    """Remove the releases of gVisor that nobody needs, before the record, which then knows them no more."""
    if not run.plan.old_releases:
        host.noop("no release is there that is not needed")
        return
    yield put_files(remove=run.plan.old_releases)


@operation()
def recorded(run: HostRun) -> Commands:
    """Write down what this host has now, and clear the staging directory away."""
    if run.plan.refusals:
        # Also asked of a host that was refused, where pyinfra only finds out what it would do.
        host.noop("this host was refused")
        return
    text = run.record
    if text is None:
        yield _fail([f"{paths.APPLIED} is not written: the installed release is not known. Run again."])
        return
    if run.snapshot.text_of(paths.APPLIED) == text and not run.plan.fetches:
        host.noop("the record is right")
        return
    change = FileChange(paths.APPLIED, text, 0o644, "the record differs", original=False)
    yield put_files([change], remove=[paths.STAGING_DIR])
    run.recorded = True


@operation()
def removed(run: HostRun) -> Commands:
    """Put the host back as it was before the first run; refused while the runtime's containers run."""
    plan = leaving(run)
    if plan is None:
        host.noop("no run has changed this host")
        return
    if not isinstance(plan, RemovalPlan):
        yield _fail(plan)
        return
    if run.snapshot.engine.running:
        running = _containers_of(plan.runtimes)
        yield running
        if running.result.get("containers"):
            names, ours = ", ".join(running.result["containers"]), " and ".join(plan.runtimes)
            yield _fail([f"containers of the runtime {ours} are running: {names}. Stop them first."])
            return
    if plan.engine is not None:
        yield _docker_engine(plan.engine)
    yield _removal(plan)


def _removal(plan: RemovalPlan) -> RemoteProgram:
    task = {
        "held": plan.held,
        "packages": plan.purged,
        "files": plan.files,
        "links": plan.links,
        "directories": plan.directories,
        "parents": plan.parents,
        "before": plan.before,
        "rewritten": [{"path": file.path, "text": file.text, "mode": file.mode} for file in plan.rewritten],
        "backup": paths.BACKUP_DIR,
    }
    return RemoteProgram("removal", task, seconds=900)
