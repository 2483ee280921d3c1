"""Flags of runsc that undo what the wrapper does; all 119 of gVisor 20260905 were read.

The source is runsc/config/flags.go. Refused is what lets a GPU be opened that was not asked for, lets a
container's author set flags, opens a way around the sandbox that a volume can take, or is for tests alone.
What is left alone only trades speed or function: network, platform, debugging, cgroups, an unsupported
driver. The settings of the wrapper and those of the deploys ask here, and so do annotations where users may
bring some.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OFF = ("f", "F", "0")  # false, as Go's strconv.ParseBool takes it
_ANY = ()
_TESTS = "runsc has it for its tests alone"
_AROUND = "in a volume, it is a way past the sandbox to a program of the host that has every GPU"

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "TESTONLY-": (_ANY, _TESTS),
    "allow-flag-override": (_OFF, "an annotation of a container could set any flag of runsc's"),
    "allow-rootfs-tar-annotation": (_OFF, "an annotation could bring a file of the host into a container"),
    "character-device-policy": (
        ("emulated-only",),
        "a container could open devices of the host itself, GPUs among them, and gVisor would not be between",
    ),
    "fsgofer-host-uds": (_OFF, f"it opens sockets of the host: {_AROUND}"),
    "host-fifo": (("none",), f"it opens FIFOs of the host: {_AROUND}"),
    "host-uds": (("none",), f"it opens sockets of the host: {_AROUND}"),
    "iouring": (_OFF, _TESTS),
    "nvproxy": (
        _ANY,
        (
            "the wrapper sets it for the containers that need it; others would stop with a broken driver, and"
            " nobody has judged their mounts"
        ),
    ),
    "nvproxy-allowed-driver-capabilities": (_ANY, "allowed_capabilities says what is allowed"),
    "nvproxy-docker": (
        _OFF,
        "runsc would give a container the GPUs that its NVIDIA_VISIBLE_DEVICES names, judged or not",
    ),
    "overlay2": (
        tuple(f"{mount}:{medium}" for mount in ("root", "all") for medium in ("memory", "self", "dir=")),
        "without the overlay the root file system is not nodev: device nodes in an image open every GPU",
    ),
    "profile": (_OFF, "it loosens the seccomp filters of the sandbox"),
    "rootless": (_OFF, "runsc has no create then, and the sandbox the rights of its caller: root's"),
}
"""By name (or the beginning of one): how values begin that change nothing, and why others are refused."""

REFUSED_ANNOTATIONS = {
    "dev.gvisor.spec.rootfs.": "it takes the place of the root file system, and of the overlay that is nodev"
}
"""The same of annotations that set no flag, by the beginning of their names."""

_FLAG = "dev.gvisor.flag."


def why_refused(name: str, value: str) -> str | None:
    """Why a flag may not have this value; None: it may."""
    but, why = REFUSED.get("TESTONLY-" if name.startswith("TESTONLY-") else name, ((value,), ""))
    return None if any(value.startswith(harmless) for harmless in but) else why


def first_refused(arguments: Sequence[str]) -> tuple[str, str] | None:
    """The first of runsc's arguments that is refused, and why.

    A value may follow as an argument of its own. It does not for a boolean flag, where that is another one.
    """
    for position, argument in enumerate(arguments):
        if not argument.startswith("-"):
            continue
        name, equals, value = argument[2 if argument.startswith("--") else 1 :].partition("=")
        if not equals and REFUSED.get(name, (_OFF, ""))[0] is not _OFF:
            value = "".join(arguments[position + 1 : position + 2])
        why = why_refused(name, value if equals or value else "true")
        if why:
            return argument, why
    return None


def why_annotation_refused(name: str, value: object) -> str | None:
    """Why an annotation goes also where users may bring some; None: it may stay."""
    if name.startswith(_FLAG):
        return why_refused(name[len(_FLAG) :], str(value))
    return next((why for begin, why in REFUSED_ANNOTATIONS.items() if name.startswith(begin)), None)
