"""What a host is asked, and what its containers must show."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.checks import State, Subject
from deploys.model.sight import Sight
from deploys.model.verification.questions import (
    ContainerRun,
    Verification,
    expected_sight,
    task,
    verification,
)
from tests.deploys.example_hosts import settings
from tests.unit.verification.lab_hosts import host, uuid

TOOLKITS = ("1.17.8-1", "1.18.2-1", "1.19.1-1", "1.20.0-1")


def run(what: Verification, name: str) -> ContainerRun:
    (found,) = [run for run in what.runs if run.id == name]
    return found


def requests(what: Verification, subject: Subject) -> list[str]:
    return [run.id.partition(".")[2] for run in what.runs if run.subject is subject]


def test_two_gpus_are_asked_for_in_every_way_through_docker_and_through_a_bundle():
    what = verification(settings(toolkit_mode="auto"), host([0, 1]))
    both = ["all", "gpu-0", "gpu-1", "uuid-1", "several"]
    assert requests(what, Subject.DOCKER) == [*both, "gpu-1-of-all", "none", "nothing"]
    negative = ["run", "no-driver", "no-launcher", "annotation"]
    assert requests(what, Subject.BUNDLE) == [*both, "none", "nothing", *negative]
    assert requests(what, Subject.CONTROL) == ["all"]
    assert what.skipped == ()


def test_a_gpu_is_asked_for_by_its_index_and_known_by_its_minor():
    what = verification(settings(toolkit_mode="auto"), host([1, 0, 3, 2]))
    last = run(what, "docker.gpu-3")
    assert last.env == ("NVIDIA_VISIBLE_DEVICES=3",)
    assert last.expected == Sight(
        gvisor=True,
        devices=("/dev/nvidia-uvm", "/dev/nvidia2", "/dev/nvidiactl"),
        gpus=(uuid(2),),
        libraries=("libcuda.so.1", "libnvidia-ml.so.1"),
    )


def test_who_asks_for_nothing_must_see_nothing_of_nvidia():
    nothing = run(verification(settings(), host([0])), "bundle.nothing")
    assert nothing.env == ()
    assert nothing.expected == Sight(gvisor=True, devices=(), gpus=(), libraries=())


def test_one_gpu_is_asked_for_once():
    asked = ["all", "gpu-0", "uuid-0", "gpu-0-of-all", "none", "nothing"]
    assert requests(verification(settings(toolkit_mode="auto"), host([0])), Subject.DOCKER) == asked


@pytest.mark.parametrize("toolkit", ["1.19.1-1", "1.20.0-1"])
def test_mode_csv_is_not_asked_for_ids_that_the_toolkit_itself_refuses(toolkit):
    what = verification(settings(toolkit_mode="csv", toolkit_version=toolkit), host([0, 1, 2, 3]))
    asked = ["all", "gpu-0", "gpu-1", "several", "gpu-1-of-all", "none", "nothing"]
    assert requests(what, Subject.DOCKER) == asked
    skipped = ["docker.gpu-3", "docker.uuid-3", "bundle.gpu-3", "bundle.uuid-3"]
    assert [check.id for check in what.skipped] == skipped
    assert {check.state for check in what.skipped} == {State.SKIPPED}
    assert all("mode csv" in check.why for check in what.skipped)


@pytest.mark.parametrize("toolkit", ["1.17.8-1", "1.18.2-1"])
def test_older_toolkits_hand_out_all_in_mode_csv_so_every_id_is_asked_for(toolkit):
    what = verification(settings(toolkit_mode="csv", toolkit_version=toolkit), host([0, 1, 2, 3]))
    assert "gpu-3" in requests(what, Subject.DOCKER)
    assert what.skipped == ()


def test_a_host_without_gpus_is_asked_for_plain_containers_and_says_why_not_for_more():
    what = verification(settings(), host([]))
    negative = ["run", "no-driver", "no-launcher", "annotation"]
    assert [run.id for run in what.runs] == [
        "docker.nothing",
        "bundle.nothing",
        *(f"bundle.{name}" for name in negative),
    ]
    assert {check.why for check in what.skipped} == {"there is no GPU on this host"}


def test_where_the_driver_tells_no_minor_nothing_is_expected_of_that_gpu():
    what = verification(settings(toolkit_mode="auto"), host([0, None]))
    assert run(what, "docker.gpu-1").expected is None
    assert run(what, "docker.all").expected is None
    assert run(what, "docker.gpu-0").expected is not None


@pytest.mark.parametrize("gone", ["minor", "uuid"])
def test_a_minor_without_a_uuid_and_a_uuid_without_a_minor_tell_nothing(gone):
    gpu = host([0]).gpus[0]
    assert expected_sight([gpu], gvisor=True) is not None
    assert expected_sight([gpu.model_copy(update={gone: None})], gvisor=True) is None


def test_the_operators_own_image_asks_for_nothing_by_the_value_void():
    what = verification(settings(verify_image="registry.example/cuda:12"), host([0]))
    assert run(what, "docker.nothing").env == ("NVIDIA_VISIBLE_DEVICES=void",)
    assert run(what, "bundle.nothing").env == ()


def control_config(**changes: str) -> dict:
    config = run(verification(settings(**changes), host([0])), "control.all").config
    assert config is not None
    return tomllib.loads(config)["nvidia-container-runtime"]


def test_the_control_has_runc_for_its_only_runtime_and_leaves_out_the_hook_where_it_can():
    config = control_config(toolkit_mode="auto", toolkit_version="1.20.0-1")
    assert config["mode"] == "auto"
    assert config["runtimes"] == ["runc"]
    assert config["modes"]["jit-cdi"]["nvcdi-disable-hooks"] == ["disable-device-node-modification"]
    older = control_config(toolkit_mode="csv", toolkit_version="1.19.1-1")
    assert older["mode"] == "csv"
    assert older["modes"]["jit-cdi"]["nvcdi-disable-hooks"] == []


@given(
    minors=st.lists(st.integers(0, 15), unique=True, max_size=8),
    combination=st.sampled_from([*(("csv", version) for version in TOOLKITS), ("auto", "1.20.0-1")]),
)
def test_every_request_expects_just_the_gpus_that_it_names(minors, combination):
    mode, toolkit = combination
    what = verification(settings(toolkit_mode=mode, toolkit_version=toolkit), host(list(minors)))
    ids = [run.id for run in what.runs] + [check.id for check in what.skipped]
    assert len(set(ids)) == len(ids)
    known = {str(index): [minor] for index, minor in enumerate(minors)}
    known |= {uuid(minor): [minor] for minor in minors} | {"all": minors, "none": [], "": []}
    for one in what.runs:
        (value,) = [variable.partition("=")[2] for variable in one.env] or [""]
        wanted = [minor for part in value.split(",") for minor in known[part]]
        assert one.expected is not None
        assert set(one.expected.gpus) == {uuid(minor) for minor in wanted}
        nodes = {path for path in one.expected.devices if path[-1].isdigit()}
        assert nodes == {f"/dev/nvidia{minor}" for minor in wanted}


def test_other_modes_are_asked_for_by_a_configuration_and_an_entry_of_their_own():
    modes = ["csv", "auto", "cdi", "jit-cdi", "legacy"]
    what = verification(settings(toolkit_mode="csv", verify_modes=modes), host([0, 1]))
    for mode in modes:
        one = run(what, f"bundle.mode-{mode}")
        assert one.config is not None
        config = tomllib.loads(one.config)["nvidia-container-runtime"]
        assert (config["mode"], config["runtimes"]) == (mode, [paths.LAUNCHER])
        assert one.entry is not None
        assert "BUNDLE/nvidia-container-runtime/config.toml" in one.entry
    assert not [one for one in verification(settings(), host([0])).runs if "mode" in one.id]


def test_the_task_is_json_and_names_every_run():
    what = verification(settings(), host([0, 1]))
    sent = json.loads(json.dumps(task(what)))
    assert [run["id"] for run in sent["runs"]] == [run.id for run in what.runs]
    assert [run["needs"] for run in sent["runs"]].count("runc") == 1
    assert sum(run["asking_image"] for run in sent["runs"]) == 1
