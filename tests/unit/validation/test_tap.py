"""Two runs of a validation program compared, and the verdict on the launcher."""

import json

import pytest

from tests.validation.report import Trial, table
from tests.validation.tap import Counts, Output, differences, without_made_up

SAID = """\
TAP version 13
ok 1 - create with no ID MUST generate an error
  ---
  {"reference": "https://github.com/opencontainers/runtime-spec/blob/v1.0.0/runtime.md#create"}
  ...
not ok 2 - kill MUST send the specified signal
ok 3 # SKIP no cgroup v2
1..3
"""


def said(text=SAID, status=0):
    return Output(text, status, 1.0)


def test_tests_are_counted_by_how_they_ended():
    assert said().counts == Counts(1, 1, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("container 8c8c2c6b-2c3a-4bb5-9c0e-0123456789ab", "container f47ac10b-58cc-4372-a567-0e02b2c3d479"),
        ("open /tmp/ocitest123456789/config.json", "open /tmp/ocitest987654321/config.json"),
        (
            'not expose "/target950192706/mount2917959947/a"',
            'not expose "/target1720080337/mount4140674738/a"',
        ),
        ("net:[4026531992]", "net:[4026532001]"),
        ("/proc/4711/ns/net", "/proc/12/ns/net"),
        ("2026-11-25T16:34:55.123Z took 1.5s", "2026-11-25T17:00:00Z took 20ms"),
    ],
)
def test_what_is_made_up_for_each_run_is_no_difference(one, other):
    assert without_made_up(one) == without_made_up(other)
    assert differences(said(one), said(other)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ok - a", "not ok - a"),
        ("exit status 128", "exit status 1"),
        ("open /tmp/a", "open /tmp/b"),
        ("0644", "0600"),
    ],
)
def test_what_a_runtime_says_is_one(one, other):
    assert differences(said(one), said(other)) == [f"line 1: {one} | {other}"]


SHUFFLED = """\
TAP version 13
ok 1 - mount /sys has expected type
  ---
  {"path": "/sys"}
  ...
ok 2 - mount /proc has expected type
  ---
  {"path": "/proc"}
  ...
1..2
"""
SORTED = """\
TAP version 13
ok 1 - mount /proc has expected type
  ---
  {"path": "/proc"}
  ...
ok 2 - mount /sys has expected type
  ---
  {"path": "/sys"}
  ...
1..2
"""


def test_the_order_of_tests_is_no_difference_but_what_is_said_of_each_is():
    assert differences(said(SHUFFLED), said(SORTED)) == []
    assert differences(said(SHUFFLED), said(SORTED.replace('"/sys"', '"/dev"')))
    inside = [
        f'not ok 1 - a\n  ---\n  {{\n    "stdout": {json.dumps(text)}\n  }}\n  ...'
        for text in (SHUFFLED, SORTED)
    ]
    assert differences(*map(said, inside)) == []
    assert differences(said(inside[0]), said(inside[1].replace("/sys", "/dev")))


def test_more_lines_and_another_end_are_differences():
    assert differences(said("a"), said("a\nb")) == [
        "line 2: exit status 0 | b",
        "line 3: nothing | exit status 0",
    ]
    assert differences(said("a"), said("a", None)) == ["line 2: exit status 0 | killed: its time was up"]


@pytest.mark.parametrize(
    ("launcher", "again", "verdict", "is_launchers"),
    [
        ("a", (), "the same", False),
        ("b", ("a", "a"), "DIFFERENT", True),
        ("b", ("b", "a"), "runsc differs from itself", False),
        ("a\nb", ("b", "a"), "runsc differs from itself", False),
        ("c", ("b", "a"), "DIFFERENT", True),
    ],
)
def test_a_difference_is_the_launchers_where_runsc_alone_never_says_so(
    launcher, again, verdict, is_launchers
):
    trial = Trial("kill", said("a"), said(launcher), tuple(map(said, again)))
    assert (trial.verdict, trial.is_launchers) == (verdict, is_launchers)


def test_the_table_has_each_program_the_sum_and_the_lines_that_differ():
    text = table(
        [Trial("create", said(), said()), Trial("kill", said("ok 1"), said("not ok 1"), (said("ok 1"),))]
    )
    assert text.splitlines()[3].split() == ["all", "2", "1", "1", "1", "of", "2", "the", "same"]
    assert "  line 1: ok | not ok" in text
