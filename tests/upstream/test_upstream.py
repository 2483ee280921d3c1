"""What `make upstream` asks and captures, for real: the proxy, and a toolkit whose specs are known."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.versions import TOOLKIT_VERSIONS
from tests.matrix.measure import site_on
from tests.specs.captured_specs import CAPTURED
from tests.upstream import capture
from tests.upstream.components import Pins, newer
from tests.upstream.facts import Kind, of_spec
from tests.upstream.proxy import offered

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8")
TOOLKIT = [toolkit for toolkit in TOOLKIT_VERSIONS if toolkit.by_default][-1]


@pytest.mark.parametrize("component", Pins().components(), ids=lambda component: component.name)
def test_the_proxy_offers_what_is_pinned_or_something_newer(component):
    versions = offered(component)
    assert component.pinned in versions or newer(component.pinned, versions)


@pytest.fixture(scope="module")
def specs():
    lab = Lab.open()
    lab.down([capture.HOST.name])
    found = capture.captured(site_on(lab, capture.HOST, [], []), TOOLKIT)
    yield {(one.mode, one.request): one for one in found}
    lab.down([capture.HOST.name])


def compared(spec):
    """What does not depend on a host's GPUs, libraries and engine."""
    facts = [fact for fact in of_spec(spec) if fact.kind in (Kind.HOOK, Kind.VARIABLE)]
    return [
        fact.text
        for fact in facts
        if re.search(r"nvidia-(ctk|cdi-hook|container)|VISIBLE_DEVICES", fact.text)
    ]


@pytest.mark.parametrize(
    "known",
    [one for one in CAPTURED if one.toolkit == TOOLKIT.version],
    ids=lambda known: known.path.stem,
)
def test_what_is_captured_here_is_what_was_captured_on_another_host(specs, known):
    assert compared(specs[known.mode, known.request].spec) == compared(known.spec)


def test_a_request_that_has_no_captured_spec_is_one_that_the_shim_refuses(specs):
    known = {(one.mode, one.request) for one in CAPTURED if one.toolkit == TOOLKIT.version}
    requests = {request for _, request in known}
    refused = {key for key, one in specs.items() if one.spec is None and key[1] in requests}
    assert refused == {key for key in specs if key not in known and key[1] in requests}


@pytest.mark.parametrize("command", re.findall(r"`(\.venv/bin/python -m tests\.lab .*?)`", PAGE))
def test_a_command_of_the_page_works(specs, command):
    done = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
