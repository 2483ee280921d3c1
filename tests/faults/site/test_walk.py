"""What the harness makes of what it sees, without a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.site.__main__ import AT_ANY_POINT, chosen, disk_full
from tests.faults.site.faults import DO, Fault
from tests.faults.site.report import markdown
from tests.faults.site.walk import TROUBLES, Outcome, Way, points

WAY = Way("settings", {}, {"toolkit_mode": "auto"})
PROGRAMS = [("snapshot_probe", 0), ("keep_way_back", 9), ("put_files", 4), ("go_back", 0)]
GOOD = Outcome(Fault.CUT, "settings: 2. put_files, change 2 of 4", "old", True, "yes", (), "yes")


def test_a_run_is_stopped_before_in_and_behind_each_program_that_changes_something():
    found = [(point.program, point.change) for point in points(WAY, PROGRAMS)]
    assert found == [(1, 0), (1, 4), (1, 9), (2, 0), (2, 2), (2, 4), (3, 0)]


def test_every_point_has_a_fault_and_every_fault_its_turn():
    found = [*chosen(WAY, PROGRAMS)]
    assert [point for _, point in found] == [*points(WAY, PROGRAMS)]
    assert {fault for fault, _ in found} == set(AT_ANY_POINT)
    assert all(fault is Fault.DISK for fault, _ in disk_full(WAY, PROGRAMS))


def test_every_fault_is_done_in_one_way():
    assert DO.keys() | TROUBLES.keys() == set(Fault)
    assert not DO.keys() & TROUBLES.keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "neither"},
        {"engine": False},
        {"running": "no: survivor-runc"},
        {"half": ("/etc/x.nvproxy-fleet.new",)},
        {"converges": "it failed"},
        {"remark": "the second run ended with 0, and was not refused"},
    ],
)
def test_one_thing_that_is_not_as_it_must_be_is_enough(wrong):
    assert GOOD.good
    assert not replace(GOOD, **wrong).good


def test_the_page_counts_what_it_shows_and_no_text_breaks_its_table():
    said = replace(GOOD, state="neither", remark="a | b\nc")
    page = markdown([GOOD, said], "2026-11-25", 3.2, "a host")
    assert "**1 of 2 ended as they must; 1 in the old state, 0 in the" in page
    rows = [line for line in page.splitlines() if line.startswith(f"| {Fault.CUT}")]
    assert len(rows) == 2
    assert all(row.count("|") == 9 for row in rows)
