"""The plan of a removal: Docker gets back what it had."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploys.model import paths
from deploys.model.applied import Before
from deploys.model.changes import FileRemoval
from deploys.model.plan import Refusal
from deploys.model.removal_plan import RemovalPlan, removal_plan
from deploys.model.site_plan import site_plan
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.deploys.example_hosts import BLANK, at, drifted, file_record, without
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES, after, converged

if TYPE_CHECKING:
    from deploys.model.changes import EngineChange
    from deploys.model.snapshot import HostSnapshot
    from tests.deploys.example_hosts import Drift


PASSING = '{"runtimes": {}}'


def engine(host: HostSnapshot) -> EngineChange | Refusal | None:
    """How Docker is changed when this host is left, or what stands against it."""
    before = Before.read(host)
    assert before is not None
    made = removal_plan(SETTINGS, host, before)
    return made if isinstance(made, Refusal) else made.engine


def converged_from(daemon_json: str, *drifts: Drift) -> HostSnapshot:
    first = drifted(BLANK, at("files", paths.DAEMON_JSON, value=file_record(daemon_json)), *drifts)
    return converged(SETTINGS, first, SOURCES)


@pytest.mark.parametrize(
    ("theirs", "path"),
    [
        ('{"runtimes": {"kata": {"path": "/k"}}, "debug": true}', None),
        (
            '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}',
            "nvidia-container-runtime",
        ),
        # Docker 20.10 knows no types, and has nothing for such a runtime.
        ('{"runtimes": {"nvidia": {"runtimeType": "io.containerd.x.v1"}}}', ""),
        ("{}", None),
        ("", None),
    ],
)
def test_taking_the_runtime_out_puts_daemon_json_back_as_it_was(theirs, path):
    change = engine(converged_from(theirs))
    assert change.file.text == theirs
    assert (change.runtime, change.runtime_path) == ("nvidia", path)


def test_a_runtime_that_was_given_by_its_type_comes_back_by_it():
    theirs = '{"runtimes": {"nvidia": {"runtimeType": "io.containerd.x.v1"}}}'
    assert engine(converged_from(theirs, at("engine", "version", value="29.0.0"))).runtime_path == (
        "io.containerd.x.v1"
    )


def test_a_file_comes_back_in_the_encoding_that_it_had():
    theirs = '\ufeff{"debug": true}\r\n'
    record = file_record(theirs, encoding="utf-16-le")
    modern = at("engine", "version", value="29.0.0")
    first = drifted(BLANK, at("files", paths.DAEMON_JSON, value=record), modern)
    plan = site_plan(SETTINGS, first, SOURCES)
    assert plan.engine.file.text.startswith("\ufeff{")
    assert plan.engine.file.encoding == plan.engine.old_encoding == "utf-16-le"
    change = engine(after(plan, SETTINGS, first, SOURCES))
    assert (change.file.text, change.file.encoding) == (theirs, "utf-16-le")


def test_runtimes_of_the_command_line_are_loaded_again_and_written_nowhere():
    """Any reload of a file that names runtimes drops them; a Jetson's default runtime is one of them."""
    theirs = '{"default-runtime": "nvidia"}'
    first = drifted(
        BLANK,
        at("files", paths.DAEMON_JSON, value=file_record(theirs)),
        at("engine", "runtimes", value={"runc": "runc", "nvidia": "/n", "kata": "/k"}),
        at("engine", "default_runtime", value="nvidia"),
    )
    plan = site_plan(SETTINGS, first, SOURCES)
    assert json.loads(plan.engine.load)["runtimes"] == {
        "nvidia": {"path": paths.ENTRY},
        "kata": {"path": "/k"},
    }
    assert json.loads(plan.engine.file.text)["runtimes"] == {"nvidia": {"path": paths.ENTRY}}
    change = engine(after(plan, SETTINGS, first, SOURCES))
    assert change.file.text == theirs
    assert change.runtime_path == "/n"
    assert json.loads(change.load)["runtimes"] == {"nvidia": {"path": "/n"}, "kata": {"path": "/k"}}


def test_a_runtime_that_its_owner_has_taken_out_meanwhile_is_not_loaded_again():
    host = converged_from(
        '{"runtimes": {"kata": {"path": "/k"}}}',
        at("engine", "runtimes", value={"runc": "runc", "kata": "/k"}),
    )
    text = json.dumps({"runtimes": {"nvidia": {"path": paths.ENTRY}}})
    edited = drifted(
        host,
        at("files", paths.DAEMON_JSON, value=file_record(text)),
        at("engine", "runtimes", value={"runc": "runc", "nvidia": paths.ENTRY}),
    )
    assert json.loads(engine(edited).load) == {"runtimes": {}}


def test_taking_the_runtime_out_of_a_file_that_was_not_there_before_takes_the_file_away():
    assert isinstance(engine(CONVERGED).file, FileRemoval)


def test_a_removal_that_was_killed_while_docker_loaded_is_ended_by_the_next():
    """Docker was given a file that names its runtimes, none, and its own file had not come back yet."""
    left = [
        without("engine", "runtimes", "nvidia"),
        at("files", paths.DAEMON_JSON, value=file_record(PASSING)),
    ]
    assert isinstance(engine(drifted(CONVERGED, *left)).file, FileRemoval)
    left[1] = at("files", paths.DAEMON_JSON, value=file_record('{"runtimes": {}, "debug": true}'))
    assert engine(drifted(converged_from('{"debug":true}'), *left)).file.text == '{"debug":true}'


