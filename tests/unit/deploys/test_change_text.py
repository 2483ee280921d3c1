"""A plan as an operator reads it: every change with its reason, what is the same for many hosts once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.applied import Before
from deploys.model.change_text import NOTHING, Told, grouped, refused, removal_text, site_text
from deploys.model.layouts import Layout
from deploys.model.plan import Plan
from deploys.model.removal_plan import removal_plan
from deploys.model.site_plan import site_plan
from deploys.model.text_difference import HIDDEN
from tests.deploys.example_hosts import BLANK, at, drifted, file_record, recorded, settings, snapshot, without
from tests.deploys.simulated_host import CONVERGED, SETTINGS, SOURCES


def told(host, *drifts, few=True, **changes):
    looked, wanted = drifted(host, *drifts), settings(**changes)
    return site_text(wanted, looked, site_plan(wanted, looked, SOURCES), few=few)


def sentences(host, *drifts, **others):
    return [change.sentence for change in told(host, *drifts, **others)]


def lines_of(path, changes):
    return "\n".join(
        line for change in changes if f"write {path}" in change.sentence for line in change.lines
    )


def daemon_json(**content):
    return at("files", paths.DAEMON_JSON, value=file_record(json.dumps(content, indent=1) + "\n"))


CHANGED = f"somebody has changed it since the last run (what is there now is kept in {paths.BACKUP_DIR}); "
RELOAD = "reload dockerd, without a restart, which"
ENTRY, NVIDIA = paths.ENTRY, f"nvidia -> {paths.ENTRY}"
UNLOADED = f"{paths.DAEMON_JSON}: dockerd has no such runtime loaded, not what the file says"
WRITTEN = f"{paths.DAEMON_JSON}: its content differs"
NODES = "load the driver's modules and make device nodes: device nodes are missing: "
TOOLKIT = "install the packages of NVIDIA Container Toolkit 1.20.1-1: "
WRAPPER = SOURCES.wrapper.directory.rpartition("/")[2]
BLANK_PLAN = site_plan(SETTINGS, snapshot(BLANK), SOURCES)


def test_every_file_link_and_directory_of_a_plan_is_told():
    said = sentences(BLANK)
    for _, change in BLANK_PLAN.files:
        assert f"write {change.path}: {change.why}" in said
    for _, link in BLANK_PLAN.links:
        assert f"link {link.path} -> {link.target}: not there" in said
    for path in (*BLANK_PLAN.directories, paths.WRAPPER_SETTINGS, paths.BEFORE, paths.DAEMON_JSON):
        assert any(path in sentence for sentence in said), path


@pytest.mark.parametrize("part", ["kernel", "packages", "release", "wrapper", "engine"])
def test_every_other_part_of_a_plan_is_told(part):
    whole = site_plan(SETTINGS, drifted(BLANK, at("nodes", value=[])), SOURCES)
    alone = Plan(refusals=(), **{part: getattr(whole, part)})
    assert len(site_text(SETTINGS, CONVERGED, alone, few=True)) == 1


def test_nothing_to_do_is_said_too():
    assert told(CONVERGED) == (Told(NOTHING),)
    (record,) = site_text(SETTINGS, CONVERGED, Plan(refusals=()), few=True, record_differs=True)
    assert paths.APPLIED in record.sentence


@pytest.mark.parametrize(
    ("drifts", "changes", "sentence"),
    [
        (
            [at("packages", "libnvidia-container1", value="1.17.8-1")],
            {},
            f"{TOOLKIT}libnvidia-container1 1.17.8-1 -> 1.20.1-1",
        ),
        ([], {"gvisor_release": "20261001"}, "install gVisor 20260905 -> 20261001: not installed"),
        (
            [
                at("links", paths.WRAPPER_CURRENT, value=f"{paths.WRAPPER_DIR}/0.1.0-beef"),
                at("trees", value={}),
            ],
            {},
            f"install the wrapper 0.1.0-beef -> {WRAPPER}: not installed",
        ),
        (
            [at("nodes", value=[])],
            {},
            f"{NODES}/dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia1, /dev/nvidia0",
        ),
        (
            [without("files", paths.DEVICES_CSV)],
            {},
            f"write {paths.DEVICES_CSV}: somebody has deleted it since the last run; not there",
        ),
        (
            [at("files", paths.DEVICES_CSV, value=file_record("dev, /dev/x\n"))],
            {},
            f"write {paths.DEVICES_CSV}: {CHANGED}its content differs",
        ),
        (
            [at("files", paths.TOOLKIT_CONFIG, value=file_record(""))],
            {},
            f"first of all, write {paths.TOOLKIT_CONFIG}: {CHANGED}it leads to runc, crun, past gVisor",
        ),
        (
            [at("engine", "runtimes", value={"runc": "runc"})],
            {},
            f"{RELOAD} adds the runtime nvidia -> {paths.ENTRY}: {UNLOADED}",
        ),
        (
            [],
            {"runtime_name": "new"},
            f"{RELOAD} adds the runtime new -> {ENTRY} and takes away the runtime {NVIDIA}: {WRITTEN}",
        ),
        (
            [
                at("engine", "runtimes", value={"runc": "runc", "nvidia": paths.SHIM}),
                daemon_json(runtimes={"nvidia": {"path": paths.SHIM}}),
            ],
            {},
            f"{RELOAD} leads the runtime nvidia to {paths.ENTRY}, no longer to {paths.SHIM}: {WRITTEN}",
        ),
        (
            [at("engine", "containers", value={"nvidia": ["b", "a"], "runc": ["c"]})],
            {"gvisor_release": "20261001"},
            "running containers go on, their exec, stop and kill by what is new: a, b",
        ),
    ],
)
def test_a_change_is_told_from_what_is_to_what_will_be(drifts, changes, sentence):
    assert sentence in sentences(CONVERGED, *drifts, **changes)


def test_the_change_of_a_repair_is_told_once():
    past = at(
        "files",
        paths.TOOLKIT_CONFIG,
        value=file_record(CONVERGED.text_of(paths.TOOLKIT_CONFIG).replace(paths.LAUNCHER, "runc")),
    )
    said = [sentence for sentence in sentences(CONVERGED, past) if paths.TOOLKIT_CONFIG in sentence]
    assert len(said) == 1
    assert said[0].startswith("first of all, write ")


def test_what_other_runtimes_get_by_it_is_said_before():
    others = at(
        "engine", "runtimes", value={"runc": "runc", "nvidia-cdi": "/usr/bin/nvidia-container-runtime.cdi"}
    )
    assert "from then on containers of these Docker runtimes run in gVisor: nvidia-cdi" in sentences(
        BLANK, others
    )


def test_over_a_fleet_containers_are_a_number():
    running = at("engine", "containers", value={"nvidia": ["a", "b"]})
    said = sentences(CONVERGED, running, gvisor_release="20261001", few=False)
    assert "running containers go on, their exec, stop and kill by what is new: 2" in said


def test_the_text_of_every_managed_file_is_told_but_for_the_key():
    changes = told(BLANK)
    for path in set(paths.MANAGED_FILES) - {paths.DAEMON_JSON, *Layout.DEDICATED.files}:
        lines = lines_of(path, changes)
        assert ("(a key" if path == paths.APT_KEYRING else f"+++ {path}") in lines
    (engine,) = [change for change in changes if change.sentence.startswith("reload dockerd")]
    assert '+        "nvidia": {' in engine.lines


def test_settings_that_are_only_known_once_runsc_was_tried_are_shown_as_far_as_they_are():
    assert '+  "toolkit_mode": "csv",' in lines_of(paths.WRAPPER_SETTINGS, told(BLANK))
    lines = lines_of(
        paths.WRAPPER_SETTINGS, told(CONVERGED, gvisor_release="20261001", runsc_args=["--debug"])
    )
    assert '+    "--debug"' in lines
    assert '"hooks_run"' not in "".join(line for line in lines.splitlines() if line[:1] in "+-")


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_that_not_everybody_may_read_is_not_shown(mode):
    text = '{"log-opts": {"x": "hunter2"}}\n'
    changes = told(BLANK, at("files", value={paths.DAEMON_JSON: file_record(text, mode)}))
    assert "hunter2" not in str(changes)
    (engine,) = [change for change in changes if change.sentence.startswith("reload dockerd")]
    assert engine.lines == ("(not shown: on the host not everybody may read this file)",)


def test_secrets_of_a_file_that_everybody_may_read_are_hidden():
    text = '{"log-opts": {"splunk-token": "hunter2"}}\n'
    changes = told(BLANK, at("files", value={paths.DAEMON_JSON: file_record(text)}))
    assert "hunter2" not in str(changes)
    assert HIDDEN in str(changes)


def test_rights_that_differ_alone_are_told():
    text = CONVERGED.text_of(paths.DEVICES_CSV)
    (change,) = told(CONVERGED, at("files", paths.DEVICES_CSV, value=file_record(text, 0o666)))
    assert "mode 644" in change.sentence
    assert change.lines == ("(mode 666 of 0:0 becomes 644 of 0:0)",)


def test_a_file_that_is_no_text_is_told_without_one():
    record = {**file_record(""), "text": None, "sha256": "0" * 64}
    changes = told(CONVERGED, at("files", paths.DEVICES_CSV, value=record))
    assert "no text" in lines_of(paths.DEVICES_CSV, changes)


def test_a_change_of_the_layout_tells_what_goes_and_what_comes_back():
    changes = told(CONVERGED, layout="dedicated")
    said = [change.sentence for change in changes]
    assert any(f"write {Layout.DEDICATED.toolkit_config}: not there" in sentence for sentence in said)
    for path in Layout.SHARED.files:
        assert f"take {path} away: the layout is dedicated, so it is the host's own again" in said
    back = drifted(CONVERGED, recorded(paths.BEFORE, "toolkit_config", value="disable-require = false\n"))
    (config,) = [
        change
        for change in told(back, layout="dedicated")
        if change.sentence.startswith(f"put {paths.TOOLKIT_CONFIG} back")
    ]
    assert f'-runtimes = ["{paths.LAUNCHER}"]' in config.lines


def test_a_host_that_is_not_touched_is_told_with_every_reason():
    looked = drifted(BLANK, at("uid", value=1000), at("gpus", value=[]))
    refusals = site_plan(SETTINGS, looked, SOURCES).refusals
    assert [change.sentence for change in refused(refusals)] == [f"not touched: {why}" for why in refusals]
    assert len(refusals) == 2


def removal(*drifts):
    looked = drifted(CONVERGED, *drifts)
    return removal_text(looked, removal_plan(SETTINGS, looked, Before.read(looked)))


def test_a_removal_tells_everything_that_goes_and_what_stays():
    said = [change.sentence for change in removal(at("engine", "containers", value={"nvidia": ["a"]}))]
    gone = {*CONVERGED.files, *CONVERGED.links, *CONVERGED.trees, paths.STATE_DIR} - {
        paths.APPLIED,
        paths.BEFORE,
    }
    for path in gone:
        assert any(path in sentence for sentence in said), path
    assert f"takes away the runtime nvidia -> {paths.ENTRY}" in "\n".join(said)
    assert "purge nvidia-container-toolkit 1.20.1-1: it was not there before the first run" in said
    assert said[0] == "stops before any change, as containers of the runtime nvidia run: a"


def test_a_removal_shows_the_text_that_somebody_has_changed_and_that_is_lost():
    changes = removal(at("files", paths.DEVICES_CSV, value=file_record("dev, /dev/theirs\n")))
    (change,) = [change for change in changes if f"delete {paths.DEVICES_CSV}" in change.sentence]
    assert "somebody has changed it since the last run, and that is lost" in change.sentence
    assert "-dev, /dev/theirs" in change.lines
    assert not any(change.lines for change in changes if f"delete {paths.DRIVERS_CSV}" in change.sentence)


HOSTS = st.dictionaries(
    st.sampled_from([f"h{number}" for number in range(6)]),
    st.lists(st.sampled_from([Told(letter) for letter in "abcd"]), min_size=1, max_size=4, unique=True),
)


@given(HOSTS)
def test_every_host_is_told_all_of_its_changes_once_however_they_are_grouped(hosts):
    groups = grouped(hosts)
    for host, changes in hosts.items():
        told = [change for group in groups if host in group.hosts for change in group.told]
        assert sorted(change.sentence for change in told) == sorted(change.sentence for change in changes)
    assert len({group.hosts for group in groups}) == len(groups), (
        "hosts are named once for all that is the same"
    )


def test_two_hundred_hosts_that_are_alike_take_as_many_lines_as_one():
    groups = grouped({f"gpu-{number}": told(BLANK) for number in range(200)})
    assert [group.told for group in groups] == [told(BLANK)]
    assert groups[0].names == (
        "[gpu-0, gpu-1, gpu-2, gpu-3, gpu-4, gpu-5, gpu-6, gpu-7 and 192 more] 200 hosts:"
    )


def test_one_host_that_differs_is_told_what_is_its_own_and_the_rest_with_the_others():
    odd = told(BLANK, at("nodes", value=[]))
    first, second = grouped({**{f"gpu-{number}": told(BLANK) for number in range(199)}, "odd": odd})
    assert (len(first.hosts), first.told) == (200, told(BLANK))
    assert second.hosts == ("odd",)
    assert [change.sentence.split(":")[0] for change in second.told] == [
        "load the driver's modules and make device nodes"
    ]
