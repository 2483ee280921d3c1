"""The report of a run through pyinfra itself, on its own connector for hosts that are not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploys.host import history, reporting
from deploys.model import comparison
from tests.unit.verification import lab_hosts
from tests.unit.verification.lab_hosts import answer, judged

ROOT = Path(__file__).parents[3]

# Every host is the recorded one; what it answers is its `fake_responses`.
DEPLOY = """
from types import SimpleNamespace
from pyinfra import host
from deploys.steps.verify import verify
from deploys.model.plan import Plan, Refusal
from deploys.model.settings import ReportForm
from tests.unit.verification import lab_hosts
from tests.deploys.example_hosts import brought, settings
from pathlib import Path

plan = Plan(refusals=(Refusal("no Python", "Install it."),))
looked = None if host.data.get("blind") else lab_hosts.host([0, 1])
wanted = settings(
    toolkit_mode="csv",
    report_dir=Path(host.data.get("report_dir", "reports")),
    report=ReportForm(host.data.get("report", "short")),
    metrics_dir=host.data.get("metrics_dir"),
    **lab_hosts.LAB,
)
made = SimpleNamespace(settings=wanted, looked=looked, plan=plan, sources=brought())
verify(run=made, alone=bool(host.data.get("alone")))
"""


BROKEN = "the connection breaks"


class Run:
    """One run of pyinfra over hosts with these answers, in an empty directory."""

    def __init__(self, directory: Path, hosts: dict[str, dict[str, Any]], *options: str) -> None:
        lines = []
        for name, data in hosts.items():
            answer = data.pop("answer", None)
            response = json.dumps(answer) if isinstance(answer, dict) else answer
            responses = {
                "container_runs": {"success": False, "stderr": "reset"} if answer is BROKEN else response,
                "surroundings": json.dumps(data.pop("around", {"said": {}})),
                "put_files": json.dumps(data.pop("put", {})),
            }
            values = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": responses, **data}
            lines.append(f"    ('@fake/{name}', {values!r}),")
        (directory / "inventory.py").write_text("hosts = [\n" + "\n".join(lines) + "\n]\n")
        (directory / "deploy.py").write_text(DEPLOY)
        self.directory = directory
        command = [sys.executable, "-c", "from pyinfra_cli.main import main; main()"]
        done = subprocess.run(
            [*command, "inventory.py", "deploy.py", *options],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYINFRA_PROGRESS": "off"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        self.status = done.returncode
        self.screen = done.stderr
        self.out = done.stdout

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.directory / "reports" / "latest.json").read_text(encoding="utf-8"))

    @property
    def verdicts(self) -> dict[str, str]:
        return {name.removeprefix("@fake/"): host["verdict"] for name, host in self.report["hosts"].items()}


GOOD = {"answer": answer("csv_2_gpus")}
BAD = {"answer": lab_hosts.answer("csv_2_gpus_one_line_wrapper")}


def test_a_good_run_changes_nothing_and_ends_with_a_line_for_the_host(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD)}, "-y")
    assert run.status == 0, run.screen
    assert "No changes" in run.screen
    assert re.search(r"^@fake/a: 41 passed, 7 skipped$", run.screen, re.MULTILINE)
    assert run.verdicts == {"a": "passed"}
    (dated,) = (tmp_path / "reports").glob("verify-*.json")
    assert {path.suffix for path in (tmp_path / "reports").glob("latest.*")} == {".json", ".xml", ".html"}
    assert json.loads(dated.read_text(encoding="utf-8")) == run.report
    assert f"Report: {dated.relative_to(tmp_path)}" in run.screen


def test_a_bad_host_fails_alone_with_its_reasons(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD), "b": dict(BAD)}, "-y")
    assert run.status == 1
    assert run.verdicts == {"a": "passed", "b": "failed"}
    assert "is not as it was written" in run.screen
    assert "what it shows" not in run.screen
    assert "Traceback" not in run.screen


def test_each_check_of_each_host_is_shown_where_one_of_them_wants_it(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD), "b": {**GOOD, "report": "full"}}, "-y")
    assert run.screen.count("what it shows") == 2


@pytest.mark.parametrize("answer", [None, "not JSON", {"answer": 1}, {"error": "no python here"}])
def test_a_host_without_a_usable_answer_is_unknown_and_fails_alone(tmp_path, answer):
    run = Run(tmp_path, {"a": dict(GOOD), "b": {"answer": answer}}, "-y")
    assert run.status == 1
    assert run.verdicts == {"a": "passed", "b": "unknown"}
    assert "Traceback" not in run.screen


def test_when_every_host_fails_there_is_a_report_all_the_same(tmp_path):
    # pyinfra aborts such a run before its own table of results.
    run = Run(tmp_path, {"a": dict(BAD), "b": {"answer": None}}, "-y")
    assert run.status == 1
    assert run.verdicts == {"a": "failed", "b": "unknown"}
    assert "@fake/a: 31 passed, 1 failed, 16 skipped" in run.screen


def test_a_connection_that_breaks_on_the_last_host_left_is_reported_as_that(tmp_path):
    run = Run(tmp_path, {"a": {"answer": BROKEN}}, "-y")
    assert run.status == 1
    assert run.verdicts == {"a": "unknown"}
    assert "the host gave no answer" in run.report["hosts"]["@fake/a"]["why"]
    assert "@fake/a: not verified: the host gave no answer" in run.screen


def test_a_host_that_could_not_be_looked_at_is_unknown_with_the_reason(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD), "b": {"blind": True}}, "-y")
    assert run.status == 1
    assert run.report["hosts"]["@fake/b"]["why"] == "no Python. Install it."


def test_a_dry_run_starts_nothing_and_reports_nothing(tmp_path):
    # -vv shows every command that is sent to a host.
    assert "container_runs" in Run(tmp_path, {"a": dict(BAD)}, "-y", "-vv").screen
    shutil.rmtree(tmp_path / "reports")
    run = Run(tmp_path, {"a": dict(BAD)}, "--dry", "-vv")
    assert run.status == 0, run.screen
    assert "container_runs" not in run.screen
    assert not (tmp_path / "reports").exists()
    assert "not verified" not in run.screen


def test_only_the_hosts_of_this_run_are_reported(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD), "b": dict(BAD)}, "-y", "--limit", "@fake/a")
    assert run.status == 0, run.screen
    assert run.verdicts == {"a": "passed"}


def test_a_directory_that_cannot_be_written_is_said_and_the_table_is_shown(tmp_path):
    (tmp_path / "file").write_text("")
    run = Run(tmp_path, {"a": {**GOOD, "report_dir": "file/reports"}}, "-y")
    assert "No report in file/reports" in run.screen
    assert "@fake/a: 41 passed, 7 skipped" in run.screen
    assert "Traceback" not in run.screen


def test_what_is_other_than_in_an_earlier_run_is_said(tmp_path):
    Run(tmp_path, {"a": dict(GOOD), "b": dict(GOOD)}, "-y")
    run = Run(tmp_path, {"a": dict(GOOD), "b": dict(BAD)}, "-y")
    assert "CHANGED: @fake/b: wrapper.files was passed, is failed" in run.screen
    assert "CHANGED: @fake/a" not in run.screen
    assert "CHANGED" not in Run(tmp_path, {"a": dict(GOOD), "b": dict(BAD)}, "-y").screen


# pyinfra's own JSON is one line, and missing where no host is left (3.10, pyinfra_cli/main.py).
@pytest.mark.parametrize(
    ("hosts", "status", "lines"),
    [
        ({"a": GOOD}, 0, 1),
        ({"a": GOOD, "b": {"answer": None}}, 2, 1),
        ({"a": {"answer": None}}, 2, 0),
        ({"a": GOOD, "b": BAD, "c": {"answer": None}}, 1, 1),
    ],
)
def test_a_run_that_only_verifies_ends_with_the_reports_status_and_a_clean_stdout(
    tmp_path, hosts, status, lines
):
    run = Run(tmp_path, {name: {**data, "alone": True} for name, data in hosts.items()}, "-y", "--json")
    assert run.status == status, run.screen
    assert "Report:" in run.screen.splitlines()[-1]
    assert len([json.loads(line) for line in run.out.splitlines()]) == lines


def test_how_many_hosts_have_been_verified_is_said_while_the_run_goes_on(tmp_path):
    run = Run(tmp_path, {"a": dict(GOOD), "b": dict(BAD)}, "-y")
    before, _, _ = run.screen.partition("Report:")
    assert "verified, 1 of 2" in before
    assert "verified, 2 of 2" in before


def test_what_engine_and_kernel_said_is_asked_for_where_a_container_did_not_start(tmp_path):
    no_launcher = {"answer": lab_hosts.answer("csv_2_gpus")}
    one = no_launcher["answer"]["runs"]["docker.all"]
    one.update(code=125, out="", err="docker: Error response from daemon: something new")
    around = {
        "said": {"the kernel's log": "[12.0] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."}
    }
    run = Run(tmp_path, {"a": {**no_launcher, "around": around}, "b": dict(GOOD)}, "-y")
    assert run.report["hosts"]["@fake/a"]["said"] == around["said"]
    assert run.report["hosts"]["@fake/b"]["said"] == {}
    (check,) = [c for c in run.report["hosts"]["@fake/a"]["checks"] if c["id"] == "docker.all"]
    assert "Xid 79" in check["why"]
    assert check["link"]


def test_metrics_that_cannot_be_written_are_a_check_that_failed(tmp_path):
    metrics = {"metrics_dir": "/var/lib/prometheus/node-exporter"}
    hosts = {
        "a": {**GOOD, **metrics},
        "b": {**GOOD, **metrics, "put": {"error": "No such file"}},
        "c": dict(GOOD),
    }
    run = Run(tmp_path, hosts, "-y", "-vv")
    assert run.verdicts == {"a": "passed", "b": "failed", "c": "passed"}
    assert "nvproxy_fleet.prom was not written: No such file" in run.screen
    assert not [check for check in run.report["hosts"]["@fake/c"]["checks"] if check["id"] == "host.metrics"]


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from deploys.host import reporting
from tests.unit.verification.lab_hosts import judged
from dataclasses import replace
result = replace(judged("csv_2_gpus"), host=sys.argv[2])
sys.stdin.readline()
print(reporting.store(Path(sys.argv[1]), [result], datetime(2026, 11, 23, tzinfo=UTC), datetime.now(UTC))[-1])
"""


