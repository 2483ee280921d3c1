"""The wrapper's settings: every key, every wrong value."""

import json

import pytest

from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import (
    DEFAULTS,
    SETTINGS_PATH,
    Settings,
    SettingsError,
    allowed_values,
    parse_settings,
)
from tests.unit.wrapper.specs import JIT, NO_DRIVER, PLAIN, captured, judge

WHERE = "/etc/nvproxy-wrapper/settings.json"

GOOD = {
    "runsc": "/opt/runsc",
    "runsc_args": ["--debug", ""],
    "hooks_run": False,
    "runsc_flags": ["nvproxy", "host-uds"],
    "runsc_capabilities": ["compute", "new-1"],
    "toolkit_mode": "csv",
    "toolkit_version": "1.20.0",
    "swarm_resources": ["DOCKER_RESOURCE_GPU"],
    "trusted_hooks": ["/usr/local/nvidia/toolkit/nvidia-ctk"],
    "trusted_ldconfig": ["/opt/sbin/ldconfig"],
    "allowed_capabilities": ["compute", "utility", "video"],
    "host_prep": [["/sbin/modprobe", "nvidia"]],
    "allow_user_annotations": True,
    "drop_update_ldcache": True,
    "proc_driver": "/run/proc",
    "audit_log": "/var/log/x.jsonl",
}

DEFAULT = {
    "runsc": "/opt/gvisor/current/runsc",
    "runsc_args": [],
    "hooks_run": True,
    "runsc_flags": [
        *("nvproxy", "nvproxy-allowed-driver-capabilities", "nvproxy-docker", "nvproxy-driver-version")
    ],
    "toolkit_mode": "auto",
    "toolkit_version": "",
    "swarm_resources": [],
    "trusted_hooks": ["/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"],
    "runsc_capabilities": [
        *("compute", "utility", "graphics", "video", "ngx", "fabric-imex-mgmt", "profiling", "rdma")
    ],
    "trusted_ldconfig": [
        f"{root}/{name}"
        for root in ("/sbin", "/usr/sbin", "/run/nvidia/driver/sbin")
        for name in ("ldconfig", "ldconfig.real")
    ],
    "allowed_capabilities": ["utility", "compute"],
    "host_prep": [
        *(["/sbin/modprobe", "nvidia"], ["/sbin/modprobe", "nvidia-uvm"]),
        ["/usr/bin/nvidia-modprobe", "-c0", "-u"],
    ],
    "allow_user_annotations": False,
    "drop_update_ldcache": False,
    "proc_driver": "/proc/driver/nvidia",
    "audit_log": "/var/log/nvproxy-wrapper/decisions.jsonl",
}

BAD = {
    "runsc": ["runsc", "", "/opt/../runsc", "/opt/./runsc", "/", "//x", "/x\0", 1, None, ["/x"], "/x/"],
    "runsc_args": ["--x", [1], ["--x", 1], {}, None, ["a\0"], ["--debug", "--overlay2=none"]],
    "hooks_run": ["true", 1, 0, None, []],
    "runsc_flags": ["nvproxy", ["--nvproxy"], ["a=b"], [""], [1]],
    "runsc_capabilities": ["compute", ["all"], [None], {}],
    "toolkit_mode": ["CSV", "", None, 1, ["csv"]],
    "toolkit_version": [1.2, None, []],
    "swarm_resources": ["DOCKER_RESOURCE_GPU", [""], ["A=B"], [1], ["a\0"], None],
    "trusted_hooks": ["/usr/bin/nvidia-ctk", ["nvidia-ctk"], ["/usr/bin/../nvidia-ctk"], [1]],
    "trusted_ldconfig": ["/sbin/ldconfig", ["ldconfig"], ["@/sbin/ldconfig"], [1]],
    "allowed_capabilities": ["compute", ["all"], [""], ["COMPUTE"], ["a,b"], ["x\u00e9"], [1], [["x"]]],
    "host_prep": [["/sbin/modprobe"], [[]], [["modprobe"]], [["/sbin/modprobe", 1]], [["/x", "a\0"]], {}],
    "allow_user_annotations": ["no", 0],
    "drop_update_ldcache": ["no", 0],
    "proc_driver": ["proc", "/proc/../x", 1],
    "audit_log": ["log", 1],
}


def parse(values):
    return parse_settings(json.dumps(values).encode(), WHERE)


def test_no_key_is_left_untried():
    assert set(GOOD) == set(BAD) == set(DEFAULT) == set(Settings.__slots__)


def test_what_is_given_is_taken():
    settings = parse(GOOD)
    assert {key: getattr(settings, key) for key in GOOD} == GOOD


def test_what_is_left_out_takes_its_default():
    for settings in (parse({}), DEFAULTS):
        assert {key: getattr(settings, key) for key in DEFAULT} == DEFAULT


@pytest.mark.parametrize("mode", ["auto", "legacy", "csv", "cdi", "jit-cdi"])
def test_every_mode_of_the_toolkit_is_taken(mode):
    assert parse({"toolkit_mode": mode}).toolkit_mode == mode


@pytest.mark.parametrize(
    "name", ["compute", "utility", "graphics", "video", "fabric-imex-mgmt", "profiling", "rdma"]
)
def test_every_capability_of_gvisors_is_taken(name):
    assert parse({"allowed_capabilities": [name]}).allowed_capabilities == [name]


def test_the_file_is_where_the_launcher_looks():
    with pytest.raises(SettingsError, match=f"{WHERE} is not JSON"):
        parse_settings(b"", SETTINGS_PATH)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_wrong_value_is_named_with_its_key_and_file(key, value):
    with pytest.raises(SettingsError) as error:
        parse({key: value})
    assert key in str(error.value)
    assert WHERE in str(error.value)


def test_a_page_can_say_of_each_key_what_it_takes():
    told = dict(allowed_values())
    assert set(told) == set(GOOD)
    for key in ("hooks_run", "toolkit_mode", "host_prep"):
        with pytest.raises(SettingsError, match=f"it takes {told[key]}[.]$"):
            parse({key: 1})


@pytest.mark.parametrize("key", ["runscc", "", "Runsc", "hooks-run"])
def test_an_unknown_key_is_refused(key):
    with pytest.raises(SettingsError, match="unknown key"):
        parse({key: True})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"hooks_run":true,"hooks_run":false}', b'{"toolkit_version":1.5}']
)
def test_a_file_that_is_no_settings_file_is_refused(data):
    with pytest.raises(SettingsError, match=WHERE):
        parse_settings(data, WHERE)


def test_with_settings_that_cannot_be_used_gpu_containers_are_refused_and_plain_ones_go_on():
    fault = SettingsError("The settings file x is broken.")
    decision = decide(captured(JIT), DEFAULTS, NO_DRIVER, fault)
    assert decision.refusal.rule == "settings"
    assert "x is broken" in decision.refusal.message
    assert decide(captured(PLAIN), DEFAULTS, NO_DRIVER, fault).refusal is None
    assert judge(captured(JIT)).refusal is None
