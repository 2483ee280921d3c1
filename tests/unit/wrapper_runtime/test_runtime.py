"""The wrapper from its launcher on. Not real: the driver, and runsc, which tells how it was started."""

import json
import os
import stat
import subprocess

import pytest

from tests.installed_wrapper import PYTHON, ROOT, SHELLS, Start
from tests.unit.wrapper_runtime.creations import CSV, NAMES_NVIDIA, PLAIN, assert_refused


def devices(spec: bytes) -> list[str]:
    return [device["path"] for device in json.loads(spec)["linux"]["devices"]]


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_a_gpu_container_is_repaired_before_runsc_reads_it(wrapper, shell):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", shell=shell)
    assert (call.status, call.stdout, call.stderr, call.errors) == (0, "", "", [])
    assert call.runsc.spec == (bundle / "config.json").read_bytes() != CSV
    assert devices(call.runsc.spec) == ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"]
    log = ["--log", str(wrapper.log)]
    assert call.runsc.arguments == [
        "--from-settings",
        "--nvproxy",
        *log,
        "create",
        "--bundle",
        str(bundle),
        "abc",
    ]


@pytest.mark.parametrize("subcommand", ["create", "run", "restore"])
@pytest.mark.parametrize(
    "spelling", [["--bundle", "{}"], ["--bundle={}"], ["-bundle", "{}"], ["-b", "{}"], ["-b={}"]]
)
def test_each_subcommand_and_spelling_is_judged(wrapper, subcommand, spelling):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call(subcommand, *(word.format(bundle) for word in spelling), "abc")
    assert call.status == 0
    assert devices((bundle / "config.json").read_bytes()) == [
        "/dev/nvidia-uvm",
        "/dev/nvidia0",
        "/dev/nvidiactl",
    ]


def test_without_a_bundle_the_working_directory_is_judged(wrapper):
    bundle = wrapper.bundle("b", CSV)
    assert wrapper.call("create", "abc", cwd=bundle).runsc.cwd == str(bundle)
    assert (bundle / "config.json").read_bytes() != CSV


def test_the_second_call_finds_nothing_to_do(wrapper):
    bundle = wrapper.bundle("b", CSV)
    wrapper.call("create", "--bundle", str(bundle), "abc")
    before = (bundle / "config.json").stat()
    assert wrapper.call("create", "--bundle", str(bundle), "abc").status == 0
    assert (bundle / "config.json").stat() == before


def test_owner_and_mode_of_the_spec_stay(wrapper):
    bundle = wrapper.bundle("b", CSV)
    os.chown(bundle / "config.json", 0, 1234)
    (bundle / "config.json").chmod(0o640)
    wrapper.call("create", "--bundle", str(bundle), "abc")
    after = (bundle / "config.json").stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (0, 1234, 0o640)
    assert [path.name for path in bundle.iterdir()] == ["config.json"]


def test_what_runsc_inherits_is_what_the_caller_gave(wrapper):
    bundle = wrapper.bundle("b", CSV)
    read, write = os.pipe()
    call = wrapper.call("create", "--bundle", str(bundle), "abc", pass_fds=[write], umask=0o027, cwd="/proc")
    os.close(read)
    os.close(write)
    assert call.runsc.fds == {0, 1, 2, write}
    assert call.runsc.umask == "0027"
    assert call.runsc.cwd == "/proc"
    direct = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True)
    assert call.runsc.ignored_signals == int(direct.stdout.split()[1], 16)


def test_the_process_id_is_the_callers_child(wrapper):
    bundle = wrapper.bundle("b", NAMES_NVIDIA)
    process = subprocess.Popen([str(wrapper.launcher), "create", "--bundle", str(bundle), "abc"])
    process.wait(timeout=30)
    assert Start.read(wrapper.home / "seen").pid == process.pid


