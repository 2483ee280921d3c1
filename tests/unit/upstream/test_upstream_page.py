"""docs/upstream.md: what it tells a reader to type is understood, and what it points to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.upstream.__main__ import pins_of
from tests.upstream.components import Pins
from tests.upstream.facts import Kind

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8")
TABLE = [line.split(" | ") for line in PAGE.splitlines() if line.count(" | ") == 2]


@pytest.mark.parametrize("choice", re.findall(r"--as-if \S+=[^`\s]+", PAGE))
def test_a_choice_of_the_page_is_understood(choice):
    assert isinstance(pins_of(shlex.split(choice)), Pins)


def test_every_kind_of_finding_has_a_row():
    rows = " ".join(row[0] for row in TABLE)
    assert [kind for kind in Kind if str(kind) not in rows] == []


def test_what_the_page_points_to_is_there():
    for _, _, place in TABLE:
        files = [word for word in re.findall(r"`([\w/]+\.py)`", place) if "/" in word]
        text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`(_?[A-Z][A-Z_]+|_[a-z_]+)`", place):
            assert not files or re.search(rf"^(def )?{name}\b", text, re.MULTILINE), (name, files)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:tests|deploys|nvproxy_wrapper)/[\w/.]*\w)/?`", PAGE)))
)
def test_every_file_that_the_page_names_is_there(path):
    assert (ROOT / path).exists()
