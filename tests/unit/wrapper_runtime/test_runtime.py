"""The wrapper from its launcher on. Not real: the driver, and runsc, which tells how it was started."""

import json
import os
import stat
import subprocess

import pytest

from tests.installed_wrapper import (
    CAPTURED,
    PYTHON,
    ROOT,
    SHELLS,
    InstalledWrapper,
    Start,
    copy_of_the_package,
)

CSV = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()
PLAIN = b'{"process":{"args":["true"]}}'
# Looks like a GPU container to the launcher, and is none.
NAMES_NVIDIA = b'{"ociVersion":"1.0.2","process":{"args":["echo","nvidia"]},"root":{"path":"rootfs"}}'


@pytest.fixture
def wrapper(tmp_path):
    return InstalledWrapper(tmp_path)


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


LOADERS = {"LD_PRELOAD": "", "LD_LIBRARY_PATH": "/nowhere", "GVISOR_SIDECAR_BINARIES_DIR": "/nowhere"}
ANY_ENVIRONMENT = {
    "PATH": "/nowhere:/usr/bin",
    "USER": "somebody",
    "HOME": "/home/somebody",
    "GODEBUG": "execerrdot=0",
    "EMPTY": "",
    "TWO_LINES": "one\n=two",
}


@pytest.mark.parametrize("subcommand", ["create", "run", "restore", "state"])
@pytest.mark.parametrize("spec", ["PLAIN", "NAMES_NVIDIA", "no spec"])
def test_a_plain_container_has_the_environment_that_the_caller_gave(wrapper, subcommand, spec, monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    bundle = wrapper.bundle("b", {"PLAIN": PLAIN, "NAMES_NVIDIA": NAMES_NVIDIA}.get(spec, b""))
    if spec == "no spec":
        (bundle / "config.json").unlink()
    environment = {**ANY_ENVIRONMENT, "PWD": str(wrapper.home)}
    call = wrapper.call(
        subcommand,
        *([] if subcommand == "state" else ["--bundle", str(bundle)]),
        "abc",
        nodes=False,
        cwd=wrapper.home,
        env={**environment, **LOADERS},
    )
    assert (call.status, call.errors) == (0, [])
    assert call.runsc.environment == environment


def test_arguments_that_are_no_text_reach_runsc_byte_by_byte(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), b"--pid-file", b"/p/\xff\xfe", "abc")
    assert call.runsc.arguments[-2] == b"/p/\xff\xfe".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "arguments", [["state", "abc"], ["--root", "create", "delete", "abc"], ["kill", "create", "9"]]
)
def test_other_calls_take_the_launchers_own_runsc(wrapper, arguments):
    call = wrapper.call_exactly(*arguments, nodes=False)
    assert call.runsc.arguments == ["--from-launcher", *arguments]


def test_a_plain_container_that_names_nvidia_runs_and_its_spec_stays(wrapper):
    bundle = wrapper.bundle("b", NAMES_NVIDIA)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert call.status == 0
    assert "--nvproxy" not in call.runsc.arguments
    assert (bundle / "config.json").read_bytes() == NAMES_NVIDIA
    assert wrapper.decisions() == []


@pytest.mark.parametrize("subcommand", ["create", "run", "restore"])
def test_a_bundle_whose_spec_cannot_be_read_is_left_to_runsc_which_says_why(wrapper, subcommand):
    bundle = wrapper.home / "b"
    for make in (
        lambda: None,
        bundle.mkdir,
        (bundle / "config.json").mkdir,
        lambda: ((bundle / "config.json").rmdir(), (bundle / "config.json").symlink_to("config.json")),
        lambda: ((bundle / "config.json").unlink(), bundle.rmdir(), bundle.write_text("no directory")),
    ):
        make()
        call = wrapper.call(subcommand, "--bundle", str(bundle), "abc")
        assert (call.runsc is not None, call.errors, wrapper.decisions()) == (True, [], [])


def assert_refused(call, bundle, spec, *words):
    assert call.status == 1
    assert call.runsc is None
    assert call.stdout == ""
    assert call.stderr == call.errors[-1] + "\n"
    for word in words:
        assert word in call.errors[-1]
    assert (bundle / "config.json").read_bytes() == spec
    assert [path.name for path in bundle.iterdir()] == ["config.json"]


