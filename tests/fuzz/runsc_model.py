"""What runsc executes for a command line, and what it opens of a spec: a model of runsc, not of the wrapper.

The flags are those of gVisor 20260905 (runsc/config/flags*.go, runsc/cli/cli.go, runsc/cmd/create.go, run.go,
restore.go), and one of each kind that no release has yet: the wrapper has to be right about the next one too.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.go_flags import FlagError, Flags

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ANY = frozenset(range(255))
"""Every minor that a GPU can have."""

NEW_BOOLEAN = "from-tomorrow"
NEW_WITH_VALUE = "value-from-tomorrow"

BOOLEANS = (
    *("EXPERIMENTAL-xdp-need-wakeup", "TESTONLY-afs-syscall-panic", "TESTONLY-autosave-resume"),
    *("TESTONLY-nftables", "TESTONLY-unsafe-nonroot", "allow-connected-on-save", "allow-flag-override"),
    *("allow-live-tcp-migration", "allow-packet-socket-write", "allow-rootfs-tar-annotation"),
    *("allow-suid", "alsologtostderr", "app-huge-pages", "buffer-pooling", "cgroupfs"),
    *("cpu-num-from-quota", "debug", "debug-to-user-log", "directfs", "enable-core-tags"),
    *("fsgofer-host-uds", "fuse", "gso", "gvisor-gro", "gvisor-marker-file", "h", "help"),
    *("ignore-cgroups", "iouring", "kvm-use-cpu-nums", "lisafs", "log-packets", "mount-cgroup-v2"),
    *("net-disconnect-ok", "net-raw", "nvproxy", "nvproxy-allow-unsupported-driver", "nvproxy-docker"),
    *("oci-seccomp", "overlay", "pause-external-networking", "profile", "rdmaproxy", "reproduce-nat"),
    *("reproduce-nftables", "rootless", "rx-checksum-offload", "save-restore-netstack", "software-gso"),
    *("strace", "strace-event", "systemd-cgroup", "systrap-disable-fast-path"),
    *("systrap-disable-syscall-patching", "tpuproxy", "tx-checksum-offload", "version", "vfs2"),
)
WITH_VALUE = (
    *("EXPERIMENTAL-xdp", "TESTONLY-autosave-image-path", "TESTONLY-test-name-env"),
    *("character-device-policy", "control-rpc-stop-timeout", "coverage-fd", "coverage-report"),
    *("dcache", "debug-command", "debug-log", "debug-log-fd", "debug-log-format", "fdlimit"),
    *("file-access", "file-access-mounts", "final-metrics-log", "gofer-network-namespace", "host-fifo"),
    *(
        "host-settings",
        "host-uds",
        "in-sandbox-cgroup",
        "log",
        "log-fd",
        "log-format",
        "metric-server",
        "network",
    ),
    *("network-processors-per-channel", "num-network-channels", "nvproxy-allowed-driver-capabilities"),
    *("nvproxy-driver-version", "overlay2", "override-procs", "panic-log", "panic-log-fd"),
    *("panic-signal", "pcap-log", "platform", "platform_device_path", "pod-init-config"),
    *("profile-block", "profile-cpu", "profile-gc-interval", "profile-heap", "profile-mutex"),
    *("profiling-metrics", "profiling-metrics-log", "profiling-metrics-rate-us", "qdisc"),
    *("qdisc-tbf-burst", "qdisc-tbf-rate", "ref-leak-mode", "restore-spec-validation", "root"),
    *(
        "shared-root",
        "sidecar-release-enforcement-policy",
        "sidecar-usage-policy",
        "strace-log-size",
        "strace-syscalls",
    ),
    *("trace", "traceback", "watchdog-action"),
)
_GLOBAL = Flags(frozenset((*BOOLEANS, NEW_BOOLEAN)), frozenset((*WITH_VALUE, NEW_WITH_VALUE)))

_CREATE = Flags(
    frozenset(("fs-restore-direct", NEW_BOOLEAN)),
    frozenset(("bundle", "console-socket", "pid-file", "user-log", "fs-restore-image-path", NEW_WITH_VALUE)),
)
_RUN = Flags(_CREATE.booleans | {"detach"}, _CREATE.with_value | {"pass-fd", "exec-fd"})
_RESTORE = Flags(
    _CREATE.booleans | {"detach", "direct", "background", "no-subreaper"},
    _CREATE.with_value | {"image-path", "work-path"},
)
_READING = {"create": _CREATE, "run": _RUN, "restore": _RESTORE}


class Execution(NamedTuple):
    """A subcommand that reads its bundle's spec, as runsc carries it out."""

    subcommand: str
    bundle: str
    container: str
    log: str | None


