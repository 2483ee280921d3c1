"""Whole deploys by pyinfra's own command on hosts that are not there: a snapshot in, the exact programs out.

The hosts are fake_inventory.py's; settings, snapshot, plan, steps and pyinfra itself are real.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploys.model import paths
from deploys.model.layouts import Layout
from deploys.model.preflight import DISK_NEEDED
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.deploys.example_hosts import (
    BLANK,
    DRIVER,
    PROBE,
    RELEASE,
    RELEASE_TREE,
    SETTINGS_DATA,
    at,
    file_record,
    settings,
    snapshot,
)
from tests.deploys.simulated_host import SETTINGS, SOURCES, WRAPPER_TREE, converged

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]


def verified() -> dict[str, Any]:
    """What a lab host with two GPUs printed (tests/unit/verification/lab_hosts.py)."""
    path = ROOT / "tests/unit/verification/answers/csv_2_gpus.json"
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answer


def lab_host() -> dict[str, Any]:
    """A blank host with the GPUs and the kernel of the one that `verified` is from."""
    record = copy.deepcopy(BLANK)
    record["os"]["kernel"] = "6.18.44-fc-v595"
    for minor, gpu in enumerate(record["gpus"]):
        gpu.update(uuid=f"GPU-6c616200-0000-0000-0000-{minor:012x}", minor=minor)
    return record


LAB_HOST = lab_host()
VERIFIED = verified()
STAGED = {"capabilities": {"compute": True, "utility": True}, "directory": "/staged"}
CONVERGED = converged(SETTINGS, snapshot(LAB_HOST), SOURCES).model_dump(mode="json")


def answers(record: Mapping[str, Any], **others: object) -> dict[str, object]:
    """What a host answers to each program, where nothing goes wrong."""
    return {
        "snapshot_probe": dict(record),
        "stage": {"release": {**STAGED, "drivers": list(PROBE.supported_drivers)}},
        "install_release": {"tree": RELEASE_TREE},
        "nvproxy-wrapper probe": {**PROBE.model_dump(mode="json"), "why_not_told": None},
        "containers_of_runtime": {"containers": []},
        "container_runs": VERIFIED,
        **others,
    }


def changed(record: Mapping[str, Any], *keys: str, value: object) -> dict[str, Any]:
    """A record with one place changed."""
    made = copy.deepcopy(dict(record))
    at(*keys, value=value)(made)
    return made


@dataclass(frozen=True)
class Run:
    """What came of a run: exit status, what the operator reads, the JSON of pyinfra, commands by host."""

    code: int
    screen: str
    json: dict[str, Any] | None
    commands: dict[str, list[dict[str, Any]]]

    def programs(self, host: str) -> list[str]:
        return [entry["program"] for entry in self.commands.get(host, [])]

    def lines_of(self, host: str) -> str:
        return "\n".join(line for line in self.screen.splitlines() if f"[@fake/{host}]" in line)


def pyinfra(
    home: Path, deploy: str, hosts: Mapping[str, Mapping[str, object]], *options: str, **data: object
) -> Run:
    """Run a deploy; `hosts` are answers by name."""
    home.mkdir(parents=True, exist_ok=True)
    log, scenario = home / "log", home / "scenario.json"
    shared = {**SETTINGS_DATA, "report_dir": str(home / "reports"), **data}
    named = {name: {"data": shared, "answers": said} for name, said in hosts.items()}
    for name, said in hosts.items():
        if "data" in said:
            named[name] = {"data": {**shared, **said["data"]}, "answers": said["answers"]}
    scenario.write_text(json.dumps({"log": str(log), "hosts": named}), encoding="utf-8")
    command = [sys.executable, "-m", "pyinfra", "tests/deploys/fake_inventory.py", f"deploys/{deploy}.py"]
    done = subprocess.run(
        [*command, *(options or ("-y", "--json"))],
        cwd=ROOT,
        env={**os.environ, "NVPROXY_FAKE_SCENARIO": str(scenario), "PYINFRA_PROGRESS": "off"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    commands: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        commands.setdefault(entry["host"].removeprefix("@fake/"), []).append(entry)
    last = done.stdout.strip().splitlines()[-1:]
    return Run(done.returncode, done.stderr, json.loads(last[0]) if last else None, commands)


OWN_DAEMON_JSON = '{"debug": true}'
UNSUPPORTED = {"release": {**STAGED, "drivers": ["550.90.12"]}}
UNTAKEN = {
    "release": {**STAGED, "drivers": list(PROBE.supported_drivers), "capabilities": {"compute": False}}
}
SITE_HOSTS = {
    "blank": answers(LAB_HOST),
    "converged": answers(CONVERGED),
    "no-docker": answers(changed(LAB_HOST, "engine", "client", value=None)),
    "no-python": answers({"error": "/usr/bin/python3 is not there or older than 3.8. Install it."}),
    "silent": answers(LAB_HOST, snapshot_probe={"exit": 255, "said": "Connection reset by peer"}),
    "odd": answers(changed(LAB_HOST, "os", "systemd", value=[1])),
    "no-mirror": answers(LAB_HOST, stage={"error": "gVisor 20260905: the server answered 404. Set …"}),
    "old-runsc": answers(LAB_HOST, stage=UNSUPPORTED),
    "takes-less": answers(LAB_HOST, stage=UNTAKEN),
    "apt-broken": answers(LAB_HOST, install_packages={"error": "installing failed: E: dpkg. Repair it."}),
    "probe-odd": answers(LAB_HOST, **{"nvproxy-wrapper probe": {"hooks_run": "perhaps"}}),
    "probe-takes-less": answers(
        LAB_HOST,
        **{"nvproxy-wrapper probe": {**PROBE.model_dump(mode="json"), "capabilities": {"compute": False}}},
    ),
    "probe-dead": answers(LAB_HOST, **{"nvproxy-wrapper probe": {"exit": 124, "said": "Killed"}}),
    "used-meanwhile": answers(
        changed(LAB_HOST, "engine", "runtimes", value={"nvidia": paths.ENTRY}),
        containers_of_runtime={"containers": ["train-1"]},
    ),
    "engine-deaf": answers(
        LAB_HOST,
        docker_engine={"error": "it is deaf. The old one is back."},
        go_back={"back": True, "left": []},
    ),
    "stuck": answers(
        LAB_HOST,
        docker_engine={"error": "it is deaf."},
        go_back={"back": True, "left": ["/etc/x: Read-only file system"]},
    ),
    "cut-off": answers(
        LAB_HOST,
        docker_engine={"exit": 255, "said": "Connection reset by peer"},
        go_back={"exit": 255, "said": "Connection reset by peer"},
    ),
    "regressed": answers(
        changed(CONVERGED, "links", paths.DEVICE_NODES_WANTED, value="/elsewhere"),
        container_runs={"error": "the host gave no answer"},
    ),
    "first-unverified": answers(LAB_HOST, container_runs={"error": "the host gave no answer"}),
    "old-package": answers(changed(CONVERGED, "packages", TOOLKIT_PACKAGES[0], value="1.17.8-1")),
    "own-daemon-json": answers(
        changed(LAB_HOST, "files", value={paths.DAEMON_JSON: file_record(OWN_DAEMON_JSON)})
    ),
    "unverified": answers(CONVERGED, container_runs={"error": "the host gave no answer"}),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return pyinfra(tmp_path_factory.mktemp("site"), "site", SITE_HOSTS)


INSTALLING = [
    *("snapshot_probe", "stage", "put_files", "keep_way_back", "put_files", "put_files", "install_packages"),
    *("install_release", "put_files", "put_files"),
    f"timeout -k 5 180 {paths.ADMIN_COMMAND} probe {paths.GVISOR_DIR}/{RELEASE}/runsc --format json",
    *("put_files", "put_files", "put_files", "docker_engine", "put_files", "container_runs", "go_back"),
]


def test_a_blank_host_gets_every_program_in_its_order(site):
    assert site.programs("blank") == INSTALLING


def test_every_program_that_changes_a_host_waits_for_its_turn(site):
    locks = {entry["program"]: entry["lock"] for entry in site.commands["blank"] if entry["task"] is not None}
    assert locks.pop("snapshot_probe") is None, "looking disturbs nobody"
    assert set(locks.values()) == {paths.LOCK}


def test_what_was_there_before_is_written_down_before_anything_is_changed(site):
    first = next(entry["task"] for entry in site.commands["blank"] if entry["program"] == "put_files")
    assert [file["path"] for file in first["files"]] == [paths.BEFORE]


def test_files_come_before_the_links_that_make_them_live_and_docker_comes_last(site):
    written: list[str] = []
    for entry in site.commands["blank"]:
        task = entry["task"] or {}
        if entry["program"] == "put_files":
            written += [file["path"] for file in task["files"]]
            written += [link["path"] for link in task["links"]]
        if entry["program"] == "docker_engine":
            written.append(task["path"])
    assert [path for path in written if not path.startswith(WRAPPER_TREE)] == [
        *(paths.BEFORE, paths.MODULES_LOAD, paths.DEVICE_NODES_PROGRAM, paths.DEVICE_NODES_UNIT),
        *(paths.DEVICE_NODES_WANTED, paths.APT_KEYRING, paths.APT_SOURCE),
        *(paths.LAUNCHER, paths.ADMIN_COMMAND, paths.WRAPPER_LOGROTATE),
        paths.WRAPPER_CURRENT,
        *(paths.WRAPPER_SETTINGS, paths.GVISOR_CURRENT, paths.DEVICES_CSV, paths.DRIVERS_CSV),
        *(paths.TOOLKIT_CONFIG, paths.ENTRY, paths.DAEMON_JSON, paths.APPLIED),
    ]
    assert any(path.startswith(WRAPPER_TREE) for path in written[: written.index(paths.LAUNCHER)])


def test_what_lands_on_a_host_is_what_the_simulated_one_has(site):
    written = {
        file["path"]: file["text"]
        for entry in site.commands["blank"]
        if entry["program"] == "put_files"
        for file in entry["task"]["files"]
        if not file["path"].startswith(WRAPPER_TREE)
    }
    expected = {path: file["text"] for path, file in CONVERGED["files"].items() if path != paths.DAEMON_JSON}
    assert written == expected


def test_the_tasks_name_what_was_planned(site):
    tasks = {entry["program"]: entry["task"] for entry in site.commands["blank"]}
    assert tasks["stage"]["toolkit"]["packages"] == list(TOOLKIT_PACKAGES)
    assert tasks["stage"]["gvisor"] == {
        "release": RELEASE,
        "url": f"https://storage.googleapis.com/gvisor/releases/release/{RELEASE}/x86_64/gvisor.tar.bz2",
        "sha512": SETTINGS_DATA["gvisor_sha512"]["x86_64"],
        "capabilities": ["utility", "compute"],
    }
    assert tasks["install_release"]["directory"] == f"{paths.GVISOR_DIR}/{RELEASE}"
    assert tasks["docker_engine"]["runtime_path"] == paths.ENTRY
    last = [entry["task"] for entry in site.commands["blank"] if entry["program"] == "put_files"][-1]
    assert last["remove"] == [paths.STAGING_DIR]


# Where each host stops: the programs that ran there, and the sentence that its operator reads.
STOPPED = {
    "no-docker": (1, "there is no Docker on this host"),
    "no-python": (1, "/usr/bin/python3 is not there or older than 3.8"),
    "odd": (1, "the probe's answer has [1] at os.systemd"),
    "no-mirror": (2, "gVisor 20260905: the server answered 404"),
    "old-runsc": (3, f"the NVIDIA driver {DRIVER} is not among the 1 that gVisor 20260905 supports"),
    "takes-less": (3, "allowed_capabilities has compute, which the runsc of gVisor 20260905 does not take"),
    "probe-takes-less": (12, "allowed_capabilities has compute, which the runsc of gVisor 20260905 does not"),
    "apt-broken": (8, "installing failed: E: dpkg. Repair it."),
    "probe-odd": (12, "did not answer as it should"),
    "probe-dead": (12, "Killed"),
    "used-meanwhile": (13, "could not be stopped or entered any more once it starts runsc: train-1"),
    "engine-deaf": (16, "it is deaf. The old one is back."),
}


@pytest.mark.parametrize("host", STOPPED)
def test_a_host_that_fails_stops_there_with_its_sentence(site, host):
    count, sentence = STOPPED[host]
    programs = site.programs(host)
    assert len(programs) == count
    if "keep_way_back" in programs:
        assert programs.pop() == "go_back"
    if host in {"old-runsc", "takes-less"}:
        assert programs.pop() == f"rm -rf {paths.STAGING_DIR}"
    if host == "used-meanwhile":
        assert programs.pop() == "containers_of_runtime"
    expected = [name for name in INSTALLING if host != "used-meanwhile" or name != "keep_way_back"]
    assert programs == expected[: len(programs)]
    assert sentence in site.lines_of(host)


def test_a_host_that_fails_goes_back_and_says_so(site):
    assert site.commands["engine-deaf"][-1]["task"]["do"] == "back"
    assert "This host went back to how it was before this run." in site.lines_of("engine-deaf")


def test_what_could_not_be_put_back_is_said(site):
    assert "could not go back" in site.lines_of("stuck")
    assert "/etc/x: Read-only file system" in site.lines_of("stuck")


def test_a_host_that_cannot_be_told_to_go_back_does_so_by_itself_and_that_is_said(site):
    assert "It does so by itself" in site.lines_of("cut-off")


def test_a_verification_that_fails_takes_a_later_run_back_and_lets_a_first_one_stay(site):
    done = {host: site.commands[host][-1]["task"]["do"] for host in ("regressed", "first-unverified")}
    assert done == {"regressed": "back", "first-unverified": "forget"}


def test_a_host_that_does_not_answer_is_not_touched(site):
    assert site.programs("silent") == ["snapshot_probe"]


def test_the_others_go_on_and_the_run_says_that_some_failed(site):
    assert site.code == 1
    failed = {name.removeprefix("@fake/") for name in site.json["results"]["failed_hosts"]}
    assert failed == set(SITE_HOSTS) - {"blank", "converged", "old-package", "own-daemon-json"}


def test_a_drift_of_one_package_takes_what_it_needs_and_leaves_nothing_staged(site):
    assert site.programs("old-package") == [
        *("snapshot_probe", "stage", "keep_way_back", "install_packages", "put_files"),
        *("container_runs", "go_back"),
    ]
    install, record = (entry["task"] for entry in site.commands["old-package"][3:5])
    # The packages' own installation script writes it anew.
    assert install["left_alone"] == paths.TOOLKIT_CONFIG
    assert record["remove"] == [paths.STAGING_DIR]


def test_what_stands_in_daemon_json_goes_back_there(site):
    task = next(e["task"] for e in site.commands["own-daemon-json"] if e["program"] == "docker_engine")
    written = json.loads(task["file"]["text"])
    assert written == {"debug": True, "runtimes": {"nvidia": {"path": paths.ENTRY}}}
    assert task["file"]["original"] is True


def test_docker_is_told_which_daemon_json_the_new_one_was_made_from(site):
    task = next(e["task"] for e in site.commands["own-daemon-json"] if e["program"] == "docker_engine")
    assert hashlib.sha256(OWN_DAEMON_JSON.encode()).hexdigest() in json.dumps(task)


def test_nobody_is_shown_a_trace(site):
    assert "Traceback" not in site.screen


def test_a_host_whose_verification_fails_has_failed(site):
    assert site.programs("unverified") == ["snapshot_probe", "container_runs"]
    assert "the host gave no answer" in site.lines_of("unverified")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    hosts = {"one": answers(CONVERGED), "two": answers(CONVERGED)}
    return pyinfra(tmp_path_factory.mktemp("second"), "site", hosts)


def test_a_second_run_changes_nothing_and_says_so_of_every_operation(second):
    assert second.code == 0, second.screen
    operations = second.json["results"]["operations"]
    assert operations
    for operation in operations:
        assert (operation["success"], operation["error"]) == ([], []), operation["name"]
        assert len(operation["no_change"]) == 2, operation["name"]


def test_the_page_about_operations_names_every_one_in_its_order(second):
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    _head, _line, _before, *rows = [
        line.split("|")[1].strip() for line in page.splitlines() if line[:1] == "|"
    ]
    assert rows == [entry["name"].replace(" | ", ": ") for entry in second.json["results"]["operations"]]


def test_a_second_run_takes_at_most_six_round_trips_and_starts_no_package_manager(second):
    for host in ("one", "two"):
        assert second.programs(host) == ["snapshot_probe", "container_runs"]
        assert len(second.commands[host]) <= 6


DEDICATED = {"layout": "dedicated"}
WITH_OWN = changed(LAB_HOST, "files", value={paths.TOOLKIT_CONFIG: file_record("# theirs\n")})
SHARED_BEFORE = converged(SETTINGS, snapshot(WITH_OWN), SOURCES).model_dump(mode="json")
DEDICATED_BEFORE = converged(settings(layout="dedicated"), snapshot(WITH_OWN), SOURCES).model_dump(
    mode="json"
)


@pytest.fixture(scope="module")
def dedicated(tmp_path_factory):
    hosts = {
        "first": answers(WITH_OWN),
        "second": answers(DEDICATED_BEFORE),
        "changed": answers(SHARED_BEFORE),
        "back": {"data": {"layout": "shared"}, "answers": answers(DEDICATED_BEFORE)},
        "cut-off": answers(
            changed(
                DEDICATED_BEFORE,
                *("files", paths.KEPT_FROM_PACKAGES),
                value=file_record('{"content": null, "mode": 420, "owner": 0, "group": 0}'),
            )
        ),
    }
    return pyinfra(tmp_path_factory.mktemp("dedicated"), "site", hosts, **DEDICATED)


def touched(run: Run, host: str) -> list[str]:
    """The files that the programs of a run have written or given back, in order."""
    tasks = [entry["task"] or {} for entry in run.commands[host]]
    return [file["path"] for task in tasks for file in task.get("files") or [] if isinstance(file, dict)]


def test_in_the_layout_dedicated_nothing_is_written_among_the_hosts_own_files(dedicated):
    assert not [path for path in touched(dedicated, "first") if path.startswith("/etc/nvidia-container")]
    assert paths.OWN_TOOLKIT_CONFIG in touched(dedicated, "first")
    # What was recorded of a verification is of the other layout, so that it is not passed here.
    assert dedicated.programs("second") == ["snapshot_probe", "container_runs", "surroundings"]


def test_a_change_of_the_layout_is_one_run_in_which_the_host_has_its_own_back_last(dedicated):
    wanted = [paths.OWN_TOOLKIT_CONFIG, paths.ENTRY, *Layout.SHARED.files]
    assert [path for path in touched(dedicated, "changed") if path in wanted] == wanted
    theirs = next(e["task"] for e in dedicated.commands["changed"] if e["program"] == "give_back")
    assert {file["path"]: file["text"] for file in theirs["files"]}[paths.TOOLKIT_CONFIG] == "# theirs\n"
    wanted = [paths.BEFORE, *Layout.SHARED.files, paths.ENTRY, *Layout.DEDICATED.files]
    assert [path for path in touched(dedicated, "back") if path in wanted] == [
        path for path in wanted if path != paths.BEFORE
    ], "what was there before has not changed meanwhile"


def test_what_packages_have_rewritten_is_put_back_where_their_installation_was_cut_off(dedicated):
    install = next(e["task"] for e in dedicated.commands["cut-off"] if e["program"] == "install_packages")
    assert (install["packages"], install["left_alone"]) == ([], paths.TOOLKIT_CONFIG)


def test_a_bad_setting_of_one_host_stops_the_run_before_any_host_is_touched(tmp_path):
    bad = {"gvisor_release": "latest", "toolkit_mdoe": "csv"}
    hosts = {"good": answers(LAB_HOST), "bad": {"data": bad, "answers": answers(LAB_HOST)}}
    run = pyinfra(tmp_path, "site", hosts)
    assert run.code == 1
    assert run.commands == {}
    words = " ".join(run.screen.split())
    assert "setting gvisor_release = 'latest' is not allowed" in words
    assert "a release date of gVisor like 20260905" in words
    assert "setting toolkit_mdoe = 'csv' is unknown. Did you mean toolkit_mode?" in words
    assert "host @fake/bad" in words
    assert "Traceback" not in run.screen


def test_what_is_wrong_for_many_hosts_is_told_once(tmp_path):
    run = pyinfra(tmp_path, "site", {f"h{at}": answers(LAB_HOST) for at in range(12)}, toolkit_mode="cvs")
    assert (run.code, run.commands) == (1, {})
    assert run.screen.count("setting toolkit_mode = 'cvs' is not allowed") == 1
    assert "hosts @fake/h0, @fake/h1, @fake/h2, " in " ".join(run.screen.split())
    assert " and 4 more: setting toolkit_mode" in " ".join(run.screen.split())


def test_a_key_that_is_not_there_stops_the_run_too(tmp_path):
    run = pyinfra(tmp_path, "site", {"one": answers(LAB_HOST)}, toolkit_key="/not/there.asc")
    assert (run.code, run.commands) == (1, {})
    assert "setting toolkit_key = '/not/there.asc' is not allowed: No such file" in " ".join(
        run.screen.split()
    )
    assert "Traceback" not in run.screen


def broken(path: str, text: str) -> dict[str, object]:
    """The answers of a converged host in which one file was spoilt."""
    return answers(changed(CONVERGED, "files", path, value=file_record(text)))


def looked_only(run: Run) -> bool:
    return run.code == 0 and all(run.programs(name) == ["snapshot_probe"] for name in run.commands)


@pytest.mark.parametrize("deploy", ["site", "remove"])
def test_a_dry_run_only_looks_whatever_the_hosts_are_like(tmp_path, deploy):
    names = ("blank", "converged", "no-docker", "no-python", "odd")
    spoilt = {"bad-before": broken(paths.BEFORE, "?"), "bad-applied": broken(paths.APPLIED, "?")}
    hosts = {**{name: SITE_HOSTS[name] for name in names}, **spoilt}
    run = pyinfra(tmp_path, deploy, hosts, "--dry")
    assert "Traceback" not in run.screen
    assert looked_only(run), run.screen
    assert set(run.commands) == set(hosts)


def test_a_dry_run_goes_on_past_a_host_whose_daemon_json_is_broken(tmp_path):
    hosts = {"good": answers(LAB_HOST), "bad": broken(paths.DAEMON_JSON, "{,}")}
    run = pyinfra(tmp_path, "site", hosts, "--dry")
    assert "Traceback" not in run.screen
    assert looked_only(run)


def test_preflight_looks_fetches_throws_away_and_tells_the_plan(tmp_path):
    names = ("blank", "converged", "no-docker", "no-mirror", "old-runsc")
    run = pyinfra(tmp_path, "preflight", {name: SITE_HOSTS[name] for name in names})
    assert run.code == 1
    assert run.programs("blank") == ["snapshot_probe", "stage", f"rm -rf {paths.STAGING_DIR}"]
    assert run.programs("converged") == ["snapshot_probe"]
    assert f"install gVisor (none) -> {RELEASE}: not installed" in run.screen
    assert run.programs("no-docker") == ["snapshot_probe"]
    assert "Traceback" not in run.screen


def test_preflight_says_of_every_host_which_driver_it_has_and_what_stops_nothing(tmp_path):
    loaded = f"driver {DRIVER} (loaded), gVisor {RELEASE}: it lists this driver"
    excluded = answers(changed(CONVERGED, "excluded_gpus", value=["0000:03:00.0"]))
    not_loaded = {**LAB_HOST["driver"], "version": None, "installed": {"modinfo -F version nvidia": DRIVER}}
    building = answers(changed(LAB_HOST, "driver", value=not_loaded))
    run = pyinfra(
        tmp_path, "preflight", {"blank": answers(LAB_HOST), "excluded": excluded, "building": building}
    )
    assert loaded in run.lines_of("blank")
    assert "note: the driver leaves GPU 0000:03:00.0 alone" in run.lines_of("excluded")
    assert run.programs("excluded") == ["snapshot_probe"], "a note is no change"
    # Its release is fetched only to be asked, and what is wrong with the host is said all the same.
    assert run.programs("building") == ["snapshot_probe", "stage", f"rm -rf {paths.STAGING_DIR}"]
    assert f"driver {DRIVER} (modinfo -F version nvidia), gVisor {RELEASE}: it lists" in run.lines_of(
        "building"
    )
    assert "no NVIDIA driver is loaded" in run.lines_of("building")
    assert "Traceback" not in run.screen


REMOVE_HOSTS = {
    "converged": answers(CONVERGED),
    "blank": answers(LAB_HOST),
    "in-use": answers(CONVERGED, containers_of_runtime={"containers": ["train-1", "train-2"]}),
    "cannot-tell": answers(CONVERGED, containers_of_runtime={"error": "Docker does not tell. See to it."}),
    "engine-deaf": answers(CONVERGED, docker_engine={"error": "dockerd was reloaded, but. It is back."}),
    "no-driver": answers(changed(CONVERGED, "driver", "version", value=None)),
    "disk-full": answers(changed(CONVERGED, "disk_free", paths.STATE_DIR, value=DISK_NEEDED - 1)),
    "half": answers(
        changed(CONVERGED, "files", value={paths.BEFORE: CONVERGED["files"][paths.BEFORE]}),
    ),
    "bad-daemon-json": broken(paths.DAEMON_JSON, "{,}"),
    "bad-before": broken(paths.BEFORE, "?"),
}


@pytest.fixture(scope="module")
def removing(tmp_path_factory):
    return pyinfra(tmp_path_factory.mktemp("remove"), "remove", REMOVE_HOSTS)


WHOLE = ["snapshot_probe", "containers_of_runtime", "docker_engine", "removal"]


@pytest.mark.parametrize("host", ["converged", "no-driver", "disk-full", "half"])
def test_a_host_can_be_left_whatever_would_stop_a_site_run(removing, host):
    assert removing.programs(host) == WHOLE


@pytest.mark.parametrize(
    ("host", "count", "sentence"),
    [
        ("in-use", 2, "containers of the runtime nvidia are running: train-1, train-2"),
        ("cannot-tell", 2, "Docker does not tell"),
        ("engine-deaf", 3, "dockerd was reloaded, but. It is back."),
        ("bad-daemon-json", 1, "it is not JSON"),
        ("bad-before", 1, f"{paths.BEFORE}, which says how this host was"),
    ],
)
def test_a_host_that_cannot_be_left_now_stops_alone(removing, host, count, sentence):
    assert removing.programs(host) == WHOLE[:count]
    assert sentence in removing.lines_of(host)


def test_a_host_whose_docker_is_gone_can_be_left(tmp_path):
    record = changed(CONVERGED, "files", paths.DAEMON_JSON, value=file_record("{,}"))
    record["engine"].update(client=None, daemon=None, running=False)
    run = pyinfra(tmp_path, "remove", {"no-docker": answers(record)})
    assert run.programs("no-docker") == ["snapshot_probe", "removal"]


def test_a_host_that_no_run_has_changed_stays_as_it_is(removing):
    assert removing.programs("blank") == ["snapshot_probe"]


def test_what_goes_is_what_was_put_there_and_nothing_of_before(removing):
    task = removing.commands["converged"][-1]["task"]
    assert task["packages"] == list(TOOLKIT_PACKAGES)
    put_there = {*CONVERGED["files"], paths.WAY_BACK_UNIT}
    assert set(task["files"]) == put_there - {paths.DAEMON_JSON, paths.APPLIED, paths.BEFORE}
    assert set(task["directories"]) >= {f"{paths.GVISOR_DIR}/{RELEASE}", WRAPPER_TREE, paths.STATE_DIR}
    assert not {paths.GVISOR_DIR, paths.WRAPPER_DIR, "/opt", "/etc/docker"} & set(task["directories"])
    assert task["directories"][-1] == paths.STATE_DIR, "the records last: a run that was killed can go on"


def test_the_removal_of_many_hosts_shows_nobody_a_trace(removing):
    assert removing.code == 1
    assert "Traceback" not in removing.screen


def test_when_every_host_fails_the_run_fails_without_a_trace(tmp_path):
    run = pyinfra(tmp_path, "site", {"one": SITE_HOSTS["no-docker"], "two": SITE_HOSTS["no-python"]})
    assert run.code == 1
    assert "Traceback" not in run.screen
    assert "there is no Docker on this host" in run.screen
