"""Flags of runsc that undo the wrapper: one table for its settings, the deploys' and for annotations."""

import json
import re

import pytest

from nvproxy_wrapper.judge.refused_flags import REFUSED, first_refused
from nvproxy_wrapper.judge.settings import SettingsError, parse_settings
from tests.deploys.example_hosts import settings as of_inventory
from tests.fuzz.runsc_model import BOOLEANS, WITH_VALUE, opened
from tests.unit.wrapper.specs import JIT, captured, judge

UNDO = [
    ["--overlay2=none"],
    ["-overlay2=none"],
    ["--overlay2", "none"],
    # Taken by runsc, for an overlay without a medium: none.
    ["--overlay2=root:"],
    ["--debug", "--overlay2=all:,size=1g"],
    ["--nvproxy-docker"],
    ["--nvproxy-docker=true"],
    ["-nvproxy-docker=1"],
    ["--nvproxy"],
    ["--nvproxy=false"],
    ["--nvproxy-allowed-driver-capabilities=all"],
    ["--allow-flag-override"],
    ["--allow-flag-override=T"],
    ["--allow-rootfs-tar-annotation"],
    ["--TESTONLY-unsafe-nonroot"],
    ["--TESTONLY-nftables=true"],
    ["--TESTONLY-of-the-next-release"],
    ["--host-uds=all"],
    ["--host-uds", "open"],
    ["--fsgofer-host-uds"],
    ["--host-fifo=open"],
    ["--character-device-policy=passthrough"],
    ["--character-device-policy=prefer-emulated"],
    ["--profile"],
    ["--iouring=true"],
    ["--rootless"],
    # A boolean takes its value behind `=` alone; any other in one word.
    ["--nvproxy-docker", "0"],
    ["--rootless", "false"],
    ["--host-uds", "n", "one"],
    ["--host-uds"],
    ["x", "--overlay2=none"],
]
LEAVE = [
    [],
    ["--debug", "--strace", "--debug-log=/var/log/runsc/%ID%.log"],
    ["--network=host", "--platform=kvm", "--systemd-cgroup"],
    ["--overlay2=root:self", "--overlay2=all:memory,size=1g", "-overlay2", "root:dir=/var/x"],
    [
        "--allow-flag-override=false",
        "--nvproxy-docker=0",
        "--rootless=F",
        "--host-uds=none",
        "--host-fifo",
        "none",
    ],
    ["--character-device-policy=emulated-only", "--profile-gc-interval=1s"],
    ["--nvproxy-driver-version=570.124.06", "--nvproxy-allow-unsupported-driver"],
    ["--directfs=false", "--oci-seccomp", "--ignore-cgroups", "--net-raw", "--rdmaproxy"],
    ["none", "", "-", "--"],
]


def wrapper(arguments):
    return parse_settings(json.dumps({"runsc_args": arguments}).encode(), "/settings.json")


@pytest.mark.parametrize("arguments", UNDO, ids=" ".join)
def test_what_undoes_the_wrapper_is_refused_with_its_reason(arguments):
    flag, why = first_refused(arguments)
    assert flag in arguments
    with pytest.raises(SettingsError, match=re.escape(why)) as error:
        wrapper(arguments)
    assert repr(flag) in str(error.value)


@pytest.mark.parametrize("arguments", [one for one in UNDO if len(one) == 1], ids=" ".join)
def test_an_inventory_is_refused_by_the_same_table(arguments):
    with pytest.raises(ValueError, match=re.escape(first_refused(arguments)[1])):
        of_inventory(runsc_args=arguments)


@pytest.mark.parametrize("arguments", LEAVE, ids=" ".join)
def test_what_does_not_is_the_operators_to_say(arguments):
    assert first_refused(arguments) is None
    assert wrapper(arguments).runsc_args == arguments


def test_every_flag_that_is_refused_is_one_of_runscs():
    assert set(REFUSED) - {"TESTONLY-"} <= {*BOOLEANS, *WITH_VALUE}
    assert any(name.startswith("TESTONLY-") for name in BOOLEANS)


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("dev.gvisor.flag.overlay2", "none", False),
        ("dev.gvisor.flag.overlay2", "root:memory", True),
        ("dev.gvisor.flag.host-uds", "all", False),
        ("dev.gvisor.flag.debug", "true", True),
        ("dev.gvisor.flag.nvproxy-docker", "true", False),
        ("dev.gvisor.spec.rootfs.overlay", "none", False),
        ("dev.gvisor.spec.mount.x.type", "tmpfs", True),
        ("a", "none", True),
    ],
)
def test_an_annotation_that_undoes_the_wrapper_goes_where_others_may_stay(name, value, stays):
    spec = captured(JIT)
    spec["annotations"] = {name: value}
    decision = judge(spec, allow_user_annotations=True)
    assert (name in decision.spec["annotations"]) is stays
    assert [action.target for action in decision.actions if action.rule == "annotation.user"] == (
        [] if stays else [name]
    )
    assert opened(decision.spec) == {1}
