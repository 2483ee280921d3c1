"""The short form of the matrix: what the lab has by default and what is newer, every mode."""

from __future__ import annotations

import pytest

from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS
from tests.matrix.cells import ALL, FIRST, HOOKS_RUN_SINCE, IMAGE_FIRST, NONE, Behind, Mode, cells, short
from tests.matrix.measure import measure

pytestmark = pytest.mark.lab

TOOLKITS = short(TOOLKIT_VERSIONS)
RELEASES = short(GVISOR_RELEASES)
CELLS = list(cells(TOOLKITS, RELEASES))

# From here on the specs of the listing modes say `void`, whatever was asked for (docs/upstream-report.md).
VOID_SINCE = (1, 20, 1)


def is_untold(cell):
    """The csv cells of which the shim leaves too little in the spec: without the entry they are refused.

    In csv mode `void` stands for any request, unless hooks name the GPUs one by one (`one`). Of two entries
    the shim replaces the last, so that the image's is left. In `image-all` that does no harm: for GPU 1, csv
    mode lists no other.
    """
    is_void = cell.toolkit.number >= VOID_SINCE and cell.mode is Mode.CSV
    return is_void and cell.request in (ALL, FIRST, IMAGE_FIRST, NONE)


@pytest.fixture(scope="module")
def measurement():
    return measure(CELLS)


@pytest.fixture(scope="module")
def results(measurement):
    return {(result.cell, result.behind): result for result in measurement.results}


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=cell.id) for cell in CELLS if cell.absence is None],
)
def test_behind_the_wrapper_a_container_gets_what_it_asked_for(results, cell):
    result = results[cell, Behind.WRAPPER]
    assert result.faults == (), result.seen


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=cell.id)
        for cell in CELLS
        if cell.absence is None and Behind.BY_HAND in cell.ways and not is_untold(cell)
    ],
)
def test_without_the_entry_a_container_gets_what_the_spec_still_tells(results, cell):
    result = results[cell, Behind.BY_HAND]
    assert result.faults == (), result.seen


def test_without_the_entry_what_the_spec_does_not_tell_is_refused(results):
    told = {
        cell.id: results[cell, Behind.BY_HAND].seen.error
        for cell in CELLS
        if Behind.BY_HAND in cell.ways and is_untold(cell) and cell.request is not IMAGE_FIRST
    }
    assert all("(devices.scope)" in error for error in told.values()), told


def test_cells_that_do_not_exist_are_refused_by_the_shim(results):
    asked = [result for result in results.values() if result.cell.absence is not None]
    assert {result.cell.absence for result in asked} == {cell.absence for cell in CELLS if cell.absence}
    for result in asked:
        assert result.faults == (), result.seen


def test_the_probe_tells_which_runsc_runs_hooks(measurement):
    hooks_run = {release.date: probe.hooks_run for release, probe in measurement.probes.items()}
    assert hooks_run == {release.date: release.date >= HOOKS_RUN_SINCE for release in RELEASES}


def test_the_one_line_fails_as_it_does_in_the_field(results):
    """A lab in which it succeeds would prove nothing about the wrapper."""
    oldest, newest = RELEASES[0], RELEASES[-1]

    def told(**wanted):
        matching = [
            result.faults
            for result in results.values()
            if result.behind is Behind.ONE_LINE
            and all(getattr(result.cell, name) == value for name, value in wanted.items())
        ]
        assert matching
        return [" ".join(found) for found in matching]

    listing = (Mode.CSV, Mode.CDI, Mode.JIT_CDI)
    for mode in listing:
        assert all("libcuda.so.1 does not load" in found for found in told(mode=mode, release=oldest))
    for found in told(mode=Mode.JIT_CDI, release=newest):
        assert 'failure executing hook "/usr/bin/nvidia-ctk"' in found
    for toolkit in TOOLKITS:
        if toolkit.number < VOID_SINCE:
            for found in told(mode=Mode.CDI, release=newest, toolkit=toolkit):
                assert "nvidia-container-cli is called as well" in found
    assert "sees GPUs that were not asked for" in " ".join(told(mode=Mode.CSV, release=newest))
