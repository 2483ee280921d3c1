"""The checks as data: what each proves, how bad it is, on which others it hangs, and what to do.

The judgement takes them from here, and so does docs/verify.md. To add a check is to add a row, and the
function that judges it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deploys.model import paths
from deploys.model.checks import Layer, Severity, Subject
from deploys.model.layouts import TOOLKIT_CONFIGS

_SITE = "Run site.py for this host."


@dataclass(frozen=True)
class Kind:
    """One check.

    Attributes:
        id: unique; `WAY.…` for what is tried in each way in, `…N` for what is tried with more than one GPU.
        title: the question, in words.
        layer: what it is about.
        proves: what is known where it passed.
        remedy: what to do where it failed, and nothing more particular is known.
        source: where it comes from that this matters.
        needs: the ids of the checks without which this one tells nothing of its own, the ground first.
        severity: how bad it is where it fails.
        subject: by what it is tried.
    """

    id: str
    title: str
    layer: Layer
    proves: str
    remedy: str
    source: str
    needs: tuple[str, ...] = ()
    severity: Severity = Severity.FAULT
    subject: Subject = Subject.HOST


_DRIVER_WORKS = ("host.driver", "host.modules", "host.nodes", "host.libraries", "host.nvidia-smi")
_TOOLKIT = ("toolkit.floor", "toolkit.packages", "toolkit.config", "toolkit.specs")
_CHAIN = ("gvisor.release", "gvisor.files", "wrapper.files", "wrapper.rewrite")

HOST = (
    Kind(
        "host.driver",
        "the NVIDIA driver",
        Layer.HOST,
        "A kernel driver is loaded and says its version.",
        "Install the NVIDIA driver, or 'modprobe nvidia'.",
        "/proc/driver/nvidia/version; gpu-operator, cmd/nvidia-validator",
    ),
    Kind(
        "host.modules",
        "the driver's kernel modules",
        Layer.HOST,
        "nvidia and nvidia-uvm are in the kernel.",
        "'modprobe nvidia-uvm'; 'dmesg' says why where it fails.",
        "without nvidia-uvm no CUDA program starts; gVisor loads no module",
        needs=("host.driver",),
    ),
    Kind(
        "host.nodes",
        "the driver's device nodes",
        Layer.HOST,
        "nvidiactl, nvidia-uvm and a node of each GPU are there, each with its own numbers.",
        f"'systemctl start nvproxy-device-nodes' makes them, and says why where it cannot. {_SITE}",
        "NVIDIA's runtime leaves a missing node out without a word, and gVisor makes none",
        needs=("host.driver", "host.modules"),
    ),
    Kind(
        "host.libraries",
        "the driver's libraries",
        Layer.HOST,
        "libcuda.so.1 and libnvidia-ml.so.1 lead to files of the loaded driver's version.",
        "After a driver upgrade, reboot; else install the driver's libraries again, and run 'ldconfig'.",
        "a driver and libraries of two versions: 'Driver/library version mismatch'",
        needs=("host.driver",),
    ),
    Kind(
        "host.nvidia-smi",
        "nvidia-smi on the host",
        Layer.HOST,
        "The driver answers, with the GPUs that it lists in /proc.",
        "Repair the driver first: 'nvidia-smi' and 'dmesg | grep -e NVRM -e Xid' say what it lacks.",
        "what does not work on the host works in no container",
        needs=("host.driver", "host.modules", "host.nodes", "host.libraries"),
    ),
    Kind(
        "host.mig",
        "MIG on the host",
        Layer.HOST,
        "No GPU is split into MIG instances.",
        "'nvidia-smi -mig 0', or leave the GPU to other hosts: gVisor serves no MIG instance.",
        "gVisor's GPU guide, MIG",
        needs=("host.nvidia-smi",),
        severity=Severity.ADVISORY,
    ),
    Kind(
        "host.supported",
        "the driver in gVisor's list",
        Layer.HOST,
        "This very runsc knows the driver's version.",
        "Install a driver that this gVisor supports, or set gvisor_release to one that supports this driver.",
        "runsc nvproxy list-supported-drivers; google/gvisor#12773: runsc says only EOF",
        needs=("host.driver", "gvisor.release"),
    ),
    Kind(
        "host.files",
        "files for the next boot and the next run",
        Layer.HOST,
        "What loads modules and makes nodes at boot, and the toolkit's package source, are as written.",
        "Look who changed it; site.py puts it right.",
        "on many hosts nobody else makes nvidia-uvm's node",
        severity=Severity.ADVISORY,
    ),
    Kind(
        "toolkit.floor",
        "the NVIDIA Container Toolkit's age",
        Layer.TOOLKIT,
        "It is not one of the versions that let containers out.",
        f"Set toolkit_version to a later one. {_SITE}",
        "CVE-2025-23266, CVE-2025-23267 (NVIDIA bulletin, July 2025)",
    ),
    Kind(
        "toolkit.packages",
        "the NVIDIA Container Toolkit's packages",
        Layer.TOOLKIT,
        "All four packages are there at the version of the settings.",
        _SITE,
        "four packages of two versions: NVIDIA/nvidia-container-toolkit#1093",
        needs=("toolkit.floor",),
    ),
    Kind(
        "toolkit.config",
        "the NVIDIA runtime's configuration",
        Layer.TOOLKIT,
        "Read back by the toolkit itself it has our mode, our launcher as its only runtime; only root may "
        "write it.",
        _SITE,
        "with a second runtime a missing wrapper means runc (nvidia-container-toolkit, runtime_low_level.go)",
    ),
    Kind(
        "toolkit.specs",
        "devices.csv and drivers.csv",
        Layer.TOOLKIT,
        "They are as they were written.",
        _SITE,
        "names with a version go stale with a driver upgrade",
    ),
    Kind(
        "gvisor.release",
        "gVisor's release",
        Layer.GVISOR,
        "The release of the settings is the current one, file for file as it was installed.",
        _SITE,
        "applied.json; side binaries of another build do not start (google/gvisor#13718)",
    ),
    Kind(
        "gvisor.files",
        "who may write gVisor's files",
        Layer.GVISOR,
        "runsc and its side binaries, and every directory above them, are root's alone to write.",
        "Give the file and the directories above it back to root ('chmod go-w').",
        "whoever may write them is root of every container's host; gVisor's FAQ, runsc-perms",
        needs=("wrapper.files", "gvisor.release"),
    ),
    Kind(
        "wrapper.files",
        "the wrapper's files",
        Layer.WRAPPER,
        "Entry, launcher, package and settings fit together, are as they were written, and root's alone to "
        "write.",
        _SITE,
        "nvproxy-wrapper check; applied.json",
    ),
    Kind(
        "wrapper.rewrite",
        "a rewrite of a known spec",
        Layer.WRAPPER,
        "Of a spec that lists every GPU and asks for one, the wrapper leaves that one.",
        f"'nvproxy-wrapper explain' says what it makes of a spec. {_SITE}",
        "docs/wrapper.md, devices.scope",
        needs=("host.driver", "wrapper.files"),
    ),
    Kind(
        "host.engine",
        "what Docker has loaded",
        Layer.ENGINE,
        "Docker answers, and our runtime in it leads to the entry.",
        f"Run site.py; it sees to {paths.DAEMON_JSON} and reloads Docker.",
        "docker info; a daemon.json that was edited and not loaded",
    ),
    Kind(
        "host.verification",
        "the verification",
        Layer.HOST,
        "It came to its end, and left nothing behind.",
        "Run verify.py again.",
        "what is missing may be just the removal",
    ),
)

CONTROL = Kind(
    "control.all",
    "every GPU, under runc",
    Layer.CONTROL,
    "The same NVIDIA runtime works without gVisor: what fails in gVisor is its fault, or ours.",
    "The NVIDIA runtime does not work with runc either: look at the driver and the toolkit first "
    "('nvidia-smi' on the host, 'nvidia-container-runtime' in its log).",
    "gVisor, test/gpu/smoke_test.go: runc first",
    needs=(*_DRIVER_WORKS, "toolkit.packages", "toolkit.specs"),
    subject=Subject.CONTROL,
)

_GPU_NEEDS = (*_DRIVER_WORKS, "host.supported", *_TOOLKIT, *_CHAIN, "control.all", "WAY.sandbox")
_SEEN = "It has exactly the device nodes of the GPUs that it asked for."
_LOG = (
    "Where the control under runc fails too, it is the driver or the toolkit; "
    f"else see what the wrapper did in the last lines of {paths.DECISION_LOG}."
)


def _devices(name: str, title: str, source: str) -> Kind:
    return Kind(f"WAY.{name}", title, Layer.DEVICES, _SEEN, _LOG, source, needs=_GPU_NEEDS)


# Of each way in.
SANDBOX = Kind(
    "WAY.sandbox",
    "gVisor",
    Layer.SANDBOX,
    "A container starts, the kernel log in each is gVisor's, and so is its process on the host.",
    f"'nvproxy-wrapper check' on the host, and the runtime's own log. {_SITE}",
    "gVisor's kernel log begins with 'Starting gVisor'; /proc/PID/exe on the host",
    needs=("host.engine", "toolkit.floor", "toolkit.packages", "toolkit.config", *_CHAIN[:3]),
)
ALL = _devices("all", "every GPU", "google/gvisor#13621")
INDEX = _devices("gpu-N", "one GPU by its index", "an index is not a minor: google/gvisor#9389")
OF_ALL = _devices(
    "gpu-N-of-all", "one GPU, where the image says all", "google/gvisor#13620: every GPU was visible"
)
UUID = _devices("uuid-N", "one GPU by its UUID", "nvidia-container-toolkit, NVIDIA_VISIBLE_DEVICES")
SEVERAL = _devices("several", "two GPUs", "nvidia-container-toolkit, NVIDIA_VISIBLE_DEVICES")
NO_GPU = _devices("none", "the driver without a GPU (none)", "docs/gpu-modes.md: control nodes, no GPU")
MODE = _devices(
    "mode-MODE",
    "every GPU, in another mode of the NVIDIA runtime",
    "docs/gpu-modes.md; asked for by verify_modes",
)
OPENS = Kind(
    "WAY.opens",
    "what opens",
    Layer.DEVICES,
    "By path, by mknod and through a volume of device nodes, just the GPUs open that were asked for.",
    f"The wrapper did not narrow the devices: see the last lines of {paths.DECISION_LOG}.",
    "nvproxy opens any node that the container's files have (gVisor, nvproxy/frontend.go)",
    needs=("WAY.sandbox",),
)
LIBRARIES = Kind(
    "WAY.libraries",
    "the driver's libraries by name",
    Layer.LIBRARIES,
    "libcuda.so.1 and libnvidia-ml.so.1 load by name in every container that has a GPU.",
    _LOG,
    "google/gvisor#13060: no libcuda.so.1",
    needs=_GPU_NEEDS,
)
NVIDIA_SMI = Kind(
    "WAY.nvidia-smi",
    "nvidia-smi",
    Layer.NVIDIA_SMI,
    "nvidia-smi -L lists just the GPUs that were asked for, by UUID.",
    _LOG,
    "gVisor, test/gpu/smoke_test.go",
    needs=(*_GPU_NEEDS, "WAY.libraries"),
)
CUDA = Kind(
    "WAY.cuda",
    "CUDA",
    Layer.CUDA,
    "The driver API starts, has the GPUs that were asked for, copies there and back, and adds vectors.",
    "'dmesg | grep -e NVRM -e Xid' on the host; runsc's --debug-log says which call of the driver it lacks.",
    "gVisor, test/gpu/smoke_test.go; gpu-operator's vectorAdd",
    needs=(*_GPU_NEEDS, "WAY.libraries"),
)
NOTHING = Kind(
    "WAY.nothing",
    "nothing",
    Layer.NEGATIVE,
    "Who asks for nothing sees nothing of NVIDIA's.",
    f"The wrapper did not narrow the devices: see the last lines of {paths.DECISION_LOG}.",
    "gVisor, gvisor's GPU guide; NVIDIA_VISIBLE_DEVICES=void",
    needs=("WAY.sandbox",),
)
PER_WAY = (
    SANDBOX,
    ALL,
    INDEX,
    UUID,
    SEVERAL,
    OF_ALL,
    NO_GPU,
    MODE,
    OPENS,
    LIBRARIES,
    NVIDIA_SMI,
    CUDA,
    NOTHING,
)

_PLAIN = ("bundle.sandbox",)
BY_RUN = Kind(
    "bundle.run",
    "nothing, by one call: run",
    Layer.NEGATIVE,
    "nvidia-container-runtime run, too, leads into gVisor.",
    SANDBOX.remedy,
    "the NVIDIA runtime hands run on without a look at the spec (runtime_factory.go)",
    needs=_PLAIN,
    subject=Subject.BUNDLE,
)
NO_DRIVER = Kind(
    "bundle.no-driver",
    "nothing, where the driver is broken",
    Layer.NEGATIVE,
    "A container that asks for no GPU starts where the driver's nodes and files are hidden.",
    f"The wrapper or runsc asks the driver for a container that has no need of it: see {paths.DECISION_LOG}.",
    "a broken driver must not break plain containers",
    needs=_PLAIN,
    subject=Subject.BUNDLE,
)
NO_LAUNCHER = Kind(
    "bundle.no-launcher",
    "a start without the wrapper",
    Layer.NEGATIVE,
    "Where the launcher is hidden, no container starts: nothing falls back to runc.",
    f"'runtimes' in {TOOLKIT_CONFIGS} must name {paths.LAUNCHER} and nothing else. {_SITE}",
    "nvidia-container-toolkit, runtime_low_level.go",
    needs=("toolkit.config", *_PLAIN),
    subject=Subject.BUNDLE,
)
ANNOTATION = Kind(
    "bundle.annotation",
    "nothing, with a hostile annotation",
    Layer.NEGATIVE,
    "An annotation that would change runsc's flags is taken away.",
    "Set allow_user_annotations to false, unless only trusted people start containers.",
    "docs/wrapper.md, annotation.user",
    needs=_PLAIN,
    subject=Subject.BUNDLE,
)
LOADER = Kind(
    "bundle.loader",
    "variables of the image's loader",
    Layer.NEGATIVE,
    "LD_PRELOAD and its like in a container's environment reach no hook that runs as root on the host.",
    f"Update the toolkit (toolkit_version), and let nobody's code run on this host until then. {_SITE}",
    "CVE-2025-23266 (NVIDIAScape)",
    needs=tuple(need.replace("WAY", "bundle") for need in _GPU_NEEDS),
    subject=Subject.BUNDLE,
)
NEGATIVE = (BY_RUN, NO_DRIVER, NO_LAUNCHER, ANNOTATION, LOADER)

KINDS = (*HOST, CONTROL, *PER_WAY, *NEGATIVE)
BY_ID = {kind.id: kind for kind in KINDS}


def of(kind: Kind, way: Subject, name: str | None = None, title: str | None = None) -> Kind:
    """A kind as it is tried in one way in: ids with the way's name, and on no engine where there is none.

    Args:
        kind: any.
        way: Docker or a bundle; any other leaves it as it is.
        name: the part of the id behind the way, where that has a number.
        title: the question with that number.
    """
    if way not in (Subject.DOCKER, Subject.BUNDLE):
        return kind
    needs = [
        need.replace("WAY", way) for need in kind.needs if way is Subject.DOCKER or need != "host.engine"
    ]
    own = f"{way}.{name}" if name else kind.id.replace("WAY", way)
    return replace(kind, id=own, title=title or kind.title, needs=tuple(needs), subject=way)


def markdown() -> str:
    """docs/verify.md."""
    head = (
        "# What a verification checks\n\n"
        "`deploys/verify.py`, and the end of `deploys/site.py`. Made by `make docs` from "
        "`deploys/model/verification/catalogue.py`.\n\n"
        "A check is *passed*, *failed*, *unknown* (it could not be told, which never counts as passed) or "
        "*skipped*, with the reason. The layers stand on each other: what fails only because another check "
        "failed is skipped, and says because of which. An *advisory* check is told and does not fail the "
        "host. A *breach* is told whatever else is wrong; a check of severity *fault* may find one.\n\n"
        "`WAY` is `docker` (docker run) and `bundle` (the NVIDIA runtime called by hand, no engine), `N` the "
        "index of a GPU.\n"
    )
    columns = ("id", "what is asked", "severity", "proves", "remedy", "why")
    parts = []
    for layer in Layer:
        rows = [
            (f"`{kind.id}`", kind.title, kind.severity, kind.proves, kind.remedy, kind.source)
            for kind in KINDS
            if kind.layer is layer
        ]
        lines = ["| " + " | ".join(row) + " |" for row in (columns, *rows)]
        lines.insert(1, "|---" * len(columns) + "|")
        parts.append(f"\n## {layer}\n\n" + "\n".join(lines) + "\n")
    return head + "".join(parts)
