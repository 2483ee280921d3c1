"""The catalogue of rules is whole, and the page that is made from it is up to date."""

import re
from pathlib import Path

from nvproxy_wrapper.judge import catalogue

ROOT = Path(__file__).resolve().parents[3]

DESIGN = {
    *(
        "env.void",
        "hooks.legacy",
        "hooks.allow",
        "hooks.emulate",
        "devices.scope",
        "devices.dead",
        "devices.mode",
    ),
    *(
        "devices.exist",
        "mounts.sockets",
        "mounts.nodev",
        "mounts.dev",
        "annotation.nvproxy",
        "annotation.user",
        "pod.sandbox",
    ),
}


def test_every_rule_of_the_design_is_there_once():
    ids = [rule.id for rule in catalogue.RULES]
    assert len(ids) == len(set(ids))
    assert set(ids) >= DESIGN
    assert any(name.startswith("legacy.") for name in ids)


def test_every_rule_that_the_code_names_is_in_the_catalogue():
    ids = {rule.id for rule in catalogue.RULES}
    named = set()
    for path in (ROOT / "nvproxy_wrapper").rglob("*.py"):
        text = path.read_text()
        named |= set(re.findall(r"Refusal\(\s*\"([a-z.]+)\"", text))
        named |= set(re.findall(r"\.act\(\s*\"([a-z.]+)\"", text))
        named |= set(re.findall(r"^_?RULE = \"([a-z.]+)\"", text, re.MULTILINE))
    assert named <= ids
    assert len(named) > 10


def test_no_rule_lacks_a_word():
    for rule in catalogue.RULES:
        assert all(vars(rule).values())


def test_the_page_is_up_to_date():
    assert (ROOT / "docs/wrapper.md").read_text() == catalogue.markdown()
