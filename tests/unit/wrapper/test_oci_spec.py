"""The shape of a spec: what cannot be understood is refused, what is not looked at stays."""

import copy
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.judge.oci_spec import Parts, cleaned, is_bind, is_closed
from tests.unit.wrapper.specs import JIT, LEGACY, PLAIN, captured, judge


def changed(name, path, value):
    """The captured spec with `value` at a dotted path; ... removes."""
    spec = captured(name)
    *parents, last = path.split(".")
    here = spec
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    key = int(last) if isinstance(here, list) else last
    if value is ...:
        del here[key]
    else:
        here[key] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("process", []),
        ("process.env", "NVIDIA_VISIBLE_DEVICES=all"),
        ("process.env", {"NVIDIA_VISIBLE_DEVICES": "all"}),
        ("process.env.0", 1),
        ("linux", []),
        ("linux.devices", {}),
        ("linux.devices.0", []),
        ("linux.devices.0", None),
        ("linux.devices.0.path", ...),
        ("linux.devices.0.path", 1),
        ("linux.devices.0.type", 1),
        ("linux.devices.0.major", "195"),
        ("linux.devices.0.minor", True),
        ("linux.devices.0.minor", 1.5),
        ("linux.resources", []),
        ("linux.resources.devices", {}),
        ("linux.resources.devices.0", 1),
        ("linux.resources.devices.0.type", 1),
        ("linux.resources.devices.0.major", [195]),
        ("linux.resources.devices.0.minor", 1.5),
        ("hooks", []),
        ("hooks.createContainer", {}),
        ("hooks.createContainer.0", "x"),
        ("hooks.createContainer.0.path", ...),
        ("hooks.createContainer.0.args", "x"),
        ("hooks.createContainer.0.args.0", None),
        ("hooks.createContainer.0.env", "LD_PRELOAD=x"),
        ("mounts", {}),
        ("mounts.0", None),
        ("mounts.0.destination", ...),
        ("mounts.0.source", 1),
        ("mounts.0.type", 1),
        ("mounts.0.destination", 1),
        ("mounts.0.options", "rbind"),
        ("mounts.0.options.0", 1),
        ("hooks.createContainer.0.path", 1),
        ("hooks.createContainer.0.env.0", 1),
        ("annotations", []),
        ("root", []),
        ("root.path", 1),
    ],
)
def test_a_part_in_another_shape_is_refused_and_named(path, value):
    spec = changed(JIT, path, value)
    decision = judge(spec)
    assert decision.refusal.rule == "spec.json"
    assert decision.spec is spec
    *parents, last = [part for part in path.split(".") if not part.isdigit()]
    words = decision.refusal.message.split()
    assert ".".join([*parents, last]) in words or {".".join(parents), last} <= {*words}


@pytest.mark.parametrize(
    ("parent", "name"),
    [
        ("", "Linux"),
        ("", "LINUX"),
        ("", "proce\u017f\u017f"),
        ("", "hoo\u212as"),
        ("linux", "Devices"),
        ("linux", "device\u017f"),
        ("process", "Env"),
        ("hooks", "createcontainer"),
        ("hooks.createContainer.0", "Path"),
        ("linux.devices.0", "Minor"),
        ("linux.devices.0", "FILEMODE"),
        ("mounts.0", "Source"),
        ("linux.resources", "DEVICES"),
    ],
)
def test_a_name_that_go_takes_for_another_is_refused(parent, name):
    spec = captured(JIT)
    here = spec
    for part in parent.split(".") if parent else ():
        here = here[int(part)] if isinstance(here, list) else here[part]
    here[name] = []
    decision = judge(spec)
    assert decision.refusal.rule == "spec.json"
    place = f"{parent.replace('.0', '')}.{name}".lstrip(".")
    assert repr(place) in decision.refusal.message


