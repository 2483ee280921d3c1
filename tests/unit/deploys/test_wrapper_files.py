"""The wrapper's own files: what the launcher quotes, and settings that the wrapper itself accepts."""

from __future__ import annotations

import json

from deploys.model import paths
from deploys.model.versions import TOOLKIT_DEFAULT
from deploys.model.wrapper_files import entry, launcher, wrapper_settings
from tests.deploys.example_hosts import DRIVER, PROBE, settings


def test_the_wrappers_settings_say_what_the_tried_runsc_does():
    content = json.loads(wrapper_settings(settings(runsc_args=["--debug"], driver_version=DRIVER), PROBE))
    assert content["runsc"] == paths.RUNSC
    assert content["hooks_run"] is True
    assert content["runsc_capabilities"] == ["compute", "utility", "video"]
    assert content["runsc_args"] == ["--debug", f"--nvproxy-driver-version={DRIVER}"]
    assert content["toolkit_version"] == TOOLKIT_DEFAULT.upstream


def test_the_order_in_which_runsc_was_asked_is_no_difference():
    """The record of a run has it sorted; a second run read another order there, and wrote the file again."""
    wanted = settings()
    turned = PROBE.model_copy(update={"capabilities": dict(reversed(list(PROBE.capabilities.items())))})
    assert wrapper_settings(wanted, PROBE) == wrapper_settings(wanted, turned)


def test_the_entry_leads_to_the_shim_and_the_shim_to_the_configured_file():
    text = entry()
    assert f"exec '{paths.SHIM}'" in text
    assert f"NVIDIA_CTK_CONFIG_FILE_PATH='{paths.TOOLKIT_CONFIG}'" in text
    assert f"{paths.TOOLKIT_CONFIG_HOME}/nvidia-container-runtime/config.toml" == paths.TOOLKIT_CONFIG
    assert "NVPROXY_ENTRY=docker:$$" in text


def test_the_launcher_quotes_what_the_inventory_says():
    text = launcher(settings(runsc_args=["--label=it's; $(reboot) `x`"]))
    assert "'--label=it'\\''s; $(reboot) `x`'" in text


def test_the_settings_file_is_the_one_that_the_wrapper_itself_accepts():
    from nvproxy_wrapper.judge import settings as wrappers_own  # noqa: PLC0415 - named apart from the deploys' settings

    text = wrapper_settings(settings(runsc_args=["--debug"]), PROBE)
    read = wrappers_own.parse_settings(text.encode(), paths.WRAPPER_SETTINGS)
    assert read.runsc_args == ["--debug"]