def test_a_daemon_json_that_is_no_text_any_more_is_not_taken_for_none():
    utf16 = at("files", paths.DAEMON_JSON, "text", value=None)
    refusal = engine(drifted(CONVERGED, utf16))
    assert isinstance(refusal, Refusal)
    assert "not UTF-8" in str(refusal)


def test_our_runtime_as_the_default_one_is_no_hindrance_where_it_had_the_name_before():
    theirs = '{"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}'
    host = drifted(converged_from(theirs), at("engine", "default_runtime", value="nvidia"))
    assert engine(host).file.text == theirs


@pytest.mark.parametrize("ours", [paths.ENTRY, paths.SHIM])
def test_a_runtime_that_is_only_loaded_is_taken_out_by_a_reload(ours):
    """Also as a release without the entry has given it to Docker."""
    loaded = at("engine", "runtimes", "nvidia", value=ours)
    assert engine(drifted(CONVERGED, without("files", paths.DAEMON_JSON), loaded)).file is None


def test_a_host_of_a_release_without_the_entry_gets_back_what_was_there_before():
    theirs = '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}'
    shim = json.dumps({"runtimes": {"nvidia": {"path": paths.SHIM}}})
    former = drifted(
        converged_from(theirs),
        without("files", paths.ENTRY),
        at("files", paths.DAEMON_JSON, value=file_record(shim)),
        at("engine", "runtimes", "nvidia", value=paths.SHIM),
    )
    assert engine(former).file.text == theirs


def test_where_docker_is_gone_the_runtime_still_goes_from_its_file():
    """It would be there again when Docker is, and would lead to nothing."""
    gone = [at("engine", "daemon", value=None), at("engine", "runtimes", value={})]
    change = engine(drifted(converged_from('{"debug": true}'), *gone))
    assert (change.file.text, change.daemon) == ('{"debug": true}', None)
    assert engine(drifted(CONVERGED, *gone, at("files", paths.DAEMON_JSON, value=file_record("{,}")))) is None
    assert engine(drifted(CONVERGED, *gone, without("files", paths.DAEMON_JSON))) is None


def test_a_runtime_that_is_neither_in_the_file_nor_loaded_needs_nothing():
    gone = drifted(CONVERGED, without("files", paths.DAEMON_JSON), without("engine", "runtimes", "nvidia"))
    assert engine(gone) is None


def test_a_runtime_is_taken_out_though_no_run_came_to_recording_it():
    assert engine(drifted(CONVERGED, without("files", paths.APPLIED))).runtime == "nvidia"


@pytest.mark.parametrize(
    ("drift", "sentence"),
    [
        (at("files", paths.DAEMON_JSON, value=file_record("{,}")), "it is not JSON: "),
        (at("engine", "default_runtime", value="nvidia"), "nvidia is Docker's default runtime"),
        (
            at(
                "files", paths.DAEMON_JSON, value=file_record('{"default-runtime": "nvidia", "runtimes": {}}')
            ),
            '"default-runtime": "runc"',
        ),
    ],
)
def test_what_stands_against_taking_the_runtime_out_is_a_refusal_of_this_host(drift, sentence):
    refusal = engine(drifted(CONVERGED, drift))
    assert isinstance(refusal, Refusal)
    assert sentence in str(refusal)


def test_a_package_that_was_there_before_is_let_go_and_not_purged():
    first = drifted(BLANK, at("packages", value={TOOLKIT_PACKAGES[0]: "1.17.8-1"}))
    made = removal_plan(SETTINGS, converged(SETTINGS, first, SOURCES), Before.of(first))
    assert isinstance(made, RemovalPlan)
    assert made.held == TOOLKIT_PACKAGES
    assert made.purged == TOOLKIT_PACKAGES[1:]


def test_the_toolkits_configuration_comes_back_as_it_was_before_its_packages_rewrote_it():
    theirs = "# mine\ndisable-require = true\n"
    first = drifted(BLANK, at("files", paths.TOOLKIT_CONFIG, value=file_record(theirs)))
    host = converged(SETTINGS, first, SOURCES)
    assert host.text_of(paths.TOOLKIT_CONFIG).startswith(theirs)
    assert site_plan(SETTINGS, host, SOURCES) == NOTHING
    (change,) = removal_plan(SETTINGS, host, Before.read(host)).rewritten
    assert (change.path, change.text) == (paths.TOOLKIT_CONFIG, theirs)
    edited = f"swarm-resource = 'X'\n{host.text_of(paths.TOOLKIT_CONFIG)}"
    (change,) = removal_plan(
        SETTINGS,
        drifted(host, at("files", paths.TOOLKIT_CONFIG, value=file_record(edited))),
        Before.read(host),
    ).rewritten
    assert "swarm-resource = 'X'" in change.text
    assert "runtimes" not in change.text
    broken = drifted(host, at("files", paths.TOOLKIT_CONFIG, value=file_record("=")))
    (change,) = removal_plan(SETTINGS, broken, Before.read(host)).rewritten
    assert change.text == theirs


def test_a_toolkits_configuration_that_was_not_there_is_written_back_by_nobody():
    assert removal_plan(SETTINGS, CONVERGED, Before.read(CONVERGED)).rewritten == ()