def test_of_the_environment_only_the_allowlist_reaches_runsc(wrapper, tmp_path):
    bundle = wrapper.bundle("b", CSV)
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('python obeyed PYTHONPATH')")
    environment = {
        "PATH": str(tmp_path),
        "LD_PRELOAD": "/nonexistent/evil.so",
        "LD_LIBRARY_PATH": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "sitecustomize.py"),
        "GVISOR_SIDECAR_BINARIES_DIR": str(tmp_path),
        "ENV": str(tmp_path / "sitecustomize.py"),
        "GODEBUG": "execerrdot=0",
        "HOME": "/root",
        "USER": "somebody",
        "PWD": f"{tmp_path}/link",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "NOTIFY_SOCKET": "/run/notify",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "7",
        "LISTEN_FDNAMES": "x",
    }
    # `env -i`, so that unshare and mount before it still find their own PATH.
    prefix = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    (tmp_path / "link").symlink_to(tmp_path)
    call = wrapper.call_exactly("create", "--bundle", str(bundle), "abc", prefix=prefix, cwd=tmp_path)
    assert call.status == 0, call.stderr
    assert call.runsc.environment == {
        "USER": "somebody",
        "PWD": f"{tmp_path}/link",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "NOTIFY_SOCKET": "/run/notify",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "7",
        "LISTEN_FDNAMES": "x",
    }


def test_arguments_that_are_no_text_reach_runsc_byte_by_byte(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), b"--pid-file", b"/p/\xff\xfe", "abc")
    assert call.runsc.arguments[-2] == b"/p/\xff\xfe".decode("utf-8", "surrogateescape")


def test_a_refusal_is_one_sentence_for_docker_and_leaves_the_bundle(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "/dev/nvidia", "devices.exist")
    assert wrapper.decisions()[0]["refused"] == "devices.exist"
    assert wrapper.decisions()[0]["given"] == []


def test_a_line_that_may_mean_two_bundles_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--from-tomorrow", f"--bundle={bundle}", "abc")
    assert_refused(call, bundle, CSV, f"may mean the bundle . or {bundle}", "--flag=value")


def test_a_decision_is_one_line(wrapper):
    bundle = wrapper.bundle("b", CSV)
    wrapper.call("create", "--bundle", str(bundle), "abc")
    (line,) = wrapper.decisions()
    assert line["id"] == "abc"
    assert line["class"] == "csv"
    assert line["asked"] == ["0"]
    assert line["given"] == ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"]
    assert "env.void" in line["rules"]
    assert line["refused"] is None
    assert isinstance(line["ms"], int)
    assert stat.S_IMODE(wrapper.audit_log.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("spec", "mode", "rule"), [(CSV + b"x", 0o600, "spec.json"), (CSV, 0o622, "bundle.file")]
)
def test_a_spec_that_cannot_be_judged_is_in_the_decision_log(wrapper, spec, mode, rule):
    bundle = wrapper.bundle("b", spec)
    (bundle / "config.json").chmod(mode)
    assert_refused(wrapper.call("create", "--bundle", str(bundle), "abc"), bundle, spec, f"({rule})")
    (line,) = wrapper.decisions()
    assert (line["id"], line["refused"], line["given"]) == ("abc", rule, [])


def test_in_docker_nobody_gets_into_a_sandbox_by_an_annotation(wrapper):
    forged = {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "neighbour"}
    spec = json.dumps({**json.loads(PLAIN), "annotations": forged}).encode()
    docker, cri = "/run/docker/runtime-runc/moby", "/run/containerd/runc/k8s.io"
    for number, (words, left) in enumerate(
        [(["--root", docker], None), ([f"--root={docker}"], None), (["--root", cri], forged)]
    ):
        bundle = wrapper.bundle(f"b{number}", spec)
        call = wrapper.call(*words, "create", "--bundle", str(bundle), "abc")
        assert json.loads(call.runsc.spec).get("annotations") == left


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
def test_a_bundle_whose_path_goes_back_behind_a_name_is_refused(wrapper, there):
    """The kernel finds no `b/x/../b`, runsc does: it takes `x/..` away by its text."""
    bundle = wrapper.bundle("b", CSV)
    if there:
        (wrapper.home / "x").symlink_to(wrapper.home)
    call = wrapper.call("create", "--bundle", f"{wrapper.home}/x/../b", "abc")
    assert_refused(call, bundle, CSV, "x/../b", "(bundle.file)")