def test_runs_that_end_at_once_mix_neither_reports_nor_history(tmp_path):
    names = [f"gpu-{number}" for number in range(6)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    said = [writer.communicate()[0].strip() for writer in writers]
    paths = [Path(line.removeprefix("Report: ")) for line in said]
    assert len(set(paths)) == len(names)
    for name, path in zip(names, paths, strict=True):
        assert list(json.loads(path.read_text())["hosts"]) == [name]
        for suffix in (".xml", ".html"):
            assert name in path.with_suffix(suffix).read_text()
    latest = [(tmp_path / f"latest{suffix}").read_text() for suffix in (".json", ".xml", ".html")]
    (last,) = json.loads(latest[0])["hosts"]
    assert all(last in text for text in latest)
    assert set(history.append(tmp_path, [], STARTED, STARTED)) == set(names)


STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_report_takes_the_place_of_the_latest_in_one_step(tmp_path, monkeypatch):
    first = reporting.store(tmp_path, [judged("csv_2_gpus")], STARTED, STARTED)
    assert "verify-20261123T120000Z.json" in first[-1]
    latest = tmp_path / "latest.json"
    whole = latest.read_text()
    names = sorted(path.name for path in tmp_path.iterdir())

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reporting.os, "fsync", fails)
    (said,) = reporting.store(tmp_path, [], STARTED + timedelta(hours=1), STARTED)
    assert "No space left on device" in said
    assert latest.read_text() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_history_that_is_another_file_is_said_and_the_report_is_written(tmp_path):
    (tmp_path / "history.sqlite").write_text("not a database, and long enough to be looked at " * 20)
    lines = reporting.store(tmp_path, [judged("csv_2_gpus")], STARTED, STARTED)
    assert "history.sqlite: file is not a database" in lines[0]
    assert (tmp_path / "latest.html").is_file()


def test_a_run_is_compared_with_the_last_before_a_day_or_with_the_last_that_had_the_host(tmp_path):
    days = [STARTED + timedelta(days=n) for n in range(4)]
    sound_one, broken = judged("csv_2_gpus", answer("csv_2_gpus")), judged("auto_8_gpus_docker_stopped")
    history.append(tmp_path, [sound_one], days[0], days[0])
    history.append(tmp_path, [broken], days[1], days[1])
    history.append(tmp_path, [replace(broken, host="other")], days[2], days[2])
    last = history.append(tmp_path, [], days[3], days[3])
    assert last["gpu-x"] == comparison.states(broken)
    assert set(last) == {"gpu-x", "other"}
    earlier = history.append(tmp_path, [], days[3], days[3], since=days[1].date())
    assert earlier == {"gpu-x": comparison.states(sound_one)}
