"""hooks.allow and hooks.legacy: which of NVIDIA's hooks stay."""

import pytest

from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook, find, gpus_with_memory_hook, links_of
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.driver_tree import captured_uuid
from tests.unit.wrapper.specs import CDI, CSV, JIT, LEGACY, NO_DRIVER, asking, captured, hook, judge

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
        ("apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", captured_uuid(1)),
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
    assert judge(captured(CSV), NO_DRIVER, hooks_run=False).refusal.rule == "devices.scope"


LIMIT, REQUEST = "NVIDIA_GPU_MEMORY_LIMIT=1024", "NVIDIA_GPU_MEMORY_REQUEST=512"
LIMITS = ("apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", captured_uuid(1))


def limited(*hooks, name=CDI, variables=(LIMIT,), stage="createRuntime"):
    """A container with GPU 1, whose spec has these hooks and variables."""
    spec = captured(name)
    spec["hooks"].setdefault(stage, []).extend(hooks)
    spec["process"]["env"] += variables
    return spec


@pytest.mark.parametrize("variables", [(LIMIT,), (REQUEST,), (REQUEST, LIMIT), ("NVIDIA_GPU_MEMORY_LIMIT=",)])
@pytest.mark.parametrize("root", ["", "/", "/run/nvidia/driver"])
def test_a_memory_limit_that_was_asked_for_keeps_its_hook(variables, root):
    item = hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", root, "--gpu-id", captured_uuid(1))
    decision = judge(limited(item, variables=variables))
    assert (decision.spec_class, decision.refusal) == ("cdi", None)
    assert decision.spec["hooks"]["createRuntime"] == [item]


def test_where_no_limit_is_asked_for_the_hook_goes_and_it_is_said():
    decision = judge(limited(hook(CDI_HOOK, *LIMITS), variables=("NVIDIA_GPU_MEMORY_LIMITS=1",)))
    assert "createRuntime" not in decision.spec["hooks"]
    (action,) = [one for one in decision.actions if "apply-cuda-memory-limits" in one.target]
    assert (action.rule, action.what) == ("hooks.allow", "dropped")


@pytest.mark.parametrize(
    "item",
    [
        hook("/tmp/nvidia-cdi-hook", *LIMITS),
        hook(CDI_HOOK, *LIMITS, "--container-spec", "/tmp/state.json"),
        hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", "/tmp", "--gpu-id", captured_uuid(1)),
        hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", "1"),
        hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", "", "--gpu-id", "GPU-" + "x" * 36),
        hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", ""),
        {**hook(CDI_HOOK, *LIMITS), "env": ["LD_PRELOAD=/tmp/x.so"]},
    ],
)
def test_a_limit_whose_hook_is_not_what_the_toolkit_writes_is_refused(item):
    assert judge(limited(item)).refusal.rule == "hooks.memory"
    assert judge(limited(item, variables=())).refusal is None
    assert item not in judge(limited(item, variables=())).spec["hooks"].get("createRuntime", [])


def test_a_limit_without_a_hook_for_each_gpu_is_refused():
    assert judge(limited()).refusal.rule == "hooks.memory"
    everything = limited(hook(CTK, "hook", *LIMITS), name="1.20.0_jit-cdi_visible-all")
    refusal = judge(everything).refusal
    assert refusal.rule == "hooks.memory"
    assert "8 GPUs are listed, and 1" in refusal.message


def test_a_limit_at_a_stage_where_the_toolkit_does_not_put_it_is_refused(host):
    spec = limited(hook(CDI_HOOK, *LIMITS), stage="createContainer")
    assert judge(spec, host).refusal.rule == "hooks.memory"


def test_a_limit_that_a_runsc_without_hooks_would_not_set_is_refused():
    spec = limited(hook(CDI_HOOK, *LIMITS))
    assert judge(spec, hooks_run=False).refusal.rule == "hooks.memory"
    assert judge(limited(hook(CDI_HOOK, *LIMITS), variables=()), hooks_run=False).refusal is None


