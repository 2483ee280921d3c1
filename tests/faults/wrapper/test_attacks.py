"""What strangers may put before the wrapper: each ends in a safe spec, or a refusal that changes nothing."""

import json
import os
import threading
import time

import pytest

from tests.installed_wrapper import CAPTURED, InstalledWrapper

CSV = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()


@pytest.fixture
def wrapper(tmp_path):
    return InstalledWrapper(tmp_path)


def create(wrapper, bundle, **options):
    return wrapper.call("create", "--bundle", str(bundle), "abc", **options)


def assert_refused(call, *words):
    assert call.status == 1
    assert call.runsc is None
    assert call.stdout == ""
    assert call.stderr == call.errors[-1] + "\n"
    assert "Traceback" not in call.stderr
    assert "wrapper.fault" not in call.stderr
    for word in words:
        assert word in call.errors[-1]


def assert_untouched(bundle, spec):
    assert (bundle / "config.json").read_bytes() == spec
    assert [path.name for path in bundle.iterdir()] == ["config.json"]


def changed(spec: bytes, change) -> bytes:
    value = json.loads(spec)
    change(value)
    return json.dumps(value).encode()


def test_a_config_json_that_is_a_symlink_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    (bundle / "config.json").rename(wrapper.home / "real.json")
    (bundle / "config.json").symlink_to(wrapper.home / "real.json")
    assert_refused(create(wrapper, bundle), "config.json", "symbolic link")
    assert (wrapper.home / "real.json").read_bytes() == CSV
    assert (bundle / "config.json").is_symlink()


def test_a_bundle_that_is_a_symlink_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    (wrapper.home / "link").symlink_to(bundle)
    assert_refused(create(wrapper, wrapper.home / "link"), str(wrapper.home / "link"))
    assert_refused(wrapper.call("create", "--bundle", f"{wrapper.home}/link/", "abc"), "symbolic link")
    assert_untouched(bundle, CSV)


def test_a_bundle_below_a_symlink_is_judged_as_var_run_is_one(wrapper):
    (wrapper.home / "run").mkdir()
    (wrapper.home / "var_run").symlink_to("run")
    bundle = wrapper.bundle("run/b", CSV)
    assert create(wrapper, wrapper.home / "var_run/b").status == 0
    assert (bundle / "config.json").read_bytes() != CSV


def test_a_config_json_that_is_a_fifo_is_refused_at_once(wrapper):
    bundle = wrapper.bundle("b", CSV)
    (bundle / "config.json").unlink()
    os.mkfifo(bundle / "config.json", 0o600)
    assert_refused(create(wrapper, bundle), "not a regular file")


def test_a_config_json_with_two_names_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    (wrapper.home / "other").hardlink_to(bundle / "config.json")
    assert_refused(create(wrapper, bundle), "2 hard links")
    assert_untouched(bundle, CSV)


def test_a_config_json_of_another_user_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    os.chown(bundle / "config.json", 1234, 0)
    assert_refused(create(wrapper, bundle), "user 1234")
    assert_untouched(bundle, CSV)


def test_a_bundle_of_another_user_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    os.chown(bundle, 1234, 0)
    assert_refused(create(wrapper, bundle), "user 1234", "chown")
    assert_untouched(bundle, CSV)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_bundle_that_others_may_write_is_refused(wrapper, mode):
    bundle = wrapper.bundle("b", CSV)
    bundle.chmod(mode)
    assert_refused(create(wrapper, bundle), f"{mode:04o}", "chmod go-w")
    assert_untouched(bundle, CSV)


def test_a_config_json_that_others_may_write_is_refused(wrapper):
    bundle = wrapper.bundle("b", CSV)
    (bundle / "config.json").chmod(0o666)
    assert_refused(create(wrapper, bundle), "0666")
    assert_untouched(bundle, CSV)


