"""What else is on a host, read from what is there: processes, the kernel's files, other engines' files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploys.host.remote import host_facts
from deploys.model.snapshot import Surroundings

# As `nvidia-ctk runtime configure` of 1.18 writes them, and as their packages comment them out.
CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
    BinaryName = "/usr/bin/nvidia-container-runtime"
"""
CRIO = """[crio.runtime.runtimes.nvidia]
runtime_path = "/usr/bin/nvidia-container-runtime"
runtime_type = "oci"
"""
PODMAN = '[engine.runtimes]\nnvidia = ["/usr/bin/nvidia-container-runtime.cdi", "nvidia-container-runtime"]\n'
GVISORS = """[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
"""
HOOK = '[nvidia-container-runtime-hook]\npath = "/usr/bin/nvidia-container-runtime-hook"\n'


def test_the_answer_of_this_machine_is_one_that_the_model_reads():
    Surroundings.model_validate(json.loads(json.dumps(host_facts.host_facts())))


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        (CONTAINERD, True),
        (CRIO, True),
        (PODMAN, True),
        ("BinaryName = '/opt/nvidia/toolkit/nvidia-container-runtime.real'", True),
        (GVISORS, False),
        (HOOK, False),
        ('# runtime_path = "/usr/bin/nvidia-container-runtime"', False),
        ('x = "y" # "/usr/bin/nvidia-container-runtime"', False),
        ('path = "/usr/local/bin/nvproxy-container-runtime"', False),
        ("", False),
    ],
)
def test_a_file_names_the_shim_where_a_line_that_is_no_comment_does(text, is_named):
    assert host_facts.names_the_shim(text) is is_named


def test_engines_are_told_by_the_files_that_they_read_also_one_that_their_command_line_names(
    tmp_path, monkeypatch
):
    for name, text in {"a.toml": GVISORS, "b.toml": CONTAINERD, "own.toml": CRIO}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(
        host_facts, "ENGINE_FILES", {"containerd": (f"{tmp_path}/[ab].toml",), "CRI-O": ("/not/there",)}
    )
    crio = {"name": "crio", "words": ["/usr/bin/crio", "--config", f"{tmp_path}/own.toml"]}
    assert host_facts.sharing([crio]) == {
        "containerd": [f"{tmp_path}/b.toml"],
        "CRI-O": [f"{tmp_path}/own.toml"],
    }
    assert host_facts.sharing([]) == {"containerd": [f"{tmp_path}/b.toml"]}


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["dockerd", "-H", "fd://"], None),
        (["dockerd", "--config-file", "/a.json"], "/a.json"),
        (["dockerd", "--config-file=/a.json", "--debug"], "/a.json"),
        (["dockerd", "--config-file=/a.json", "--config-file", "/b.json"], "/b.json"),
        (["dockerd", "--config-file"], None),
        (["dockerd", "--config-files=/a.json"], None),
    ],
)
def test_the_config_file_of_a_dockerd_is_read_from_its_own_command_line(words, file):
    process = {"name": "dockerd", "program": "/usr/bin/dockerd", "owner": 0, "words": words}
    assert host_facts.daemon(process)["config_file"] == file


def test_a_daemon_is_found_by_the_program_that_runs_whatever_it_calls_itself(tmp_path):
    dockerd = tmp_path / "dockerd"
    shutil.copy(shutil.which("sleep"), dockerd)
    process = subprocess.Popen(["renamed", "600"], executable=dockerd)
    try:
        found = [one for one in host_facts.processes() if one["program"] == str(dockerd)]
        # An upgrade takes the file of a running program away.
        dockerd.unlink()
        again = [one for one in host_facts.processes() if one["program"] == str(dockerd)]
    finally:
        process.kill()
        process.wait()
    assert found == again
    assert [(one["name"], one["owner"], one["words"]) for one in found] == [
        ("dockerd", os.getuid(), ["renamed", "600"])
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="a PID namespace takes root")
def test_a_containers_daemon_is_not_the_hosts(tmp_path):
    dockerd = tmp_path / "dockerd"
    shutil.copy(shutil.which("sleep"), dockerd)
    inside = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", f"echo up; exec {dockerd} 600"]
    process = subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        for _ in range(1000):
            if any(host_facts.link_of(f"{one}/exe") == str(dockerd) for one in Path("/proc").glob("[0-9]*")):
                break
        assert [one for one in host_facts.processes() if one["program"] == str(dockerd)] == []
    finally:
        process.kill()
        process.wait()


