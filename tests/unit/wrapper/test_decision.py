"""What a decision is told as: sentences, JSON, and nothing that steers a terminal."""

import pytest

from nvproxy_wrapper.judge.decision import Action, Refusal, printable
from tests.unit.wrapper.specs import JIT, captured, judge


def test_a_refusal_says_what_is_wrong_by_which_rule_and_what_to_do():
    refusal = Refusal("a.rule", "the thing is broken", "Mend it.")
    assert refusal.sentence() == "nvproxy-wrapper: the thing is broken (a.rule). Mend it."
    assert refusal.as_json() == {"rule": "a.rule", "message": "the thing is broken", "remedy": "Mend it."}
    assert str(refusal) == "('a.rule', 'the thing is broken', 'Mend it.')"


def test_host_preparation_is_tried_only_where_a_rule_says_that_it_may_help():
    assert Refusal("a.rule", "x", "Y.").host_prep_may_help is False
    assert Refusal("a.rule", "x", "Y.", host_prep_may_help=True).host_prep_may_help is True


def test_an_action_says_which_rule_did_what_to_what_and_why():
    action = Action("a.rule", "/dev/x", "removed", "nobody wants it")
    assert action.as_json() == {
        "rule": "a.rule",
        "target": "/dev/x",
        "what": "removed",
        "why": "nobody wants it",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, also of Zürich and 東京", None),
        ("a 'quoted' \\ and \"quoted\" word", None),
        ("", None),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("right \u202e left", r"right \u202e left"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("Zürich\tor 'x'", r"Zürich\tor 'x'"),
        ("half \ud83d", r"half \ud83d"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_steers_a_terminal_or_begins_a_line_is_shown_as_its_escape(text, shown):
    assert printable(text) == (text if shown is None else shown)


def test_a_refused_container_opens_nothing_and_its_spec_stays():
    spec = {**captured(JIT), "mounts": {}}
    decision = judge(spec)
    assert decision.spec is spec
    assert (decision.changed, decision.actions, decision.runsc_flags) == (False, [], [])
    assert (decision.devices, decision.opens, decision.gpus) == ([], [], [])
    assert (decision.spec_class, decision.gpu_requested, decision.requested) == ("mixed", True, None)
    assert len(decision.evidence) == 1
