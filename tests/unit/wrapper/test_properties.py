"""What holds for every spec, however odd: the design's invariants, over captured specs changed at random.

WRAPPER_EXAMPLES sets how many specs are tried, 10 000 unless it says otherwise.
"""

import copy
import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from nvproxy_wrapper import strict_json
from nvproxy_wrapper.classify import CLASSES
from tests.driver_tree import CAPTURED_HOST, SHUFFLED_HOST
from tests.unit.wrapper.mutations import SETTINGS, SPECS, build
from tests.unit.wrapper.specs import NO_DRIVER, judge

EXAMPLES = int(os.environ.get("WRAPPER_EXAMPLES", "10000"))
SCHEMAS = Path(__file__).resolve().parents[2] / "specs/oci-runtime-spec"

NVPROXY = "dev.gvisor.internal.nvproxy"
TRUSTED = ["/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"]
KEPT = {"create-symlinks", "update-ldcache", "enable-cuda-compat", "update-application-profile"}
LEGACY = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")


def _validator():
    schemas = {path.name: json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
    resources = [(name, Resource(schema, DRAFT4)) for name, schema in schemas.items()]
    registry = Registry().with_resources(resources).crawl()
    return jsonschema.Draft4Validator(schemas["config-schema.json"], registry=registry)


VALIDATOR = _validator()


def part(spec, *names):
    """A part of a spec, as Go would see it: what is null or missing is empty."""
    for name in names:
        spec = (spec or {}).get(name)
    return spec or []


def is_subsequence(some, whole):
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in some)


def asks_by_mounts(spec):
    root = "/var/run/nvidia-container-devices/"
    return any(
        m.get("source") == "/dev/null" and m["destination"].startswith(root) for m in part(spec, "mounts")
    )


def is_nvidia(hook):
    words = [hook["path"], *(hook.get("args") or [])[:1]]
    return any("nvidia" in word.rpartition("/")[2].lower() for word in words)


def nvidia_minors(devices):
    return {
        device.get("minor") for device in devices if (device.get("type"), device.get("major")) == ("c", 195)
    }


def without_what_may_change(spec):
    """Everything that no rule has a business with."""
    left = copy.deepcopy(spec)
    for names in (("process", "env"), ("linux", "devices"), ("linux", "resources", "devices")):
        here = left
        for name in names[:-1]:
            here = here.get(name) or {}
        here.pop(names[-1], None)
    for name in ("mounts", "annotations"):
        left.pop(name, None)
    hooks = left.get("hooks")
    if hooks is not None:
        for stage in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ):
            hooks.pop(stage, None)
    for name in ("process", "linux", "hooks"):
        left[name] = left.get(name) or {}
    left["linux"]["resources"] = left["linux"].get("resources") or {}
    return left


def minors_that_may_be_given(value, hosts_gpus):
    """What a value of NVIDIA_VISIBLE_DEVICES may give at most, told in another way than the code does."""
    if value.strip() == "all":
        return set(range(256))
    by_index = {
        str(index): gpu.minor for index, gpu in enumerate(sorted(hosts_gpus, key=lambda gpu: gpu.pci))
    }
    by_uuid = {gpu.uuid: gpu.minor for gpu in hosts_gpus}
    words = [word.strip() for word in value.split(",")]
    return {by_index.get(word, by_uuid.get(word)) for word in words} - {None}


@pytest.fixture(scope="module")
def counts():
    counted = dict.fromkeys(["rewritten", "refused", "left alone"], 0)
    yield counted
    print(f"\n{sum(counted.values())} odd specs: {counted}")


