"""The file for a stranger: what it holds, and that no secret that was planted anywhere is in it."""

from __future__ import annotations

import copy
import io
import json
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvproxy_wrapper.admin import bundle_report, left_out
from nvproxy_wrapper.admin.bundle_report import DIRECTORY, Host, collected, find_bundle, main, packed, write
from nvproxy_wrapper.admin.left_out import LEFT_OUT
from tests.specs.captured_specs import FOLDER


def without_seccomp(spec):
    """A seccomp filter is long, and makes hypothesis' examples as long."""
    spec["linux"].pop("seccomp", None)
    return spec


SPECS = [without_seccomp(json.loads(path.read_bytes())) for path in sorted(FOLDER.glob("*.json"))[::11]]
IDENTITY = "0123456789ab" * 5 + "cdef"
BUNDLE = f"/run/containerd/io.containerd.runtime.v2.task/moby/{IDENTITY}"
DAEMON = {"runtimes": {"nvidia": {"path": "/usr/local/bin/nvproxy-container-runtime"}}, "debug": True}
TOML = '[nvidia-container-runtime]\nmode = "csv"\nruntimes = ["/usr/local/bin/nvproxy-runsc"]\n'


def host_with(root: Path, files: dict[str, object]) -> Host:
    for path, content in files.items():
        file = Path(f"{root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return Host(str(root), runs=False)


def report(root: Path, spec: object, **others: object) -> dict[str, str]:
    files = {
        f"{BUNDLE}/config.json": spec,
        f"{BUNDLE}/.config.json.asked": spec,
        "/etc/nvidia-container-runtime/config.toml": TOML,
        "/etc/docker/daemon.json": DAEMON,
        **others,
    }
    return collected(host_with(root, files), BUNDLE)


def leaves(value: object, at: tuple = ()) -> list[tuple]:
    """The places of all texts of a JSON value."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in leaves(item, (*at, key))]
    if isinstance(value, list):
        return [place for number, item in enumerate(value) for place in leaves(item, (*at, number))]
    return [at] if isinstance(value, str) else []


def planted(value: object, place: tuple, text: str) -> object:
    made = copy.deepcopy(value)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = text
    return made


# What tokens, passwords and keys look like; each has a digit or a sign, as a word alone may be anything.
LETTERS = "abcdefghijkmnopqrstuvwxyzABCDEFGHIJKLMNPQRSTUVWXYZ"
secrets = st.one_of(
    st.text(LETTERS + "23456789", min_size=20, max_size=40),
    st.text(LETTERS + "23456789+=_-", min_size=24, max_size=48),
    st.text(LETTERS + "23456789!$%&*#", min_size=10, max_size=20),
).filter(lambda text: any(c.isdigit() for c in text[1:-1]) and sum(c.isalpha() for c in text) > 4)
around = st.sampled_from(
    ["{}", "--token={}", "--password {}", "export KEY={}; run", "https://me:{}@example.org/x", "/home/{}/x",
     "Authorization: Bearer {}", "password={}", "a b {} c", '{{"auth": "{}"}}', "/usr/share/{}", "{},rw"]
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.data(), secrets, around)
def test_a_secret_at_any_place_of_a_spec_is_nowhere_in_the_report(tmp_path_factory, data, secret, words):
    spec = data.draw(st.sampled_from(SPECS))
    spec = {**spec, "annotations": {**spec.get("annotations", {}), "org.example.owner": "x"}}
    text = words.format(secret)
    made = planted(spec, data.draw(st.sampled_from(leaves(spec))), text)
    # A runtime's log says again what it was given, alone or within a sentence.
    log = json.dumps({"level": "error", "msg": f"exec: {text!r} failed: {secret}"})
    files = report(tmp_path_factory.mktemp("root"), made, **{f"{BUNDLE}/log.json": log})
    for name, content in files.items():
        assert secret not in content, (name, content)


@pytest.mark.parametrize(
    "name", ["22222AAAAA", "a1b2c3d4e5", "22%AAAAAAAA", "s3cr3t", "ab12-cd34-ef56-ab78-90ab"]
)
@pytest.mark.parametrize("folder", ["/usr/share/", "/lib/", "/etc/nvidia", "/run/nvidia-"])
def test_a_name_that_may_be_a_token_is_left_out_of_a_path_of_the_system_too(folder, name):
    assert not left_out._SYSTEM_PATH.fullmatch(folder + name)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/x86_64-linux-gnu/libcuda.so.570.124.06",
        "/usr/lib/x86_64-linux-gnu/libnvidia-egl-gbm.so.1.1.2",
        "/lib64/libGLX_nvidia.so.0",
        "/dev/nvidia-caps/nvidia-cap12",
        "/dev/dri/renderD128",
        "/proc/driver/nvidia/gpus/0000:01:00.0/information",
        "/opt/gvisor/20260905.1/runsc",
        "/opt/nvproxy-wrapper/0.1.0-a5221b89c9f4",
        "/usr/lib/python3.11/os.py",
        "/usr/bin/nvidia-cdi-hook",
        "/etc/nvidia-container-runtime/config.toml",
        "/run/nvidia-persistenced/socket",
    ],
)
def test_what_says_why_a_container_got_no_gpu_is_shown(path):
    assert left_out._SYSTEM_PATH.fullmatch(path)


KEYS = ["Labels", "customField", "intelRdt"]


@settings(deadline=None, max_examples=60)
@given(secrets, st.sampled_from(KEYS))
def test_a_secret_as_a_key_or_below_one_that_nobody_knows_is_nowhere_in_the_report(
    tmp_path_factory, secret, key
):
    spec = {**SPECS[0], key: {secret: {"deep": [secret]}}, "hostname": secret}
    spec["annotations"] = {secret: "x", f"dev.gvisor.flag.{secret}": "y", "dev.gvisor.flag.debug": secret}
    spec["linux"] = {**spec["linux"], "cgroupsPath": f"system.slice:docker:{secret}", secret: secret}
    files = report(tmp_path_factory.mktemp("root"), spec)
    assert not [name for name, content in files.items() if secret in content]


@settings(deadline=None, max_examples=60)
@given(secrets)
def test_a_secret_in_any_other_file_is_nowhere_in_the_report(tmp_path_factory, secret):
    others = {
        "/etc/docker/daemon.json": {
            **DAEMON,
            "proxies": {"http-proxy": f"http://me:{secret}@proxy:3128"},
            "labels": [secret],
            "runtimes": {"other": {"path": "/x", "runtimeArgs": [f"--token={secret}"]}},
        },
        "/etc/nvidia-container-runtime/config.toml": (
            f"# {secret}\n{TOML}[nvidia-container-cli]\n"
            f'environment = ["TOKEN={secret}", "{secret}"]\nx {secret}\n'
        ),
        "/etc/nvproxy-wrapper/settings.json": {"runsc": "/opt/gvisor/current/runsc", secret: [secret]},
        "/var/log/nvproxy-wrapper/decisions.jsonl": json.dumps(
            {"id": IDENTITY, "time": secret, "asked": [secret], "pod": secret, "warnings": [{"why": secret}]}
        ),
        f"{BUNDLE}/log.json": json.dumps({"level": "error", "msg": f"auth token={secret}"})
        + json.dumps({"level": secret, "msg": f"dial http://u:{secret}@h: no route, Bearer {secret}"}),
    }
    files = report(tmp_path_factory.mktemp("root"), SPECS[0], **others)
    assert not [name for name, content in files.items() if secret in content]


@pytest.mark.parametrize("text", ["not JSON: {}", '{{"process": "{}"}}', '["{}"]', '"{}"', "{{}}{}"])
def test_a_spec_that_is_none_is_left_out(tmp_path, text):
    secret = "hunter2hunter2hunter2"
    files = report(tmp_path, text.format(secret), **{f"{BUNDLE}/log.json": f'{{"msg": "{secret}"}}'})
    assert not [name for name, content in files.items() if secret in content]


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_what_is_needed_to_see_what_is_wrong_is_in_the_report(tmp_path, spec):
    log = json.dumps({"level": "error", "msg": "unsupported Nvidia driver version: 570.99.99"})
    files = report(tmp_path, spec, **{f"{BUNDLE}/log.json": log})
    shown = json.loads(files["spec-as-asked.json"])
    for device in spec["linux"].get("devices", []):
        assert device in shown["linux"]["devices"]
    for entry in spec["process"]["env"]:
        name = entry.partition("=")[0]
        assert [line for line in shown["process"]["env"] if line.startswith(f"{name}=")]
    hooks = [hook for kind in spec.get("hooks", {}).values() for hook in kind]
    assert json.dumps(shown).count("nvidia-cdi-hook") >= sum("cdi-hook" in hook["path"] for hook in hooks)
    assert json.loads(files["decision.json"])["class"]
    assert "does not support the NVIDIA driver 570.99.99" in files["README.txt"]
    assert 'mode = "csv"' in files["config.toml"]
    assert "nvproxy-container-runtime" in files["daemon.json"]


def test_the_file_is_a_tarball_for_its_owner_alone_and_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "report.tar.gz"
    write(str(path), packed({"README.txt": "text\n"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode) == (f"{DIRECTORY}/README.txt", 0o600)

    def fails(_):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(bundle_report.os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        write(str(path), b"other")
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["report.tar.gz"]


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="no regular file"):
        write(str(tmp_path / "link"), b"x")
    assert not (tmp_path / "target").exists()


def test_a_container_is_found_by_the_beginning_of_its_id_where_it_is_the_only_one(tmp_path):
    other = BUNDLE.replace(IDENTITY, "0123ffff")
    host = host_with(tmp_path, {f"{BUNDLE}/config.json": {}, f"{other}/config.json": {}})
    assert find_bundle(host, IDENTITY[:6]) == BUNDLE
    assert find_bundle(host, "0123") is None
    assert find_bundle(host, "../..") is None
    assert find_bundle(host, "*") is None


def test_a_container_that_is_not_there_is_said(capsys):
    assert main(["no-such-container"]) == 1
    assert "no bundle of 'no-such-container'" in capsys.readouterr().err


def test_what_is_left_out_is_marked(tmp_path):
    spec = {**SPECS[0], "hostname": "db-7"}
    spec["process"] = {**spec["process"], "env": ["PASSWORD=x1y2z3", "NVIDIA_VISIBLE_DEVICES=0"]}
    shown = json.loads(report(tmp_path, spec)["spec-as-asked.json"])
    assert shown["process"]["env"] == [f"PASSWORD={LEFT_OUT}", "NVIDIA_VISIBLE_DEVICES=0"]
