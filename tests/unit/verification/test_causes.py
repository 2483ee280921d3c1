"""One cause is told once: over the recorded hosts, and over every way in which checks may end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.causes import told_once
from deploys.model.checks import Check, HostResult, Severity, State, Subject
from deploys.model.report import overview
from tests.unit.verification.lab_hosts import judged

BROKEN_HOSTS = (
    "auto_8_gpus_one_line_wrapper",
    "auto_8_gpus_runc_in_place_of_runsc",
    "csv_2_gpus_one_line_wrapper",
    "auto_8_gpus_no_launcher",
    "auto_8_gpus_docker_stopped",
)
NAMES = ("host.driver", "host.chain", "host.engine", "control.all")
IDS = (*NAMES, "docker.all", "docker.gpu-0", "docker.nothing", "bundle.all", "bundle.nothing")


def subject(name: str) -> Subject:
    return Subject(name.partition(".")[0])


# As it is of the checks of these names: what hangs on what.
GPU = ("host.driver", "host.engine", "control.all", "host.chain")
NEEDS = {
    "control.all": ("host.driver",),
    "docker.all": GPU,
    "docker.gpu-0": GPU,
    "docker.nothing": ("host.engine", "host.chain"),
    "bundle.all": tuple(name for name in GPU if name != "host.engine"),
    "bundle.nothing": ("host.chain",),
}


def failing(name: str, cause: str = "", severity: Severity = Severity.FAULT) -> Check:
    return Check(
        name,
        subject(name),
        "?",
        State.FAILED,
        why=f"{name} fails",
        cause=cause,
        severity=severity,
        next="x",
        needs=NEEDS.get(name, ()),
    )


def ended(name: str) -> st.SearchStrategy[Check]:
    return st.builds(
        Check,
        st.just(name),
        st.just(subject(name)),
        st.just("?"),
        st.sampled_from(State),
        why=st.just("why"),
        cause=st.sampled_from(["", "one", "two"]),
        severity=st.sampled_from(Severity),
        needs=st.just(NEEDS.get(name, ())),
    )


@given(st.tuples(*map(ended, IDS)))
def test_nothing_that_is_wrong_gets_lost(checks):
    told = {check.id: check for check in told_once(checks)}
    assert list(told) == list(IDS)
    for before in checks:
        now = told[before.id]
        if now == before:
            continue
        assert before.state in (State.FAILED, State.UNKNOWN)
        assert now.state is State.SKIPPED
        assert before.why in now.why
        root = told[now.because]
        assert root.state in (State.FAILED, State.UNKNOWN), "what it hangs on is told"
        assert before.state is State.UNKNOWN or root.state is State.FAILED or root.cause == before.cause


@given(st.tuples(*map(ended, IDS)))
def test_the_verdict_of_a_host_stays(checks):
    assert HostResult("x", checks=told_once(checks)).verdict is HostResult("x", checks=checks).verdict


@given(st.tuples(*map(ended, IDS)))
def test_a_breach_is_skipped_for_no_less_than_another(checks):
    told = {check.id: check for check in told_once(checks)}
    for before in checks:
        if before.severity is Severity.BREACH and told[before.id] != before:
            assert told[told[before.id].because].severity is Severity.BREACH


@pytest.mark.parametrize("root", NAMES)
def test_what_hangs_on_a_broken_part_is_skipped_and_the_rest_is_told(root):
    told = {
        check.id: check for check in told_once([failing(name, name) for name in dict.fromkeys((root, *IDS))])
    }
    hanging = {
        "host.driver": {"docker.all", "docker.gpu-0", "bundle.all", "control.all"},
        "host.chain": {"docker.all", "docker.gpu-0", "docker.nothing", "bundle.all", "bundle.nothing"},
        "host.engine": {"docker.all", "docker.gpu-0", "docker.nothing"},
        "control.all": {"docker.all", "docker.gpu-0", "bundle.all"},
    }
    alone = [failing(root, "cause"), *(failing(name, name) for name in IDS if name not in NAMES)]
    skipped = {check.id for check in told_once(alone) if check.because == root}
    assert skipped == hanging[root] - set(NAMES)
    assert told[root].state is State.FAILED or told[root].because == "host.driver"


@pytest.mark.parametrize("name", BROKEN_HOSTS)
def test_a_host_that_is_broken_in_one_way_says_so_once(name):
    result = judged(name)
    causes = [check.cause for check in result.checks if check.state is State.FAILED]
    assert len(causes) == len(set(causes)) <= 3
    assert all(check.next or check.why for check in result.checks if check.state is State.FAILED)


def test_two_hundred_hosts_fit_on_a_screen_with_every_cause_and_its_remedy():
    good = judged("csv_2_gpus")
    good = HostResult("", checks=tuple(check for check in good.checks if check.state is State.PASSED))
    results = [HostResult(f"gpu-{n:03}", checks=good.checks) for n in range(200)]
    for n in range(40):
        results[n] = HostResult(f"gpu-{n:03}", checks=(*good.checks, failing("docker.all", f"cause {n % 2}")))
    results[50] = HostResult("gpu-050", why="no Python")
    lines = overview(results)
    assert len(lines) <= 24
    assert "159 of 200 hosts passed" in lines
    assert "20 hosts: cause 0" in lines
    assert "and 29 hosts more that did not pass" in lines
    assert "    gpu-000, gpu-002, gpu-004, gpu-006, gpu-008, gpu-010, gpu-012, gpu-014 and 12 more" in lines
