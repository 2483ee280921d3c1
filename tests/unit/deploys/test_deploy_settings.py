"""What an inventory may say, and the sentence where it may not: key, value, what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.host.inventory import _connector_keys
from deploys.model.settings import Settings, SettingsError, ToolkitMode
from deploys.model.versions import TOOLKIT_FLOOR
from tests.deploys.example_hosts import SETTINGS_DATA, settings

SHA = "0123456789abcdef" * 8


def refused(**changes: object) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**changes)
    return str(caught.value)


BAD = {
    "gvisor_release": ["latest", "2026-09-05", "20260905.", "../20260905", "19991231", "", None, [], True],
    "gvisor_sha512": [
        SHA,
        {"x86_64": SHA[:-1]},
        {"x86_64": SHA.upper()},
        {"x86_64": f"{SHA} gvisor.tar.bz2"},
        {"x86_64": None},
        {"amd64": SHA},
        None,
    ],
    "gvisor_releases_kept": [0, -1, "two", None],
    "gvisor_url": [
        *("ftp://host/x", "file:///srv/gvisor", "storage.googleapis.com", "https://", "https:///gvisor"),
        *("https://host/a b", "https://host/a\nb", 7, None),
    ],
    "toolkit_version": [
        "1.20.0",
        "1.20",
        "latest",
        "1.17.7-1",
        "1.13.5-1",
        "v1.20.0-1",
        "1.20.0-1~rc1",
        None,
    ],
    "toolkit_repository_url": ["", "nvidia.github.io", "https://host/a b", None],
    "toolkit_mode": ["cdi", "legacy", "CSV", "", None, 1],
    "layout": ["dedicate", "SHARED", "", None, 1, []],
    "runtime_name": ["", "NVIDIA", "-x", "a b", "a/b", 'a"b', "a\nb", None, 7],
    "runsc_args": ["--debug", ["debug"], ["--root", "/x"], ["--x\0"], [7], [""], None, ["--nvproxy-docker"]],
    "driver_version": ["latest", "570", "570.x", "v570.124.06", "570.124.06.1", True, []],
    "allowed_capabilities": ["all", ["all"], ["compute", "Video"], ["a,b"], [""], [None], None],
    "trusted_hooks": ["/usr/bin/nvidia-ctk", ["nvidia-ctk"], ["./nvidia-ctk"], ["/a\nb"], ["/a\0b"], None],
    "trusted_ldconfig": ["/sbin/ldconfig", ["ldconfig"], ["@/sbin/ldconfig"], None],
    "host_prep": [["/bin/true"], [[]], [["true"]], [["./true"]], [["/bin/true", 7]], None],
    "allow_user_annotations": ["maybe", 2, None, []],
    "drop_update_ldcache": ["maybe", 2, None, []],
    "kernel_modules": ["nvidia", [7], [None], None],
    "verify_image": [7, [], {}],
    "verify_timeout": [0, 4, 601, "long", None, []],
    "verify_modes": ["csv", ["runc"], [7], None],
    "metrics_dir": ["node-exporter", "./x", "/a\nb", 7, []],
    "since": ["yesterday", "2026-13-01", []],
    "report_dir": [7, [], None],
    "report": ["all", "SHORT", 7, None],
    "toolkit_key": [7, [], None],
}


def test_every_setting_has_bad_values_here():
    assert set(BAD) == set(Settings.model_fields)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(key, value):
    text = refused(**{key: value})
    shown = value
    while isinstance(shown, list) and len(shown) == 1:
        shown = shown[0]
    assert "\n" not in text.replace("\\n", ""), "one wrong value, one line"
    assert text.startswith(f"host gpu-1: setting {key}")
    assert Settings.model_fields[key].description in text
    if not isinstance(shown, (list, dict)):
        assert repr(shown) in text


@pytest.mark.parametrize("key", ["gvisor_release", "gvisor_sha512"])
def test_a_setting_without_a_default_has_to_be_there(key):
    data = {name: value for name, value in SETTINGS_DATA.items() if name != key}
    with pytest.raises(SettingsError, match=rf"setting {key} is missing\. It must be "):
        Settings.from_data("gpu-1", data, ())


def test_every_wrong_setting_is_told_at_once_and_by_host():
    lines = refused(gvisor_release="latest", toolkit_mode="cdi", colour="green").splitlines()
    assert [line.split(" = ")[0].removeprefix("host gpu-1: setting ") for line in lines] == [
        *("gvisor_release", "toolkit_mode", "colour")
    ]


def test_an_unknown_key_gets_the_nearest_known_one_or_all():
    assert refused(gvisor_relaese="20260905").endswith(
        "gvisor_relaese = '20260905' is unknown. Did you mean gvisor_release?"
    )
    text = refused(qqq=1)
    assert "setting qqq = 1 is unknown. Known are: " in text
    assert all(key in text for key in Settings.model_fields)


def test_the_keys_of_pyinfra_pass_and_misspelt_ones_do_not():
    keys = _connector_keys()
    ssh = {"ssh_user": "admin", "ssh_paramiko_connect_kwargs": {}, "fake_responses": {}, "_sudo": True}
    assert Settings.from_data("gpu-1", {**SETTINGS_DATA, **ssh}, keys) == settings()
    with pytest.raises(SettingsError, match="setting ssh_usr = 'admin' is unknown"):
        Settings.from_data("gpu-1", {**SETTINGS_DATA, "ssh_usr": "admin"}, keys)


def test_no_setting_has_the_name_of_one_of_pyinfras():
    assert not set(Settings.model_fields) & _connector_keys()


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [(20260905, "20260905"), ("20260905.1", "20260905.1"), (" 20260905 ", "20260905")],
)
def test_a_release_given_by_data_on_the_command_line_is_a_number_there(given_value, kept):
    assert settings(gvisor_release=given_value).gvisor_release == kept


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [("570.124.06", "570.124.06"), ("550.90.7", "550.90.07"), ("550.120", "550.120.00"), (None, None)],
)
def test_a_driver_version_is_written_as_runsc_writes_it(given_value, kept):
    assert settings(driver_version=given_value).driver_version == kept


@pytest.mark.parametrize(("key", "value"), [("driver_version", 550.120), ("gvisor_release", 20260905.10)])
def test_a_version_that_is_a_fraction_is_refused_since_its_zeros_are_lost(key, value):
    assert "write it in quotes" in refused(**{key: value})


@pytest.mark.parametrize("version", ["1.17.8-1", "1.17.9-1", "1.17.8-2"])
def test_mode_auto_needs_a_toolkit_in_which_it_does_not_mean_legacy(version):
    text = refused(toolkit_mode="auto", toolkit_version=version)
    assert "toolkit_mode = 'auto'" in text
    assert f"not {version}" in text
    assert "1.18.0-1" in text
    assert text.startswith("host gpu-1: ")
    assert settings(toolkit_mode="csv", toolkit_version=version).toolkit_version == version


def test_mode_auto_is_the_default_and_goes_with_toolkits_from_1_18_on():
    assert settings(toolkit_mode="auto", toolkit_version="1.18.0-1").toolkit_mode is ToolkitMode.AUTO
    data = {key: value for key, value in SETTINGS_DATA.items() if key != "toolkit_mode"}
    assert Settings.from_data("gpu-1", data, ()).toolkit_mode is ToolkitMode.AUTO
    with pytest.raises(SettingsError, match="auto meant legacy"):
        Settings.from_data("gpu-1", {**data, "toolkit_version": "1.17.8-1"}, ())


def test_a_toolkit_below_the_floor_is_refused_with_the_reason():
    text = refused(toolkit_version="1.17.7-1")
    assert "CVE-2025-23266, CVE-2025-23267" in text
    assert text.endswith(f"from {TOOLKIT_FLOOR} on.")


def test_a_bad_value_deep_in_a_setting_is_told_with_its_place():
    assert "setting gvisor_sha512['x86_64'] = 'abc' is not allowed" in refused(
        gvisor_sha512={"x86_64": "abc"}
    )
    assert "setting allowed_capabilities[1] = 'Video' is not allowed" in refused(
        allowed_capabilities=["compute", "Video"]
    )


def test_the_forced_driver_version_is_a_flag_of_every_call():
    assert settings(runsc_args=["--debug"], driver_version="570.124.6").runsc_flags == (
        *("--debug", "--nvproxy-driver-version=570.124.06"),
    )
    assert settings().runsc_flags == ()


def test_a_capability_list_may_name_what_a_runsc_to_come_takes():
    names = ("compute", "fabric-imex-mgmt", "new-1")
    assert settings(allowed_capabilities=list(names)).allowed_capabilities == names


def test_all_is_no_capability_since_it_means_another_thing_under_another_runsc():
    assert "name each" in refused(allowed_capabilities=["compute", "all"])


@pytest.mark.parametrize("key", ["gvisor_url", "toolkit_repository_url"])
@pytest.mark.parametrize("url", ["https://user:hunter2@mirror.example/x", "https://token@mirror.example"])
def test_an_address_with_a_password_is_refused_since_it_would_stand_in_files_for_everybody(key, url):
    refused(**{key: url})


@pytest.mark.parametrize("name", ["runc", "io.containerd.runc.v2"])
def test_a_runtime_name_that_dockerd_keeps_for_itself_is_refused(name):
    refused(runtime_name=name)


@pytest.mark.parametrize("module", ["", "-r", "a b", "a\nb", "../x"])
def test_a_kernel_module_is_a_name(module):
    refused(kernel_modules=[module])


PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(Settings.model_fields)), PLAIN_JSON)
def test_whatever_a_setting_is_given_it_is_taken_or_refused_with_a_sentence(key, value):
    try:
        settings(**{key: value})
    except SettingsError as error:
        assert str(error).startswith("host gpu-1: ")  # noqa: PT017 - either way is right, but nothing else
