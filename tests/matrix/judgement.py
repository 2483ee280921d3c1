"""What a cell's container showed, and whether that is what was asked for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploys.model import sight
from tests.matrix.cells import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.applied import RuntimeProbe
    from tests.lab.versions import GvisorRelease
    from tests.matrix.cells import Behind, Cell

LIBCUDA = "libcuda.so.1"


@dataclass(frozen=True)
class Seen:
    """What was seen of one container.

    Attributes:
        error: what the runtimes said; "" where the container started and came to its end.
        printed: what the container printed.
        cli: the arguments of each call of nvidia-container-cli for it, as the stand-in has recorded them.
        seconds: from `create` to the container's last line.
    """

    error: str
    printed: sight.Printed
    cli: tuple[str, ...]
    seconds: float

    @classmethod
    def of_answer(cls, answer: dict[str, Any], host_kernel: str) -> Seen:
        """From a line of `containers_on_host.py`."""
        printed = sight.read(answer["out"], host_kernel)
        error = "" if printed.complete else answer["error"].strip() or "it did not come to its end in time"
        return cls(error, printed, tuple(answer["cli"]), answer["seconds"])


@dataclass(frozen=True)
class Measured:
    """One cell behind one thing, and what is wrong there."""

    cell: Cell
    behind: Behind
    seen: Seen
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """All that one run has measured.

    Attributes:
        results: every cell that exists, in each of its ways, and the shim's answer for those that do not.
        probes: what each runsc can do, by the wrapper's own probe.
        kernel: of the machine.
    """

    results: tuple[Measured, ...]
    probes: Mapping[GvisorRelease, RuntimeProbe]
    kernel: str


def faults(cell: Cell, seen: Seen) -> tuple[str, ...]:
    """What is wrong with the container of a cell, a few words each; nothing where it is as was asked."""
    if cell.absence is not None:
        is_refused = cell.absence.shim_says in seen.error
        return () if is_refused else (f"the shim does not say: {cell.absence.shim_says}",)
    if seen.error:
        return (f"does not start: {_without_names(seen.error)}",)
    shown = seen.printed.sight
    found = [] if shown.gvisor else ["is not in gVisor"]
    if cell.mode is Mode.LEGACY:
        return (*found, *_legacy_faults(cell, seen))
    if shown.devices != cell.devices:
        found.append(_wrong_devices(shown.devices, cell.devices))
    if LIBCUDA not in shown.libraries:
        found.append(f"{LIBCUDA} does not load")
    # The stand-in does nothing; the real one gives these GPUs besides those that the spec lists.
    found += [f"nvidia-container-cli is called as well, with {argument}" for argument in _given_by_cli(seen)]
    return tuple(found)


def _legacy_faults(cell: Cell, seen: Seen) -> tuple[str, ...]:
    """The stand-in makes no nodes and mounts no library: what counts is what it was told to give."""
    wanted = [f"--device={cell.request.values[-1]}"]
    told = _given_by_cli(seen)
    if told == wanted:
        return ()
    return (f"nvidia-container-cli got {' '.join(told) or 'no --device'}, not {' '.join(wanted)}",)


def _given_by_cli(seen: Seen) -> list[str]:
    return [word for line in seen.cli for word in line.split() if word.startswith("--device=")]


def _wrong_devices(shown: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    missing = sorted(set(wanted) - set(shown))
    if missing:
        return f"does not see {' '.join(missing)}"
    extra = set(shown) - set(wanted)
    if any(re.fullmatch(r"/dev/nvidia\d+", path) for path in extra):
        return "sees GPUs that were not asked for"
    return "sees nodes that gVisor cannot serve"


def _without_names(error: str) -> str:
    """The first line that says something, without what is another in each run."""
    line = next(line for line in error.splitlines() if line.strip())
    return re.sub(r"nvproxy-matrix-\d+-\d+", "ID", line)[:300]
