"""What a verification asks a host: which containers are started there, and what each must show. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from deploys.model import paths, sight
from deploys.model.checks import Check, State, Subject
from deploys.model.device_specs import CONTROL_NODES, device_nodes
from deploys.model.layouts import Layout
from deploys.model.rendering import render
from deploys.model.settings import ToolkitMode
from deploys.model.sight import Sight
from deploys.model.verification import catalogue
from deploys.model.verification.catalogue import Kind, of
from deploys.model.versions import ToolkitVersion
from deploys.model.wrapper_files import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from deploys.model.settings import Settings
    from deploys.model.snapshot import Gpu, HostSnapshot

# A whole verification may take as long as so many containers: most take a tenth of their limit.
_CONTAINERS = 8
# So many at once: a start waits for processes more than it computes.
_WORKERS = 6

IMAGES = "nvproxy-fleet/verify"
STAND_IN_MARK = "/etc/nvproxy-lab"
_STATE_DIR = "/run/nvproxy-fleet-verify"
_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
_ALL = f"{_VARIABLE}=all"

# What the kernel's modules leave in /sys, where there is a kernel driver and no stand-in for one.
MODULES = ("/sys/module/nvidia", "/sys/module/nvidia_uvm")
# Where a container finds its volume of device nodes, and where its loader leaves a file. The same in all.
VOLUME = "/nvproxy-verify-nodes"
LOADER_DIR = "/var/lib/nvproxy-fleet/verify/loader"
_NO_GPU = "there is no GPU on this host"
# runsc refuses a container with this one, unless it is taken away before.
_HOSTILE = {"dev.gvisor.flag.debug": "true"}
# The modules that templates/verify_inside.py imports.
_MODULES = ("ctypes", "errno", "os", "stat")

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


class Start(StrEnum):
    """How a container is started."""

    DOCKER = "docker"
    # As an engine does: create, start and delete.
    BUNDLE = "bundle"
    # By one call.
    RUN = "run"


class Hidden(StrEnum):
    """What is hidden from the runtimes of one container, in a mount namespace of their own."""

    DRIVER = "driver"
    LAUNCHER = "launcher"


@dataclass(frozen=True)
class ContainerRun:
    """One container to start.

    Attributes:
        id: of the check that comes of it.
        kind: that check.
        expected: what it must show; None where the host does not tell the minor and UUID of each GPU.
        env: the variables that are its request.
        start: how it is started.
        asking_image: whether its image has NVIDIA_VISIBLE_DEVICES=all in its ENV.
        config: a config.toml of its own for the NVIDIA runtime.
        entry: an entry of its own, which leads to that; None where the NVIDIA runtime is called itself.
        hides: what is hidden from its runtimes.
        refused: whether it must not start.
        annotations: those of its spec.
        nodes: whether it has a volume of device nodes, those of every GPU of the host.
        loader: whether its environment tells the dynamic loader to leave a file, so that it is seen where it
            runs.
    """

    kind: Kind
    expected: Sight | None
    env: tuple[str, ...] = ()
    start: Start = Start.BUNDLE
    asking_image: bool = False
    config: str | None = None
    entry: str | None = None
    hides: Hidden | None = None
    refused: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    nodes: bool = False
    loader: bool = False

    @property
    def id(self) -> str:
        """The check's."""
        return self.kind.id

    @property
    def subject(self) -> Subject:
        """By what it is started."""
        return self.kind.subject

    @property
    def asked(self) -> str:
        """What it asks for, in words."""
        return self.kind.title

    @property
    def asks_for_gpus(self) -> bool:
        """Whether a GPU is among what it must show."""
        return self.expected is None or bool(self.expected.gpus)


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
        *_modes(settings, snapshot),
        *_negative(settings, snapshot),
    ]
    runs = tuple(item for item in items if isinstance(item, ContainerRun))
    skipped = tuple(item for item in items if isinstance(item, Check))
    return Verification(settings, snapshot, runs, skipped)


