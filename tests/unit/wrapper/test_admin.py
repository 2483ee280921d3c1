"""The admin command as it is called: standard output, standard error, exit status, files."""

import json
import os
import stat
import subprocess
import sys

import pytest

from nvproxy_wrapper.admin import command
from nvproxy_wrapper.judge.classify import CLASSES
from tests.driver_tree import CAPTURED_HOST, write_driver_tree
from tests.specs.captured_specs import FOLDER
from tests.unit.wrapper.specs import CSV, JIT, PLAIN, captured

KEYS = ["class", "gpu_requested", "requested", "devices", "gpus", "actions", "warnings", "refusal"]


def run(*arguments, stdin=b""):
    return subprocess.run(
        [sys.executable, "-m", "nvproxy_wrapper", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def settings(tmp_path):
    def settings(**more):
        path = tmp_path / "settings.json"
        if not (tmp_path / "proc").exists():
            write_driver_tree(tmp_path / "proc", CAPTURED_HOST)
        path.write_text(json.dumps({"proc_driver": str(tmp_path / "proc"), **more}))
        return path

    return settings


def spec(name):
    return FOLDER / f"{name}.json"


def test_explain_as_json_has_the_keys_of_the_contract(settings):
    result = run("explain", "--settings", settings(), "--format", "json", spec(CSV))
    assert (result.returncode, result.stderr) == (0, b"")
    said = json.loads(result.stdout)
    assert list(said) == KEYS
    assert said["class"] in CLASSES
    assert (said["requested"], said["gpus"], said["gpu_requested"], said["refusal"]) == (
        ["1"],
        [1],
        True,
        None,
    )
    assert said["devices"] == ["/dev/nvidia-uvm", "/dev/nvidia1", "/dev/nvidiactl"]
    assert all(list(action) == ["rule", "target", "what", "why"] for action in said["actions"])


def test_explain_of_a_refused_spec_says_so_and_exits_3(settings):
    result = run("explain", "--settings", settings(proc_driver="/nonexistent"), "--format", "json", spec(CSV))
    assert result.returncode == 3
    refusal = json.loads(result.stdout)["refusal"]
    assert list(refusal) == ["rule", "message", "remedy"]
    text = run("explain", "--settings", settings(proc_driver="/nonexistent"), spec(CSV))
    assert text.returncode == 3
    assert refusal["message"].encode() in text.stdout
    assert refusal["remedy"].encode() in text.stdout


def test_explain_as_text_tells_class_evidence_request_and_changes(settings):
    text = run("explain", "--settings", settings(), spec(CSV)).stdout.decode()
    assert "(class csv)" in text
    assert "createContainer has the hook /usr/bin/nvidia-ctk create-symlinks" in text
    assert "asks for the GPUs 1" in text
    assert "GPU minors 1" in text
    assert "devices.scope: /dev/nvidia0: removed" in text


def test_explain_says_what_is_asked_for_and_not_given(settings):
    asking = captured(JIT)
    asking["process"]["env"] += ["NVIDIA_DRIVER_CAPABILITIES=compute,video", "NVIDIA_GDS=enabled"]
    given = json.dumps(asking).encode()
    said = json.loads(run("explain", "--settings", settings(), "--format", "json", "-", stdin=given).stdout)
    assert [warning["rule"] for warning in said["warnings"]] == ["asked.capabilities", "asked.features"]
    assert all(list(w) == ["rule", "asked", "not_given", "why", "remedy"] for w in said["warnings"])
    text = run("explain", "--settings", settings(), "-", stdin=given).stdout.decode()
    for warning in said["warnings"]:
        assert all(text.count(warning[part]) == 1 for part in ("asked", "not_given", "why", "remedy"))
    refused = run("explain", "--settings", settings(proc_driver="/x"), spec(CSV)).stdout.decode()
    assert "asked for and not given" not in refused


def test_explain_says_that_a_plain_container_is_plain():
    text = run("explain", spec(PLAIN)).stdout.decode()
    assert "plain container" in text
    assert "asks for no GPU" in text
    assert "Nothing is changed" in text


def test_explain_gives_a_spec_no_power_over_a_terminal():
    odd = captured(JIT)
    odd["hooks"]["createContainer"].append({"path": "/tmp/nvidia\x1b[2J\r\nx", "args": ["nvidia\x1b"]})
    result = run("explain", "-", stdin=json.dumps(odd).encode())
    assert b"\x1b" not in result.stdout
    assert b"\r" not in result.stdout


def test_rewrite_writes_the_spec_to_standard_output(settings):
    result = run("rewrite", "--settings", settings(), spec(CSV))
    assert (result.returncode, result.stderr) == (0, b"")
    made = json.loads(result.stdout)
    assert [d["path"] for d in made["linux"]["devices"]] == [
        "/dev/nvidia-uvm",
        "/dev/nvidia1",
        "/dev/nvidiactl",
    ]


def test_rewrite_reads_standard_input_and_writes_a_file(settings, tmp_path):
    out = tmp_path / "out.json"
    result = run("rewrite", "--settings", settings(), "-o", out, "-", stdin=spec(CSV).read_bytes())
    assert (result.returncode, result.stdout) == (0, b"")
    assert out.read_bytes() == run("rewrite", "--settings", settings(), spec(CSV)).stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "proc", "settings.json"]


@pytest.mark.parametrize(
    "text", [b' {"ociVersion" : "1.0.2",\n"process":{}}\n\n', b'{"a":1.50,"b":"\\u0041"}']
)
def test_rewrite_of_a_plain_container_is_byte_for_byte(text, tmp_path):
    assert run("rewrite", "-", stdin=text).stdout == text
    run("rewrite", "-o", tmp_path / "out", "-", stdin=text)
    assert (tmp_path / "out").read_bytes() == text


def test_a_refused_rewrite_says_one_json_object_and_writes_nothing(settings, tmp_path):
    out = tmp_path / "out.json"
    out.write_bytes(b"before")
    odd = captured(CSV)
    odd["linux"]["devices"][2]["major"] = 1
    result = run("rewrite", "--settings", settings(), "-o", out, "-", stdin=json.dumps(odd).encode())
    assert (result.returncode, result.stdout) == (3, b"")
    assert list(json.loads(result.stderr)) == ["rule", "message", "remedy"]
    assert json.loads(result.stderr)["rule"] == "devices.mode"
    assert out.read_bytes() == b"before"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b'{"a":' * 10_000]
)
def test_what_is_no_spec_is_refused_as_spec_json(text):
    result = run("rewrite", "-", stdin=text)
    assert (result.returncode, result.stdout) == (3, b"")
    assert json.loads(result.stderr)["rule"] == "spec.json"
    explained = run("explain", "--format", "json", "-", stdin=text)
    assert explained.returncode == 3
    assert list(json.loads(explained.stdout)) == KEYS


