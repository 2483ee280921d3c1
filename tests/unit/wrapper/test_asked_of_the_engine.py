"""The request as it stands in the spec that the engine wrote, beside what NVIDIA's runtime made of it."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from tests.driver_tree import LAB_HOST, captured_uuid, write_driver_tree
from tests.specs.captured_specs import CAPTURED
from tests.unit.wrapper.specs import (
    CSV_ALL,
    JIT,
    LEGACY,
    NO_DRIVER,
    PLAIN,
    as_engine_wrote_it,
    asked_by_mounts,
    asking,
    captured,
    judge,
    node,
)

NAMED = [
    one
    for one in CAPTURED
    if one.request.startswith("visible-") and one.request != "visible-uuid1" and one.spec_class != "legacy"
]
LISTING_ALL = "1.20.1_csv_visible-all"
NVPROXY = {"dev.gvisor.internal.nvproxy": "true"}


@pytest.fixture(scope="module")
def lab_host(tmp_path_factory):
    return ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), LAB_HOST)))


def engine(*values, gpus=(), name=PLAIN):
    """What an engine writes: a plain container that asks so, and is given these GPUs."""
    spec = asking(captured(name), *values)
    if gpus:
        spec["linux"]["devices"] = [node("/dev/nvidiactl", 195, 255), node("/dev/nvidia-uvm", 511, 0)]
        spec["linux"]["devices"] += [node(f"/dev/nvidia{minor}", 195, minor) for minor in gpus]
    return spec


def listing(*gpus, name=JIT):
    spec = asking(captured(name), "void")
    others = [one for one in spec["linux"]["devices"] if not one["path"][11:].isdigit()]
    spec["linux"]["devices"] = [*others, *(node(f"/dev/nvidia{minor}", 195, minor) for minor in gpus)]
    return spec


@pytest.mark.parametrize("one", NAMED, ids=lambda one: one.path.stem)
def test_every_mode_of_every_toolkit_is_exact_with_it(one, host, lab_host):
    where = host if one.version < (1, 20, 1) else lab_host
    decision = judge(one.spec, where, kept=as_engine_wrote_it(one.path.stem))
    assert decision.refusal is None
    assert decision.spec_class == one.spec_class
    is_read = any("from the spec as the engine wrote it" in sentence for sentence in decision.evidence)
    assert is_read is (decision.spec_class != "none")
    wanted = {
        "visible-0": [0],
        "visible-1": [1],
        "visible-0+2": [0, 2],
        "visible-none": [],
        "visible-void": [],
    }
    all_of_them = range(4 if one.spec_class == "csv" and one.version < (1, 20, 1) else 8)
    assert decision.gpus == ([] if one.spec_class == "none" else wanted.get(one.request, list(all_of_them)))


@pytest.mark.parametrize(
    ("values", "given"),
    [
        (("0",), [0]),
        (("1",), [1]),
        (("4",), [5]),
        (("none",), []),
        (("all",), list(range(8))),
        (("all", "0"), [0]),
        (("0", "1"), [1]),
        (("GPU-6c616200-0000-0000-0000-000000000003",), [3]),
        (("nvidia.com/gpu=2",), [2]),
        (("0,GPU-6c616200-0000-0000-0000-000000000000",), [0]),
    ],
)
@pytest.mark.parametrize("left", [("void",), ("all", "void")])
def test_of_a_list_of_everything_the_gpus_stay_that_the_last_value_asks_for(values, left, given, lab_host):
    """`docker run --gpus device=0` appends its value to the image's `all`; 1.20.1 puts void in its place."""
    spec = asking(captured(LISTING_ALL), *left)
    decision = judge(spec, lab_host, kept=engine(*values), toolkit_version="1.20.1-1")
    assert (decision.refusal, decision.gpus, decision.spec_class) == (None, given, "csv")
    again = judge(decision.spec, lab_host, kept=engine(*values))
    assert (again.changed, again.gpus) == (False, given)


@pytest.mark.parametrize("value", ["0,9", "MIG-1", "x", "0:1"])
def test_what_it_asks_for_and_no_host_has_is_refused(value, lab_host):
    assert judge(captured(LISTING_ALL), lab_host, kept=engine(value)).refusal.rule == "devices.scope"


def test_a_forged_annotation_does_not_help(lab_host):
    spec = {**captured(LISTING_ALL), "annotations": NVPROXY}
    kept = {**engine("0"), "annotations": NVPROXY}
    for device in spec["linux"]["devices"]:
        device["fileMode"] = 438
    assert judge(spec, lab_host, kept=kept).gpus == [0]
    nothing = {**engine("void"), "annotations": NVPROXY}
    assert judge(spec, lab_host, kept=nothing).refusal.rule == "devices.scope"


