"""The JSON document and the table."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

from rich.console import Console

from deploys.model.checks import Check, HostResult, State, Subject
from deploys.model.report import document, remedies, summary, table
from tests.unit.verification.lab_hosts import judged

WHEN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UNREACHED = HostResult("gpu-z", why="it failed before")


def shown(*results: HostResult, width: int = 110) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, markup=False).print(table(results))
    return stream.getvalue()


def test_the_document_is_json_and_tells_of_every_host():
    result = judged("auto_8_gpus_one_line_wrapper")
    told = json.loads(json.dumps(document([result, UNREACHED], WHEN, WHEN)))
    assert told["schema"] == 1
    assert told["started"] == told["finished"] == "2026-11-23T12:00:00+00:00"
    assert told["settings"]["gpu-x"]["gvisor_release"] == "20260905"
    assert told["hosts"]["gpu-z"] == {
        "verdict": "unknown",
        "why": "it failed before",
        "stand_ins": [],
        "said": {},
        "checks": [],
    }
    host = told["hosts"]["gpu-x"]
    assert host["verdict"] == "failed"
    assert host["stand_ins"]
    (one,) = [check for check in host["checks"] if check["id"] == "docker.all"]
    assert one["host"] == "gpu-x"
    assert one["subject"] == "docker"
    assert one["state"] == "skipped"
    assert one["because"] == "wrapper.files"
    assert one["expected"]["devices"] == [
        "/dev/nvidia-uvm",
        *(f"/dev/nvidia{n}" for n in range(8)),
        "/dev/nvidiactl",
    ]
    assert "waiting for sandbox to start: EOF" in one["output"]
    assert one["why"]
    (root,) = [check for check in host["checks"] if check["id"] == "wrapper.files"]
    assert (root["state"], root["layer"], root["severity"]) == ("failed", "wrapper", "breach")
    assert root["next"]


def test_the_table_fits_a_log_of_110_columns_and_has_no_colour_there():
    text = shown(judged("auto_8_gpus"), judged("auto_8_gpus_one_line_wrapper"), UNREACHED)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 110
    assert "\x1b" not in text


def test_the_table_names_stand_ins_and_ends_with_a_line_for_each_host():
    text = shown(judged("csv_2_gpus"), UNREACHED)
    assert "NOT REAL" in text
    assert "stand-in" in text
    assert text.splitlines()[-2:] == ["gpu-x: 41 passed, 7 skipped", "gpu-z: not verified: it failed before"]


def test_square_brackets_in_an_error_are_text():
    check = Check("x", Subject.DOCKER, "every GPU", State.FAILED, why="candidate list: [/usr/local/bin/x]")
    result = HostResult("gpu-x", judged("csv_2_gpus").versions, (), (check,))
    assert "[/usr/local/bin/x]" in shown(result, width=200)


def test_what_to_do_is_said_once_for_many_checks():
    checks = tuple(
        Check(name, Subject.HOST, name, State.FAILED, next=f"do {name[0]}") for name in ("a", "a2", "b")
    )
    assert remedies(HostResult("x", checks=checks)) == ["do a", "do b"]


def test_a_summary_leaves_out_what_there_is_none_of():
    checks = [
        Check(str(n), Subject.HOST, "?", state) for n, state in enumerate(["passed", "passed", "skipped"])
    ]
    assert summary(HostResult("gpu-x", checks=tuple(checks))) == "gpu-x: 2 passed, 1 skipped"


def test_nothing_but_skipped_checks_is_no_proof():
    assert HostResult("x", checks=(Check("a", Subject.HOST, "?", State.SKIPPED),)).verdict is State.UNKNOWN
    assert HostResult("x").verdict is State.UNKNOWN