def seconds_for_all(what: Verification) -> int:
    """How long all containers of a host may take together."""
    return _CONTAINERS * what.settings.verify_timeout


def task(what: Verification) -> dict[str, Any]:
    """The task for `host/remote/container_runs.py`.

    `commands` are asked first, then `runs` are started, `workers` at a time. `start` is one of `Start`,
    `needs` a program without which a run is not tried. `runtime` is what creates a bundle's container, `shim`
    where that has a configuration of its own; in an `entry` of its own, BUNDLE stands for the bundle's path.
    `hides` are paths of which each file, or each file that a last `*` stands for, is hidden from the
    runtimes, and each directory. Times are in seconds.
    """
    config = what.settings.layout.toolkit_config
    return {
        "dir": paths.VERIFY_DIR,
        "state_dir": _STATE_DIR,
        "label": IMAGES,
        "repository": IMAGES,
        "use_image": what.settings.verify_image,
        "image_env": _ALL,
        "programs": _PROGRAMS,
        "python": {"path": paths.PYTHON, "modules": _MODULES},
        "libraries": _LINKED,
        "links": ["/bin", "/sbin", "/lib", "/lib64"],
        "directories": ["/dev", "/etc", "/proc", "/sys", "/tmp", LOADER_DIR],  # noqa: S108 - in the image
        "files": {"/etc/passwd": "root:x:0:0:root:/:/bin/sh\n"},
        "script": sight.SCRIPT,
        "end_line": sight.END_LINE,
        "shim": paths.SHIM,
        "runtime": _runtime_of_bundles(what.settings),
        "workers": _WORKERS,
        "seconds_each": what.settings.verify_timeout,
        "seconds_all": seconds_for_all(what),
        "marks": [STAND_IN_MARK, *MODULES],
        "opens": CONTROL_NODES[0],
        "commands": {
            "engine": {"argv": ["docker", "info", "--format", "{{json .Runtimes}}"]},
            "chain": {"argv": [paths.ADMIN_COMMAND, "check", "--format", "json"]},
            "drivers": {"argv": [paths.RUNSC, "nvproxy", "list-supported-drivers"]},
            "smi_help": {"argv": ["nvidia-smi", "--help"]},
            "smi_list": {"argv": ["nvidia-smi", "-L"]},
            "config": {"argv": ["nvidia-ctk", "--quiet", "config", f"--config-file={config}"]},
            "rewrite": {
                "argv": [paths.ADMIN_COMMAND, "explain", "--format", "json", "-"],
                "stdin": json.dumps(known_spec(what.settings, what.snapshot.gpus)),
            },
        },
        "runs": [_run(what.settings, run) for run in what.runs],
    }


def _run(settings: Settings, run: ContainerRun) -> dict[str, Any]:
    hides = {
        None: [],
        Hidden.DRIVER: [paths.PROC_DRIVER, "/dev/nvidia*"],
        Hidden.LAUNCHER: [paths.LAUNCHER],
    }[run.hides]
    return {
        "id": run.id,
        "start": run.start,
        "runtime": settings.runtime_name,
        "env": run.env,
        "asking_image": run.asking_image,
        "config": run.config,
        "entry": run.entry,
        "needs": "runc" if run.subject is Subject.CONTROL else None,
        "hides": hides,
        "annotations": dict(run.annotations),
        "nodes": VOLUME if run.nodes else None,
        "loader": LOADER_DIR if run.loader else None,
    }


def known_spec(settings: Settings, gpus: Sequence[Gpu]) -> dict[str, Any]:
    """A spec that asks for the first GPU, as the NVIDIA runtime of these settings would leave it.

    In mode csv every GPU is listed, up to the toolkit that then leaves no trace of the request; else the one.
    """
    lists_all = settings.toolkit_mode is ToolkitMode.CSV and settings.toolkit < _CSV_LOSES_THE_REQUEST
    nodes = [
        {"path": path, "type": "c", "major": 195 if path != CONTROL_NODES[1] else 511, "minor": _minor(path)}
        for path in device_nodes(gpus if lists_all else gpus[:1])
    ]
    request = ["NVIDIA_VISIBLE_DEVICES=0", *(["NVIDIA_VISIBLE_DEVICES=void"] if lists_all else [])]
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "env": request, "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {"devices": nodes, "namespaces": [{"type": "pid"}, {"type": "mount"}]},
    }