def test_a_refusal_is_one_sentence_for_docker_and_leaves_the_bundle(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "/dev/nvidia", "devices.exist")
    assert wrapper.decisions()[0]["refused"] == "devices.exist"
    assert wrapper.decisions()[0]["given"] == []


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda wrapper: wrapper.settings_file.unlink(), "missing"),
        (lambda wrapper: wrapper.write_settings(colour="red"), "colour"),
        (lambda wrapper: wrapper.write_settings(hooks_run="yes"), "hooks_run"),
        (lambda wrapper: wrapper.settings_file.write_text("{"), "settings.json"),
        (lambda wrapper: wrapper.settings_file.chmod(0o666), "0666"),
        (lambda wrapper: os.chown(wrapper.settings_file, 1234, 0), "1234"),
        (
            lambda wrapper: (
                wrapper.settings_file.rename(wrapper.home / "x") and wrapper.settings_file.symlink_to("x")
            ),
            "link",
        ),
    ],
    ids=["missing", "unknown key", "wrong type", "not JSON", "writable", "another owner", "a link"],
)
def test_with_unusable_settings_gpu_containers_are_refused_and_plain_ones_run(wrapper, break_it, says):
    break_it(wrapper)
    bundle = wrapper.bundle("b", CSV)
    assert_refused(wrapper.call("create", "--bundle", str(bundle), "abc"), bundle, CSV, "settings.json", says)
    plain = wrapper.bundle("plain", NAMES_NVIDIA)
    call = wrapper.call("create", "--bundle", str(plain), "abc")
    # Its runsc keeps the arguments that the operator gave, which only the launcher still knows.
    assert call.runsc.arguments[0] == "--from-launcher"
    assert wrapper.decisions() == []


def damaged(tmp_path, damage):
    package = copy_of_the_package(tmp_path / "package")
    damage(package / "nvproxy_wrapper")
    (tmp_path / "home").mkdir()
    return InstalledWrapper(tmp_path / "home", package=package)


@pytest.mark.parametrize(
    "damage",
    [
        lambda package: package.rename(package.parent / "gone"),
        lambda package: (package / "judge/rewrite.py").unlink(),
        lambda package: (package / "host/bundle.py").write_text("def ("),
        lambda package: (package / "judge/decision.py").write_text("x = 1"),
    ],
    ids=["package gone", "a module gone", "a syntax error", "a name gone"],
)
@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_a_damaged_wrapper_refuses_gpu_containers_and_plain_ones_run(tmp_path, damage, shell):
    wrapper = damaged(tmp_path, damage)
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", shell=shell)
    assert_refused(call, bundle, CSV, "missing or damaged", str(tmp_path / "package"))
    plain = wrapper.bundle("plain", PLAIN)
    assert wrapper.call("create", "--bundle", str(plain), "abc", shell=shell).status == 0


def test_a_line_that_may_mean_two_bundles_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--from-tomorrow", f"--bundle={bundle}", "abc")
    assert_refused(call, bundle, CSV, f"may mean the bundle . or {bundle}", "--flag=value")


@pytest.mark.parametrize("other", [None, PLAIN, NAMES_NVIDIA])
@pytest.mark.parametrize("spec", [PLAIN, NAMES_NVIDIA])
def test_a_line_that_may_mean_two_bundles_is_left_to_runsc_where_neither_has_a_trace(wrapper, spec, other):
    bundle = wrapper.bundle("b", spec)
    working_directory = wrapper.bundle("cwd", other or b"")
    if other is None:
        (working_directory / "config.json").unlink()
    call = wrapper.call("create", "--from-tomorrow", f"--bundle={bundle}", "abc", cwd=working_directory)
    if spec == PLAIN and other in (None, PLAIN):
        assert call.runsc.arguments[-1] == "abc"
    else:
        assert "may mean the bundle" in call.stderr


def lies_below_a_link(wrapper, bundle):
    (wrapper.home / "link").symlink_to(bundle)
    return wrapper.home / "link"


def is_a_link(_wrapper, bundle):
    (bundle / "config.json").rename(bundle / "real.json")
    (bundle / "config.json").symlink_to("real.json")
    return bundle


def has_two_names(_wrapper, bundle):
    (bundle / "other").hardlink_to(bundle / "config.json")
    return bundle


def goes_back(wrapper, bundle):
    """As runsc reads it: the kernel would go by the link first, and find nothing."""
    (wrapper.home / "away").mkdir()
    (wrapper.home / "x").symlink_to("away")
    return f"{wrapper.home}/x/../{bundle.name}"


def may_be_written_by_all(_wrapper, bundle):
    bundle.chmod(0o777)
    (bundle / "config.json").chmod(0o666)
    return bundle


def belongs_to_another(_wrapper, bundle):
    os.chown(bundle, 1234, 1234)
    os.chown(bundle / "config.json", 1234, 1234)
    return bundle


FAULTS = [lies_below_a_link, is_a_link, has_two_names, goes_back, may_be_written_by_all, belongs_to_another]
LEGACY_PLAIN = (CAPTURED / "1.20.0_legacy_no-gpu.json").read_bytes()
# What the wrapper writes anew in every container.
ANNOTATED = b'{"ociVersion":"1.0.2","annotations":{"dev.gvisor.flag.debug":"true"},"process":{"args":["a"]}}'