LOOKED_AT = {
    "": ("process", "root", "mounts", "hooks", "annotations", "linux"),
    "process": ("env",),
    "root": ("path",),
    "linux": ("devices", "resources"),
    "linux.resources": ("devices",),
    "linux.resources.devices.0": ("allow", "type", "major", "minor", "access"),
    "linux.devices.0": ("path", "type", "major", "minor", "fileMode"),
    "mounts.0": ("destination", "type", "source", "options"),
    "hooks": ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"),
    "hooks.createContainer.0": ("path", "args", "env"),
}


@pytest.mark.parametrize(
    ("parent", "name"), [(parent, name) for parent, names in LOOKED_AT.items() for name in names]
)
def test_every_name_that_is_looked_at_is_refused_in_another_case(parent, name):
    path = f"{parent}.{name.upper()}".lstrip(".")
    decision = judge(changed(JIT, path, None))
    assert decision.refusal.rule == "spec.json"
    assert repr(path.replace(".0", "")) in decision.refusal.message
    assert repr(name) in decision.refusal.message


def test_annotations_may_differ_in_case():
    spec = captured(JIT)
    spec["annotations"] = {"Path": "a", "path": "b"}
    assert judge(spec).refusal is None


@pytest.mark.parametrize("name", [JIT, LEGACY, PLAIN])
@pytest.mark.parametrize("value", [None, ...], ids=["null", "left out"])
def test_what_is_null_or_left_out_is_empty_as_in_go(name, value):
    for path in (
        "process.env",
        "mounts",
        "linux.resources.devices",
        "annotations",
        "root",
        "process",
        "linux.resources",
    ):
        spec = captured(name)
        if path == "annotations":
            spec["annotations"] = None
        decision = judge(changed(name, path, value) if path != "annotations" else spec)
        assert decision.refusal is None


def test_what_is_not_looked_at_stays_in_its_order():
    spec = {"zzz": [{"deep": 2**70}], **captured(JIT), "x": {"Devices": 1}}
    spec["linux"] = {"new": 9007199254740993, **spec["linux"], "intelRdt": {"closID": "x"}}
    spec["linux"]["devices"][0]["vendor"] = {"a": 1}
    made = judge(spec).spec
    assert list(made) == [*spec, "annotations"]
    assert list(made["linux"]) == list(spec["linux"])
    assert made["zzz"] == spec["zzz"]
    assert made["x"] == spec["x"]
    assert made["linux"]["devices"][0]["vendor"] == {"a": 1}


EMPTY = [
    *({}, {"process": None, "hooks": None}, {"process": {}, "linux": {}, "hooks": {}, "root": {}}),
    {"process": {"env": None}, "mounts": None, "annotations": None, "linux": {"resources": None}},
    {"process": {"env": [], "cwd": "/"}, "mounts": [], "annotations": {}, "hooks": {"prestart": []}},
    {"linux": {"devices": [], "resources": {"devices": [], "cpu": {}}, "x": 1}, "hooks": {"poststop": None}},
]
FULL = {
    "z": 1,
    "hooks": {stage: [{"path": f"/{stage}"}] for stage in LOOKED_AT["hooks"]} | {"x": 2},
    "process": {"env": ["A=1"], "cwd": "/"},
    "mounts": [{"destination": "/m"}],
    "linux": {
        "resources": {"devices": [{"allow": True}], "cpu": {}},
        "devices": [{"path": "/dev/x"}],
        "namespaces": [],
    },
    "annotations": {"a": "b"},
}


def with_parts(spec, value):
    """The spec, with these values in the place of all parts that rules change."""
    given = copy.deepcopy(spec)
    parts = Parts(spec)
    parts.env, parts.mounts, parts.devices, parts.cgroup_rules = (list(value) for _ in range(4))
    parts.annotations = {str(one): one for one in value}
    parts.hooks = {stage: list(value) for stage in LOOKED_AT["hooks"]} if value else {}
    made = parts.put_back(spec)
    assert spec == given
    return made


@pytest.mark.parametrize("spec", [*EMPTY, FULL])
def test_parts_that_nobody_changed_come_back_as_they_were(spec):
    assert Parts(spec).put_back(spec) == spec
    assert list(Parts(spec).put_back(spec)) == list(spec)