@pytest.mark.parametrize("key", ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"])
def test_a_limit_that_would_be_a_whole_pods_is_refused(key, host):
    spec = limited(hook(CDI_HOOK, *LIMITS))
    spec["annotations"] = {key: "container"}
    refusal = judge(spec, host).refusal
    assert (refusal.rule, "pod" in refusal.message) == ("hooks.memory", True)
    # Docker has no pods: there the annotation goes.
    assert decide(spec, DEFAULTS, host, engine_has_no_pods=True).refusal is None


@pytest.mark.parametrize("flag", ["--ignore-cgroups", "-ignore-cgroups=true", "--ignore-cgroups=1"])
def test_a_limit_for_the_cgroup_of_others_is_refused(flag):
    assert judge(limited(hook(CDI_HOOK, *LIMITS)), runsc_args=[flag]).refusal.rule == "hooks.memory"
    off = f"--{flag.strip('-').partition('=')[0]}=false"
    assert judge(limited(hook(CDI_HOOK, *LIMITS)), runsc_args=[off]).refusal is None


def test_in_legacy_mode_a_limit_is_refused_where_a_gpu_is_asked_for():
    for values, rule in ((("1",), "hooks.memory"), (("none",), None), ((), None)):
        refusal = judge(asking(limited(name=LEGACY), *values)).refusal
        assert (refusal and refusal.rule) == rule


def test_a_limit_without_a_gpu_is_nobodys_business():
    assert judge(limited(name="1.20.0_jit-cdi_visible-none")).refusal is None
    assert not judge(limited(name="1.20.0_legacy_no-gpu")).changed


STAGES = {
    "createContainer": (
        *("create-symlinks", "update-ldcache", "enable-cuda-compat", "update-application-profile"),
        *("disable-device-node-modification", "chmod", "noop"),
    ),
    "createRuntime": ("apply-cuda-memory-limits",),
}
EVERY_STAGE = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.mark.parametrize("words", [(CTK, "hook"), (CDI_HOOK,)], ids=["nvidia-ctk", "nvidia-cdi-hook"])
@pytest.mark.parametrize("stage", EVERY_STAGE)
def test_each_hook_of_the_toolkit_is_known_at_the_stage_where_the_toolkit_puts_it(stage, words):
    for home, names in STAGES.items():
        for name in names:
            one = NvidiaHook(stage, hook(*words, name, "--x"))
            assert (one.subcommand, one.arguments, str(one)) == (name, ["--x"], f"{words[0]} {name}")
            assert one.is_ctk_form is (words[0] == CTK)
            assert one.is_known is (stage == home)
            assert not one.has_new_name([words[0]])


@pytest.mark.parametrize(
    ("path", "is_legacy"),
    [
        ("/usr/bin/nvidia-container-runtime-hook", True),
        ("nvidia-container-toolkit", True),
        ("/tmp/nvidia-container-cli", False),
    ],
)
def test_the_hook_of_legacy_mode_is_known_by_its_name(path, is_legacy):
    one = NvidiaHook("prestart", hook(path, "prestart"))
    assert one.is_legacy is is_legacy
    assert (one.subcommand, one.is_known, str(one)) == (None, False, path)


@pytest.mark.parametrize(
    ("item", "subcommand", "arguments"),
    [
        (hook(CTK, "hook", "noop"), "noop", []),
        (hook(CTK, "hook"), None, []),
        (hook(CTK, "noop"), None, []),
        (hook(CTK), None, []),
        ({"path": CTK, "args": None}, None, []),
        ({"path": CTK}, None, []),
        (hook(CDI_HOOK, "noop"), "noop", []),
        (hook(CDI_HOOK), None, []),
        (hook(CDI_HOOK, "hook", "noop"), "hook", ["noop"]),
        (hook("/x/nvidia-ctk", "hook", "a", "b", "c"), "a", ["b", "c"]),
        (hook("/usr/bin/sh", "hook", "noop"), None, ["noop"]),
    ],
)
def test_the_subcommand_stands_where_each_of_the_programs_has_it(item, subcommand, arguments):
    one = NvidiaHook("createContainer", item)
    assert one.subcommand == subcommand
    if subcommand:
        assert one.arguments == arguments


@pytest.mark.parametrize(
    ("name", "is_new"),
    [
        ("make-coffee", True),
        ("x", True),
        ("x1", True),
        ("noop", False),
        ("--debug", False),
        ("", False),
        ("1x", False),
    ],
)
def test_a_new_name_is_a_word_behind_a_trusted_program(name, is_new):
    one = NvidiaHook("createContainer", hook(CTK, "hook", name))
    assert one.has_new_name([CDI_HOOK, CTK]) is is_new
    assert not one.has_new_name([CDI_HOOK])
    assert not NvidiaHook("createContainer", hook(CTK, name)).has_new_name([CTK])


def test_flags_have_their_values_behind_an_equals_sign_or_in_the_next_word():
    words = ("--a", "1", "--b=2", "--b=3=4", "-b", "5", "--b", "6", "--a=", "--b")
    one = NvidiaHook("createContainer", hook(CDI_HOOK, "noop", *words))
    assert one.flags() == [
        *(("--a", "1"), ("--b", "2"), ("--b", "3=4"), ("-b", "5"), ("--b", "6"), ("--a", ""), ("--b", None))
    ]
    assert one.values("--b") == ["2", "3=4", "6"]
    assert one.values("--a") == ["1", ""]


@pytest.mark.parametrize(
    ("item", "is_found"),
    [
        (hook("/usr/bin/nvidia-ctk"), True),
        (hook("/opt/NVIDIA-thing"), True),
        ({"path": "/usr/bin/x", "args": ["/opt/Nvidia-thing"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "/usr/bin/nvidia-ctk"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "--", "nvidia-cdi-hook"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "nvidia-container-cli"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "/y/nvidia-container-runtime-hook"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "/y/nvidia-container-toolkit"]}, True),
        ({"path": "/usr/bin/x", "args": ["x", "/usr/bin/nvidia-smi", "nvidia"]}, False),
        ({"path": "/opt/nvidia/bin/x", "args": ["/opt/nvidia/x", "y"]}, False),
        ({"path": "/usr/bin/x", "args": []}, False),
        ({"path": "/usr/bin/x", "args": None}, False),
        ({"path": "/usr/bin/x"}, False),
    ],
)
def test_a_hook_is_nvidias_by_its_own_name_or_by_a_program_that_it_runs(item, is_found):
    found = find({"poststop": [{"path": "/x"}, item]})
    assert [(one.stage, one.hook) for one in found] == ([("poststop", item)] if is_found else [])


def test_links_and_gpus_are_read_from_the_hooks_that_name_them():
    hooks = [
        NvidiaHook(
            "createContainer", hook(CTK, "hook", "create-symlinks", "--link", "a::/b", "--link=c::/d")
        ),
        NvidiaHook("createContainer", hook(CDI_HOOK, "create-symlinks", "--link", "alone", "--links=x::/y")),
        NvidiaHook("createContainer", hook(CDI_HOOK, "update-ldcache", "--link", "x::/y")),
        NvidiaHook(
            "createRuntime", hook(CDI_HOOK, "apply-cuda-memory-limits", "--gpu-id", "A", "--gpu-id=B")
        ),
        NvidiaHook("createRuntime", hook(CDI_HOOK, "noop", "--gpu-id", "C")),
    ]
    assert links_of(hooks) == [("a", "/b"), ("c", "/d"), ("alone", "")]
    assert gpus_with_memory_hook(hooks) == ["A", "B"]


def said_of(item, stage="createContainer", **settings):
    """What is done with a hook that is added to a spec, and why."""
    spec = asking(captured(CDI), "all")
    spec["hooks"].setdefault(stage, []).append(item)
    name = str(NvidiaHook(stage, item))
    said = [one for one in judge(spec, **settings).actions if one.target == f"{stage}: {name}"]
    return [(one.rule, one.what, one.why) for one in said][-1:]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (hook("/tmp/nvidia-ctk", "hook", "update-ldcache"), f"{CTK}, {CDI_HOOK}"),
        (hook(CTK, "update-ldcache"), "form"),
        (hook(CDI_HOOK), "form"),
        ({"path": CTK, "args": ["x", "hook", "noop"]}, "form"),
        ({"path": CTK, "args": ["/x/nvidia-ctk", "hook", "noop"]}, "it does nothing"),
        ({"path": CTK, "args": ["/x/nvidia-ctk", "hook", "make-coffee"]}, "known to be needed"),
        (hook(CDI_HOOK, "apply-cuda-memory-limits"), "at createRuntime"),
        (hook(CDI_HOOK, "disable-device-node-modification"), "kills the gofer"),
        (hook(CDI_HOOK, "chmod", "--mode", "755"), "modes of its own"),
        (hook(CDI_HOOK, "noop"), "it does nothing"),
        (hook(CDI_HOOK, "update-ldcache", "--folder", "odd"), "argument --folder odd"),
        (hook(CDI_HOOK, "update-ldcache", "--folder"), "argument --folder"),
        (hook(CDI_HOOK, "update-ldcache", "--container-spec=/x"), "argument --container-spec /x"),
        ({**hook(CDI_HOOK, "update-ldcache"), "env": ["NVIDIA_X=1", "A=1=2"]}, " A in"),
    ],
)
def test_a_hook_that_goes_is_told_its_own_reason(item, why):
    ((rule, what, told),) = said_of(item)
    assert (rule, what) == ("hooks.allow", "dropped")
    assert f"{why} " in f"{told} "
    assert told == told.strip()


