"""Driver capabilities: what NVIDIA_DRIVER_CAPABILITIES asks for, and what may be allowed of it.

What a list in the settings may name is not known here: runsc takes other names from release to release, and
is asked when it is installed (`runsc_capabilities`).
"""

from __future__ import annotations

from nvproxy_wrapper.judge.environment import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.host_view import HostView
    from nvproxy_wrapper.judge.settings import Settings

VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
ALL = "all"
"""Whatever is allowed: runsc clips it without a word, as NVIDIA's hook does (runsc/specutils/nvidia.go)."""

DEFAULT = ("utility", "compute")
"""Where the variable is not set or empty (toolkit, internal/config/image/capabilities.go), and what runsc
allows where it is told nothing (pkg/sentry/devices/nvproxy/nvconf/caps.go)."""

ALLOW_FLAG = "nvproxy-allowed-driver-capabilities"

OF_THE_HOST = "fabric-imex-mgmt"
"""The one that runsc also looks for in the driver's directory (nvconf/hostsettings.go)."""


def written(env: list[str]) -> list[str]:
    """The names that the variable asks for, each once; of several values the last one counts."""
    words = (word.strip() for value in values(env, VARIABLE)[-1:] for word in value.split(","))
    return list(dict.fromkeys(word for word in words if word))


def unusable(settings: Settings, host: HostView) -> dict[str, str]:
    """Names in `allowed_capabilities` with which runsc would start no container that has nvproxy, and why.

    A runsc without the flag is told nothing about them, and fails at none.
    """
    if ALLOW_FLAG not in settings.runsc_flags:
        return {}
    found = {}
    for name in settings.allowed_capabilities:
        if name not in settings.runsc_capabilities:
            taken = ", ".join(settings.runsc_capabilities) or "none"
            found[name] = f"the installed runsc does not take (it takes {taken})"
        elif name == OF_THE_HOST and name not in _of_driver(host):
            # pkg/sentry/devices/nvproxy/nvproxy.go, Register: the sentry ends with an error.
            found[name] = f"this host's driver does not have: {host.proc_driver}/capabilities lacks it"
    return found


def _of_driver(host: HostView) -> tuple[str, ...]:
    """What the driver has of its own capabilities; all that are asked for where that cannot be told."""
    found = host.capabilities()
    return (OF_THE_HOST,) if found is None else tuple(found.values())
