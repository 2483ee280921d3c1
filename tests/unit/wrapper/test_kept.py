"""A kept spec is found again in what NVIDIA's runtime makes of it, and in no other container's."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.judge import kept
from nvproxy_wrapper.judge.decision import Refusal
from tests.installed_wrapper import CAPTURED
from tests.unit.wrapper.specs import captured

# Of each toolkit and mode, the spec of a container that asked for nothing is what the others were made of.
PAIRS = [
    (path.stem.rsplit("_", 1)[0] + "_no-gpu", path.stem)
    for path in sorted(CAPTURED.glob("*.json"))
    if not path.stem.endswith("_no-gpu")
]


def pair(before, after):
    """Both as of one container; the captures of 1.20.1 are of another each, made by Docker."""
    one, other = captured(before), captured(after)
    one["root"], one["hostname"] = other["root"], other.get("hostname")
    one["linux"]["cgroupsPath"] = other["linux"].get("cgroupsPath")
    of_docker = {
        mount["destination"]: mount for mount in other["mounts"] if "/etc/host" in mount["destination"]
    }
    of_docker |= {
        mount["destination"]: mount for mount in other["mounts"] if "resolv" in mount["destination"]
    }
    one["mounts"] = [of_docker.get(mount["destination"], mount) for mount in one["mounts"]]
    return one, other


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=[after for _, after in PAIRS])
def test_every_captured_spec_has_in_it_what_it_was_made_of(before, after):
    kept.check(*pair(before, after), "K")


GIVEN = captured("1.20.0_jit-cdi_visible-1")
KEPT = {
    **captured("1.20.0_jit-cdi_no-gpu"),
    "hostname": "a1",
    "annotations": {"org.example": "x"},
}
KEPT["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
GIVEN = {**GIVEN, "hostname": "a1", "annotations": {"org.example": "x", "more": "y"}}
GIVEN["linux"]["devices"] = [*GIVEN["linux"]["devices"], *KEPT["linux"]["devices"]]


def changed(names, value):
    spec = copy.deepcopy(KEPT)
    *parents, last = names
    here = spec
    for name in parents:
        here = here[name]
    here[last] = value
    return spec


def test_the_pair_of_these_tests_is_one():
    kept.check(KEPT, GIVEN, "K")


@pytest.mark.parametrize(
    ("names", "value", "says"),
    [
        (("process", "args"), ["other"], "process.args"),
        (("root", "path"), "/other", "root.path"),
        (("hostname",), "b2", "hostname"),
        (("hostname",), None, "hostname"),
        (("linux", "cgroupsPath"), "/other", "linux.cgroupsPath"),
        (("mounts",), [{"destination": "/data", "source": "/srv", "type": "bind"}], "mount on /data"),
        (
            ("mounts",),
            [{**KEPT["mounts"][0], "source": "other"}],
            f"mount on {KEPT['mounts'][0]['destination']}",
        ),
        (("linux", "devices"), [{"path": "/dev/kvm", "type": "c"}], "/dev/kvm"),
        (("annotations",), {"org.example": "z"}, "annotation org.example"),
        (("annotations",), {"theirs": ""}, "annotation theirs"),
    ],
)
def test_another_containers_spec_is_refused_with_what_differs(names, value, says):
    with pytest.raises(Refusal) as caught:
        kept.check(changed(names, value), GIVEN, "/b/K")
    assert caught.value.rule == "bundle.kept"
    assert says in caught.value.message
    assert "/b/K" in caught.value.message


def test_a_mount_that_the_toolkit_has_put_one_of_its_own_in_the_place_of_is_no_difference():
    library = next(mount for mount in GIVEN["mounts"] if "libcuda.so" in mount["destination"])
    theirs = {
        "destination": library["destination"],
        "source": "/opt/mine.so",
        "type": "bind",
        "options": ["rw"],
    }
    kept.check(changed(("mounts",), [*KEPT["mounts"], theirs]), GIVEN, "K")
    ordinary = {**GIVEN, "mounts": [{**mount, "options": ["rbind"]} for mount in GIVEN["mounts"]]}
    with pytest.raises(Refusal):
        kept.check(changed(("mounts",), [theirs]), ordinary, "K")


@pytest.mark.parametrize(
    "malformed",
    [{"mounts": {}}, {"mounts": [1]}, {"linux": {"devices": [{"path": 1}]}}, {"annotations": []}],
)
def test_a_kept_spec_of_another_shape_is_refused_and_no_fault(malformed):
    spec = {**KEPT, **malformed, "linux": {**KEPT["linux"], **malformed.get("linux", {})}}
    with pytest.raises(Refusal):
        kept.check(spec, GIVEN, "K")


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from([*sorted(KEPT)]), value=VALUE)
def test_whatever_stands_in_a_kept_spec_it_passes_or_is_refused(name, value):
    try:
        kept.check({**KEPT, name: value}, json.loads(json.dumps(GIVEN)), "K")
    except Refusal as refusal:
        assert refusal.message  # noqa: PT017 - both ends are right, and no third