def test_reasons_that_are_a_hosts_name_its_setting():
    ldcache = hook(CDI_HOOK, "update-ldcache")
    ((rule, what, why),) = said_of(ldcache, drop_update_ldcache=True)
    assert (rule, what, "drop_update_ldcache" in why) == ("hooks.allow", "dropped", True)
    assert "one of none" in said_of(ldcache, trusted_hooks=[])[0][2]
    ((rule, what, why),) = said_of(ldcache, hooks_run=False)
    assert (rule, what, "runs no createContainer hook" in why) == ("hooks.emulate", "dropped", True)
    variables = " nor ".join(name.partition("=")[0] for name in (REQUEST, LIMIT))
    assert f"{variables} " in said_of(hook(CDI_HOOK, *LIMITS), "createRuntime")[0][2]


@pytest.mark.parametrize(
    ("name", "flag", "good", "bad"),
    [
        (
            "create-symlinks",
            "--link",
            ["a::/b", "a::/b c", "../a::/b"],
            ["::/b", "a:/b", "a::", "a::b", "a::/b::/c", "a\0::/b", "a::/b/", "a::/b\0"],
        ),
        ("create-symlinks", "--csv-filename", ["/x.csv"], ["x.csv", "/x.csv.d", "/../x.csv", "/csv"]),
        ("update-ldcache", "--folder", ["/x"], ["x", "/x/", ""]),
        (
            "update-ldcache",
            "--ldconfig-path",
            ["/sbin/ldconfig", "@/sbin/ldconfig.real", "/usr/sbin/ldconfig", "@/usr/sbin/ldconfig.real"],
            ["@@/sbin/ldconfig", "/sbin/ldconfig2", "ldconfig", "@", "", "/sbin/ldconfig@"],
        ),
        (
            "enable-cuda-compat",
            "--host-driver-version",
            ["570.124.06", "5*"],
            ["", "a", "1a", "$1", "1 2", "1X"],
        ),
        ("enable-cuda-compat", "--host-cuda-version", ["12.4", "12"], ["", "v12"]),
        ("enable-cuda-compat", "--cuda-compat-container-root", ["/usr/local/cuda/compat"], ["x", ""]),
    ],
)
def test_each_argument_takes_what_the_toolkit_writes_and_no_other(name, flag, good, bad):
    for value in good:
        assert kept(hook(CDI_HOOK, name, flag, value)), value
        assert kept(hook(CDI_HOOK, name, f"{flag}={value}")), value
    for value in bad:
        assert not kept(hook(CDI_HOOK, name, flag, value)), value
        assert not kept(hook(CDI_HOOK, name, f"{flag}={value}")), value
    assert not kept(hook(CDI_HOOK, name, flag))


