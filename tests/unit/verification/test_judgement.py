"""Answers of real lab hosts, whole and broken, and what is said about them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.checks import State
from deploys.model.verification.answers import Answer
from deploys.model.verification.judgement import judge
from deploys.model.verification.questions import verification
from tests.deploys.example_hosts import settings
from tests.unit.verification.lab_hosts import LAB, answer, asked, check, host, judged

FINDING = {"subject": "launcher", "answer": "yes", "what": "it calls runsc", "remedy": ""}
SOUND = json.dumps({"answer": "yes", "findings": [FINDING, {**FINDING, "subject": "runsc"}]})


def test_a_device_beyond_those_asked_for_fails():
    found = answer("csv_2_gpus")
    out = found["runs"]["docker.gpu-1"]["out"]
    found["runs"]["docker.gpu-1"]["out"] = out.replace(
        "device /dev/nvidia1", "device /dev/nvidia0\ndevice /dev/nvidia1"
    )
    one = check(judged("csv_2_gpus", found), "docker.gpu-1")
    assert one.state is State.FAILED
    assert "it sees /dev/nvidia0" in one.why


def test_the_other_gpus_uuid_fails_though_the_count_is_right():
    found = answer("csv_2_gpus")
    found["runs"]["docker.gpu-1"]["out"] = found["runs"]["docker.gpu-0"]["out"].replace("nvidia0", "nvidia1")
    result = judged("csv_2_gpus", found)
    assert check(result, "docker.gpu-1").state is State.PASSED
    assert "in docker.gpu-1, nvidia-smi -L lists" in check(result, "docker.nvidia-smi").why


def test_the_control_may_have_nodes_that_gvisor_could_not_serve_but_no_gpu_too_many():
    found = answer("csv_2_gpus")
    assert "/dev/nvidia-modeset" in found["runs"]["control.all"]["out"]
    assert check(judged("csv_2_gpus", found), "control.all").state is State.PASSED
    found["runs"]["control.all"]["out"] = "device /dev/nvidia7\n" + found["runs"]["control.all"]["out"]
    assert check(judged("csv_2_gpus", found), "control.all").state is State.FAILED


def test_without_docker_its_containers_are_unknown_and_the_bundles_are_judged():
    result = judged("auto_8_gpus_docker_stopped", answer("auto_8_gpus_docker_stopped"))
    states = {check.id: check.state for check in result.checks}
    assert states["host.engine"] is State.UNKNOWN
    assert check(result, "docker.all").because == "host.engine"
    assert states["bundle.all"] is State.PASSED
    assert result.verdict is State.UNKNOWN
    assert "systemctl start docker" in check(result, "host.engine").next


def test_a_runtime_that_docker_has_not_loaded_or_has_from_elsewhere_fails():
    for entry in ("{}", '{"nvidia": {"path": "/usr/bin/runc"}}'):
        found = answer("csv_2_gpus")
        found["commands"]["engine"]["out"] = entry
        assert check(judged("csv_2_gpus", found), "host.engine").state is State.FAILED
    found["commands"]["engine"]["out"] = "null"
    assert check(judged("csv_2_gpus", found), "host.engine").state is State.UNKNOWN


@pytest.mark.parametrize(
    ("code", "out", "state"),
    [
        (0, SOUND, State.PASSED),
        (1, SOUND.replace("yes", "no"), State.FAILED),
        (2, SOUND.replace("yes", "cannot tell"), State.UNKNOWN),
        (0, "", State.UNKNOWN),
        (0, "{}", State.UNKNOWN),
        (1, "", State.FAILED),
        (3, SOUND, State.UNKNOWN),
    ],
)
def test_the_wrappers_own_check_is_taken_at_its_word_and_no_further(code, out, state):
    found = answer("csv_2_gpus")
    found["commands"]["chain"] = {**found["commands"]["chain"], "code": code, "out": out}
    assert check(judged("csv_2_gpus", found), "wrapper.files").state is state


def test_a_driver_that_runsc_does_not_list_fails_and_a_list_that_cannot_be_read_is_unknown():
    found = answer("csv_2_gpus")
    found["commands"]["drivers"]["out"] = "535.129.03\n"
    assert check(judged("csv_2_gpus", found), "host.supported").state is State.FAILED
    found["commands"]["drivers"]["out"] = "no such command"
    assert check(judged("csv_2_gpus", found), "host.supported").state is State.UNKNOWN


def test_no_driver_fails_the_host_though_its_plain_containers_pass():
    found = answer("csv_2_gpus")
    found["look"]["driver"]["version"] = None
    what = verification(settings(toolkit_mode="csv"), host([], driver=None))
    result = judge("x", what, Answer.read(found))
    assert check(result, "docker.nothing").state is State.PASSED
    assert check(result, "host.driver").state is State.FAILED
    assert result.verdict is State.FAILED


def test_a_control_without_runc_is_skipped_with_the_reason():
    found = answer("csv_2_gpus")
    control = found["runs"]["control.all"]
    control.update(code=None, out="", not_run="runc is not on this host", missing="runc")
    result = judged("csv_2_gpus", found)
    assert check(result, "control.all").state is State.SKIPPED
    assert check(result, "control.all").why == "runc is not on this host"
    assert result.verdict is State.PASSED


def test_what_could_not_be_removed_fails_the_check_that_started_it():
    found = answer("csv_2_gpus")
    found["runs"]["docker.all"]["left_behind"] = "the container x could not be removed"
    found["runs"]["bundle.all"].update(left_behind="y is still mounted", code=1, err="something")
    result = judged("csv_2_gpus", found)
    assert check(result, "docker.all").state is check(result, "bundle.all").state is State.FAILED
    assert check(result, "docker.all").why == "the container x could not be removed"
    assert check(result, "bundle.all").why == "did not start (status 1): something; y is still mounted"


def test_where_the_control_is_in_gvisor_too_gvisor_is_not_proven():
    found = answer("csv_2_gpus")
    control = found["runs"]["control.all"]
    control["out"] = control["out"].replace("kernel unreadable", "kernel gvisor")
    result = judged("csv_2_gpus", found)
    assert check(result, "docker.sandbox").state is State.UNKNOWN
    assert result.verdict is State.UNKNOWN


def test_a_gpu_of_unknown_minor_is_unknown_never_passed():
    what = verification(settings(toolkit_mode="csv", **LAB), host([0, None]))
    result = judge("x", what, Answer.read(answer("csv_2_gpus")))
    assert check(result, "control.all").state is State.UNKNOWN
    assert check(result, "docker.gpu-1").because == "control.all"
    assert check(result, "docker.gpu-0").state is State.PASSED


def test_stand_ins_are_named_by_either_of_their_marks():
    found = answer("csv_2_gpus")
    assert len(judged("csv_2_gpus", found).stand_ins) == 2
    found["commands"]["smi_help"]["out"] = "NVIDIA System Management Interface -- v570.124.06\n"
    (mark,) = judged("csv_2_gpus", found).stand_ins
    assert "/etc/nvproxy-lab" in mark
    found["marks"] = []
    assert judged("csv_2_gpus", found).stand_ins == ()


def test_no_answer_is_no_verification_with_its_reason():
    result = judged("csv_2_gpus", {"error": "the connection broke"})
    assert result.checks == ()
    assert result.why == "the connection broke"
    assert result.verdict is State.UNKNOWN


def test_an_answer_that_was_cut_short_is_unknown_though_all_its_checks_pass():
    result = judged("csv_2_gpus", {**answer("csv_2_gpus"), "error": "stopped while it tidied up"})
    states = (State.PASSED, State.SKIPPED)
    assert [check.id for check in result.checks if check.state not in states] == ["host.verification"]
    assert check(result, "host.verification").why == "stopped while it tidied up"
    assert result.verdict is State.UNKNOWN


def test_an_answer_of_another_shape_is_no_answer():
    for wrong in ({}, {"error": None, "runs": []}, {"error": None, "runs": {"docker.all": {"code": "0"}}}):
        assert "the host's answer has" in (Answer.read(wrong).error or "")


@given(st.data())
def test_whatever_is_lost_of_a_good_answer_the_rest_never_makes_up_for_it(data):
    """Take a run or a command out, or cut its output short: its check is not passed, nor is the host."""
    found = answer("csv_2_gpus")
    # Of the list of drivers, a part may be all that matters, and so of what nvidia-smi says of itself.
    told_in = {"engine": "host.engine", "chain": "wrapper.files", "rewrite": "wrapper.rewrite"}
    runs = [name for name in found["runs"] if name != "bundle.no-launcher"]
    names = [*(("runs", name) for name in runs), *(("commands", name) for name in told_in)]
    part, name = data.draw(st.sampled_from(names))
    if data.draw(st.booleans()):
        del found[part][name]
    else:
        out = found[part][name]["out"].rstrip()
        found[part][name]["out"] = out[: data.draw(st.integers(0, len(out) - 1))]
    result = judged("csv_2_gpus", found)
    hit = check(result, told_in[name] if part == "commands" else name)
    assert hit.state in (State.FAILED, State.UNKNOWN) or hit.because
    assert result.verdict is not State.PASSED


def test_every_check_has_its_own_id():
    ids = [check.id for check in judged("auto_8_gpus").checks]
    assert len(ids) == len(set(ids))
    assert len(ids) > len(asked("auto_8_gpus").runs)