YAML = """---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  mounts:
  - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.560.35.03
    containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.560.35.03
  - hostPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.560.35.03
"""
JSON = '{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}'
OTHERS = "cdiVersion: 0.6.0\nkind: intel.com/gpu\ndevices: []\n"


def test_cdi_specs_of_nvidias_are_told_with_the_drivers_that_they_are_of(tmp_path, monkeypatch):
    texts = {"a.yaml": YAML, "b.json": JSON, "c.yml": OTHERS, "d.yaml.bak": YAML, "e.json": "{"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host_facts, "CDI_DIRECTORIES", (str(tmp_path), f"{tmp_path}/not-there"))
    assert host_facts.cdi_specs() == [
        {"path": f"{tmp_path}/a.yaml", "kind": "nvidia.com/gpu", "versions": ["560.35.03"]},
        {"path": f"{tmp_path}/b.json", "kind": "nvidia.com/gpu", "versions": []},
    ]


@pytest.mark.parametrize(
    ("release", "family", "sign"),
    [
        (True, "", "release"),
        (False, "Tegra\n", "family"),
        (False, "Freescale i.MX\n", None),
        (False, "", None),
    ],
)
def test_a_tegra_system_is_told_as_nvidias_own_toolkit_tells_it(tmp_path, monkeypatch, release, family, sign):
    monkeypatch.setattr(host_facts, "TEGRA_RELEASE", str(tmp_path / "release"))
    monkeypatch.setattr(host_facts, "TEGRA_FAMILY", str(tmp_path / "family"))
    (tmp_path / "family").write_text(family)
    if release:
        (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3\n")
    assert host_facts.tegra() == (sign and str(tmp_path / sign))


@pytest.mark.parametrize(("text", "limit"), [("0\n", 0), ("127000\n", 127000), ("", None)])
def test_the_limit_of_user_namespaces_is_the_kernels_and_a_kernel_without_one_has_none(text, limit):
    assert host_facts.number(text) == limit


def test_a_runsc_of_a_package_is_told_and_one_that_somebody_has_put_there_is_not(programs, monkeypatch):
    monkeypatch.setattr(host_facts, "SEARCH_PATH", str(programs.directory))
    assert host_facts.distributions_runsc() is None
    programs.add("runsc", "exit 0")
    assert host_facts.distributions_runsc() is None
    programs.add("dpkg-query", 'case $1 in --search) echo "runsc: $2" ;; *) printf 0.0~20240729.0-5 ;; esac')
    assert host_facts.distributions_runsc() == {
        "path": str(programs.directory / "runsc"),
        "package": "runsc",
        "version": "0.0~20240729.0-5",
    }


def test_releases_are_asked_for_their_drivers_and_one_that_a_process_runs_is_in_use(tmp_path):
    for name, body in {"20260905": "echo 535.129.03; echo 570.124.06", "20231106": "exit 1"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "runsc").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name / "runsc").chmod(0o755)
    (tmp_path / "current").symlink_to("20260905")
    (tmp_path / "20260905.nvproxy-fleet.new").mkdir()
    sentry = tmp_path / "20260905" / "gvisor-bin"
    sentry.mkdir()
    shutil.copy(shutil.which("sleep"), sentry / "gvisor_sentry")
    process = subprocess.Popen([sentry / "gvisor_sentry", "600"])
    try:
        found = host_facts.releases(str(tmp_path))
    finally:
        process.kill()
        process.wait()
    assert found == [
        {"name": "20231106", "drivers": [], "in_use": False},
        {"name": "20260905", "drivers": ["535.129.03", "570.124.06"], "in_use": True},
    ]
