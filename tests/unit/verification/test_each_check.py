"""Each check fails when it should, and no other with it: a table of breaks, and the lab's broken hosts."""

from __future__ import annotations

import pytest

from deploys.model.checks import Layer, Severity, State
from deploys.model.verification import catalogue
from tests.unit.verification.breaks import AUTO, BREAKS, CSV, Break, real
from tests.unit.verification.lab_hosts import answer, check, judged

OPEN = (State.FAILED, State.UNKNOWN)
# Of a lab's host that was broken for real: the checks that are red, and what the first of them must say.
BROKEN_HOSTS = {
    "csv_2_gpus_no_node": (["host.nodes"], "/dev/nvidia1 is missing", "nvproxy-device-nodes"),
    "csv_2_gpus_no_libcuda": (["host.libraries"], "libcuda.so.1 of driver", "ldconfig"),
    "csv_2_gpus_no_driver": (["host.driver"], "no NVIDIA driver is loaded", "modprobe"),
    "csv_2_gpus_runc_in_config": (["toolkit.config"], 'runtimes = ["runc"]', "Let nobody's code run"),
    "csv_2_gpus_stale_csv": (["toolkit.specs"], "drivers.csv is not as it was written", "site.py"),
    "csv_2_gpus_strange_release": (["gvisor.release"], "is not as it was installed", "site.py"),
    "csv_2_gpus_no_runsc": (["gvisor.release"], "/opt/gvisor/current is no link", "site.py"),
    "csv_2_gpus_one_line_wrapper": (["wrapper.files"], "nvproxy-runsc is not as", "Let nobody's code run"),
    "auto_8_gpus_one_line_wrapper": (["wrapper.files"], "nvproxy-runsc is not as", "Let nobody's code run"),
    "auto_8_gpus_runc_in_place_of_runsc": (["wrapper.files"], "is not as it was", "Let nobody's code run"),
    "auto_8_gpus_no_launcher": (["wrapper.files"], "nvproxy-runsc is missing", "site.py"),
    "auto_8_gpus_module_gone": (["wrapper.files"], "No module named", "site.py"),
    "auto_8_gpus_wrapper_refuses": (["wrapper.files"], "settings.json has mode 0666", "site.py"),
    "auto_8_gpus_writable": (["gvisor.files"], "/opt/gvisor has mode 0777", "Let nobody's code run"),
    "auto_8_gpus_other_runtime": (["host.engine"], "nvidia: /usr/bin/nvidia-container-runtime", "site.py"),
    "auto_8_gpus_docker_stopped": (["host.engine"], "dockerd does not answer", "systemctl start docker"),
}


def red(result):
    return [check.id for check in result.checks if check.state in OPEN]


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: f"{one.check}: {one.how}")
def test_a_check_fails_for_its_own_break_and_what_hangs_on_it_is_skipped(one: Break):
    found = answer(one.base)
    one.apply(found)
    result = judged(one.base, found)
    assert red(result) == [one.check]
    told = check(result, one.check)
    assert one.says in told.why
    assert one.remedy in told.next
    assert all(check.because == one.check for check in result.checks if check.because)
    is_advisory = told.severity is Severity.ADVISORY
    assert result.verdict is (State.PASSED if is_advisory else told.state)


@pytest.mark.parametrize("name", BROKEN_HOSTS)
def test_a_host_that_was_broken_in_one_way_says_so_once(name):
    ids, says, remedy = BROKEN_HOSTS[name]
    result = judged(name)
    assert red(result) == ids
    told = check(result, ids[0])
    assert says in told.why
    assert remedy in told.next


@pytest.mark.parametrize("name", [CSV, AUTO])
def test_a_whole_host_has_nothing_red_and_every_skip_has_its_reason(name):
    result = judged(name)
    assert red(result) == []
    assert result.verdict is State.PASSED
    assert all(check.why for check in result.checks if check.state is State.SKIPPED)


def test_a_real_host_passes_what_the_lab_has_to_skip():
    found = answer(AUTO)
    real()(found)
    result = judged(AUTO, found)
    assert {check.id: check.why for check in result.checks if check.state is not State.PASSED} == {}


def test_every_check_has_a_break():
    shown = {one.check for one in BREAKS} | {ids[0] for ids, *_ in BROKEN_HOSTS.values()}

    def is_shown(kind: catalogue.Kind) -> bool:
        begin, is_pattern, end = kind.id.removeprefix("WAY.").partition("N")
        return (
            any(name.endswith(end) and begin in name for name in shown)
            if is_pattern
            else any(name == kind.id or name.partition(".")[2] == begin for name in shown)
        )

    # What was cut short has a test of its own; other modes are judged as every GPU is.
    assert {kind.id for kind in catalogue.KINDS if not is_shown(kind)} <= {
        "host.verification",
        "WAY.mode-MODE",
    }


def test_checks_stand_by_layer_and_hang_only_on_checks_that_are_there():
    for name in (CSV, AUTO):
        result = judged(name)
        layers = [check.layer for check in result.checks]
        assert layers == sorted(layers, key=list(Layer).index)
        ids = {check.id for check in result.checks}
        for one in result.checks:
            assert set(one.needs) <= ids, one.id


def test_no_check_hangs_on_itself_by_any_way():
    needs = {check.id: check.needs for check in judged(AUTO).checks}

    def reached(name, seen):
        for need in needs[name]:
            assert need not in seen
            reached(need, (*seen, need))

    for name in needs:
        reached(name, (name,))


def test_every_kind_says_what_it_proves_and_what_to_do():
    ids = [kind.id for kind in catalogue.KINDS]
    assert len(ids) == len(set(ids))
    for kind in catalogue.KINDS:
        assert kind.title, kind.id
        assert kind.proves.endswith("."), kind.id
        assert kind.remedy.endswith("."), kind.id
        assert kind.source, kind.id
