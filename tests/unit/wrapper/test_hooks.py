"""hooks.allow and hooks.legacy: which of NVIDIA's hooks stay."""

import pytest

from tests.unit.wrapper.specs import CDI, CSV, JIT, captured, hook, judge

CTK, CDI_HOOK = "/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"
LINK = ("--link", "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so")


def kept(item, stage="createContainer", **settings):
    """Whether a hook stays, added to a cdi spec."""
    spec = captured(CDI)
    spec["hooks"].setdefault(stage, []).append(item)
    decision = judge(spec, toolkit_mode="cdi", **settings)
    if decision.spec_class == "mixed":
        spec["process"]["env"] = ["NVIDIA_VISIBLE_DEVICES=all"]
        decision = judge(spec, toolkit_mode="cdi", **settings)
    assert decision.refusal is None
    return item in decision.spec["hooks"].get(stage, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("create-symlinks", *LINK),
        ("create-symlinks", "--link=libcuda.so.1::/usr/lib64/libcuda.so", *LINK),
        ("create-symlinks", "--link", "../libnvidia-allocator.so.1::/usr/lib64/gbm/nvidia-drm_gbm.so"),
        ("create-symlinks", "--link", "../card0::/dev/dri/by-path/pci-0000:01:00.0-card"),
        ("update-ldcache",),
        ("update-ldcache", "--folder", "/usr/lib64", "--folder", "/usr/lib64/vdpau"),
        ("update-ldcache", "--ldconfig-path", "@/sbin/ldconfig.real", "--folder", "/usr/lib64"),
        ("enable-cuda-compat", "--host-driver-version=570.124.06"),
        ("enable-cuda-compat", "--host-cuda-version", "12.4"),
        ("enable-cuda-compat",),
        ("update-application-profile",),
    ],
)
def test_what_nvidias_toolkit_writes_and_a_sandbox_needs_stays(arguments):
    assert kept(hook(CDI_HOOK, *arguments))
    assert kept(hook(CTK, "hook", *arguments))


@pytest.mark.parametrize(
    "item",
    [
        hook("/tmp/nvidia-ctk", "hook", "update-ldcache"),
        hook("/usr/bin/../../tmp/nvidia-ctk", "hook", "update-ldcache"),
        hook("nvidia-ctk", "hook", "update-ldcache"),
        hook("/usr/bin//nvidia-ctk", "hook", "update-ldcache"),
        hook("/usr/bin/nvidia-ctk.real", "hook", "update-ldcache"),
        hook("/usr/bin/NVIDIA-ctk", "hook", "update-ldcache"),
        {"path": "/tmp/x", "args": ["nvidia-ctk", "hook", "update-ldcache"]},
        {"path": CTK, "args": ["sh", "hook", "update-ldcache"]},
        {"path": CTK, "args": []},
        {"path": CTK},
    ],
)
def test_a_hook_whose_program_is_not_trusted_is_dropped(item):
    assert not kept(item)


@pytest.mark.parametrize(
    "arguments",
    [
        ("disable-device-node-modification",),
        ("chmod", "--mode", "755", "--path", "/dev/dri"),
        ("noop",),
        ("update-ldcache2",),
        ("",),
        (),
        ("--debug", "update-ldcache"),
        ("update-ldcache", "--ldconfig-path", "/tmp/evil", "--folder", "/usr/lib64"),
        ("update-ldcache", "--ldconfig-path=@/tmp/evil"),
        ("update-ldcache", "--container-spec", "/tmp/state.json"),
        ("update-ldcache", "--container-spec=/tmp/state.json"),
        ("update-ldcache", "--folder"),
        ("update-ldcache", "--folder", "relative"),
        ("update-ldcache", "--folder", "/usr/lib64/../../etc"),
        ("update-ldcache", "/usr/lib64"),
        ("create-symlinks", "--link", "libcuda.so.1"),
        ("create-symlinks", "--link", "a::b::/c"),
        ("create-symlinks", "--link", "x::/../../etc/passwd"),
        ("create-symlinks", "--link", "x::relative"),
        ("create-symlinks", "--csv-filename", "/etc/shadow"),
        ("enable-cuda-compat", "--host-driver-version=$(id)"),
        ("update-application-profile", "--container-spec", "/tmp/state.json"),
    ],
)
def test_a_hook_with_other_words_than_the_toolkit_writes_is_dropped(arguments):
    assert not kept(hook(CDI_HOOK, *arguments))
    assert not kept(hook(CTK, "hook", *arguments))


def test_nvidia_ctk_without_the_word_hook_is_dropped():
    assert not kept(hook(CTK, "update-ldcache"))
    assert not kept(hook(CTK, "runtime", "configure"))
    assert not kept(hook(CDI_HOOK, "hook", "update-ldcache"))


@pytest.mark.parametrize("entry", ["LD_PRELOAD=/tmp/x.so", "PATH=/tmp", "GODEBUG=x", "LD_PRELOAD"])
def test_a_hook_whose_environment_the_toolkit_does_not_write_is_dropped(entry):
    assert not kept({**hook(CDI_HOOK, "update-ldcache"), "env": ["NVIDIA_CTK_DEBUG=false", entry]})


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "startContainer", "poststart", "poststop"])
def test_a_hook_at_another_stage_is_dropped(stage):
    assert not kept(hook(CDI_HOOK, "update-ldcache"), stage)
    assert kept({"path": "/proc/222/exe", "args": ["libnetwork-setkey", "x"]}, stage)


def test_the_programs_that_are_trusted_are_a_setting():
    there = hook("/usr/local/nvidia/toolkit/nvidia-ctk", "hook", "update-ldcache")
    assert kept(there, trusted_hooks=[there["path"]])
    assert not kept(hook(CDI_HOOK, "update-ldcache"), trusted_hooks=[])


def test_update_ldcache_goes_where_the_settings_say_so():
    assert not kept(hook(CDI_HOOK, "update-ldcache"), drop_update_ldcache=True)


@pytest.mark.parametrize("name", ["nvidia-container-runtime-hook", "nvidia-container-toolkit"])
def test_the_legacy_hook_is_dropped_where_devices_are_listed_whatever_its_path(name):
    for folder in ("/usr/bin", "/tmp"):
        spec = captured("1.20.0_jit-cdi_visible-all")
        spec["hooks"]["prestart"].append(hook(f"{folder}/{name}", "prestart"))
        decision = judge(spec)
        assert [action.rule for action in decision.actions if name in action.target] == ["hooks.legacy"]
        assert len(decision.spec["hooks"]["prestart"]) == 1


def test_the_same_hook_twice_is_dropped_twice_and_each_time_said():
    spec = captured(JIT)
    evil = hook("/tmp/nvidia-ctk", "hook", "update-ldcache")
    spec["hooks"]["createContainer"] += [evil, evil]
    decision = judge(spec)
    assert evil not in decision.spec["hooks"]["createContainer"]
    assert len([a for a in decision.actions if "/tmp/nvidia-ctk" in a.target]) == 2


def test_a_stage_that_is_emptied_is_left_out():
    spec = captured("1.14.6_csv_visible-all")
    made = judge(spec, hooks_run=False).spec
    assert list(made["hooks"]) == ["prestart"]
    assert judge(captured(CSV), hooks_run=False).refusal.rule == "devices.scope"
