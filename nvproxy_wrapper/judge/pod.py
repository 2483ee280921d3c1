"""What CRI engines and gVisor's containerd shim write into the specs of a pod's containers. Pure.

The shim (`containerd-shim-runsc-v1`) changes a spec before it calls runsc, and so before this wrapper sees
it. Its annotations look like a user's: they stand in one map with those that an engine passes through from
the pod. So they are worked out anew, from parts of the spec that a pod's author does not write.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.annotations import CONTAINER_TYPES, sandbox_id
from nvproxy_wrapper.judge.decision import Pod
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.judge.oci_spec import Parts

_CGROUP_PARENT = "dev.gvisor.spec.cgroup-parent"
_MOUNT = "dev.gvisor.spec.mount."
_SHM = "/dev/shm"  # noqa: S108 - a name
_SHM_VOLUME = "gvisorinternaldevshm"

# The shim has this path in its text: with another --root-dir of the kubelet's (k0s, MicroK8s) it finds no
# volume, and the pod does not start.
_PODS = "/var/lib/kubelet/pods"
_LOG_DIRECTORY = "io.kubernetes.cri.sandbox-log-directory"

_VOLUME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_SHARES = ("container", "pod", "shared")
# Those that runsc takes for a mount of the sandbox's own, but for what opens something: dev, suid, exec.
_OPTIONS = frozenset(("rw", "ro", "nosuid", "nodev", "noexec", "noatime", "private", "rprivate"))

_NAMES = (
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
)
"""containerd's names (pkg/cri/annotations) and the kubelet's, which CRI-O passes on."""

_CDI = "cdi.k8s.io/"


def named(annotations: dict[str, Any]) -> Pod:
    """Which container of which pod an engine's annotations say that this is."""
    namespace, name, container = (
        next((annotations[key] for key in keys if isinstance(annotations.get(key), str)), "")
        for keys in _NAMES
    )
    values = [value for key, value in annotations.items() if key.startswith(_CDI) and isinstance(value, str)]
    return Pod(namespace, name, container, [device for value in values for device in value.split(",")])


def written_by_shim(parts: Parts) -> dict[str, tuple[str, ...]]:
    """The annotations that gVisor's shim has written into this spec, each with the values that it may have.

    Empty for a pod's other containers: there the shim changes the types of mounts alone. It takes a container
    without containerd's own annotation, as CRI-O's are, for a sandbox each.

    Not among them is dev.gvisor.flag.host-uds, which the shim sets where an emptyDir that is called
    gke-gcsfuse-tmp holds a file: it opens sockets of the host, and a pod's author names the volumes.

    From gVisor, pkg/shim/v1/runsc/service.go, setPodCgroup, and pkg/shim/v1/utils/volumes.go,
    UpdateVolumeAnnotations and configureShm; alike from 20231106 to 20260905, but that from ab9666dc3 (May
    2025) on an emptyDir with something in it is a bind that is shared with the host.
    """
    if parts.annotations.get(CONTAINER_TYPES[0], "sandbox") != "sandbox":
        return {}
    found: dict[str, tuple[str, ...]] = {}
    parent = _cgroup_parent(parts.cgroups_path)
    if parent:
        found[_CGROUP_PARENT] = (parent,)
    sources = _shm_sources(parts)
    if sources:
        fields = (("source", sources), ("type", ("tmpfs",)), ("share", ("pod",)), ("options", ("rw",)))
        found.update({f"{_MOUNT}{_SHM_VOLUME}.{field}": values for field, values in fields})
    uid = _pod_uid(parts.annotations)
    if uid:
        for name in _volumes(parts.annotations):
            found.update(_empty_dir(name, uid, parts.annotations))
    return found


def _cgroup_parent(path: str) -> str:
    """The pod's cgroup: the path up to its last part that begins with `pod`.

    "" where there is none: in the systemd form, `kubepods-pod1.slice:cri-containerd:ID`, there never is.
    """
    parts = path.split("/")
    if ".." in parts:
        # No kubelet writes that; Go's filepath.Join would take it away.
        return ""
    last = max((place for place, part in enumerate(parts) if part.startswith("pod")), default=-1)
    kept = [part for part in parts[: last + 1] if part not in ("", ".")]
    parent = ("/" if path.startswith("/") else "") + "/".join(kept)
    return parent if kept and parent != path else ""


def _shm_sources(parts: Parts) -> tuple[str, ...]:
    """Where the pod's /dev/shm is on the host, which the shim has made a tmpfs of a bind.

    containerd and CRI-O keep it in a directory that has the sandbox's id for its name; a pod with hostIPC has
    the host's own.
    """
    sandbox = sandbox_id(parts.annotations)
    sources = [
        mount.get("source") or ""
        for mount in parts.mounts
        if mount["destination"] == _SHM and mount.get("type") == "tmpfs"
    ]
    return tuple(
        source
        for source in sources
        if source == _SHM or (is_absolute_path(source) and sandbox and sandbox in source.split("/")[:-1])
    )


def _pod_uid(annotations: dict[str, Any]) -> str:
    """As the shim reads it: the log directory's name is the uid, or NAMESPACE_NAME_UID."""
    path = annotations.get(_LOG_DIRECTORY)
    words = path.rstrip("/").rpartition("/")[2].split("_") if isinstance(path, str) else []
    uid = words[-1] if len(words) in (1, 3) else ""
    return uid if uid.isascii() and uid.replace("-", "").isalnum() else ""


def _volumes(annotations: dict[str, Any]) -> list[str]:
    """The names of volumes that have a type, of which alone the shim takes notice."""
    names = [
        key[len(_MOUNT) : -len(".type")]
        for key in annotations
        if key.startswith(_MOUNT) and key.endswith(".type")
    ]
    # Kubernetes' names are DNS labels. The shim makes a pattern of what stands there, `*` included.
    return [name for name in names if name and name != _SHM_VOLUME and _VOLUME_LETTERS.issuperset(name)]


def _empty_dir(name: str, uid: str, annotations: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """One emptyDir: source and type are the shim's; how it is shared is the pod's to say, in runsc's words.

    Of another volume, or with another source or type, nothing is kept: what is left would still be a hint.
    """
    source = f"{_PODS}/{uid}/volumes/kubernetes.io~empty-dir/{name}"
    field = f"{_MOUNT}{name}."
    if annotations.get(f"{field}source") != source:
        return {}
    # With something in it, it is shared with the host, and then it is a bind.
    types = ("tmpfs", "bind") if annotations.get(f"{field}share") == "shared" else ("tmpfs",)
    if annotations.get(f"{field}type") not in types:
        return {}
    options = annotations.get(f"{field}options")
    is_plain = isinstance(options, str) and _OPTIONS.issuperset(options.split(","))
    return {
        f"{field}source": (source,),
        f"{field}type": types,
        f"{field}share": _SHARES,
        f"{field}options": (str(options),) if is_plain else (),
    }