def _minor(path: str) -> int:
    digits = path.removeprefix("/dev/nvidia")
    return int(digits) if digits.isdigit() else {CONTROL_NODES[0]: 255}.get(path, 0)


def _runtime_of_bundles(settings: Settings) -> str:
    """By hand, as people who have no engine call it, wherever that can be served."""
    is_lost = settings.toolkit_mode is ToolkitMode.CSV and settings.toolkit >= _CSV_LOSES_THE_REQUEST
    # In the layout `dedicated` the shim by itself has the host's own configuration.
    return paths.ENTRY if is_lost or settings.layout is Layout.DEDICATED else paths.SHIM


def _control(settings: Settings, snapshot: HostSnapshot) -> ContainerRun | Check:
    """The same NVIDIA runtime over runc: where that works, what fails in gVisor is its fault, or ours."""
    if not snapshot.gpus:
        return _skipped(catalogue.CONTROL, _NO_GPU)
    # A pretend driver's /proc/driver/nvidia/params is not in a container's own procfs, and this hook then
    # fails under runc. No check is about what it does.
    left_out = ["disable-device-node-modification"] if settings.toolkit >= _HOOKS_CAN_BE_LEFT_OUT else []
    config = render(
        "verify-control.toml.j2",
        mode=settings.toolkit_mode.value,
        csv_dir=settings.layout.csv_dir,
        hooks_left_out=left_out,
    )
    return ContainerRun(
        catalogue.CONTROL, expected_sight(snapshot.gpus, gvisor=None), env=(_ALL,), config=config
    )


def _requests(settings: Settings, snapshot: HostSnapshot, way: Subject) -> Iterable[ContainerRun | Check]:
    """Every way to ask. Through Docker only those that an engine has a part in: a bundle has no image."""
    gpus = snapshot.gpus
    start = Start.DOCKER if way is Subject.DOCKER else Start.BUNDLE

    def asking(kind: Kind, value: str, given: Sequence[Gpu], **more: Any) -> ContainerRun:
        env = (f"{_VARIABLE}={value}",)
        return ContainerRun(kind, expected_sight(given, gvisor=True), env=env, start=start, **more)

    if gpus:
        yield asking(of(catalogue.ALL, way), "all", gpus)
        yield from _some_gpus(settings, gpus, way, asking)
        none = of(catalogue.NO_GPU, way)
        yield ContainerRun(none, _driver_alone(), env=(f"{_VARIABLE}=none",), start=start)
    else:
        yield _skipped(of(catalogue.ALL, way), _NO_GPU)
    # An operator's own image may have the variable in its ENV; with `void` its container asks for nothing.
    own_image = way is Subject.BUNDLE or settings.verify_image is None
    env = () if own_image else (f"{_VARIABLE}=void",)
    yield ContainerRun(of(catalogue.NOTHING, way), expected_sight((), gvisor=True), env=env, start=start)


