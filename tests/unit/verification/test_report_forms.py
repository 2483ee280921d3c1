"""The forms of a report for pipelines and people: JUnit XML and one HTML page."""

from __future__ import annotations

import re
import string
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped

from deploys.model import junit
from deploys.model import page as page_module
from deploys.model.checks import Check, HostResult, State, Subject
from deploys.model.comparison import Difference, differences, states
from deploys.model.page import page
from tests.unit.verification.lab_hosts import answer, judged

WHEN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RESULTS = [
    judged("csv_2_gpus"),
    replace(judged("auto_8_gpus_runc_in_place_of_runsc"), host="gpu-y"),
    replace(judged("auto_8_gpus_docker_stopped"), host="gpu.w"),
    HostResult("gpu-z", why="it failed before"),
]
KINDS = {State.FAILED: Failure, State.UNKNOWN: Error, State.SKIPPED: Skipped}

texts = st.text(st.characters(codec=None, categories=None), max_size=20)
checks = st.builds(
    Check, texts, st.sampled_from(Subject), texts, st.sampled_from(State), why=texts, next=texts, output=texts
)
results = st.builds(HostResult, texts, why=texts, checks=st.lists(checks, max_size=4).map(tuple))


def test_a_reader_of_junit_finds_every_check_of_every_host_and_how_it_ended():
    suites = list(JUnitXml.fromstring(junit.document(RESULTS, WHEN).encode()))
    assert [suite.name for suite in suites] == [result.host for result in RESULTS]
    for suite, result in zip(suites, RESULTS, strict=True):
        cases = list(suite)
        if not result.checks:
            (case,) = cases
            assert case.result[0].message == "not verified: it failed before"
            continue
        for case, check in zip(cases, result.checks, strict=True):
            assert case.name.startswith(check.id)
            assert [type(ended) for ended in case.result] == [
                kind for state, kind in KINDS.items() if state is check.state
            ]
        assert suite.failures == sum(check.state is State.FAILED for check in result.checks)
        assert suite.errors == sum(check.state is State.UNKNOWN for check in result.checks)


@given(st.lists(results, max_size=3))
def test_whatever_a_container_printed_the_xml_can_be_read(results):
    suites = list(JUnitXml.fromstring(junit.document(results, WHEN).encode("utf-8", "strict")))
    assert len(suites) == len(results)


