"""Answers of real lab hosts, whole and broken, and what is said about them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.checks import State, Subject
from deploys.model.verification.judgement import Answer, judge
from deploys.model.verification.questions import verification
from tests.deploys.example_hosts import settings
from tests.unit.verification.lab_hosts import answer, asked, check, host, judged

FINDING = {"subject": "launcher", "answer": "yes", "what": "it calls runsc", "remedy": ""}
SOUND = json.dumps({"answer": "yes", "findings": [FINDING]})


def sound(name: str) -> dict:
    """A recorded answer, with an answer of the wrapper's own check, which was not on those hosts yet."""
    found = answer(name)
    found["commands"]["chain"].update(code=0, out=SOUND, not_run=None, err="")
    return found


@pytest.mark.parametrize("name", ["csv_2_gpus", "auto_8_gpus"])
def test_a_host_on_which_all_is_well_passes_every_check(name):
    result = judged(name, sound(name))
    assert {check.id: check.why for check in result.checks if check.state is not State.PASSED} == {}
    assert result.verdict is State.PASSED


def test_checks_stand_in_the_order_of_their_subjects():
    order = [check.subject for check in judged("auto_8_gpus").checks]
    assert order == sorted(order, key=list(Subject).index)


def test_a_one_line_wrapper_under_auto_is_diagnosed_by_what_the_bundles_log_says():
    result = judged("auto_8_gpus_one_line_wrapper", sound("auto_8_gpus_one_line_wrapper"))
    assert result.verdict is State.FAILED
    through_docker = check(result, "docker.all")
    # All that Docker itself says is "EOF".
    assert "disable-device-node-modification" not in through_docker.output
    assert "disable-device-node-modification" in through_docker.why
    assert "/usr/local/bin/nvproxy-runsc" in through_docker.next
    assert check(result, "control.all").state is State.PASSED
    assert check(result, "docker.nothing").state is State.PASSED


def test_a_container_that_runs_under_runc_fails_however_well_it_looks():
    result = judged("auto_8_gpus_runc_in_place_of_runsc")
    plain = check(result, "docker.nothing")
    assert plain.state is State.FAILED
    assert "not in gVisor" in plain.why
    assert "Let nobody's code run on this host" in plain.next


def test_libraries_without_their_links_fail_by_name():
    one = check(judged("csv_2_gpus_one_line_wrapper_old_runsc"), "docker.gpu-0")
    assert one.state is State.FAILED
    assert "libcuda.so.1 and libnvidia-ml.so.1 cannot be loaded by name" in one.why
    assert "lists 0 GPUs, not 1" in one.why


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
    assert "nvidia-smi -L lists" in check(judged("csv_2_gpus", found), "docker.gpu-1").why


def test_the_control_may_have_nodes_that_gvisor_could_not_serve_but_no_gpu_too_many():
    found = answer("csv_2_gpus")
    assert "/dev/nvidia-modeset" in found["runs"]["control.all"]["out"]
    assert check(judged("csv_2_gpus", found), "control.all").state is State.PASSED
    found["runs"]["control.all"]["out"] = "device /dev/nvidia7\n" + found["runs"]["control.all"]["out"]
    assert check(judged("csv_2_gpus", found), "control.all").state is State.FAILED


def test_a_missing_launcher_and_a_refusing_wrapper_are_told_in_their_own_words():
    gone = check(judged("auto_8_gpus_no_launcher"), "docker.all")
    assert gone.state is State.FAILED
    assert "/usr/local/bin/nvproxy-runsc is missing or not executable" in gone.why
    refused = check(judged("auto_8_gpus_wrapper_refuses"), "docker.all")
    assert refused.state is State.FAILED
    assert refused.why.startswith("a GPU is asked for, and the settings cannot be used: /etc/nvproxy-wrapper")


