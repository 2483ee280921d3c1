"""What a run has measured, as docs/compatibility.md and as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from tests.matrix.cells import ABSENCES, EXCHANGED_MINORS, REQUESTS, RUNSC_ARGS, Behind, Cell, Mode
from tests.matrix.judgement import LIBCUDA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.matrix.judgement import Measured, Measurement

GOOD = "✔"
ABSENT = "·"

_MODES = {
    Mode.CSV: "Devices and libraries are those of CSV files, here as the deploys generate them.",
    Mode.CDI: "Devices and libraries are those of a CDI specification, here by the same toolkit's\n"
    "`nvidia-ctk cdi generate`.",
    Mode.JIT_CDI: "What `auto` means from 1.18.0 on, and so configured: like cdi, made for each container.",
    Mode.LEGACY: "NVIDIA's prestart hook is there, for runsc to call nvidia-container-cli. The stand-in\n"
    f"for it makes no nodes and mounts no libraries: {GOOD} means that the container starts, is in gVisor,\n"
    "and that the program was called once, for the GPUs that were asked for.",
}

_HEAD = """\
# Compatibility

Measured on {date} by `make matrix`, which wrote this file. Each cell is one container, started by
`create` and `start`: the real NVIDIA Container Toolkit from its packages, the real runsc, and between them
either this project's wrapper, installed as the deploys install it and called by its entry as Docker does, or
the one line that gVisor's documentation suggests, `exec runsc --nvproxy "$@"`. With the newest runsc also the
wrapper without its entry, `nvidia-container-runtime` being called by hand.

| between them | {modes} |
|---|{columns}
| the wrapper | {wrapper} |
| the one line | {one_line} |
| the wrapper, by hand | {by_hand} |

