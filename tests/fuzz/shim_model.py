"""What gVisor's containerd shim makes of a spec before it calls runsc: a model of the shim.

gVisor 20260905, pkg/shim/v1/runsc/service.go (setPodCgroup) and pkg/shim/v1/utils/volumes.go
(UpdateVolumeAnnotations, configureShm).
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

PREFIX = "dev.gvisor.spec.mount."
CGROUP_PARENT = "dev.gvisor.spec.cgroup-parent"
TYPES = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
IDS = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
LOGS = "io.kubernetes.cri.sandbox-log-directory"
SHM = f"{PREFIX}gvisorinternaldevshm."
SHARES = {"container", "pod", "shared"}
PLAIN_OPTIONS = {"rw", "ro", "nosuid", "nodev", "noexec", "noatime", "private", "rprivate"}


def shim(spec: dict[str, Any], *, are_empty: bool = True) -> None:
    """Change a spec as the shim does, where every volume that an annotation names is an emptyDir.

    Args:
        spec: as the engine wrote it: binds at /dev/shm and of emptyDirs.
        are_empty: whether nothing lies in the emptyDirs on the host.
    """
    annotations = spec["annotations"]
    is_sandbox = annotations.get(TYPES[0], "sandbox") == "sandbox"
    if is_sandbox:
        annotations.update(_volumes(annotations, are_empty=are_empty))
        annotations.update(_cgroup(spec["linux"].get("cgroupsPath") or ""))
    for mount in spec["mounts"]:
        if mount["destination"] == "/dev/shm" and mount.get("type") == "bind":
            mount["type"] = "tmpfs"
            mount["options"] = [o for o in mount.get("options") or [] if o not in ("bind", "rbind")]
            if is_sandbox:
                annotations.update(_shm(mount["source"]))
            break


def may_stay(spec: dict[str, Any]) -> dict[str, str]:
    """The annotations of a spec, as runsc would get it, that the shim has written, or a pod to share by.

    An emptyDir's name is one of Kubernetes', its way to be shared one of runsc's words; the pod's /dev/shm is
    in a directory of the sandbox's, or the host's own.
    """
    given = {k: v for k, v in (spec.get("annotations") or {}).items() if isinstance(v, str)}
    every = spec.get("annotations") or {}
    if not set(TYPES) & set(every) or every.get(TYPES[0], "sandbox") != "sandbox":
        return {}
    path = (spec.get("linux") or {}).get("cgroupsPath")
    could = [_cgroup(path) if isinstance(path, str) and ".." not in path.split("/") else {}]
    sandbox = next((every[name] for name in IDS if name in every), None)
    for mount in spec.get("mounts") or []:
        if mount["destination"] == "/dev/shm" and mount.get("type") == "tmpfs":
            source = mount.get("source") or ""
            folders = source.split("/")[1:-1]
            is_plain = posixpath.normpath(source) == source and source.startswith("/")
            if source == "/dev/shm" or (is_plain and sandbox and sandbox in folders):
                could.append(_shm(source))
    stays = {k: v for k, v in given.items() if any(one.get(k) == v for one in could)}
    for are_empty in (True, False):
        made = _volumes(given, are_empty=are_empty)
        for name in {
            key.removeprefix(PREFIX).removesuffix(".source") for key in made if key.endswith("source")
        }:
            stays |= _of_volume(name, given, made, are_empty=are_empty)
    return stays


def _of_volume(name: str, given: dict[str, str], made: dict[str, str], *, are_empty: bool) -> dict[str, str]:
    fields = {f: given.get(f"{PREFIX}{name}.{f}", "") for f in ("source", "type", "share", "options")}
    is_name = re.fullmatch("[a-z0-9-]+", name, re.ASCII) and fields["type"]
    if not is_name or f"{PREFIX}{name}." == SHM or fields["source"] != made.get(f"{PREFIX}{name}.source"):
        return {}
    may = {
        "source": True,
        "type": fields["type"] == made[f"{PREFIX}{name}.type"] and (are_empty or fields["share"] == "shared"),
        "share": fields["share"] in SHARES,
        "options": set(fields["options"].split(",")) <= PLAIN_OPTIONS,
    }
    if not may["type"]:
        return {}  # The shim takes notice of a volume by its type.
    return {f"{PREFIX}{name}.{field}": fields[field] for field, is_right in may.items() if is_right}


def _volumes(annotations: dict[str, str], *, are_empty: bool) -> dict[str, str]:
    words = posixpath.basename(annotations.get(LOGS, "").rstrip("/")).split("_")
    uid = words[-1] if len(words) in (1, 3) else ""
    written = {}
    for key in annotations:
        if uid and key.startswith(PREFIX) and key.endswith(".type"):
            name = key.removeprefix(PREFIX).split(".")[0]
            source = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/{name}"
            written |= {f"{PREFIX}{name}.source": source, key: "tmpfs" if are_empty else "bind"}
            if not are_empty:
                written[f"{PREFIX}{name}.share"] = "shared"
    return written


def _shm(source: str) -> dict[str, str]:
    return {f"{SHM}source": source, f"{SHM}type": "tmpfs", f"{SHM}share": "pod", f"{SHM}options": "rw"}


def _cgroup(path: str) -> dict[str, str]:
    folders = path.split("/")
    while folders and not folders[-1].startswith("pod"):
        folders.pop()
    parent = posixpath.normpath("/".join(folders)) if folders else path
    return {} if parent == path else {CGROUP_PARENT: parent}