@pytest.mark.parametrize(
    ("uuid", "is_one"),
    [
        ("GPU-" + "0123456789abcdef-" * 2 + "ab", True),
        ("GPU-" + "0" * 36, True),
        ("GPU-" + "0" * 35, False),
        ("GPU-" + "0" * 37, False),
        ("gpu-" + "0" * 36, False),
        ("GPU-" + "0" * 35 + "g", False),
        ("GPU-" + "0" * 35 + "A", False),
        ("GPU-" + "X" * 36, False),
        ("0" * 40, False),
    ],
)
def test_a_limit_is_for_a_gpu_by_its_whole_uuid(uuid, is_one):
    item = hook(CDI_HOOK, "apply-cuda-memory-limits", "--driver-root", "/", "--gpu-id", uuid)
    refusal = judge(limited(item)).refusal
    assert (refusal and refusal.rule) == (None if is_one else "hooks.memory")


@pytest.mark.parametrize(
    ("flag", "is_refused"),
    [
        *((f"--ignore-cgroups={value}", False) for value in ("0", "f", "F", "false", "False", "FALSE")),
        *((f"-ignore-cgroups={value}", True) for value in ("1", "t", "T", "true", "True", "TRUE")),
        ("--ignore-cgroups", True),
        *((other, False) for other in ("--ignore-cgroups-not", "X--ignore-cgroups", "--not-ignore-cgroups")),
    ],
)
def test_cgroups_are_ignored_as_go_reads_that_flag(flag, is_refused):
    refusal = judge(limited(hook(CDI_HOOK, *LIMITS)), runsc_args=["--debug", flag, "--strace"]).refusal
    assert bool(refusal) is is_refused
    if refusal:
        assert "--ignore-cgroups" in refusal.message


@pytest.mark.parametrize(
    ("variables", "named"),
    [((LIMIT,), ["LIMIT"]), ((REQUEST,), ["REQUEST"]), ((LIMIT, REQUEST), ["REQUEST", "LIMIT"])],
)
def test_a_limit_that_cannot_be_set_names_the_variables_that_ask(variables, named):
    refusal = judge(limited(variables=variables)).refusal
    names = " and ".join(f"NVIDIA_GPU_MEMORY_{name}" for name in named)
    assert refusal.message.startswith(f"{names} asks")
    assert f"without {names};" in refusal.remedy


def test_of_two_hooks_that_are_alike_each_is_dropped_by_itself():
    spec = captured(JIT)
    spec["hooks"]["createContainer"] += [hook("/tmp/nvidia-ctk", "hook", "noop") for _ in range(2)]
    decision = judge(spec)
    said = [
        (one.rule, one.what) for one in decision.actions if one.target.startswith("createContainer: /tmp")
    ]
    assert said == [("hooks.allow", "dropped")] * 2