def test_a_config_json_swapped_between_check_and_use_is_refused_and_stays_as_it_was_put(wrapper):
    bundle = wrapper.bundle("b", CSV)
    evil = b'{"nvidia":"swapped"}'

    def swap():
        deadline = time.monotonic() + 20
        while not list(bundle.glob(".config.json.nvproxy-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        (bundle / "evil").write_bytes(evil)
        (bundle / "evil").rename(bundle / "config.json")

    swapper = threading.Thread(target=swap)
    swapper.start()
    # The temporary file is whole, and its fsync takes a second: time enough.
    slow = [
        "strace",
        "-f",
        "-o",
        str(wrapper.home / "trace"),
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:delay_enter=1000000",
    ]
    call = wrapper.call("create", "--bundle", str(bundle), "abc", prefix=slow)
    swapper.join()
    assert_refused(call, "changed by somebody else")
    assert_untouched(bundle, evil)


def test_a_config_json_of_17_mb_is_refused(wrapper):
    spec = changed(CSV, lambda spec: spec.update(padding="x" * 17_000_000))
    bundle = wrapper.bundle("b", spec)
    assert_refused(create(wrapper, bundle), "17", "16777216")
    assert_untouched(bundle, spec)


@pytest.mark.parametrize("opening", [b'{"a":', b"["], ids=["objects", "arrays"])
def test_a_config_json_10000_levels_deep_is_refused(wrapper, opening):
    closing = b"}" if opening.startswith(b"{") else b"]"
    spec = CSV[:-1] + b',"deep":' + opening * 10_000 + b"1" + closing * 10_000 + b"}"
    bundle = wrapper.bundle("b", spec)
    assert_refused(create(wrapper, bundle), "200 levels")
    assert_untouched(bundle, spec)


@pytest.mark.parametrize(
    "again",
    [b'"devices":[]', b'"devices":null', b'"\\u0064evices":[]', b'"Devices":[]', b'"DEVICE\xc5\xbf":[]'],
)
def test_a_second_devices_key_is_refused_however_it_is_spelt(wrapper, again):
    """Go takes the last of them, and matches names in any case, the long s for an s included."""
    spec = CSV.replace(b'"linux":{', b'"linux":{' + again + b",", 1)
    assert spec != CSV
    bundle = wrapper.bundle("b", spec)
    assert_refused(
        create(wrapper, bundle), "config.json" if again[1:2] == b"d" or again[1:2] == b"\\" else "evice"
    )
    assert_untouched(bundle, spec)


@pytest.mark.parametrize("second", [b'"Linux":{"devices":[]}', b'"HOOKS":{}', b'"proces\xc5\xbf":{}'])
def test_a_second_section_in_another_case_is_refused(wrapper, second):
    spec = b"{" + second + b"," + CSV[1:]
    bundle = wrapper.bundle("b", spec)
    assert_refused(create(wrapper, bundle))
    assert_untouched(bundle, spec)


@pytest.mark.parametrize("tail", [b"{}", b" x", b"\0", b'{"linux":{}}'])
def test_anything_after_the_spec_is_refused(wrapper, tail):
    bundle = wrapper.bundle("b", CSV + tail)
    assert_refused(create(wrapper, bundle), "config.json")
    assert_untouched(bundle, CSV + tail)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_are_none_are_refused(wrapper, number):
    bundle = wrapper.bundle("b", CSV[:-1] + b',"x":' + number + b"}")
    assert_refused(create(wrapper, bundle), "config.json")


@pytest.mark.parametrize(
    "spec",
    [
        CSV[:-1],
        CSV + b"{}",
        CSV.replace(b'"mounts"', b'"mounts":[],"mounts"', 1),
        CSV.replace(b'"hostname":"', b'"hostname":"\xff', 1),
        b'{"annotations":{"dev.gvisor.internal.nvproxy":"true"',
        b'{"hooks":{"prestart":[null,{"path":"/x/nvidia-container-runtime-hook"}]}}',
    ],
)
def test_a_spec_that_is_not_understood_is_refused(wrapper, spec):
    bundle = wrapper.bundle("b", spec)
    assert_refused(create(wrapper, bundle), "config.json")
    assert_untouched(bundle, spec)


def test_nvidia_spelt_with_escapes_is_a_gpu_container_all_the_same(wrapper):
    spec = CSV.replace(b"nvidia", b"\\u006evidi\\u0061").replace(b"NVIDIA", b"\\u004E\\u0056IDIA")
    assert b"nvidia" not in spec.lower()
    bundle = wrapper.bundle("b", spec)
    call = create(wrapper, bundle)
    assert call.status == 0
    devices = [device["path"] for device in json.loads(call.runsc.spec)["linux"]["devices"]]
    assert devices == ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"]
    assert "--nvproxy" in call.runsc.arguments


@pytest.mark.parametrize(
    "name",
    [
        "dev.gvisor.internal.nvproxy",
        "dev.gvisor.flag.nvproxy",
        "\\u0064ev.gvisor.internal.nvproxy",
        "dev\\u002egvisor.flag.debug",
    ],
)
def test_an_annotation_that_turns_nvproxy_on_in_a_plain_container_is_removed(wrapper, name):
    spec = (
        b'{"ociVersion":"1.0.2","annotations":{"'
        + name.encode()
        + b'":"true","mine":"1"},"process":{"args":["sh"]}}'
    )
    bundle = wrapper.bundle("b", spec)
    call = create(wrapper, bundle, nodes=False)
    assert call.status == 0
    assert json.loads(call.runsc.spec)["annotations"] == {"mine": "1"}
    assert "--nvproxy" not in call.runsc.arguments


def test_an_environment_with_ld_preload_and_pythonpath_does_nothing(wrapper, tmp_path):
    (tmp_path / "posix.py").write_text("raise SystemExit('PYTHONPATH was obeyed')")
    (tmp_path / "nvproxy_wrapper").mkdir()
    (tmp_path / "nvproxy_wrapper/__init__.py").write_text("raise SystemExit('PYTHONPATH was obeyed')")
    bundle = wrapper.bundle("b", CSV)
    prefix = [
        "/usr/bin/env",
        f"PYTHONPATH={tmp_path}",
        f"PYTHONHOME={tmp_path}",
        "LD_PRELOAD=/nonexistent/evil.so",
    ]
    # sh itself was linked before it could unset LD_PRELOAD, and says so on the error stream.
    call = wrapper.call("create", "--bundle", str(bundle), "abc", prefix=prefix, cwd=tmp_path)
    assert call.status == 0
    assert not {"LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"} & set(call.runsc.environment)


@pytest.mark.parametrize(
    "path", ["/tmp/nvidia-ctk", "/usr/bin/../../tmp/nvidia-ctk", "nvidia-ctk", "/usr/bin/nvidia-ctk/"]
)
def test_a_hook_named_nvidia_ctk_in_tmp_does_not_reach_runsc(wrapper, path):
    def plant(spec):
        spec.setdefault("hooks", {}).setdefault("createContainer", []).insert(
            0, {"path": path, "args": ["nvidia-ctk", "hook", "update-ldcache"]}
        )

    bundle = wrapper.bundle("b", changed(CSV, plant))
    call = create(wrapper, bundle)
    spec = call.runsc.spec if call.runsc else b"{}"
    assert path not in [hook["path"] for hook in json.loads(spec).get("hooks", {}).get("createContainer", [])]
    assert call.status == 0 or "hooks.allow" in call.stderr


def test_visible_devices_given_five_times_with_different_gpus_are_refused(wrapper):
    def repeat(spec):
        for value in ("all", "0,1", "void", "all"):
            spec["process"]["env"].append(f"NVIDIA_VISIBLE_DEVICES={value}")

    bundle = wrapper.bundle("b", changed(CSV, repeat))
    call = create(wrapper, bundle)
    assert call.runsc is None
    assert "devices.scope" in call.stderr


def test_visible_devices_given_five_times_are_one_void(wrapper):
    def repeat(spec):
        for value in ("all", "0", "all", "void"):
            spec["process"]["env"].append(f"NVIDIA_VISIBLE_DEVICES={value}")
        spec["process"]["env"].remove("NVIDIA_VISIBLE_DEVICES=void")

    bundle = wrapper.bundle("b", changed(CSV, repeat))
    call = create(wrapper, bundle)
    spec = json.loads(call.runsc.spec)
    values = [entry for entry in spec["process"]["env"] if entry.startswith("NVIDIA_VISIBLE_DEVICES")]
    assert values == ["NVIDIA_VISIBLE_DEVICES=void"]
    assert [device["path"] for device in spec["linux"]["devices"]] == [
        "/dev/nvidia-uvm",
        "/dev/nvidia0",
        "/dev/nvidiactl",
    ]


def test_nothing_under_the_root_file_system_is_opened(wrapper):
    def move_root(spec):
        spec["root"]["path"] = str(wrapper.home / "rootfs")

    (wrapper.home / "rootfs").mkdir()
    os.mkfifo(wrapper.home / "rootfs/libcuda.so.1")
    wrapper.write_settings(hooks_run=False)
    bundle = wrapper.bundle("b", changed(CSV, move_root))
    trace = wrapper.home / "trace"
    call = wrapper.call(
        "create",
        "--bundle",
        str(bundle),
        "abc",
        prefix=["strace", "-f", "-e", "trace=%file", "-o", str(trace)],
    )
    assert call.status == 0
    assert str(bundle) in trace.read_text()
    assert "rootfs" not in trace.read_text()
