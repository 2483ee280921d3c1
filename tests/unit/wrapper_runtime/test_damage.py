"""What is broken on the host: GPU containers are refused with a sentence, plain ones run."""

import os

import pytest

from tests.installed_wrapper import ROOT, SHELLS, InstalledWrapper, copy_of_the_package
from tests.unit.wrapper_runtime.creations import CSV, NAMES_NVIDIA, PLAIN, assert_refused


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
