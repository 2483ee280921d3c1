"""The shape of a spec: what cannot be understood is refused, what is not looked at stays."""

import pytest

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
        ("mounts.0.options", "rbind"),
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
    assert ".".join(parents) in decision.refusal.message
    assert last in decision.refusal.message


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
    assert repr(name)[1:-1] in decision.refusal.message


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
    assert path.replace(".0", "") in decision.refusal.message
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
