"""Every version the lab can build, once: what the mirror serves by default and what it serves on request.

Sources: the tags of github.com/NVIDIA/nvidia-container-toolkit, and gVisor's `go` branch, whose commits carry
the releases' dates (a module version is `v0.0.0-<time>-<commit>`).
"""

from dataclasses import dataclass

from deploys.model.versions import TOOLKIT_DEFAULT, TOOLKIT_FLOOR


@dataclass(frozen=True)
class ToolkitVersion:
    """A release of the NVIDIA Container Toolkit, as its tag without the `v`."""

    version: str
    by_default: bool = False

    @property
    def package_version(self) -> str:
        """The version of all four Debian packages."""
        return f"{self.version}-1"

    @property
    def number(self) -> tuple[int, ...]:
        """For comparisons: (1, 20, 0)."""
        return tuple(int(part) for part in self.version.split("."))


@dataclass(frozen=True)
class GvisorRelease:
    """A gVisor release: its date as in the download address, and where its runsc comes from here."""

    date: str
    module_version: str | None = None  # of gvisor.dev/gvisor
    debian_suite: str | None = None  # or the Debian suite whose package `runsc` it is
    by_default: bool = False


@dataclass(frozen=True)
class EngineVersions:
    """A container engine's programs, by the versions of their modules."""

    dockerd: str
    containerd: str
    runc: str


# By default, the oldest that the deploys install, and what they install where an inventory names none. The
# demo takes the newest of these.
TOOLKIT_VERSIONS = tuple(
    ToolkitVersion(version, by_default=version in (TOOLKIT_FLOOR.upstream, TOOLKIT_DEFAULT.upstream))
    for version in ("1.17.8", "1.18.2", "1.19.1", "1.20.0", "1.20.1", "1.20.2")
)

GVISOR_RELEASES = (
    GvisorRelease("20240729", debian_suite="trixie"),
    GvisorRelease("20250503", "v0.0.0-20250503011706-39ed1f5ac29c"),
    GvisorRelease("20250812", "v0.0.0-20250812171554-968e93457fe6"),
    GvisorRelease("20260224", "v0.0.0-20260224225140-573d5e7127a8", by_default=True),
    GvisorRelease("20260413", "v0.0.0-20260413194555-9680d69bf798"),
    GvisorRelease("20260518", "v0.0.0-20260518063529-209a0ce076a1"),
    GvisorRelease("20260616", "v0.0.0-20260616165937-8e4bc62602eb"),
    GvisorRelease("20260905", "v0.0.0-20260905035102-160fafc42237", by_default=True),
)

# The modules that the programs are built from.
TOOLKIT_MODULE = "github.com/NVIDIA/nvidia-container-toolkit"
GVISOR_MODULE = "gvisor.dev/gvisor"
DOCKERD_MODULE = "github.com/moby/moby/v2"
CONTAINERD_MODULE = "github.com/containerd/containerd/v2"
RUNC_MODULE = "github.com/opencontainers/runc"


# What a host with the current engine gets in place of Debian 12's Docker 20.10. They were tried together.
CURRENT_ENGINE = EngineVersions(dockerd="v2.0.0-beta.24", containerd="v2.4.2", runc="v1.5.2")

# A version that every runsc above lists in `nvproxy list-supported-drivers`.
DRIVER_VERSION = "570.124.06"
# What Debian's own packages have, and its point releases change: the newest runsc above lists it, too.
DEBIAN_DRIVER_VERSION = "535.261.03"

# NVIDIA's own header, that the stand-in NVML is compiled against: the PyPI package, pinned.
NVML_HEADER_REQUIREMENT = (
    "nvidia-nvml-dev==13.5.37 --hash=sha256:7394fcbefa9ba537e8238cbb1caa4cd2db6bbfbff208d217a8a884947113ae6d"
)

# Debian 12: the suite of every host that asks for no other. Debian 13 is for virtual machines: its systemd
# does not boot on cgroup v1.
HOST_SUITE = "bookworm"
SUITES = (HOST_SUITE, "trixie")

# The newest Python that the wrapper is tested under, and the suite that has it. The suite still moves, so any
# 3.14.x will do.
PYTHON_VERSION = "3.14"
PYTHON_SUITE = "forky"
