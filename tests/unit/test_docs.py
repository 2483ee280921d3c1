"""The pages: made ones are up to date, links lead somewhere, and every `make` target named is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.lab.machine import GO_NEEDED

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    "name", ["failures.md", "gpu-modes.md", "report.schema.json", "settings.md", "verify.md", "wrapper.md"]
)
def test_a_page_that_is_made_from_the_code_is_up_to_date(name):
    pages = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["PAGES"]
    assert (ROOT / "docs" / name).read_text() == pages[name](), "run 'make docs'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_and_deploy_that_is_named_exists(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for path in re.findall(r"(?:deploys|inventories)/\w+\.py", text):
        assert (ROOT / path).exists() or path == "inventories/prod.py", path


def test_the_readme_is_one_screen_with_both_commands_at_its_top():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 60
    assert [line.split("#")[0].strip() for line in lines if line.startswith("    make")][:2] == [
        "make demo",
        "make test",
    ]
    assert lines.index(next(line for line in lines if "make demo" in line)) < 8


@pytest.mark.parametrize("page", ["README.md", "docs/lab.md"])
def test_the_go_that_is_asked_for_is_the_go_that_the_lab_needs(page):
    assert re.findall(r"\bGo (\d+\.\d+)", (ROOT / page).read_text()) == [".".join(map(str, GO_NEEDED))]
