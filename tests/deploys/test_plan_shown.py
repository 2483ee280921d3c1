"""What pyinfra prints before anything is changed: --dry, --diff, and in a run. By its own command."""

from __future__ import annotations

import pytest

from deploys.model import paths
from tests.deploys.example_hosts import RELEASE, file_record
from tests.deploys.test_whole_deploys import CONVERGED, LAB_HOST, SITE_HOSTS, answers, changed, pyinfra

PAST = CONVERGED["files"][paths.TOOLKIT_CONFIG]["text"].replace(paths.LAUNCHER, "runc")
DRIFTED = changed(CONVERGED, "files", paths.TOOLKIT_CONFIG, value=file_record(PAST))
OLD_PACKAGE = changed(DRIFTED, "packages", "libnvidia-container1", value="1.17.8-1")
HEADING = "--> What is to be changed, and why:"
KEPT = f"(what is there now is kept in {paths.BACKUP_DIR})"


def plan_of(run):
    """The lines of the plan; it comes before pyinfra's own table."""
    head, _, rest = run.screen.partition(f"{HEADING}\n")
    assert "Detected changes" not in head
    ends = ("-->", "    [@fake/", "    --diff")
    lines = rest.splitlines()
    stop = next((at for at, line in enumerate(lines) if line.startswith(ends[0])), len(lines))
    return [line.removeprefix("    ") for line in lines[:stop] if "Ready: deploys/" not in line and line]


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    hosts = {
        "blank": answers(LAB_HOST),
        "converged": answers(CONVERGED),
        "drifted": answers(DRIFTED),
        "no-docker": SITE_HOSTS["no-docker"],
        "silent": SITE_HOSTS["silent"],
    }
    return pyinfra(tmp_path_factory.mktemp("dry"), "site", hosts, "--dry")


def test_a_dry_run_tells_each_host_its_changes_with_their_reasons_and_changes_nothing(dry):
    lines = plan_of(dry)
    at = {name: lines.index(f"[@fake/{name}]") for name in ("blank", "converged", "drifted", "no-docker")}
    assert f"  install gVisor (none) -> {RELEASE}: not installed" in lines[at["blank"] :]
    assert lines[at["converged"] + 1] == "  nothing is to be changed"
    assert lines[at["drifted"] + 1] == (
        f"  first of all, write {paths.TOOLKIT_CONFIG}: somebody has changed it since the last run {KEPT}; "
        "it leads to runc, past gVisor"
    )
    assert lines[at["no-docker"] + 1].startswith("  not touched: there is no Docker on this host")
    assert all(dry.programs(name) == ["snapshot_probe"] for name in dry.commands)


def test_a_host_that_gives_no_answer_is_told_and_holds_nobody_up(dry):
    assert any("not touched: the host gave no answer" in line for line in plan_of(dry))
    assert "Traceback" not in dry.screen


def test_without_diff_no_text_is_shown_and_the_flag_is_named(dry):
    assert not any(line.lstrip().startswith(("+", "-runtimes", "@@")) for line in plan_of(dry))
    assert "--diff shows what differs in each file." in plan_of(dry)


def test_with_diff_what_differs_is_shown_below_its_file(tmp_path):
    lines = plan_of(pyinfra(tmp_path, "site", {"drifted": answers(DRIFTED)}, "--dry", "--diff"))
    assert [line.strip() for line in lines if line.strip()[:9] in {"-runtimes", "+runtimes"}] == [
        '-runtimes = ["runc"]',
        f'+runtimes = ["{paths.LAUNCHER}"]',
    ]
    assert not any("--diff" in line for line in lines)


def test_two_hundred_hosts_that_are_alike_are_told_once(tmp_path):
    hosts = {f"gpu-{number:03}": answers(DRIFTED) for number in range(200)}
    lines = plan_of(pyinfra(tmp_path, "site", hosts, "--dry"))
    assert lines[0].startswith("[@fake/gpu-000, @fake/gpu-001, ")
    assert lines[0].endswith(" and 192 more] 200 hosts:")
    assert len(lines) < 10