So many cells are {good}: the container starts, its kernel is gVisor, `/dev/nvidia*` is exactly what was asked
for, and `{libcuda}` loads by that name. In the tables, the wrapper comes first in a cell, then the one line,
then, where it was tried, the wrapper by hand; letters are explained [below](#what-is-wrong-there).

{requests}

{absent} is a cell that does not exist, and what the toolkit says there:

{absences}

{containers} containers in {minutes:.0f} minutes, on a machine with {cores} cores and Linux {kernel}. The
hosts are Debian 12 with {gpus} GPUs, on which NVML's index {one} is the minor {other}. Stand-ins: the GPUs,
their kernel driver, its libraries (NVML too), and nvidia-container-cli: no cell says anything about CUDA.

| runsc | runs createContainer hooks | driver | further flags |
|---|---|---|---|
{releases}
"""

# What was found out about a message, by runsc's debug logs (`python -m tests.matrix --debug`).
_CAUSES = {
    "containerManager.StartRoot": "a node has no fileMode, at which runsc before 20260223 panics",
    'failure executing hook "/usr/bin/nvidia-ctk"': "the hook is disable-device-node-modification, "
    "which needs a /proc that runsc's gofer has not",
}

_LEGEND = """\
## What is wrong there

{outcomes}

A node that gVisor cannot serve does no harm by itself: to open it fails.

The host has all of NVIDIA's packages. Where only nvidia-container-toolkit-base is installed, a container for
which nvidia-container-cli is called as well does not start: `failed to locate nvidia-container-cli in PATH`.
"""


@dataclass(frozen=True)
class Circumstances:
    """Of a run: `date` in words, `cores` of the machine, `minutes` that it took."""

    date: str
    cores: int
    minutes: float


def markdown(wanted: Sequence[Cell], measurement: Measurement, circumstances: Circumstances) -> str:
    """docs/compatibility.md."""
    results = _by_cell(measurement)
    real = [cell for cell in wanted if cell.absence is None]
    head = _HEAD.format(
        date=circumstances.date,
        cores=circumstances.cores,
        minutes=circumstances.minutes,
        kernel=measurement.kernel.partition("-")[0],
        containers=sum(len(cell.ways) for cell in real),
        gpus=real[0].machine.gpus,
        modes=" | ".join(Mode),
        columns="---|" * len(Mode),
        wrapper=_shares(results, real, Behind.WRAPPER),
        one_line=_shares(results, real, Behind.ONE_LINE),
        by_hand=_shares(results, real, Behind.BY_HAND),
        good=GOOD,
        absent=ABSENT,
        libcuda=LIBCUDA,
        one=EXCHANGED_MINORS[0],
        other=EXCHANGED_MINORS[1],
        absences="\n".join(f"- {absence.why} (`{absence.shim_says}`)" for absence in ABSENCES),
        requests="\n".join(f"- `{request.name}` asks for {request.words}" for request in REQUESTS),
        releases="\n".join(_release_row(cell, measurement) for cell in _one_of_each_release(real)),
    )
    return "\n".join([head, tables(wanted, measurement)])


def tables(wanted: Sequence[Cell], measurement: Measurement) -> str:
    """A table for each mode, and what its letters mean. `wanted`: all toolkits with all releases."""
    results = _by_cell(measurement)
    real = [cell for cell in wanted if cell.absence is None]
    letters = _letters(results[cell, behind].faults for cell in real for behind in cell.ways)
    found = [_table(mode, [cell for cell in wanted if cell.mode is mode], results, letters) for mode in Mode]
    outcomes = "\n".join(f"- **{letter}**: {_told(faults)}" for faults, letter in letters.items())
    return "\n".join([*found, _LEGEND.format(outcomes=outcomes)])


def as_json(measurement: Measurement, circumstances: Circumstances) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "date": circumstances.date,
        "cores": circumstances.cores,
        "minutes": round(circumstances.minutes, 1),
        "kernel": measurement.kernel,
        "runsc": {release.date: probe.model_dump() for release, probe in measurement.probes.items()},
        "cells": [_cell_as_json(result) for result in measurement.results],
    }


def _by_cell(measurement: Measurement) -> dict[tuple[Cell, Behind], Measured]:
    return {(result.cell, result.behind): result for result in measurement.results}


def _cell_as_json(result: Measured) -> dict[str, Any]:
    cell, seen = result.cell, result.seen
    return {
        "mode": cell.mode,
        "toolkit": cell.toolkit.version,
        "runsc": cell.release.date,
        "request": cell.request.name,
        "visible_devices": cell.request.values,
        "behind": result.behind,
        "exists": cell.absence is None,
        "absent_because": cell.absence.why if cell.absence else None,
        "wanted_devices": cell.devices,
        "faults": result.faults,
        "error": seen.error,
        "gvisor": seen.printed.sight.gvisor,
        "devices": seen.printed.sight.devices,
        "gpus": seen.printed.sight.gpus,
        "libraries": seen.printed.sight.libraries,
        "nvidia_container_cli": seen.cli,
        "seconds": seen.seconds,
    }


def _letters(outcomes: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A letter for each way to be wrong, the most frequent first."""
    counted = Counter(faults for faults in outcomes if faults)
    names = [*ascii_lowercase, *(f"{one}{two}" for one in ascii_lowercase for two in ascii_lowercase)]
    return dict(zip((faults for faults, _ in counted.most_common()), names, strict=False))


def _told(faults: tuple[str, ...]) -> str:
    text = "; ".join(faults)
    causes = [cause for message, cause in _CAUSES.items() if message in text]
    return f"{text} ({causes[0]})" if causes else text


def _shares(results: Mapping[tuple[Cell, Behind], Measured], real: Sequence[Cell], behind: Behind) -> str:
    shares = []
    for mode in Mode:
        mine = [cell for cell in real if cell.mode is mode and behind in cell.ways]
        good = sum(not results[cell, behind].faults for cell in mine)
        shares.append(f"{good} of {len(mine)}")
    return " | ".join(shares)


def _table(
    mode: Mode,
    mine: Sequence[Cell],
    results: Mapping[tuple[Cell, Behind], Measured],
    letters: Mapping[tuple[str, ...], str],
) -> str:
    releases = _distinct(cell.release for cell in mine)
    lines = [
        f"## Mode {mode}\n",
        f"{_MODES[mode]}\n",
        f"| toolkit | request | {' | '.join(release.date for release in releases)} |",
        f"|---|---|{'---|' * len(releases)}",
    ]
    for toolkit in _distinct(cell.toolkit for cell in mine):
        for request in _distinct(cell.request for cell in mine):
            row = [Cell(mode, toolkit, release, request) for release in releases]
            shown = [_shown(cell, results, letters) for cell in row]
            lines.append(f"| {toolkit.version} | {request.name} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def _shown(
    cell: Cell, results: Mapping[tuple[Cell, Behind], Measured], letters: Mapping[tuple[str, ...], str]
) -> str:
    if cell.absence is not None:
        return ABSENT
    marks = (letters.get(results[cell, behind].faults, GOOD) for behind in cell.ways)
    return " ".join(marks)


def _release_row(cell: Cell, measurement: Measurement) -> str:
    runs = "yes" if measurement.probes[cell.release].hooks_run else "no"
    flags = " ".join(f"`{flag}`" for flag in RUNSC_ARGS.get(cell.release.date, ()))
    return f"| {cell.release.date} | {runs} | {cell.machine.driver_version} | {flags} |"


def _one_of_each_release(real: Sequence[Cell]) -> list[Cell]:
    return list({cell.release: cell for cell in real}.values())


def _distinct(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
