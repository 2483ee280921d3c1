"""The runtime that stands in for runsc while specs are captured, and what becomes of its output."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.specs.captured_specs import FOLDER
from tests.upstream.capture import (
    _PRINTS_THE_SPEC,
    REQUESTS,
    TOOLKIT_MODES,
    Captured,
    _captured,
    changes,
    keep,
)
from tests.upstream.facts import Fact, Kind

SPEC = (FOLDER / "1.20.0_csv_visible-1.json").read_text()
# As the shim 1.20.0 says it: the error, then the same again with the time in it.
REFUSAL = 'unsupported device id: 2\ntime="2026-11-25T12:27:45Z" level=error msg="unsupported device id: 2"'


@pytest.fixture
def runtime(tmp_path):
    program = tmp_path / "print-spec"
    program.write_text(_PRINTS_THE_SPEC)
    program.chmod(0o755)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(SPEC)

    def runtime(*arguments):
        argv = [program, "--root", "/run/x", "--log-format", "json", *arguments, "nvproxy-matrix-12-0003"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    return lambda command: (
        runtime(command, "--bundle", str(bundle)) if command == "create" else runtime(command)
    )


def line(out="", error=""):
    return {"id": "csv visible-1", "out": out, "error": error}


def test_a_creation_prints_the_spec_and_no_other_call_prints_anything(runtime):
    out = runtime("create") + runtime("start") + runtime("delete")
    assert _captured(line(out)) == Captured("csv", "visible-1", json.loads(SPEC), "")


def test_a_container_of_another_run_has_no_other_spec():
    texts = [json.dumps({"hostname": f"nvproxy-matrix-{pid}-0001"}) for pid in (7, 4711)]
    first, second = (_captured(line(f"{text}\nend of verification\n")) for text in texts)
    assert first == second


def test_a_refusal_is_told_without_its_time():
    captured = _captured(line(error=f"container nvproxy-matrix-7-0001: {REFUSAL}"))
    assert captured == Captured("csv", "visible-1", None, "container captured: unsupported device id: 2")
    assert captured.facts == (Fact(Kind.REFUSAL, captured.error),)


def test_a_runtime_that_printed_nothing_is_told():
    assert _captured(line()).error


def test_what_is_kept_has_the_names_of_the_captured_specs(tmp_path):
    class Toolkit:
        version = "1.20.0"

    spec = json.loads(SPEC)
    keep(
        (Captured("csv", "visible-1", spec, ""), Captured("csv", "visible-0+2", None, "no")),
        Toolkit,
        tmp_path / "specs",
    )
    (file,) = (tmp_path / "specs").iterdir()
    assert file.name == "1.20.0_csv_visible-1.json"
    assert json.loads(file.read_text()) == spec


def test_every_request_of_the_captured_specs_is_captured():
    assert {path.stem.split("_")[2] for path in FOLDER.glob("*.json")} <= set(REQUESTS)


def test_toolkits_are_compared_mode_by_mode():
    def specs(mode_that_refuses=None):
        return tuple(
            Captured(mode, request, None, "no")
            if mode == mode_that_refuses
            else Captured(mode, request, spec, "")
            for mode in TOOLKIT_MODES
            for request in REQUESTS
        )

    spec = json.loads(SPEC)
    found = changes(specs(), specs("cdi"))
    assert set(found) == set(TOOLKIT_MODES)
    assert [mode for mode in found if found[mode]] == ["cdi"]
    assert set(found["cdi"].values()) == {tuple(REQUESTS)}