@pytest.mark.parametrize("spec", EMPTY)
def test_what_was_empty_stays_as_it_was_written_and_no_part_is_made_for_nothing(spec):
    assert with_parts(spec, []) == spec


def test_what_is_emptied_is_left_out_and_the_rest_stays():
    assert with_parts(FULL, []) == {
        "z": 1,
        "hooks": {"x": 2},
        "process": {"cwd": "/"},
        "linux": {"resources": {"cpu": {}}, "namespaces": []},
    }


@pytest.mark.parametrize("spec", [*EMPTY, FULL])
def test_what_is_changed_is_put_in_its_place_and_the_rest_stays(spec):
    made = with_parts(spec, ["new"])
    assert made["process"].pop("env") == made["mounts"] == made["linux"].pop("devices") == ["new"]
    assert made["linux"]["resources"].pop("devices") == ["new"]
    assert made["annotations"] == {"new": "new"}
    assert [made["hooks"].pop(stage) for stage in LOOKED_AT["hooks"]] == [["new"]] * 6
    there = {"process": {}, "linux": {}, "hooks": {}, **{name: spec[name] for name in spec if spec[name]}}
    assert made["process"] == {name: there["process"][name] for name in there["process"] if name != "env"}
    assert made["hooks"] == {name: there["hooks"][name] for name in there["hooks"] if name == "x"}
    assert made["linux"]["resources"] == ({"cpu": {}} if "cpu" in str(spec) else {})
    assert set(made) == {*spec, "process", "linux", "hooks", "mounts", "annotations"}


@pytest.mark.parametrize("spec", [*EMPTY, FULL])
def test_the_parts_are_what_the_spec_says(spec):
    parts = Parts(spec)
    is_full = spec is FULL
    assert parts.env == (["A=1"] if is_full else [])
    assert parts.annotations == ({"a": "b"} if is_full else {})
    assert parts.mounts == ([{"destination": "/m"}] if is_full else [])
    assert parts.devices == ([{"path": "/dev/x"}] if is_full else [])
    assert parts.cgroup_rules == ([{"allow": True}] if is_full else [])
    assert {stage: hooks for stage, hooks in parts.hooks.items() if hooks} == (
        {stage: [{"path": f"/{stage}"}] for stage in LOOKED_AT["hooks"]} if is_full else {}
    )
    assert parts.has_process is bool(spec.get("process"))
    assert parts.rootfs == ""
    assert Parts({**spec, "root": {"path": "/r"}}).rootfs == "/r"


@pytest.mark.parametrize(
    ("mount", "is_one", "is_shut"),
    [
        ({}, False, False),
        ({"type": "bind"}, True, False),
        ({"type": "bind", "options": None}, True, False),
        ({"type": "rbind"}, False, False),
        ({"options": ["ro", "bind"]}, True, False),
        ({"type": "tmpfs", "options": ["rbind", "nodev"]}, True, True),
        ({"type": "tmpfs", "options": ["bind,ro", "NODEV", "nodev,ro"]}, False, False),
        ({"options": ["nodev", "ro"]}, False, True),
        ({"options": ["dev", "nodev", "ro"]}, False, True),
        ({"options": ["nodev", "dev"]}, False, False),
        ({"options": ["nodev", "dev", "nodev"]}, False, True),
        ({"options": ["dev"]}, False, False),
    ],
)
def test_a_mount_is_a_bind_and_closed_by_its_type_and_options(mount, is_one, is_shut):
    assert (is_bind(mount), is_closed(mount)) == (is_one, is_shut)


@given(st.text("ab./") | st.lists(st.sampled_from(["", ".", "..", "...", "dev", "a b"])).map("/".join))
def test_a_destination_is_cleaned_as_go_cleans_a_path_from_the_root(path):
    assert cleaned(path) == posixpath.normpath(f"/./{path}")