@given(drawn=SPECS, given_settings=SETTINGS, where=st.sampled_from(["captured", "shuffled", "none"]))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_spec_gets_more_than_it_brought(host, shuffled_host, counts, *, drawn, given_settings, where):
    view, gpus = {
        "captured": (host, CAPTURED_HOST),
        "shuffled": (shuffled_host, SHUFFLED_HOST),
        "none": (NO_DRIVER, ()),
    }[where]
    spec = build(drawn)
    before = json.dumps(spec)
    decision = judge(spec, view, **given_settings)
    made = decision.spec

    assert json.dumps(spec) == before
    assert decision.spec_class in CLASSES
    if decision.refusal:
        counts["refused"] += 1
        assert made is spec
        assert (decision.changed, decision.devices, decision.runsc_flags) == (False, [], [])
        assert decision.refusal.message
        assert decision.refusal.remedy
        return
    counts["rewritten" if decision.changed else "left alone"] += 1
    if decision.changed and not VALIDATOR.is_valid(made):
        assert not VALIDATOR.is_valid(spec)
    assert decision.changed == (made != spec)
    check_devices(spec, made, decision)
    check_mounts(spec, made, given_settings)
    check_hooks(spec, made, decision, given_settings)
    check_environment(spec, made, decision)
    check_annotations(spec, made, decision, given_settings, gpus)
    assert without_what_may_change(made) == without_what_may_change(spec)
    assert is_subsequence([key for key in made if key != "annotations"], list(spec))
    check_scope(spec, decision, gpus)

    again = judge(made, view, **given_settings)
    if asks_by_mounts(spec) and "csv" in (again.spec_class, given_settings.get("toolkit_mode")):
        # With toolkit_mode csv a spec whose hooks were dropped is taken for csv; mounts still ask. Less may
        # come of it, as an annotation that says "rewritten already" may be forged; never more.
        assert again.refusal or set(again.devices) <= set(decision.devices)
        return
    assert again.refusal is None
    assert not again.changed
    assert again.devices == decision.devices
    assert again.runsc_flags == decision.runsc_flags


def check_devices(spec, made, decision):
    given, left = part(spec, "linux", "devices"), part(made, "linux", "devices")
    assert is_subsequence(
        [{**device, "fileMode": 0} for device in left], [{**device, "fileMode": 0} for device in given]
    )
    assert decision.devices == [device["path"] for device in left]
    rules, allowed = part(spec, "linux", "resources", "devices"), part(made, "linux", "resources", "devices")
    assert is_subsequence(allowed, rules)
    if not decision.gpu_requested:
        assert left == given
        return
    for device in left:
        path, numbers = device["path"], (device.get("type"), device.get("major"), device.get("minor"))
        assert device["fileMode"] is not None
        assert numbers[:2] not in (("c", 195), ("u", 195)) or path.startswith("/dev/nvidia")
        if "nvidia" in path and decision.spec_class != "legacy":
            expected = {"/dev/nvidiactl": ("c", 195, 255), "/dev/nvidia-uvm": ("c", numbers[1], 0)}
            tail = path[len("/dev/nvidia") :]
            assert numbers == expected.get(path) or (tail.isdigit() and numbers == ("c", 195, int(tail)))
    # What allows a GPU that was taken away is taken away as well.
    gone = nvidia_minors(given) - nvidia_minors(left)
    assert not [
        r
        for r in allowed
        if r.get("allow") is True and (r.get("type"), r.get("major")) == ("c", 195) and r.get("minor") in gone
    ]


def check_mounts(spec, made, given_settings):
    given, left = part(spec, "mounts"), part(made, "mounts")
    added = [mount for mount in left if mount not in given]
    assert is_subsequence([mount for mount in left if mount in given], given)
    emulates = not given_settings.get("hooks_run", True) or given_settings.get("drop_update_ldcache", False)
    assert emulates or not added
    # Of the mounts that stay: a link may take the place of a socket's bind, which no gofer could have made.
    destinations = [mount["destination"] for mount in given if mount in left]
    binds = [
        m["source"]
        for m in given
        if m.get("type") == "bind" or {"bind", "rbind"} & set(m.get("options") or [])
    ]
    for mount in added:
        assert mount["source"] in binds
        assert mount["destination"] not in destinations
        assert mount["options"][0] == "ro"
        assert "rw" not in mount["options"]
        assert ".." not in mount["destination"].split("/")