def test_a_run_without_a_question_tells_it_too_before_it_changes_anything(tmp_path):
    run = pyinfra(tmp_path, "site", {"drifted": answers(DRIFTED)}, "-y", "--diff")
    assert run.code == 0, run.screen
    assert "somebody has changed it since the last run" in run.screen.partition("Beginning operation run")[0]
    assert '-runtimes = ["runc"]' in run.screen


def test_the_settings_that_runsc_decides_are_shown_once_it_was_tried(tmp_path):
    run = pyinfra(tmp_path, "site", {"blank": answers(LAB_HOST)}, "-y", "--diff")
    before, _, during = run.screen.partition("Beginning operation run")
    assert '+  "hooks_run": "known once runsc was tried",' in before
    assert '+  "hooks_run": true,' in during


def test_a_removal_is_told_alike(tmp_path):
    hosts = {
        "converged": answers(CONVERGED),
        "blank": answers(LAB_HOST),
        "broken": answers(changed(CONVERGED, "files", paths.DAEMON_JSON, value=file_record("{,}"))),
    }
    run = pyinfra(tmp_path, "remove", hosts, "--dry", "--diff")
    lines = plan_of(run)
    assert f"  delete {paths.GVISOR_DIR}/{RELEASE}: a run has made it" in lines
    assert any("takes away the runtime nvidia" in line for line in lines)
    assert '      -        "nvidia": {' in lines
    assert lines[lines.index("[@fake/blank]") + 1] == "  nothing is to be changed"
    assert lines[lines.index("[@fake/broken]") + 1].startswith(f"  not touched: {paths.DAEMON_JSON}: ")
    assert all(run.programs(name) == ["snapshot_probe"] for name in run.commands)


def test_a_word_of_a_host_cannot_steer_the_terminal(tmp_path):
    odd = changed(CONVERGED, "files", paths.DEVICES_CSV, value=file_record("\x1b[2J\r\x07\n"))
    odd["links"][paths.GVISOR_CURRENT] = "/opt/\x1b]0;x\x07"
    run = pyinfra(tmp_path, "site", {"odd": answers(odd)}, "--dry", "--diff")
    assert "\x1b[2J" not in run.screen
    assert "\x07" not in run.screen
    assert "-\\x1b[2J\\r\\x07" in run.screen


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    hosts = {
        "past": answers(OLD_PACKAGE, stage={"error": "the server answered 404. Set …"}),
        "in-use": answers(OLD_PACKAGE, containers_of_runtime={"containers": ["train-1"]}),
        "whole": answers(OLD_PACKAGE),
        "blank": answers(LAB_HOST, stage={"error": "the server answered 404. Set …"}),
    }
    return pyinfra(tmp_path_factory.mktemp("failing"), "site", hosts)


def test_a_way_past_gvisor_is_closed_before_what_can_fail(failing):
    assert failing.programs("past") == ["snapshot_probe", "containers_of_runtime", "put_files", "stage"]
    (written,) = failing.commands["past"][2]["task"]["files"]
    assert written["path"] == paths.TOOLKIT_CONFIG
    assert written["text"] == PAST.replace('"runc"', f'"{paths.LAUNCHER}"')


def test_containers_that_could_not_be_stopped_any_more_are_looked_for_once_more_then(failing):
    assert failing.programs("in-use") == ["snapshot_probe", "containers_of_runtime"]
    assert "could not be stopped or entered any more" in failing.lines_of("in-use")


def test_what_has_started_since_in_gvisor_is_not_taken_for_what_could_not_be_stopped(failing):
    assert failing.programs("whole").count("containers_of_runtime") == 1
    assert "container_runs" in failing.programs("whole")


def test_a_host_that_was_never_converged_is_not_touched_before_everything_is_fetched(failing):
    assert failing.programs("blank") == ["snapshot_probe", "stage"]
