"""What runsc gets of the environment that the wrapper was started with: as good as nothing."""

from __future__ import annotations

from nvproxy_wrapper.judge.host_view import PROGRAM_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = (b"XDG_RUNTIME_DIR", b"NOTIFY_SOCKET", b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES")


def for_runsc(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment for runsc: the fixed PATH, and of `environ` only what systemd and a console need.

    A list of what is kept, not of what is dropped: hooks without an `env` of their own inherit this, and one
    variable that a linker or an interpreter obeys is enough to run a stranger's code as root
    (CVE-2025-23266). It also keeps GVISOR_SIDECAR_BINARIES_DIR from choosing runsc's other half.
    """
    kept = {name: environ[name] for name in _KEPT if name in environ}
    kept[b"PATH"] = ":".join(PROGRAM_PATH).encode()
    return kept
