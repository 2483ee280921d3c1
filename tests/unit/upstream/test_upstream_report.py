"""What is told of a run, and how it ends."""

from __future__ import annotations

import pytest

from deploys.model.applied import RuntimeProbe
from deploys.model.sight import Printed, Sight
from tests.lab.versions import CURRENT_ENGINE, GVISOR_RELEASES, TOOLKIT_VERSIONS, ToolkitVersion
from tests.matrix.cells import Behind, cells
from tests.matrix.judgement import Measured, Measurement, Seen
from tests.upstream.capture import REQUESTS
from tests.upstream.components import Pins
from tests.upstream.engine import Trial
from tests.upstream.facts import Difference, Fact, How, Kind
from tests.upstream.report import Findings, ReleaseChange, ToolkitChange, markdown

NEW = ToolkitVersion("9.9.9")
OLD = TOOLKIT_VERSIONS[-1]
CELLS = list(cells([OLD, NEW], GVISOR_RELEASES[-1:]))
SEEN = Seen("", Printed(complete=True, sight=Sight(None, (), (), ()), complaints=()), (), 0.5)
PROBE = RuntimeProbe(hooks_run=True, flags=(), supported_drivers=(), version=None)
HOOK = Difference(How.NEW, Fact(Kind.HOOK, "createRuntime: /usr/bin/nvidia-ctk hook NAME"))


def measured(failing_toolkit=None, behind=Behind.WRAPPER):
    """The short matrix; the cells of one toolkit fail behind one of both."""
    results = [
        Measured(
            cell,
            one,
            SEEN,
            ("does not start",) if (cell.toolkit, one) == (failing_toolkit, behind) else (),
        )
        for cell in CELLS
        for one in Behind
    ]
    return Measurement(tuple(results), {GVISOR_RELEASES[-1]: PROBE}, "6.1")


def findings(**values):
    new_cells = frozenset(cell for cell in CELLS if cell.toolkit is NEW)
    newer = dict.fromkeys(Pins().components(), ())
    return Findings("2026-01-02", newer, cells=CELLS, new_cells=new_cells, **values)


@pytest.mark.parametrize(
    ("status", "values"),
    [
        (0, {}),
        (0, {"measurement": measured()}),
        (0, {"measurement": measured(OLD)}),
        (0, {"measurement": measured(NEW, Behind.ONE_LINE)}),
        (1, {"measurement": measured(NEW)}),
        (0, {"engine": Trial(CURRENT_ENGINE, passed=True, screen="")}),
        (1, {"engine": Trial(CURRENT_ENGINE, passed=False, screen="")}),
        (2, {"troubles": ["asking failed"]}),
        (2, {"troubles": ["asking failed"], "measurement": measured()}),
        (1, {"troubles": ["asking failed"], "measurement": measured(NEW)}),
    ],
)
def test_a_run_fails_for_a_newer_version_that_fails_and_else_for_what_was_not_tried(status, values):
    assert findings(**values).status == status


def test_what_could_not_be_asked_is_not_told_as_up_to_date():
    found = findings(troubles=["the module proxy offers no version of gVisor"])
    toolkit, gvisor, *_ = found.newer
    found.newer.update({toolkit: ("v1.99.0", "v1.99.1"), gvisor: None})
    text = markdown(found)
    assert f"| toolkit | {toolkit.pinned} | v1.99.0, v1.99.1 |" in text
    assert f"| gvisor | {gvisor.pinned} | not asked |" in text
    assert f"| runc | {CURRENT_ENGINE.runc} | none |" in text
    assert "- the module proxy offers no version of gVisor\n" in text


def test_modes_that_change_alike_are_told_together_with_who_is_affected():
    most = tuple(name for name in REQUESTS if name not in ("no-gpu", "visible-void"))
    by_mode = {"auto": {HOOK: most}, "csv": {HOOK: ("visible-1",)}, "jit-cdi": {HOOK: most}, "legacy": {}}
    text = markdown(findings(toolkits=[ToolkitChange(OLD, NEW, by_mode)]))
    told = "- new hook: `createRuntime: /usr/bin/nvidia-ctk hook NAME`"
    assert f"Mode auto, jit-cdi:\n\n{told} (every request but no-gpu, visible-void)\n" in text
    assert f"Mode csv:\n\n{told} (visible-1)\n" in text
    assert "Mode legacy:\n\n- the specs are the same\n" in text


def test_what_a_runsc_knows_is_told_and_also_that_nothing_is_new():
    old, new = GVISOR_RELEASES[-2:]
    flag = Difference(How.GONE, Fact(Kind.FLAG, "--overlay"))
    text = markdown(findings(releases=[ReleaseChange(old, new, (flag,)), ReleaseChange(new, new, ())]))
    assert f"runsc knows that {old.date} did not\n\n- gone flag: `--overlay`\n" in text
    assert f"runsc knows that {new.date} did not\n\n- nothing\n" in text


def test_a_site_run_that_failed_is_told_with_its_end():
    screen = "".join(f"line {number}\n" for number in range(100))
    text = markdown(findings(engine=Trial(CURRENT_ENGINE, passed=False, screen=screen)))
    assert "FAILED" in text
    assert "    line 99\n" in text
    assert "line 5\n" not in text


def test_the_matrix_is_told_with_how_many_of_the_new_cells_fail():
    text = markdown(findings(measurement=measured(NEW)))
    assert "16 of 16 cells with a newer version fail" in text
    assert "| 9.9.9 | one | a ✔ ✔ |" in text