@pytest.mark.parametrize("values", [("void",), ("",), ()])
def test_gpus_that_nothing_in_it_asks_for_are_refused(values, host):
    refusal = judge(listing(1), host, kept=engine(*values)).refusal
    assert refusal.rule == "devices.scope"
    assert "/dev/nvidia1" in refusal.message
    assert "swarm_resources" in refusal.remedy


@pytest.mark.parametrize(
    ("values", "by_engine", "listed", "given"),
    [
        (("void",), (1, 2), (1, 2), [1, 2]),
        ((), (1, 2), (1, 2), [1, 2]),
        (("all",), (1,), (0, 1, 2, 3), [1]),
        (("2,1",), (1, 2), (1, 2), [1, 2]),
        ((captured_uuid(1),), (1,), (1,), [1]),
        (("0",), (1, 2), (0, 1, 2), None),
        (("1",), (1, 2), (1, 2), None),
        (("3",), (1, 2), (1, 2, 3), None),
        (("1,2,3",), (1, 2), (1, 2, 3), None),
        (("none",), (1, 2), (1, 2), None),
        (("void",), (1,), (1, 2), None),
    ],
)
@pytest.mark.parametrize("name", [JIT, CSV_ALL, "1.20.0_cdi_visible-1"])
def test_what_the_engine_gave_and_what_is_asked_of_the_toolkit_are_the_same_or_refused(  # noqa: PLR0917
    name, values, by_engine, listed, given, host
):
    decision = judge(listing(*listed, name=name), host, kept=engine(*values, gpus=by_engine))
    assert decision.gpus == (given or [])
    assert (given is None) == (decision.refusal is not None)
    if given is None and values != ("void",):
        assert "-e NVIDIA_VISIBLE_DEVICES=void" in decision.refusal.remedy
        assert values[0] in decision.refusal.message
        assert "/dev/nvidia1" in decision.refusal.message


@pytest.mark.parametrize(("values", "given"), [(("2",), [2]), (("void",), []), (("all",), [0, 1, 2, 3])])
def test_a_privileged_container_gets_what_was_asked_for(values, given, host):
    kept = engine(*values, gpus=(0, 1, 2, 3))
    kept["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    spec = asking(kept, "void")
    assert judge(spec, host, kept=kept).gpus == given


def test_mounts_swarm_and_a_legacy_image_ask_in_it_as_well(host):
    spec = listing(0, 1, 2, 3, name=CSV_ALL)
    assert judge(spec, host, kept=asked_by_mounts(engine(), "cdi/nvidia.com/gpu/2")).gpus == [2]
    kept = engine("all")
    kept["process"]["env"].append(f"DOCKER_RESOURCE_GPU={captured_uuid(3)}")
    assert judge(spec, host, kept=kept).gpus == [3]
    kept = engine()
    kept["process"]["env"].append("CUDA_VERSION=9.0.176")
    assert judge(spec, host, kept=kept).gpus == [0, 1, 2, 3]


def test_what_is_more_than_the_engines_spec_asks_for_goes_in_any_class(host):
    """Toolkit 1.18.0 and 1.18.1 list every GPU for `none` in jit-cdi."""
    assert judge(listing(0, 1, 2), host, kept=engine("none")).gpus == []
    assert judge(listing(0, 1, 2), host, kept=engine("1")).gpus == [1]


def test_a_kept_spec_of_another_shape_is_refused(host):
    assert judge(listing(1), host, kept={"process": []}).refusal.rule == "spec.json"


def test_an_id_in_it_that_cannot_be_looked_up_is_refused():
    assert judge(listing(1), NO_DRIVER, kept=engine("1")).refusal.rule == "devices.scope"


@pytest.mark.parametrize(
    ("values", "asked"), [((), None), (("void",), None), (("1",), ["1"]), (("all", "1"), ["1"])]
)
def test_the_legacy_hook_gets_what_the_engines_spec_asks_for(values, asked, host):
    """The variable that runsc reads is that of the given spec, which somebody may have changed on the way."""
    decision = judge(asking(captured(LEGACY), "all"), host, kept=engine(*values))
    assert decision.requested == asked
    left = [e for e in decision.spec["process"]["env"] if e.startswith("NVIDIA_VISIBLE_DEVICES=")]
    assert left == [f"NVIDIA_VISIBLE_DEVICES={asked[0] if asked else 'void'}"]
