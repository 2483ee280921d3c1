"""What of this machine reaches a bare one, and what of a bare machine's run stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests import bare_machine
from tests.bare_machine import (
    CHECKOUT,
    WORKPLACE,
    apt_settings,
    carried_files,
    carried_variables,
    fresh_system,
    kept,
)
from tests.lab import Lab, LabError
from tests.lab.network import Network
from tests.lab.trees import mount_points_below

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, so it needs root")

# Out of `apt-config dump` of a Debian 12 with a desktop's package tools.
APT_DUMP = """\
APT "";
APT::Update::Post-Invoke-Success:: "if /usr/bin/test -w /var/cache/swcatalog; then appstreamcli refresh; fi";
Acquire "";
Acquire::AllowInsecureRepositories "0";
Acquire::IndexTargets::deb::DEP-11 "";
Acquire::IndexTargets::deb::DEP-11::MetaKey "$(COMPONENT)/dep11/Components-$(NATIVE_ARCHITECTURE).yml";
Acquire::Retries "3";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::https::CaInfo "/etc/ssl/certs/ca-certificates.crt";
Acquire::Check-Valid-Until "false";
"""


class TestWhatComesAlong:
    def test_of_the_environment_only_the_way_to_the_registries(self):
        given = {
            "HTTPS_PROXY": "http://proxy.example.org:3128",
            "PATH": "/home/me/bin",
            "PIP_FIND_LINKS": "/opt/wheels",
            "PYTHONPATH": "/home/me",
            "VIRTUAL_ENV": "/home/me/.venv",
        }
        carried = carried_variables(given, {"GOPROXY": "https://go.example.org", "GOINSECURE": ""})
        assert carried == {
            "GOPROXY": "https://go.example.org",
            "HOME": "/root",
            "HTTPS_PROXY": "http://proxy.example.org:3128",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "USER": "root",
        }

    def test_files_that_a_variable_names_and_no_directory_and_nothing_that_is_not_there(self, tmp_path):
        bundle = tmp_path / "bundle.crt"
        bundle.touch()
        variables = {
            "SSL_CERT_FILE": str(bundle),
            "SSL_CERT_DIR": str(tmp_path),
            "PIP_CERT": str(tmp_path / "none.crt"),
            "HOME": str(bundle),
        }
        assert set(carried_files(variables)) - set(carried_files({})) == {bundle}

    def test_of_apts_settings_how_the_archive_is_reached_and_no_program_of_this_machine(self):
        assert apt_settings(APT_DUMP) == (
            'Acquire::Retries "3";\n'
            'Acquire::http "";\n'
            'Acquire::http::Proxy "http://proxy.example.org:3128";\n'
            'Acquire::https::CaInfo "/etc/ssl/certs/ca-certificates.crt";\n'
            'Acquire::Check-Valid-Until "false";\n'
        )


class TestWhatIsKept:
    def test_the_fresh_system_is_another_one_when_the_archive_has_moved_on(self):
        keys = {fresh_system(release, "http://debian.example.org").key for release in ("12.11", "12.12")}
        assert len(keys) == 2

    def test_the_lab_has_one_path_inside_and_outside_of_which_its_names_are_made(self, tmp_path):
        lab, *_ = kept(tmp_path)
        assert str(lab.directory) == lab.place

    def test_the_page_on_the_tests_names_all_of_it(self):
        page = (CHECKOUT / "docs/testing.md").read_text()
        for one in kept(bare_machine.DEFAULT_CACHE):
            assert f"`{one.directory.name}/`" in page


def test_a_second_run_with_the_same_cache_says_what_it_waits_for(tmp_path, capsys):
    has_begun = threading.Event()

    def second():
        with bare_machine._turn(tmp_path):
            has_begun.set()

    with bare_machine._turn(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        while not (said := capsys.readouterr().err) and not has_begun.is_set():
            time.sleep(0.01)
        assert not has_begun.is_set()
    other.join()
    assert f"another one runs with the cache {tmp_path}" in said


def test_the_next_run_takes_down_the_labs_of_runs_that_were_killed(tmp_path, monkeypatch):
    taken_down = []
    monkeypatch.setattr(Lab, "down", lambda lab: taken_down.append((lab.cache.directory, lab.network)))
    kept_lab, *_ = kept(tmp_path)
    # Of a run from nothing, all lies in its own directory; its lab had the same names on this machine.
    from_nothing = Path(f"{tmp_path}/runs/one/root{kept_lab.place}")
    for directory in (kept_lab.directory, from_nothing):
        (directory / "state/hosts/gpu-a").mkdir(parents=True)
        (directory / "parts").mkdir()
    bare_machine._clear(tmp_path)
    network = Network.of_cache(Path(kept_lab.place))
    assert taken_down == [(from_nothing, network), (kept_lab.directory, network)]
    assert [path.name for path in kept_lab.directory.iterdir()] == ["parts"]
    assert list((tmp_path / "runs").iterdir()) == []


def test_who_is_not_root_is_told_so_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("NVPROXY_BARE_CACHE", str(tmp_path / "cache"))
    assert bare_machine.main(["true"]) == 1
    assert "takes root" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_without_go_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="no go in PATH"):
        bare_machine.run(["true"], tmp_path / "cache", from_nothing=False)
    assert not (tmp_path / "cache").exists()


def test_a_go_that_is_made_of_links_is_refused_as_it_would_not_be_whole_inside(tmp_path, monkeypatch):
    (tmp_path / "src").symlink_to("/usr/share/go-1.26/src")
    (tmp_path / "go").write_text(f"#!/bin/sh\n[ $1 = env ] && echo {tmp_path} || echo go version go1.26.8\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match=rf"{tmp_path} has links .*https://go\.dev/dl/"):
        bare_machine._goroot()


@pytest.fixture
def cache(tmp_path):
    """A cache with one run in it, whose system is this machine's own under an overlay."""
    root = tmp_path / "runs/one/root"
    over = tmp_path / "over"
    for directory in (root, over):
        directory.mkdir(parents=True)
    # A tmpfs, as the upper directory of an overlay may lie on no overlay.
    subprocess.run(["mount", "-t", "tmpfs", "over", over], check=True)
    for name in ("upper", "work"):
        (over / name).mkdir()
    options = f"lowerdir=/,upperdir={over}/upper,workdir={over}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "bare", root], check=True)
    Path(f"{root}{WORKPLACE}").mkdir(parents=True, exist_ok=True)
    yield tmp_path
    for place in (root, over):
        subprocess.run(["umount", "--quiet", place], check=False)