def test_a_spec_that_is_not_there_is_refused_as_spec_json(tmp_path):
    result = run("rewrite", tmp_path / "gone.json")
    assert (result.returncode, json.loads(result.stderr)["rule"]) == (3, "spec.json")


@pytest.mark.parametrize("text", ["{", '{"unknown":1}', '{"hooks_run":"yes"}'])
def test_bad_settings_refuse_gpu_containers_and_let_plain_ones_go(text, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    result = run("rewrite", "--settings", bad, spec(JIT))
    assert (result.returncode, json.loads(result.stderr)["rule"]) == (3, "settings")
    assert run("rewrite", "--settings", bad, spec(PLAIN)).stdout == spec(PLAIN).read_bytes()
    assert run("explain", "--settings", tmp_path / "gone", spec(JIT)).returncode == 3


def test_an_output_that_cannot_be_written_is_said(tmp_path):
    result = run("rewrite", "-o", tmp_path / "no/such/folder/out", spec(PLAIN))
    assert result.returncode == 1
    assert b"could not be written" in result.stderr


def test_rules_lists_every_rule_in_both_formats():
    rules = json.loads(run("rules", "--format", "json").stdout)
    assert all(list(rule) == ["id", "what", "why", "runsc", "source"] for rule in rules)
    text = run("rules").stdout.decode()
    assert all(rule["id"] in text for rule in rules)


def test_a_reader_that_has_seen_enough_gets_no_trace():
    command = f"{sys.executable} -m nvproxy_wrapper rules --format json | head -c 1"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (result.stdout, result.stderr) == (b"[", b"")


@pytest.mark.parametrize(("mode", "status"), [(0o644, 0), (0o666, 3)])
def test_the_installed_settings_are_trusted_as_far_as_at_create_time(
    mode, status, settings, monkeypatch, capsys
):
    path = settings()
    path.chmod(mode)
    monkeypatch.setattr(command, "SETTINGS_PATH", str(path))
    assert command.main(["explain", "--format", "json", str(spec(CSV))]) == status
    refusal = json.loads(capsys.readouterr().out)["refusal"]
    assert refusal is None or (str(path) in refusal["message"] and "mode 0666" in refusal["message"])


def test_names_that_are_spelt_with_escapes_are_the_same_names(settings):
    data = spec(CSV).read_bytes()
    escaped = data.replace(b"nvidia", b"\\u006evidia").replace(b"NVIDIA_VISIBLE", b"\\u004eVIDIA_VISIBLE")
    assert escaped != data
    plain = run("rewrite", "--settings", settings(), "-", stdin=data)
    assert run("rewrite", "--settings", settings(), "-", stdin=escaped).stdout == plain.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("explain",), ("explain", "--format", "xml", "x"), ("rewrite", "a", "b")]
)
def test_a_wrong_call_exits_2(arguments):
    assert run(*arguments).returncode == 2


def test_explain_of_what_is_no_spec_tells_nothing_of_a_container():
    result = run("explain", "/nonexistent/config.json")
    assert (result.returncode, result.stderr) == (3, b"")
    assert result.stdout.decode().splitlines() == [
        "/nonexistent/config.json cannot be read: No such file or directory.",
        "Give the path of a bundle's config.json.",
    ]


def test_an_output_that_is_no_file_is_written_into_and_not_replaced(settings, tmp_path):
    """`-o /dev/null`, typed by root, must not make a file of the host's /dev/null."""
    fifo, link, target = tmp_path / "fifo", tmp_path / "link", tmp_path / "target"
    os.mkfifo(fifo)
    target.write_text("before")
    link.symlink_to("target")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for out in (fifo, link):
            assert run("rewrite", "--settings", settings(), "-o", out, spec(CSV)).returncode == 0
        written = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert link.is_symlink()
    assert target.read_bytes() == written == run("rewrite", "--settings", settings(), spec(CSV)).stdout
