"""What a verification asks a host: which containers are started there, and what each must show. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploys.model import paths, sight
from deploys.model.checks import Check, State, Subject
from deploys.model.device_specs import device_nodes
from deploys.model.layouts import Layout
from deploys.model.rendering import render
from deploys.model.settings import ToolkitMode
from deploys.model.sight import Sight
from deploys.model.versions import ToolkitVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploys.model.settings import Settings
    from deploys.model.snapshot import Gpu, HostSnapshot

# A whole verification may take as long as so many containers: most take a tenth of their limit.
_CONTAINERS = 8

IMAGES = "nvproxy-fleet/verify"
STAND_IN_MARK = "/etc/nvproxy-lab"
_STATE_DIR = "/run/nvproxy-fleet-verify"
_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
_ALL = f"{_VARIABLE}=all"

_PROGRAMS = ("sh", "ls", "cat", "dmesg", "true", "env", "id")
# What nvidia-smi and libcuda are linked with, beyond what these programs are.
_LINKED = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1")

# From 1.19 on, csv mode takes a discrete GPU by no other ids than 0 and 1 (nvidia-container-toolkit v1.20.0,
# pkg/nvcdi/lib-csv.go:318). Before, it gave all of them whatever was asked, and the wrapper narrows that.
_CSV_CHECKS_IDS = ToolkitVersion.parse("1.19.0-0")
_CSV_HIGHEST_ID = 1
# From 1.20 on the configuration can leave out a hook (nvcdi-disable-hooks, api/config/v1/runtime.go).
_HOOKS_CAN_BE_LEFT_OUT = ToolkitVersion.parse("1.20.0-0")
# From 1.20.1 on, csv mode lists every GPU and leaves no trace of what was asked (CDI library 1.1.1,
# pkg/cdi/container-edits.go): without the entry the wrapper has to refuse.
_CSV_LOSES_THE_REQUEST = ToolkitVersion.parse("1.20.1-0")


@dataclass(frozen=True)
class ContainerRun:
    """One container to start.

    Attributes:
        id: of the check that comes of it.
        subject: by what it is started.
        asked: what it asks for, in words.
        expected: what it must show; None where the host does not tell the minor and UUID of each GPU.
        env: the variables that are its request.
        asking_image: whether its image has NVIDIA_VISIBLE_DEVICES=all in its ENV.
        config: a config.toml of its own for the NVIDIA runtime.
    """

    id: str
    subject: Subject
    asked: str
    expected: Sight | None
    env: tuple[str, ...] = ()
    asking_image: bool = False
    config: str | None = None


@dataclass(frozen=True)
class Verification:
    """What one host is asked, and what it is not, each with the reason."""

    settings: Settings
    snapshot: HostSnapshot
    runs: tuple[ContainerRun, ...]
    skipped: tuple[Check, ...]


def verification(settings: Settings, snapshot: HostSnapshot) -> Verification:
    """What to ask a host that has these settings and looks like this."""
    items = [
        _control(settings, snapshot),
        *_requests(settings, snapshot, Subject.DOCKER),
        *_requests(settings, snapshot, Subject.BUNDLE),
    ]
    runs = tuple(item for item in items if isinstance(item, ContainerRun))
    skipped = tuple(item for item in items if isinstance(item, Check))
    return Verification(settings, snapshot, runs, skipped)


def seconds_for_all(what: Verification) -> int:
    """How long all containers of a host may take together."""
    return _CONTAINERS * what.settings.verify_timeout


def task(what: Verification) -> dict[str, Any]:
    """The task for `host/remote/container_runs.py`.

    `commands` are asked first, then `runs` are started in their order: `through` is `docker` or `bundle`,
    `needs` a program without which a run is not tried. `runtime` is what creates a bundle's container, `shim`
    where that has a configuration of its own. Times are in seconds.
    """
    return {
        "dir": paths.VERIFY_DIR,
        "state_dir": _STATE_DIR,
        "label": IMAGES,
        "repository": IMAGES,
        "use_image": what.settings.verify_image,
        "image_env": _ALL,
        "programs": _PROGRAMS,
        "libraries": _LINKED,
        "links": ["/bin", "/sbin", "/lib", "/lib64"],
        "directories": ["/dev", "/etc", "/proc", "/sys", "/tmp"],  # noqa: S108 - in the image
        "files": {"/etc/passwd": "root:x:0:0:root:/:/bin/sh\n"},
        "script": sight.SCRIPT,
        "end_line": sight.END_LINE,
        "shim": paths.SHIM,
        "runtime": _runtime_of_bundles(what.settings),
        "seconds_each": what.settings.verify_timeout,
        "seconds_all": seconds_for_all(what),
        "marks": [STAND_IN_MARK],
        "commands": {
            "engine": ["docker", "info", "--format", "{{json .Runtimes}}"],
            "chain": [paths.ADMIN_COMMAND, "check", "--format", "json"],
            "drivers": [paths.RUNSC, "nvproxy", "list-supported-drivers"],
            "smi_help": ["nvidia-smi", "--help"],
        },
        "runs": [
            {
                "id": run.id,
                "through": "docker" if run.subject is Subject.DOCKER else "bundle",
                "runtime": what.settings.runtime_name,
                "env": run.env,
                "asking_image": run.asking_image,
                "config": run.config,
                "needs": "runc" if run.subject is Subject.CONTROL else None,
            }
            for run in what.runs
        ],
    }


def _runtime_of_bundles(settings: Settings) -> str:
    """By hand, as people who have no engine call it, wherever that can be served."""
    is_lost = settings.toolkit_mode is ToolkitMode.CSV and settings.toolkit >= _CSV_LOSES_THE_REQUEST
    # In the layout `dedicated` the shim by itself has the host's own configuration.
    return paths.ENTRY if is_lost or settings.layout is Layout.DEDICATED else paths.SHIM


def _control(settings: Settings, snapshot: HostSnapshot) -> ContainerRun | Check:
    """The same NVIDIA runtime over runc: where that works, what fails in gVisor is its fault, or ours."""
    asked = "every GPU, under runc"
    if not snapshot.gpus:
        return _skipped("control.all", Subject.CONTROL, asked, "there is no GPU on this host")
    # A pretend driver's /proc/driver/nvidia/params is not in a container's own procfs, and this hook then
    # fails under runc. No check is about what it does.
    left_out = ["disable-device-node-modification"] if settings.toolkit >= _HOOKS_CAN_BE_LEFT_OUT else []
    config = render(
        "verify-control.toml.j2",
        mode=settings.toolkit_mode.value,
        csv_dir=settings.layout.csv_dir,
        hooks_left_out=left_out,
    )
    expected = expected_sight(snapshot.gpus, gvisor=None)
    return ContainerRun("control.all", Subject.CONTROL, asked, expected, env=(_ALL,), config=config)


def _requests(settings: Settings, snapshot: HostSnapshot, subject: Subject) -> Iterable[ContainerRun | Check]:
    gpus = snapshot.gpus
    if gpus:
        expected = expected_sight(gpus, gvisor=True)
        yield ContainerRun(f"{subject}.all", subject, "every GPU", expected, env=(_ALL,))
        yield from _single_gpus(settings, gpus, subject)
    else:
        yield _skipped(f"{subject}.all", subject, "every GPU", "there is no GPU on this host")
    # An operator's own image may have the variable in its ENV; with `void` its container asks for nothing.
    own_image = subject is Subject.BUNDLE or settings.verify_image is None
    env = () if own_image else (f"{_VARIABLE}=void",)
    yield ContainerRun(f"{subject}.nothing", subject, "nothing", expected_sight((), gvisor=True), env=env)


def _single_gpus(settings: Settings, gpus: Sequence[Gpu], subject: Subject) -> Iterable[ContainerRun | Check]:
    """The first GPU and the last; where the toolkit refuses the last by its id, the last that it takes."""
    last = len(gpus) - 1
    highest = last
    if settings.toolkit_mode is ToolkitMode.CSV and settings.toolkit >= _CSV_CHECKS_IDS:
        highest = min(last, _CSV_HIGHEST_ID)
    for index in sorted({0, highest}):
        expected = expected_sight([gpus[index]], gvisor=True)
        env = (f"{_VARIABLE}={index}",)
        yield ContainerRun(f"{subject}.gpu-{index}", subject, f"GPU {index}", expected, env=env)
    if last != highest:
        why = (
            f"in mode csv, the NVIDIA Container Toolkit {settings.toolkit.upstream} itself refuses other ids "
            "than 0, 1 and all; mode auto takes every id"
        )
        yield _skipped(f"{subject}.gpu-{last}", subject, f"GPU {last}", why)
    # A bundle has no image: there, an engine has made one variable of the two before.
    if subject is Subject.DOCKER:
        yield ContainerRun(
            f"{subject}.gpu-{highest}-of-all",
            subject,
            f"GPU {highest}, where the image says all",
            expected_sight([gpus[highest]], gvisor=True),
            env=(f"{_VARIABLE}={highest}",),
            asking_image=True,
        )


def expected_sight(gpus: Sequence[Gpu], *, gvisor: bool | None) -> Sight | None:
    """What a container given these GPUs must show; None where the driver does not tell about them."""
    uuids = [gpu.uuid for gpu in gpus if gpu.uuid is not None]
    if len(uuids) < len(gpus) or any(gpu.minor is None for gpu in gpus):
        return None
    if not gpus:
        return Sight(gvisor, (), (), ())
    return Sight(gvisor, tuple(sorted(device_nodes(gpus))), tuple(uuids), sight.LIBRARIES)


def _skipped(name: str, subject: Subject, asked: str, why: str) -> Check:
    return Check(name, subject, asked, State.SKIPPED, why=why)