class Page(HTMLParser):
    """What a browser would make of the page, as far as it is asked here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1:] and self.tags[-1][0] == "style" and not self.style:
            self.style = data
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


def shown_page(results, changed=()) -> Page:
    return Page(page(results, changed, WHEN, WHEN))


def test_the_page_asks_nothing_of_anybody_and_needs_no_script():
    made = shown_page(RESULTS)
    assert not [tag for tag, _ in made.tags if tag in {"script", "link", "img", "iframe", "object", "base"}]
    assert all(value.startswith("#") for value in made.values("href"))
    assert "url(" not in made.style
    assert "@import" not in made.style


def test_every_link_leads_to_a_host_on_the_page():
    made = shown_page([*RESULTS, HostResult("a b", why="x"), HostResult("a/b", why="x")])
    ids = made.values("id")
    assert len(ids) == len(set(ids)) == len(RESULTS) + 2
    assert {value[1:] for value in made.values("href")} == set(ids)


def test_a_host_that_was_not_verified_says_so_in_every_cell():
    made = page([HostResult("gone", why="ssh: connect refused")], (), WHEN, WHEN)
    assert made.count(">not verified</td>") == len(Subject)


def test_the_page_names_a_few_hosts_of_a_stand_in_and_counts_the_rest():
    made = page([HostResult(f"gpu-{n:03}", stand_ins=("no GPU",)) for n in range(200)], (), WHEN, WHEN)
    (told,) = [line for line in made.splitlines() if "Not real:" in line]
    assert "gpu-000" in told
    assert len(told) < 300


def test_the_page_tells_every_cause_every_check_and_what_was_other_before():
    changed = [Difference("gpu-x", "docker.all", State.PASSED, State.FAILED)]
    made = shown_page(RESULTS, changed)
    assert "gpu-x: docker.all was passed, is failed" in made.text
    for result in RESULTS:
        assert result.host in made.text
        for check in result.checks:
            assert check.id in made.text
            if check.state is State.FAILED:
                assert (check.cause or check.why) in made.text


@given(st.lists(results, max_size=3))
def test_nothing_that_a_host_said_becomes_markup(results):
    plain = [
        HostResult(
            "x",
            why=".",
            checks=tuple(
                Check(
                    "x",
                    check.subject,
                    "x",
                    check.state,
                    why="x",
                    next="x" * bool(check.next),
                    output="x" * bool(check.output),
                )
                for check in result.checks
            ),
        )
        for result in results
    ]
    made, expected = shown_page(results), shown_page(plain)
    allowed = {tag for tag, _ in expected.tags} | {
        "details",
        "summary",
        "p",
        "pre",
        "div",
        "h2",
        "a",
        "strong",
        "span",
    }
    assert {tag for tag, _ in made.tags} <= allowed


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "<img src=//x onerror=y>", '" onload="x'])
def test_a_hosts_words_are_text(hostile):
    check = Check(hostile, Subject.DOCKER, hostile, State.FAILED, why=hostile, next=hostile, output=hostile)
    made = shown_page([HostResult(hostile, {"os": hostile}, (hostile,), (check,))])
    assert not [name for _, attrs in made.tags for name in attrs if name.startswith("on")]
    assert made.text.count(hostile) >= 5
    assert set("".join(made.values("id"))) <= set(string.ascii_letters + string.digits + "-")


def test_a_host_that_was_never_seen_and_one_that_stayed_differ_in_nothing():
    sound = judged("csv_2_gpus")
    assert differences({}, [sound]) == ()
    assert differences({"gpu-x": states(sound)}, [sound]) == ()


def test_a_check_that_came_went_or_ended_otherwise_differs():
    then = {"gpu-x": {"a": State.PASSED, "b": State.PASSED, "c": State.FAILED}}
    now = HostResult(
        "gpu-x",
        checks=(
            Check("a", Subject.HOST, "?", State.PASSED),
            Check("b", Subject.HOST, "?", State.FAILED),
            Check("d", Subject.HOST, "?", State.SKIPPED),
        ),
    )
    assert list(map(str, differences(then, [now]))) == [
        "gpu-x: b was passed, is failed",
        "gpu-x: d was not there, is skipped",
        "gpu-x: c was failed, is not there",
    ]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# Which colours stand on which, each for light and dark screens.
STATES = ("passed", "failed", "unknown", "skipped")
PAIRS = [
    *((state, f"{state}-bg") for state in STATES),
    *((ink, paper) for ink in ("ink", "soft", "link") for paper in ("paper", "card", "unknown-bg")),
    *((state, paper) for state in STATES for paper in ("paper", "card")),
]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS, ids=lambda name: name)
def test_every_text_of_the_page_has_the_contrast_that_wcag_asks_for(scheme, ink, paper):
    blocks = re.findall(r":root \{(.*?)\}", shown_page(RESULTS).style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", blocks[scheme]))
    lights = sorted(map(luminance, (colours[ink], colours[paper])), reverse=True)
    assert (lights[0] + 0.05) / (lights[1] + 0.05) >= 4.5


def test_a_link_to_a_host_leads_into_its_details_which_opens_them_without_a_script():
    # HTML's "ancestor details revealing algorithm": it opens what the target is in, not what it is.
    text = page(RESULTS, (), WHEN, WHEN)
    for result in RESULTS:
        name = page_module._ENVIRONMENT.filters["anchor"](result.host)
        before, _, _ = text.partition(f'id="{name}"')
        assert before.rindex("</summary>") > before.rindex("<details")


def test_the_grid_of_a_large_fleet_shows_what_did_not_pass_and_folds_the_rest():
    good = judged("csv_2_gpus", answer("csv_2_gpus"))
    fleet = [replace(good, host=f"gpu-{n:03}") for n in range(200)]
    fleet[150] = replace(judged("auto_8_gpus_no_launcher"), host="gpu-150")
    text = page(fleet, (), WHEN, WHEN)
    grid = text[text.index("<h2>The fleet") : text.index("199 hosts that passed")]
    assert re.findall(r'scope="row"><a [^>]+>([^<]+)', grid) == ["gpu-150"]


def test_the_page_has_what_was_said_meanwhile_and_where_a_failure_is_known_from():
    check = Check("x", Subject.DOCKER, "?", State.FAILED, why="y", link="https://example.org/issues/1")
    text = page([HostResult("h", checks=(check,), said={"the kernel's log": "NVRM: <Xid>"})], (), WHEN, WHEN)
    assert "Known from https://example.org/issues/1" in text
    assert "NVRM: &lt;Xid&gt;</pre>" in text


def test_a_cell_of_the_grid_says_that_it_ended_otherwise_before():
    changed = [Difference("gpu-x", "docker.all", State.PASSED, State.FAILED)]
    text = page(RESULTS, changed, WHEN, WHEN)
    (row,) = re.findall(r'scope="row"><a [^>]+>gpu-x</a></th>(.*?)</tr>', text, re.DOTALL)
    assert [">new<" in cell for cell in row.split("</td>")[:4]] == [False, False, True, False]