def _some_gpus(
    settings: Settings, gpus: Sequence[Gpu], way: Subject, asking: Callable[..., ContainerRun]
) -> Iterable[ContainerRun | Check]:
    """The first GPU and the last, by index and by UUID; where the toolkit refuses one, the last that goes."""
    last = len(gpus) - 1
    checks_ids = settings.toolkit_mode is ToolkitMode.CSV and settings.toolkit >= _CSV_CHECKS_IDS
    highest = min(last, _CSV_HIGHEST_ID) if checks_ids else last
    for index in sorted({0, highest}):
        kind = of(catalogue.INDEX, way, f"gpu-{index}", f"GPU {index}")
        loader = way is Subject.BUNDLE and index == 0
        yield asking(kind, str(index), [gpus[index]], nodes=index == 0, loader=loader)
    refused = (
        f"in mode csv, the NVIDIA Container Toolkit {settings.toolkit.upstream} itself refuses other ids "
        "than 0, 1 and all; mode auto takes every id"
    )
    if last != highest:
        yield _skipped(of(catalogue.INDEX, way, f"gpu-{last}", f"GPU {last}"), refused)
    uuid = of(catalogue.UUID, way, f"uuid-{last}", f"GPU {last} by its UUID")
    if checks_ids:
        yield _skipped(uuid, refused)
    elif gpus[last].uuid is not None:
        yield asking(uuid, str(gpus[last].uuid), [gpus[last]])
    else:
        yield _skipped(uuid, "the driver does not tell its UUID")
    if highest:
        several = of(catalogue.SEVERAL, way, "several", f"GPUs 0 and {highest}")
        yield asking(several, f"0,{highest}", [gpus[0], gpus[highest]])
    # A bundle has no image: there, an engine has made one variable of the two before.
    if way is Subject.DOCKER:
        title = f"GPU {highest}, where the image says all"
        kind = of(catalogue.OF_ALL, way, f"gpu-{highest}-of-all", title)
        yield asking(kind, str(highest), [gpus[highest]], asking_image=True)


def _modes(settings: Settings, snapshot: HostSnapshot) -> Iterable[ContainerRun | Check]:
    """The same in other modes, each with a configuration of its own; the host's stays as it is."""
    for mode in settings.verify_modes:
        kind = of(catalogue.MODE, Subject.BUNDLE, f"mode-{mode}", f"every GPU, in mode {mode}")
        if not snapshot.gpus:
            yield _skipped(kind, _NO_GPU)
            continue
        config = render(
            "config.toml.j2",
            settings_hint="for one container of a verification",
            mode=mode.value,
            launcher=paths.LAUNCHER,
            csv_dir=settings.layout.csv_dir,
        )
        expected = expected_sight(snapshot.gpus, gvisor=True)
        yield ContainerRun(
            kind, expected, env=(_ALL,), config=config, entry=entry(config_home="BUNDLE", engine="verify")
        )


def _negative(settings: Settings, snapshot: HostSnapshot) -> Iterable[ContainerRun | Check]:
    """What must not happen. By bundles: a mount namespace of one's own hides nothing from an engine."""
    plain = expected_sight((), gvisor=True)
    yield ContainerRun(catalogue.BY_RUN, plain, start=Start.RUN)
    yield ContainerRun(catalogue.NO_DRIVER, plain, hides=Hidden.DRIVER)
    yield ContainerRun(catalogue.NO_LAUNCHER, plain, hides=Hidden.LAUNCHER, refused=True)
    if settings.allow_user_annotations:
        yield _skipped(catalogue.ANNOTATION, "allow_user_annotations is set for this host")
    else:
        yield ContainerRun(catalogue.ANNOTATION, plain, annotations=_HOSTILE)
    if not snapshot.gpus:
        yield _skipped(catalogue.LOADER, _NO_GPU)


def expected_sight(gpus: Sequence[Gpu], *, gvisor: bool | None) -> Sight | None:
    """What a container given these GPUs must show; None where the driver does not tell about them."""
    uuids = [gpu.uuid for gpu in gpus if gpu.uuid is not None]
    if len(uuids) < len(gpus) or any(gpu.minor is None for gpu in gpus):
        return None
    if not gpus:
        return Sight(gvisor, (), (), ())
    return Sight(gvisor, tuple(sorted(device_nodes(gpus))), tuple(uuids), sight.LIBRARIES)


def _driver_alone() -> Sight:
    """What `none` gives: the control nodes and the libraries, and no GPU."""
    return Sight(gvisor=True, devices=tuple(sorted(CONTROL_NODES)), gpus=(), libraries=sight.LIBRARIES)


def _skipped(kind: Kind, why: str) -> Check:
    return Check(kind.id, kind.subject, kind.title, State.SKIPPED, why=why, layer=kind.layer)