def check_hooks(spec, made, decision, given_settings):
    given, left = part(spec, "hooks") or {}, part(made, "hooks") or {}
    trusted = given_settings.get("trusted_hooks", TRUSTED)
    for stage, listed in left.items():
        if not decision.gpu_requested or stage == "unknown":
            assert listed == given[stage]
            continue
        hooks = listed or []
        assert is_subsequence(hooks, given[stage] or [])
        assert [h for h in hooks if not is_nvidia(h)] == [h for h in given[stage] or [] if not is_nvidia(h)]
        for hook in filter(is_nvidia, hooks):
            if decision.spec_class == "legacy" and stage == "prestart" and hook["path"].endswith(LEGACY):
                continue
            assert given_settings.get("hooks_run", True)
            assert stage == "createContainer"
            assert hook["path"] in trusted
            assert KEPT & set(hook["args"][1:3])
            assert not [
                word
                for word in hook["args"]
                if "container-spec" in word or "/tmp" in word or ".." in word.split("/")
            ]
            assert hook.get("env") in (None, ["NVIDIA_CTK_DEBUG=false"])


def check_environment(spec, made, decision):
    given, left = part(spec, "process", "env"), part(made, "process", "env")
    ours = ("NVIDIA_VISIBLE_DEVICES=", "NVIDIA_DRIVER_CAPABILITIES=")
    assert [e for e in left if not e.startswith(ours)] == [e for e in given if not e.startswith(ours)]
    asked = [e for e in left if e.startswith(ours[0])]
    if decision.spec_class == "none":
        assert left == given
    elif decision.spec_class == "legacy":
        assert asked == [e for e in given if e.startswith(ours[0])][-1:]
    else:
        assert asked == (["NVIDIA_VISIBLE_DEVICES=void"] if part(spec, "process") else [])


def check_annotations(spec, made, decision, given_settings, gpus):
    given, left = dict(part(spec, "annotations")), dict(part(made, "annotations"))
    is_sandbox = "sandbox" in (
        given.get("io.kubernetes.cri.container-type"),
        given.get("io.kubernetes.cri-o.ContainerType"),
    )
    is_ours = decision.gpu_requested or (is_sandbox and bool(gpus))
    assert ("--nvproxy" in decision.runsc_flags) == is_ours
    if is_ours:
        assert left.pop(NVPROXY) == "true"
        given.pop(NVPROXY, None)
    if not given_settings.get("allow_user_annotations", False):
        given = {
            k: v for k, v in given.items() if not k.startswith(("dev.gvisor.flag.", "dev.gvisor.internal."))
        }
    assert left == given


def check_scope(spec, decision, gpus):
    asked = [
        e.partition("=")[2] for e in part(spec, "process", "env") if e.startswith("NVIDIA_VISIBLE_DEVICES=")
    ]
    annotations = part(spec, "annotations") or {}
    if decision.spec_class not in ("csv", "mixed") or not asked or annotations.get(NVPROXY) == "true":
        return
    if asked[0].strip() not in ("", "void"):
        assert set(decision.gpus) <= minors_that_may_be_given(asked[0], gpus)


@given(drawn=SPECS)
@settings(max_examples=max(EXAMPLES // 10, 1), deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_decided_does_not_hang_on_how_the_bytes_are_written(host, drawn):
    spec = build(drawn)
    compact = strict_json.loads(strict_json.dumps(spec))
    spaced = strict_json.loads(json.dumps(spec, indent=2, ensure_ascii=True).encode())
    first, second = judge(compact, host), judge(spaced, host)
    assert (first.spec, first.spec_class, first.devices) == (second.spec, second.spec_class, second.devices)
    assert list(strict_json.loads(strict_json.dumps(first.spec))) == list(first.spec)
