"""A plain container is runsc's own business, whatever is odd about it; a GPU container is refused for it."""

import os

import pytest

from tests.installed_wrapper import CAPTURED
from tests.unit.wrapper_runtime.creations import CSV, NAMES_NVIDIA, PLAIN

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
