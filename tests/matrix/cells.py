"""What is measured: the cells, those that do not exist and why, and what each must show. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deploys.model.device_specs import CONTROL_NODES
from tests.lab import Engine, HostDefinition
from tests.lab.versions import GvisorRelease, ToolkitVersion

# Eight GPUs: csv mode treats the first two by rules of their own. Index 1 is minor 6: to take one for the other shows.
MACHINE = HostDefinition("matrix-1", gpus=8, engine=Engine.NONE, exchanged_minors=(1, 6))


class Mode(StrEnum):
    """`mode` of nvidia-container-runtime's config.toml."""

    CSV = "csv"
    CDI = "cdi"
    JIT_CDI = "jit-cdi"
    LEGACY = "legacy"


class Behind(StrEnum):
    """What stands behind the shim, as its only low-level runtime."""

    WRAPPER = "wrapper"
    ONE_LINE = "one line"


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


ALL = Request("all", "every GPU", ("all",), tuple(range(MACHINE.gpus)))
ONE = Request("one", "GPU 1", ("1",), (1,))
# Docker replaces a variable of an image by one of `-e`, and appends the one of `--gpus` (moby, daemon/nvidia_linux.go).
IMAGE_ALL = Request(
    "image all, one", "GPU 1 by `--gpus`, of an image that says all", ("all", "1"), (1,), by_gpus_option=True
)
FIRST = Request("first", "GPU 0", ("0",), (0,), frozenset({Mode.CSV}))
FIFTH = Request("later", "GPU 5", ("5",), (5,), frozenset({Mode.CSV}))
REQUESTS = (ALL, ONE, IMAGE_ALL, FIRST, FIFTH)


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
        requests=(FIFTH,),
        why="from 1.19 on, csv mode itself refuses other ids than 0, 1 and all (pkg/nvcdi/lib-csv.go)",
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
    def devices(self) -> tuple[str, ...]:
        """The nodes that the container must see: by the minor, which is not the index."""
        gpus = (MACHINE.pretend_gpus[index] for index in self.request.indices)
        return tuple(sorted([*CONTROL_NODES, *(f"/dev/nvidia{gpu.minor}" for gpu in gpus)]))


def cells(toolkits: Sequence[ToolkitVersion], releases: Sequence[GvisorRelease]) -> Iterator[Cell]:
    """Every cell, those that do not exist too: by toolkit, then by release, so that each is installed once."""
    for toolkit in toolkits:
        for release in releases:
            for mode in Mode:
                for request in REQUESTS:
                    if mode in request.modes:
                        yield Cell(mode, toolkit, release, request)
