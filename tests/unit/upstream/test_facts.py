"""What is told of two specs."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.specs.captured_specs import CAPTURED, FOLDER
from tests.upstream.facts import Difference, Fact, How, Kind, differences, differences_by_request, of_spec

# As nvidia-cdi-hook 1.20.1 is called for each GPU.
LIMITS = {
    "path": "/usr/bin/nvidia-cdi-hook",
    "args": ["nvidia-cdi-hook", "apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", "GPU-1-2-3-4-5"],
    "env": ["NVIDIA_CTK_DEBUG=false"],
}


def spec(name):
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def told(old, new, *kinds):
    found = differences(of_spec(old), of_spec(new))
    return [(one.how, one.fact.text) for one in found if one.fact.kind in kinds]


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda captured: captured.path.stem)
def test_a_spec_does_not_differ_from_itself(captured):
    assert differences(of_spec(captured.spec), of_spec(captured.spec)) == ()


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, inner in items for leaf in leaves(inner, (*path, key))]
    return [path]


@settings(deadline=None)
@given(st.data())
def test_nothing_in_a_spec_can_change_unseen(data):
    old = data.draw(st.sampled_from(CAPTURED)).spec
    *way, last = data.draw(st.sampled_from(leaves(old)))
    new = copy.deepcopy(old)
    place = new
    for key in way:
        place = place[key]
    place[last] = "changed"
    assert differences(of_spec(old), of_spec(new))


def test_a_new_hook_is_told_with_its_stage_arguments_and_environment():
    old = spec("1.20.0_cdi_visible-all")
    new = copy.deepcopy(old)
    # One for each GPU: that is one thing to know.
    other = {**LIMITS, "args": [*LIMITS["args"][:-1], "GPU-5-4-3-2-1"]}
    new["hooks"]["createRuntime"] = [LIMITS, other]
    hook = "createRuntime: /usr/bin/nvidia-cdi-hook apply-cuda-memory-limits"
    assert differences(of_spec(old), of_spec(new)) == (
        Difference(How.NEW, Fact(Kind.HOOK, hook)),
        Difference(How.NEW, Fact(Kind.ARGUMENT, f"{hook} --driver-root ''")),
        Difference(How.NEW, Fact(Kind.ARGUMENT, f"{hook} --gpu-id GPU-UUID")),
        Difference(How.NEW, Fact(Kind.HOOK_VARIABLE, f"{hook} NVIDIA_CTK_DEBUG=false")),
    )


def test_what_1_20_0_does_in_cdi_mode_that_1_17_8_did_not_is_found_in_the_captured_specs():
    old, new = spec("1.17.8_cdi_visible-1"), spec("1.20.0_cdi_visible-1")
    hooks = told(old, new, Kind.HOOK)
    assert {text.rpartition(" ")[2] for how, text in hooks if how is How.NEW} == {
        "disable-device-node-modification",
        "update-application-profile",
    }
    assert told(new, old, Kind.HOOK) == [(How.GONE, text) for _, text in hooks]


def test_a_request_that_is_no_longer_in_the_environment_is_gone():
    old = spec("1.20.0_csv_visible-1")
    new = copy.deepcopy(old)
    new["process"]["env"].remove("NVIDIA_VISIBLE_DEVICES=1")
    assert told(old, new, *Kind) == [(How.GONE, "NVIDIA_VISIBLE_DEVICES=1")]


def test_hooks_that_run_in_another_order_are_told():
    old = spec("1.20.0_cdi_visible-1")
    new = copy.deepcopy(old)
    run = new["hooks"]["createContainer"]
    run[0], run[-1] = run[-1], run[0]
    ((how, text),) = told(old, new, *Kind)
    assert how is How.ORDER
    assert text.index("update-application-profile") < text.index("create-symlinks")


def test_one_more_link_is_one_difference():
    old = spec("1.20.0_csv_visible-1")
    new = copy.deepcopy(old)
    new["hooks"]["createContainer"][0]["args"] += ["--link", "libnew.so.1::/usr/lib/libnew.so"]
    ((how, text),) = told(old, new, *Kind)
    assert how is How.NEW
    assert text.endswith("nvidia-ctk hook create-symlinks --link libnew.so.1::/usr/lib/libnew.so")


def test_a_difference_is_told_once_with_all_requests_that_have_it():
    requests = ("visible-0", "visible-1", "visible-all")
    old = {request: of_spec(spec(f"1.17.8_cdi_{request}")) for request in requests}
    new = {request: of_spec(spec(f"1.20.0_cdi_{request}")) for request in requests}
    found = differences_by_request(old, new)
    hook = Fact(Kind.HOOK, "createContainer: /usr/bin/nvidia-cdi-hook disable-device-node-modification")
    assert found[Difference(How.NEW, hook)] == requests


def test_what_a_hook_has_besides_its_arguments_and_environment_is_told():
    old = spec("1.20.0_csv_visible-1")
    new = copy.deepcopy(old)
    new["hooks"]["createContainer"][-1]["timeout"] = 5
    ((how, text),) = told(old, new, *Kind)
    assert how is How.NEW
    assert text.endswith("nvidia-ctk hook update-ldcache timeout=5")
