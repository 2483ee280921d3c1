"""What runsc has noted about a sandbox that runs, and the sandbox's own command line.

Read only where a GPU container joins a pod. Root wrote both; still they are opened as files that decide what
a root program does.
"""

from __future__ import annotations

import posix

from nvproxy_wrapper.host import trusted_file
from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.annotations import NVPROXY
from nvproxy_wrapper.judge.host_view import HostError

_MAX_COMMAND_LINE_BYTES = 1 << 20
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
"""As Go's strconv.ParseBool takes it."""


def has_nvproxy(root: str, sandbox: str) -> bool:
    """Whether runsc started this sandbox with nvproxy (runsc/specutils/nvidia.go, NVProxyEnabled).

    The state is `ROOT/ID_sandbox:ID.state`, JSON, with `spec` and `sandbox.pid` in it: so from 20231106 to
    20260905 (gVisor, runsc/container/state_file.go). The sandbox is called with every flag that is not at its
    default as --NAME=VALUE, then `boot`, and its id at the end (runsc/sandbox/sandbox.go).

    Args:
        root: runsc's --root.
        sandbox: the sandbox's id.

    Raises:
        HostError: it cannot be told.
    """
    name = f"{sandbox}_sandbox:{sandbox}.state"
    path = f"{root}/{name}"
    if "/" in sandbox or "\0" in sandbox:
        raise HostError(f"{sandbox!r} is no id of runsc's")
    state = _read_state(root, name, path)
    annotations = _object(_object(state, "spec", path), "annotations", path)
    if annotations.get(NVPROXY) in _TRUE:
        return True
    pid = _object(state, "sandbox", path).get("pid")
    if type(pid) is not int or pid <= 0:
        raise HostError(f"{path} names no process")
    flags, boot, rest = _command_line(pid).partition(b"\0boot\0")
    if not boot or sandbox.encode() not in rest.split(b"\0"):
        raise HostError(f"the process {pid} that {path} names is not that sandbox")
    return not {b"--nvproxy", b"--nvproxy=true"}.isdisjoint(flags.split(b"\0"))


def _read_state(root: str, name: str, path: str) -> dict[str, object]:
    try:
        directory = trusted_file.open_directory(root)
        try:
            data, _ = trusted_file.read(directory, name, path, strict_json.MAX_BYTES)
        finally:
            posix.close(directory)
        return strict_json.loads(data)
    except FileNotFoundError:
        raise HostError(f"{path} is not there") from None
    except trusted_file.UntrustedFileError as error:
        raise HostError(str(error)) from None
    except strict_json.JSONError as error:
        raise HostError(f"{path} {error}") from None


def _object(parent: dict[str, object], name: str, path: str) -> dict[str, object]:
    value = parent.get(name)
    if value is None and name == "annotations":
        return {}
    if not isinstance(value, dict):
        raise HostError(f"{path} has no {name} as runsc is known to write it")
    return value


def _command_line(pid: int) -> bytes:
    path = f"/proc/{pid}/cmdline"
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        try:
            parts = [posix.read(descriptor, _MAX_COMMAND_LINE_BYTES)]
            while parts[-1] and sum(map(len, parts)) < _MAX_COMMAND_LINE_BYTES:
                parts.append(posix.read(descriptor, _MAX_COMMAND_LINE_BYTES))
        finally:
            posix.close(descriptor)
    except OSError as error:
        raise HostError(f"{path} cannot be read ({error.strerror})") from None
    return b"".join(parts)