def execution(arguments: Sequence[str]) -> Execution | None:
    """What runsc executes; None where it refuses the line, or reads no spec for it."""
    try:
        values, rest = _GLOBAL.parse(arguments)
        if "true" in (values.get("help"), values.get("h"), values.get("version")) or not rest:
            return None
        subcommand, *behind = rest
        if subcommand not in _READING:
            return None
        own, containers = _READING[subcommand].parse(behind)
    except FlagError:
        return None
    if len(containers) != 1:
        return None
    return Execution(subcommand, own.get("bundle") or ".", containers[0], values.get("log") or None)


def opened(spec: dict[str, Any], configured: frozenset[int] = frozenset()) -> frozenset[int]:
    """The minors that can be opened in a container, where whoever made its image and its volumes wants all.

    As in gVisor 20260905: the device gofer serves the container's /dev as the gofer's mounts leave it
    (runsc/cmd/sandboxsetup/gofer_mount.go, SetupMounts, then SetupDev), whichever number a node is said to
    have in the sandbox (pkg/sentry/devices/nvproxy, openHostDevFile). Links in the image may lead any
    destination there, and a volume may hold any node, so that one mount that is not nodev opens everything.
    The root file system is nodev: the overlay's lower layer, which runsc mounts so, is its default.

    Args:
        spec: config.json, as runsc gets it.
        configured: what nvidia-container-cli puts into the container's /dev, in legacy mode.
    """
    if any(not _is_nodev(mount) or _brings_another_mount(mount) for mount in spec.get("mounts") or []):
        return ANY
    listed = [device["path"] for device in (spec.get("linux") or {}).get("devices") or []]
    tails = [path.removeprefix("/dev/nvidia") for path in listed if path.startswith("/dev/nvidia")]
    return configured | {int(tail) for tail in tails if tail.isdigit()}


def starts(spec: dict[str, Any]) -> bool:
    """Whether SetupDev can make the listed nodes: no bind that is nodev may lie over one, by its text."""
    over = {"/", "/dev", *(device["path"] for device in (spec.get("linux") or {}).get("devices") or [])}
    return not any(
        _is_gofers(mount) and _is_nodev(mount) and posixpath.normpath(f"/{mount['destination']}") in over
        for mount in spec.get("mounts") or []
    )


def _is_gofers(mount: dict[str, Any]) -> bool:
    """runsc/specutils/specutils.go, IsGoferMount."""
    is_bind = mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options") or [])
    return is_bind and bool(mount.get("source"))


def _is_nodev(mount: dict[str, Any]) -> bool:
    """Whether no device opens through a mount; of other types none lies in the gofer (specutils/fs.go)."""
    if not _is_gofers(mount):
        return True
    flags = {"MS_NODEV": False}
    for option in mount.get("options") or []:
        flags["MS_NODEV"] = {"dev": False, "nodev": True}.get(option, flags["MS_NODEV"])
    return flags["MS_NODEV"]


def _brings_another_mount(mount: dict[str, Any]) -> bool:
    """mount(2): MS_BIND|MS_REC takes what is mounted below along, with flags of its own; /dev is below /."""
    return "rbind" in (mount.get("options") or []) and posixpath.normpath(mount.get("source") or "x") in (
        "/",
        "//",
    )