@pytest.mark.parametrize("subcommand", ["create", "run"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_only_matters_to_gpu_containers_stops_no_plain_one(wrapper, subcommand, fault):
    for number, spec in enumerate((PLAIN, NAMES_NVIDIA, LEGACY_PLAIN)):
        bundle = wrapper.bundle(f"b{number}", spec)
        path = fault(wrapper, bundle)
        call = wrapper.call(subcommand, "--bundle", str(path), "abc", nodes=False)
        assert (call.status, call.stderr, call.errors) == (0, "", [])
        assert call.runsc.arguments[-4:] == [subcommand, "--bundle", str(path), "abc"]
        assert (bundle / "config.json").read_bytes() == spec
        for link in ("link", "x"):
            (wrapper.home / link).unlink(missing_ok=True)
        if (wrapper.home / "away").exists():
            (wrapper.home / "away").rmdir()


@pytest.mark.parametrize("subcommand", ["create", "run"])
@pytest.mark.parametrize("spec", [CSV, ANNOTATED], ids=["GPU", "to be changed"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_spec_that_matters_is_refused_in_a_bundle_with_a_fault(wrapper, subcommand, spec, fault):
    bundle = wrapper.bundle("b", spec)
    path = fault(wrapper, bundle)
    before = sorted(item.name for item in bundle.iterdir())
    call = wrapper.call(subcommand, "--bundle", str(path), "abc")
    assert (call.status, call.runsc) == (1, None)
    assert "(bundle.file)" in call.errors[-1]
    assert (bundle / "config.json").read_bytes() == spec
    assert sorted(item.name for item in bundle.iterdir()) == before


def deep(levels: int) -> bytes:
    return b"[" * levels + b'"nvidia"' + b"]" * levels


ODD_PLAIN_SPECS = [
    b'{"hostname":"nvidia","hostname":"b"}',
    b'{"process":{"args":["nvidia-smi"]},"Process":{"args":["/usr/bin/nvidia-smi"]}}',
    b'{"linux":{"Devices":[{"path":"/dev/null"}]},"hostname":"nvidia"}',
    b'{"hostname":"nvidia\xff"}',
    rb'{"hostname":"nvidia\ud800"}',
    b'{"hostname":"nvidia"} and more',
    b'{"hostname":"nvidia","a":NaN}',
    b'{"hostname":"nvidia"',
    b"nvidia",
    b"nvidia\0",
    b'"nvidia"',
    b'["nvidia"]',
    b'{"mounts":[null],"hostname":"nvidia"}',
    b'{"hooks":{"prestart":"none"},"hostname":"nvidia"}',
    b'{"a":' + deep(300) + b"}",
    b'{"hostname":"nvidia","annotations":{"a":1,"a":2},"hooks":{"prestart":[{"path":"/proc/2/exe"}]}}',
    b'{"hostname":"nvidia","padding":"' + b"x" * 17_000_000 + b'"}',
]


@pytest.mark.parametrize("spec", ODD_PLAIN_SPECS, ids=lambda spec: repr(spec[:40]))
@pytest.mark.parametrize("subcommand", ["create", "run"])
def test_a_plain_spec_that_cannot_be_read_in_one_way_is_left_to_runsc(wrapper, spec, subcommand):
    bundle = wrapper.bundle("b", spec)
    call = wrapper.call(subcommand, "--bundle", str(bundle), "abc", nodes=False)
    assert (call.status, call.stderr, call.errors) == (0, "", [])
    assert call.runsc.spec == spec
    assert wrapper.decisions() == []


def other_mtime(_joined, module):
    os.utime(module, (0, 0))


def other_size(_joined, module):
    status = module.stat()
    with module.open("a") as file:
        file.write("#")
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))


def of_another_python(joined, _module):
    joined.rename(joined.with_suffix(".00000d0a"))


def cut_off(joined, _module):
    joined.write_bytes(joined.read_bytes()[:-1000])


@pytest.mark.parametrize("change", [None, other_mtime, other_size, of_another_python, cut_off])
def test_joined_byte_code_is_used_only_while_it_is_that_of_the_modules(tmp_path, change):
    """No module is Python any more, and nothing but its text says so: what was not joined would be missed."""
    package = copy_of_the_package(tmp_path / "package")
    module = package / "nvproxy_wrapper/judge/rewrite.py"
    cache = package / "nvproxy_wrapper/__pycache__"
    joined = next(path for path in cache.glob("joined.*") if path.suffix != ".pyc")
    for source in package.rglob("*.py"):
        status = source.stat()
        source.write_text("(" * status.st_size)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    for compiled in package.rglob("*.pyc"):
        compiled.unlink()
    (tmp_path / "home").mkdir()
    wrapper = InstalledWrapper(tmp_path / "home", package=package)
    bundle = wrapper.bundle("b", CSV)
    if change is None:
        assert wrapper.call("create", "--bundle", str(bundle), "abc").status == 0
        return
    change(joined, module)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert_refused(call, bundle, CSV, "missing or damaged")


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_without_python_gpu_containers_are_refused_and_plain_ones_run(tmp_path, shell):
    wrapper = InstalledWrapper(tmp_path, package=ROOT, python="/nonexistent/python3")
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", shell=shell)
    assert_refused(call, bundle, CSV, "/nonexistent/python3")
    plain = wrapper.bundle("plain", PLAIN)
    assert wrapper.call("create", "--bundle", str(plain), "abc", shell=shell).status == 0


@pytest.mark.parametrize("spec", [CSV, PLAIN], ids=["GPU", "plain"])
def test_a_missing_runsc_is_said_and_the_bundle_is_put_back(wrapper, spec):
    wrapper.runsc.unlink()
    bundle = wrapper.bundle("b", spec)
    assert_refused(wrapper.call("create", "--bundle", str(bundle), "abc"), bundle, spec, str(wrapper.runsc))


def test_a_runsc_that_is_no_program_is_said_and_the_bundle_is_put_back(wrapper):
    wrapper.runsc.write_bytes(b"\0not a program")
    bundle = wrapper.bundle("b", CSV)
    assert_refused(wrapper.call("create", "--bundle", str(bundle), "abc"), bundle, CSV, "Exec format error")


def test_a_fault_of_the_wrapper_itself_is_said_with_its_place(tmp_path):
    def damage(package):
        with (package / "judge/rewrite.py").open("a") as file:
            file.write("\n\ndef decide(*_, **__):\n    raise ZeroDivisionError('of all things')\n")

    wrapper = damaged(tmp_path, damage)
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert_refused(call, bundle, CSV, "rewrite.py:", "ZeroDivisionError", "of all things")


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


def test_a_decision_log_that_cannot_be_written_stops_no_container_and_is_said_once(wrapper):
    wrapper.write_settings(audit_log=str(wrapper.home / "none/decisions.jsonl"))
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert call.status == 0
    assert call.runsc is not None
    assert call.errors == []
    assert call.warnings == [call.stderr.rstrip("\n")]
    assert "none/decisions.jsonl" in call.stderr


def test_a_decision_log_that_is_a_link_or_a_fifo_is_not_written(wrapper):
    bundle = wrapper.bundle("b", CSV)
    wrapper.audit_log.symlink_to(wrapper.home / "elsewhere")
    assert wrapper.call("create", "--bundle", str(bundle), "abc").warnings
    assert not (wrapper.home / "elsewhere").exists()
    wrapper.audit_log.unlink()
    os.mkfifo(wrapper.audit_log)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert (call.status, len(call.warnings)) == (0, 1)


def host_prep(wrapper, script):
    """Host preparation that is a script, and the file in which it notes each time it ran."""
    program = wrapper.home / "prep"
    program.write_text("#!/bin/sh\necho ran >>" + str(wrapper.home / "ran") + "\n" + script)
    program.chmod(0o755)
    wrapper.write_settings(host_prep=[[str(program), "an argument"]])


def times_run(wrapper):
    ran = wrapper.home / "ran"
    return len(ran.read_text().splitlines()) if ran.exists() else 0


def test_host_preparation_is_not_run_where_all_nodes_are_there(wrapper):
    host_prep(wrapper, "")
    assert wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc").status == 0
    assert times_run(wrapper) == 0


def test_host_preparation_makes_the_nodes_and_the_container_starts(wrapper):
    host_prep(wrapper, "mknod /dev/nvidia0 c 195 0")
    prefix = ["/bin/sh", "-c", 'rm /dev/nvidia0; exec "$@"', "sh"]
    call = wrapper.call_exactly("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", prefix=prefix)
    assert (call.status, call.stderr) == (0, "")
    assert times_run(wrapper) == 1


def test_host_preparation_that_does_not_help_runs_once_and_its_words_are_in_the_refusal(wrapper):
    host_prep(wrapper, "env; pwd; echo module not found >&2; exit 3")
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "exit status 3", "module not found", "devices.exist")
    assert times_run(wrapper) == 1


def test_host_preparation_comes_too_late_for_a_spec_without_nodes_and_helps_the_next(wrapper):
    spec = json.loads(CSV)
    spec["linux"]["devices"] = []
    text = json.dumps(spec).encode()
    host_prep(wrapper, "true")
    bundle = wrapper.bundle("b", text)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert_refused(call, bundle, text, "/dev/nvidiactl", "devices.exist", "start the container again")
    assert times_run(wrapper) == 1


def test_host_preparation_that_is_not_there_is_in_the_refusal(wrapper):
    wrapper.write_settings(host_prep=[["/nonexistent/modprobe", "nvidia"]])
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "/nonexistent/modprobe nvidia: No such file or directory")


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