def test_what_a_stranger_asks_for_has_no_power_over_a_terminal_or_a_journal(wrapper):
    spec = CSV.replace(b"VISIBLE_DEVICES=0", rb"VISIBLE_DEVICES=7\n{\"level\":\"error\"}\u001b[31m")
    bundle = wrapper.bundle("b", spec)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert call.status == 1
    assert call.stderr.rstrip("\n").isprintable()
    assert r"7\n{" in call.stderr


def test_what_a_stranger_asks_for_does_not_flood_the_decision_log(wrapper):
    spec = CSV.replace(b"NVIDIA_VISIBLE_DEVICES=0", b"NVIDIA_VISIBLE_DEVICES=" + b"x" * 5000 + b",y" * 5000)
    bundle = wrapper.bundle("b", spec)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert call.status == 1
    assert len(call.stderr) < 5000
    assert wrapper.audit_log.stat().st_size < 4096


WISHES = b'NVIDIA_DRIVER_CAPABILITIES=compute,vid\\u001b[31meo","NVIDIA_GDS=enabled'


def test_what_is_asked_for_and_not_given_is_in_both_logs_and_on_no_stream(wrapper):
    spec = CSV.replace(b"NVIDIA_VISIBLE_DEVICES=0", b'NVIDIA_VISIBLE_DEVICES=0","' + WISHES, 1)
    bundle = wrapper.bundle("b", spec)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert (call.status, call.stdout, call.stderr, call.errors) == (0, "", "", [])
    capabilities, gds = call.warnings
    assert (r"vid\x1b[31meo" in capabilities, "NVIDIA_GDS=enabled" in gds) == (True, True)
    (line,) = wrapper.decisions()
    assert [warning["rule"] for warning in line["warnings"]] == ["asked.capabilities", "asked.features"]
    assert "\x1b" not in json.dumps(line["warnings"], ensure_ascii=False)


def test_a_container_that_gets_all_it_asks_for_leaves_no_warning(wrapper):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc")
    assert call.warnings == []
    assert wrapper.decisions()[0]["warnings"] == []


# Python's own start, the C half of `json`, and what `from __future__ import annotations` loads.
EXTRA_MODULES = {"_json", "__future__"}


def test_the_way_of_a_gpu_container_imports_no_module_more(wrapper):
    """The same as the launcher's program, with the list of modules in the place of runsc."""
    bundle = wrapper.bundle("b", CSV)
    program = (
        "import sys, posix\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "def tell(*_): print(*sys.modules); sys.stdout.flush(); posix._exit(0)\n"
        "posix.execve = tell\n"
        "from nvproxy_wrapper.runtime import main\n"
        f"main(['/runsc'], {str(wrapper.settings_file)!r})\n"
    )
    wrapper.launcher.write_text(f'#!/bin/sh\nexec {PYTHON} -IS -c "$(cat {wrapper.home}/program)" "$@"\n')
    (wrapper.home / "program").write_text(program)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert call.status == 0, call.stderr
    modules = set(call.stdout.split())
    own = {module for module in modules if module.split(".")[0] == "nvproxy_wrapper"}
    start = subprocess.run(
        [PYTHON, "-IS", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True
    )
    assert modules - own == set(start.stdout.split()) | EXTRA_MODULES
    assert "nvproxy_wrapper.runtime" in own
    seldom = ("admin", "host.preparation", "judge.rules.asked", "judge.rules.legacy", "judge.rules.links")
    assert not own & {f"nvproxy_wrapper.{name}" for name in seldom}
