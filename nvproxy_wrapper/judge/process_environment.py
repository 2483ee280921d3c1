"""What runsc gets of the environment that the wrapper was started with: next to nothing where a GPU is."""

from __future__ import annotations

from nvproxy_wrapper.judge.host_view import PROGRAM_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What runsc reads of its environment (gVisor 20260905, every os.Getenv in runsc/, and Go's own):
#   USER                         `owner` in a container's state, and in `runsc list`
#   PWD                          the working directory by this name, if it is one: the bundle in the state
#   XDG_RUNTIME_DIR              where --root is, if it is not given
#   PATH                         where nvidia-container-cli is looked for: ours, below
# Kept besides: NOTIFY_SOCKET and LISTEN_*, systemd's, which the hooks of an engine may want.
# Not kept, though runsc reads them: GVISOR_SIDECAR_BINARIES_DIR chooses runsc's other half;
# GVISOR_ENFORCE_RELEASE lets it be of another release; RUNSC_START_TIME_NANOS and GO_COVERAGE_FILE are its
# tests'; GODEBUG, GOGC, GOMAXPROCS, GOMEMLIMIT, GOTRACEBACK and TMPDIR change how Go runs. HOME it does not
# read.
_KEPT = (
    b"USER",
    b"PWD",
    b"XDG_RUNTIME_DIR",
    b"NOTIFY_SOCKET",
    b"LISTEN_FDS",
    b"LISTEN_PID",
    b"LISTEN_FDNAMES",
)

# What the entry says to the wrapper, and to NVIDIA's runtime (templates/nvproxy-entry.sh.j2).
_OF_THE_ENTRY = (b"NVIDIA_CTK_CONFIG_FILE_PATH", b"XDG_CONFIG_HOME", b"NVPROXY_ENTRY")


def for_runsc(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment for the runsc of a GPU container: a fixed PATH, and little of `environ`.

    A list of what is kept, not of what is dropped: hooks without an `env` of their own, and
    nvidia-container-cli, inherit this, and one variable that a linker or an interpreter obeys is enough to
    run a stranger's code as root (CVE-2025-23266).
    """
    kept = {name: environ[name] for name in _KEPT if name in environ}
    kept[b"PATH"] = ":".join(PROGRAM_PATH).encode()
    return kept


def as_it_was(block: bytes) -> dict[bytes, bytes]:
    """The environment for the runsc of a plain container, which is none of the wrapper's business.

    Args:
        block: the environment with which this process was started, as in /proc/self/environ. Python itself
            sets LC_CTYPE for itself and what it starts where no locale is set (PEP 538). The launcher has
            taken out what a linker obeys.
    """
    pairs = [entry.partition(b"=") for entry in block.split(b"\0") if entry]
    found = {name: value for name, equals, value in pairs if equals}
    # The entry always sets this one together with the others; without it they are the caller's own.
    if _OF_THE_ENTRY[0] in found:
        for name in _OF_THE_ENTRY:
            found.pop(name, None)
    return found
