"""What is measured: the cells, those that do not exist and why, and what each must show. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from deploys.model.device_specs import CONTROL_NODES
from tests.lab import Engine, HostDefinition
from tests.lab.versions import DRIVER_VERSION, GVISOR_RELEASES, GvisorRelease, ToolkitVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Version = TypeVar("Version", ToolkitVersion, GvisorRelease)

# Eight GPUs: csv mode treats the first two by rules of their own.
# Index 1 is minor 6: to take one for the other shows.
GPUS = 8
EXCHANGED_MINORS = (1, 6)

# runsc lists the drivers of its time, and there is none that all of these list: this one gets a host with
# another driver.
_DRIVERS = {"20240729": "550.90.07"}

# This one takes a network namespace with net.core.rmem_default for the host's own, and newer kernels have
# that in each (seen with Linux 6.18: "cannot run with network enabled in root network namespace"). The later
# ones look at dev_weight (runsc/sandbox/network.go, isRootNetNS, 20250503).
RUNSC_ARGS = {"20240729": ("--network=none",)}

# Of the releases here, the first that runs createContainer hooks; `runsc features` lists them before (tried).
HOOKS_RUN_SINCE = "20260616"


class Mode(StrEnum):
    """The ways in which nvidia-container-runtime makes a GPU container."""

    CSV = "csv"
    CDI = "cdi"
    JIT_CDI = "jit-cdi"
    LEGACY = "legacy"


class Behind(StrEnum):
    """What stands behind the shim, as its only low-level runtime.

    The wrapper with the entry before the shim, as Docker has it; one line instead; and the wrapper where the
    shim is called by hand, without the entry.
    """

    WRAPPER = "wrapper"
    ONE_LINE = "one line"
    BY_HAND = "wrapper, by hand"


@dataclass(frozen=True)
class Request:
    """What a container asks for.

    Attributes:
        name: short, for tables.
        words: what an engine was asked.
        values: of NVIDIA_VISIBLE_DEVICES in the spec's environment, in order.
        indices: the GPUs that are meant, by NVML index.
        modes: where it is tried.
        by_gpus_option: whether Docker's own hook is in the spec, as `docker run --gpus` writes it.
    """

    name: str
    words: str
    values: tuple[str, ...]
    indices: tuple[int, ...]
    modes: frozenset[Mode] = frozenset(Mode)
    by_gpus_option: bool = False


ALL = Request("all", "every GPU", ("all",), tuple(range(GPUS)))
ONE = Request("one", "GPU 1", ("1",), (1,))
# Docker replaces an image's variable by that of `-e`, and appends that of `--gpus`
# (moby, daemon/nvidia_linux.go).
IMAGE_ALL = Request(
    "image-all", "GPU 1 by `--gpus`, where the image says all", ("all", "1"), (1,), by_gpus_option=True
)
FIRST = Request("first", "GPU 0", ("0",), (0,), frozenset({Mode.CSV}))
IMAGE_FIRST = Request(
    "image-first",
    "GPU 0 by `--gpus`, where the image says all",
    ("all", "0"),
    (0,),
    frozenset({Mode.CSV}),
    by_gpus_option=True,
)
NONE = Request("none", "no GPU, by the word `none`", ("none",), (), frozenset({Mode.CSV}))
LATER = Request("later", "GPU 5", ("5",), (5,), frozenset({Mode.CSV}))
REQUESTS = (ALL, ONE, IMAGE_ALL, FIRST, IMAGE_FIRST, NONE, LATER)


@dataclass(frozen=True)
class Absence:
    """Cells that do not exist, for a reason that is the toolkit's; `shim_says` is what a run sees it say.

    Attributes:
        before: first version that has them, or None.
        since: first version that has them no more, or None.
    """

    mode: Mode
    why: str
    shim_says: str
    before: tuple[int, ...] | None = None
    since: tuple[int, ...] | None = None
    requests: tuple[Request, ...] = REQUESTS

    def holds(self, mode: Mode, toolkit: ToolkitVersion, request: Request) -> bool:
        """Whether it is about this cell."""
        is_early = self.before is not None and toolkit.number < self.before
        is_late = self.since is not None and toolkit.number >= self.since
        return mode is self.mode and request in self.requests and (is_early or is_late)


# The second: nvidia-container-toolkit v1.20.0, pkg/nvcdi/lib-csv.go.
ABSENCES = (
    Absence(
        Mode.JIT_CDI,
        before=(1, 18),
        why="jit-cdi came with 1.18.0",
        shim_says="invalid runtime mode",
    ),
    Absence(
        Mode.CSV,
        since=(1, 19),
        requests=(LATER,),
        why="from 1.19.0 on, csv mode takes no other ids than 0, 1 and all",
        shim_says="unsupported device id: 5",
    ),
)


@dataclass(frozen=True)
class Cell:
    """One container of the matrix."""

    mode: Mode
    toolkit: ToolkitVersion
    release: GvisorRelease
    request: Request

    @property
    def id(self) -> str:
        """As `csv 1.20.0 20260905 one`."""
        return f"{self.mode} {self.toolkit.version} {self.release.date} {self.request.name}"

    @property
    def absence(self) -> Absence | None:
        """Why it does not exist; None where it does."""
        return next((one for one in ABSENCES if one.holds(self.mode, self.toolkit, self.request)), None)

    @property
    def ways(self) -> tuple[Behind, ...]:
        """How its container is made. By hand with one runsc only: what is told there depends on none."""
        return tuple(Behind) if self.release == GVISOR_RELEASES[-1] else (Behind.WRAPPER, Behind.ONE_LINE)

    @property
    def configured_mode(self) -> str:
        """`mode` in config.toml. Where jit-cdi is, it is `auto` that people have, and the deploys write."""
        return "auto" if self.mode is Mode.JIT_CDI and self.absence is None else self.mode.value

    @property
    def machine(self) -> HostDefinition:
        """The lab host on which it is measured: one with a driver that its runsc lists."""
        driver = _DRIVERS.get(self.release.date, DRIVER_VERSION)
        return HostDefinition(
            f"matrix-{driver.partition('.')[0]}",
            gpus=GPUS,
            engine=Engine.NONE,
            driver_version=driver,
            exchanged_minors=EXCHANGED_MINORS,
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """The nodes that the container must see: by the minor, which is not the index."""
        gpus = (self.machine.pretend_gpus[index] for index in self.request.indices)
        return tuple(sorted([*CONTROL_NODES, *(f"/dev/nvidia{gpu.minor}" for gpu in gpus)]))


def short(versions: Sequence[Version]) -> list[Version]:
    """Of toolkits or releases, the oldest first: the default ones, and what is newer than all of those."""
    newest = max(place for place, one in enumerate(versions) if one.by_default)
    return [one for place, one in enumerate(versions) if one.by_default or place > newest]


def cells(toolkits: Sequence[ToolkitVersion], releases: Sequence[GvisorRelease]) -> Iterator[Cell]:
    """Every cell, and those that do not exist too; by toolkit, so that each is installed once."""
    for toolkit in toolkits:
        for release in releases:
            for mode in Mode:
                for request in REQUESTS:
                    if mode in request.modes:
                        yield Cell(mode, toolkit, release, request)