@needs_root
class TestARun:
    def run(self, cache, *command, path=os.environ["PATH"]):
        variables = {"PATH": path}
        return bare_machine._run_inside(cache / "runs/one", cache / "go", kept(cache), command, variables)

    def test_ends_as_its_command_does(self, cache):
        assert self.run(cache, "sh", "-c", "exit 7") == 7

    def test_that_may_not_mount_says_so_and_does_not_run_its_command(self, cache, tmp_path, capfd):
        (tmp_path / "mount").write_text("#!/bin/sh\necho permission denied >&2\nexit 32\n")
        (tmp_path / "mount").chmod(0o755)
        assert self.run(cache, "echo", "ran", path=f"{tmp_path}:{os.environ['PATH']}") == 32
        said = capfd.readouterr()
        assert said.out == ""
        assert "permission denied\nbare machine: the fresh system cannot be mounted here" in said.err

    def test_has_processes_and_mounts_of_its_own_and_what_is_kept_at_its_place(self, cache):
        script = f"""
            set -eu
            [ "$(pwd)" = {WORKPLACE} ]
            [ "$(ls -d /proc/[0-9]* | wc -l)" -lt 6 ]
            mount -t tmpfs none /mnt
            echo from inside >/var/cache/apt/archives/seen
            mkdir {cache}/lab/parts
            if touch /usr/local/go/of-the-machine; then exit 3; fi
            [ ! -e /proc/self/fd/9 ]
            # What runsc does, and the kernel refuses within a chroot.
            unshare --user true
        """
        before = mount_points_below(Path("/"))
        assert self.run(cache, "sh", "-c", script) == 0
        assert mount_points_below(Path("/")) == before
        assert (cache / "apt/seen").read_text() == "from inside\n"
        assert (cache / "lab/parts").is_dir()

    def test_that_is_killed_ends_with_all_its_processes_and_the_next_clears_it_away(self, cache):
        # Seconds that no other run of this test has.
        seconds = f"4711.{uuid.uuid4().int}"
        program = f"""
from pathlib import Path
from tests import bare_machine
command = ["sh", "-c", "setsid sleep {seconds} & sleep 4712"]
variables = {{"PATH": "{os.environ["PATH"]}"}}
bare_machine._run_inside(Path("{cache}/runs/one"), Path("{cache}/go"), (), command, variables)
"""
        process = subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT)
        while not (inside := self.pids_of("sleep", seconds)):
            assert process.poll() is None
            time.sleep(0.01)
        # The lock is theirs: nobody takes the directory away from under them.
        assert subprocess.run(["flock", "--nonblock", cache / "runs/one", "true"]).returncode == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        ended = subprocess.run(["flock", "--timeout", "30", cache / "runs/one", "true"])
        assert ended.returncode == 0
        bare_machine._clear(cache)
        assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
        assert list((cache / "runs").iterdir()) == []

    def pids_of(self, *argv):
        wanted = "".join(f"{argument}\0" for argument in argv)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cmdline").read_text() == wanted:
                    found.append(process.name)
            except OSError:
                continue
        return found