def test_without_docker_its_containers_are_unknown_and_the_bundles_are_judged():
    result = judged("auto_8_gpus_docker_stopped", sound("auto_8_gpus_docker_stopped"))
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
        (3, SOUND, State.UNKNOWN),
    ],
)
def test_the_wrappers_own_check_is_taken_at_its_word_and_no_further(code, out, state):
    found = sound("csv_2_gpus")
    found["commands"]["chain"] = {**found["commands"]["chain"], "code": code, "out": out}
    assert check(judged("csv_2_gpus", found), "host.chain").state is state


def test_the_findings_of_the_wrappers_own_check_are_said_in_its_words():
    found = sound("csv_2_gpus")
    found["commands"]["chain"].update(
        code=1, out=json.dumps({"findings": [FINDING, {**FINDING, "answer": "no", "remedy": "Run it."}]})
    )
    one = check(judged("csv_2_gpus", found), "host.chain")
    assert one.seen == "1 of 2 sound"
    assert one.why == "launcher: it calls runsc"
    assert one.next == "Run it."


def test_a_driver_that_runsc_does_not_list_fails_and_a_list_that_cannot_be_read_is_unknown():
    found = answer("csv_2_gpus")
    found["commands"]["drivers"]["out"] = "535.129.03\n"
    assert check(judged("csv_2_gpus", found), "host.driver").state is State.FAILED
    found["commands"]["drivers"]["out"] = "no such command"
    assert check(judged("csv_2_gpus", found), "host.driver").state is State.UNKNOWN


def test_no_driver_fails_the_host_though_its_plain_containers_pass():
    found = sound("csv_2_gpus")
    what = verification(settings(toolkit_mode="csv"), host([], driver=None))
    result = judge("x", what, Answer.read(found))
    assert check(result, "docker.nothing").state is State.PASSED
    assert check(result, "host.driver").state is State.FAILED
    assert result.verdict is State.FAILED


def test_a_control_without_runc_is_skipped_with_the_reason():
    found = sound("csv_2_gpus")
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
    found = sound("csv_2_gpus")
    control = found["runs"]["control.all"]
    control["out"] = control["out"].replace("kernel unreadable", "kernel gvisor")
    result = judged("csv_2_gpus", found)
    assert check(result, "docker.all").state is State.UNKNOWN
    assert result.verdict is State.UNKNOWN


def test_a_gpu_of_unknown_minor_is_unknown_never_passed():
    what = verification(settings(toolkit_mode="csv"), host([0, None]))
    result = judge("x", what, Answer.read(sound("csv_2_gpus")))
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
    result = judged("csv_2_gpus", {**sound("csv_2_gpus"), "error": "stopped while it tidied up"})
    assert [check.id for check in result.checks if check.state is not State.PASSED] == ["host.verification"]
    assert check(result, "host.verification").why == "stopped while it tidied up"
    assert result.verdict is State.UNKNOWN


def test_an_answer_of_another_shape_is_no_answer():
    for wrong in ({}, {"error": None, "runs": []}, {"error": None, "runs": {"docker.all": {"code": "0"}}}):
        assert "the host's answer has" in (Answer.read(wrong).error or "")


@given(st.data())
def test_whatever_is_lost_of_a_good_answer_the_rest_never_makes_up_for_it(data):
    """Take a run or a command out, or cut its output short: its check is not passed, nor is the host."""
    found = sound("csv_2_gpus")
    # Of the list of drivers, a part may be all that matters.
    names = [*(("runs", name) for name in found["runs"]), ("commands", "engine"), ("commands", "chain")]
    part, name = data.draw(st.sampled_from(names))
    if data.draw(st.booleans()):
        del found[part][name]
    else:
        out = found[part][name]["out"].rstrip()
        found[part][name]["out"] = out[: data.draw(st.integers(0, len(out) - 1))]
    result = judged("csv_2_gpus", found)
    hit = check(result, f"host.{name}" if part == "commands" else name)
    assert hit.state in (State.FAILED, State.UNKNOWN)
    assert result.verdict is not State.PASSED


def test_every_check_has_its_own_id():
    ids = [check.id for check in judged("auto_8_gpus").checks]
    assert len(ids) == len(set(ids))
    assert len(ids) == len(asked("auto_8_gpus").runs) + 3
