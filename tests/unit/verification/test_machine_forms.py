"""What machines read of a report: JSON by its schema, metrics by Prometheus' own parser, the exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fastjsonschema
import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from deploys.model.checks import Check, HostResult, State, Subject
from deploys.model.metrics import metrics
from deploys.model.report import document, exit_status
from deploys.model.report_schema import schema
from tests.unit.verification.lab_hosts import judged
from tests.unit.verification.test_report_forms import RESULTS, results

SCHEMA = Path(__file__).parents[3] / "docs/report.schema.json"
WHEN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GOOD = judged("csv_2_gpus")


def validated(told: object) -> None:
    fastjsonschema.compile(json.loads(SCHEMA.read_text(encoding="utf-8")))(json.loads(json.dumps(told)))


def test_every_document_is_what_its_schema_says():
    said = replace(GOOD, said={"the kernel's log": "NVRM: Xid"})
    validated(document([*RESULTS, said], WHEN, WHEN))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.pop("started"),
        lambda told: told.update(schema=2),
        lambda told: told["hosts"]["gpu-x"].update(verdict="fine"),
        lambda told: told["hosts"]["gpu-x"]["checks"][0].update(seconds="1"),
        lambda told: told["hosts"]["gpu-x"]["checks"][0].pop("why"),
        lambda told: told["settings"]["gpu-x"].update(driver=570),
    ],
)
def test_a_document_that_is_not_is_told_apart(spoil):
    told = json.loads(json.dumps(document([GOOD], WHEN, WHEN)))
    spoil(told)
    with pytest.raises(fastjsonschema.JsonSchemaException):
        validated(told)


def keys(told: object, by: dict) -> None:
    """Every key of a document is one that the schema describes."""
    if isinstance(told, dict) and "properties" in by:
        for key, value in told.items():
            assert by["properties"][key].get("description"), key
            keys(value, by["properties"][key])
    elif isinstance(told, dict) and isinstance(by.get("additionalProperties"), dict):
        for value in told.values():
            keys(value, by["additionalProperties"])
    elif isinstance(told, list):
        for value in told:
            keys(value, by["items"])


def test_the_schema_describes_every_key():
    keys(json.loads(json.dumps(document(RESULTS, WHEN, WHEN))), schema())


def families(result: HostResult) -> dict:
    return {family.name: family.samples for family in text_string_to_metric_families(metrics(result, WHEN))}


def test_the_metrics_say_how_each_check_ended_and_when():
    bad = judged("auto_8_gpus_no_launcher")
    found = families(bad)
    assert [sample.value for sample in found["nvproxy_fleet_verified"]] == [0]
    assert [sample.value for sample in families(GOOD)["nvproxy_fleet_verified"]] == [1]
    states = {
        (sample.labels["check"], sample.labels["state"]): sample.value
        for sample in found["nvproxy_fleet_check_state"]
    }
    for check in bad.checks:
        assert {state: states[check.id, state] for state in State} == {
            state: float(check.state is state) for state in State
        }
    (when,) = found["nvproxy_fleet_last_verified_timestamp_seconds"]
    assert when.value == WHEN.timestamp()
    (info,) = found["nvproxy_fleet_info"]
    assert info.labels["gvisor_release"] == "20260905"


@given(results)
def test_whatever_a_host_said_the_metrics_can_be_read(result):
    found = families(replace(result, versions={"os": result.why}))
    (info,) = found["nvproxy_fleet_info"]
    assert info.labels["os"] == result.why


def with_states(*states: State) -> HostResult:
    return HostResult("x", checks=tuple(Check(str(n), Subject.HOST, "?", s) for n, s in enumerate(states)))


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([with_states(State.PASSED)], 0),
        ([with_states(State.PASSED, State.SKIPPED)], 0),
        ([with_states(State.PASSED), with_states(State.UNKNOWN)], 2),
        ([with_states(State.UNKNOWN), with_states(State.FAILED)], 1),
        ([HostResult("x", why="not reached")], 2),
        ([with_states(State.SKIPPED)], 2),
        ([], 2),
    ],
)
def test_the_exit_status_says_passed_failed_or_cannot_tell(hosts, status):
    assert exit_status(hosts) == status
