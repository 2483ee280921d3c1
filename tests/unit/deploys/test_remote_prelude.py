"""What the programs on a host share: files that are whole at every moment, programs that end in time."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from deploys.host.remote import prelude, put_files
from deploys.host.sources import wrapper_package

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="files are given to root, which only root may do")


def in_a_child(act) -> int:
    """The wait status of a child that does something, and may be killed in it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001 - the child must never come back into pytest
            os._exit(9)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(monkeypatch, call: str, *, after: bool):
    """Make a call of the os module the last thing that a process does, undone or done."""
    real = getattr(os, call)

    def last(*arguments, **options):
        if after:
            real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(os, call, last)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["open", "fdopen", "fchown", "fchmod", "fsync", "replace", "close"])
@pytest.mark.parametrize("old", [b"old", None], ids=["there", "not there"])
def test_a_file_is_the_old_or_the_new_one_whenever_the_run_is_killed(tmp_path, monkeypatch, call, after, old):
    path = tmp_path / "etc" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_bytes(old)
    new = b"new" * 100_000
    with monkeypatch.context() as patch:
        killed_at(patch, call, after=after)
        status = in_a_child(lambda: prelude.replace_file(str(path), new, 0o644))
    assert os.WTERMSIG(status) == signal.SIGKILL
    there = path.read_bytes() if path.exists() else None
    assert there in {old, new}
    if there == new:
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "never seen with another mode"
    prelude.replace_file(str(path), new, 0o644)
    assert [file.name for file in path.parent.iterdir()] == ["file"], "the next run clears the stray away"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(OSError, match="File too large"):
            prelude.replace_file(str(path), b"new" * 1000, 0o644)

    assert in_a_child(with_little_room) == 0
    assert path.read_bytes() == b"old"


def test_a_file_is_written_with_its_mode_as_roots_whatever_the_umask(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    before = os.umask(0o077)
    try:
        prelude.replace_file(str(path), b"x", 0o755)
    finally:
        os.umask(before)
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o755, 0)


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    path = tmp_path / "file"
    path.symlink_to(theirs)
    prelude.replace_file(str(path), b"ours", 0o644)
    assert not path.is_symlink()
    assert theirs.read_text() == "theirs"


def test_a_link_in_the_place_of_the_file_beside_is_not_written_through(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "file.nvproxy-fleet.new").symlink_to(theirs)
    with pytest.raises(OSError, match="symbolic links"):
        prelude.replace_file(str(tmp_path / "file"), b"ours", 0o644)
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["symlink", "replace", "fsync"])
def test_a_link_points_to_the_old_or_the_new_place_whenever_the_run_is_killed(
    tmp_path, monkeypatch, call, after
):
    link = tmp_path / "current"
    link.symlink_to("old")
    with monkeypatch.context() as patch:
        killed_at(patch, call, after=after)
        assert os.WTERMSIG(in_a_child(lambda: prelude.switch_link(str(link), "new"))) == signal.SIGKILL
    assert link.readlink().name in {"old", "new"}
    prelude.switch_link(str(link), "new")
    assert link.readlink().name == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["current"]


def test_the_digest_of_a_tree_sees_content_mode_name_and_link_and_no_byte_code(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "runsc"
    program.write_text("a")
    program.chmod(0o755)
    seen = [prelude.tree_digest(str(tmp_path))]
    for change in (
        lambda: program.write_text("b"),
        lambda: program.chmod(0o644),
        lambda: program.rename(tmp_path / "bin" / "other"),
        lambda: (tmp_path / "link").symlink_to("bin/other"),
        lambda: ((tmp_path / "link").unlink(), (tmp_path / "link").symlink_to("elsewhere")),
        lambda: (tmp_path / "extra").write_text(""),
    ):
        change()
        seen.append(prelude.tree_digest(str(tmp_path)))
    assert len(set(seen)) == len(seen)
    (tmp_path / "bin" / "__pycache__").mkdir()
    (tmp_path / "bin" / "__pycache__" / "x.pyc").write_text("")
    assert prelude.tree_digest(str(tmp_path)) == seen[-1]


def test_the_digest_of_the_wrapper_on_this_machine_is_the_one_that_a_host_finds(tmp_path):
    package = wrapper_package()
    directory = tmp_path / package.directory_name
    files = [
        {"path": str(directory / name), "text": text, "mode": 0o644, "original": False}
        for name, text in package.files.items()
    ]
    task = {
        "directories": [],
        "files": files,
        "links": [],
        "compile": [str(directory)],
        "remove": [],
        "backup": None,
    }
    assert put_files.main(task) == {}
    assert prelude.tree_digest(str(directory)) == package.tree


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_takes_too_long_is_stopped_with_all_that_it_started(programs):
    programs.add("install", "sleep 600 & echo $! >child; wait")
    status, _, err = prelude.run(["install"], 0.5)
    assert status is None
    assert err.endswith(" s and was stopped")
    child = int((programs.home / "child").read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)


def test_a_program_that_is_not_there_is_told_and_raises_nothing():
    status, out, err = prelude.run(["/nonexistent/program"])
    assert (status, out) == (None, "")
    assert "No such file" in err


def test_programs_see_a_small_environment(programs, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/tmp/x.so")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    programs.add("show", "env | grep -v ^_= | grep -v ^PWD= | grep -v ^SHLVL= | sort >seen")
    prelude.run(["show"])
    seen = dict(line.split("=", 1) for line in (programs.home / "seen").read_text().splitlines())
    assert set(seen) >= {"PATH", "LC_ALL", "HOME", "DEBIAN_FRONTEND", "NEEDRESTART_SUSPEND", "https_proxy"}
    assert not {"LD_PRELOAD", "DOCKER_HOST", "PYTHONPATH"} & set(seen)


def test_docker_is_asked_on_this_host_whatever_context_root_has_chosen():
    assert prelude.environment()["DOCKER_CONTEXT"] == "default"


class TestTurns:
    """Who may change a host: the lock names the process that serves a run's connection."""

    @pytest.fixture
    def other(self):
        process = subprocess.Popen(["sleep", "600"])
        yield process
        process.kill()
        process.wait()

    @pytest.fixture
    def lock(self, tmp_path):
        return tmp_path / "lock"

    def test_the_first_run_gets_the_turn_and_keeps_it(self, lock):
        for _ in range(2):
            assert in_a_child(lambda: prelude.take_turn(str(lock))) == 0
        assert lock.read_text() == prelude.connection()
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600

    def test_a_run_whose_connection_is_there_keeps_others_away(self, lock, other):
        lock.write_text(prelude.identity(str(other.pid)))
        with pytest.raises(
            prelude.Fault,
            match=rf"another run .* process {other.pid}\)\. Wait until it has ended, and run again",
        ):
            prelude.take_turn(str(lock))
        assert lock.read_text() == prelude.identity(str(other.pid))

    def test_a_program_that_goes_on_without_its_connection_keeps_others_away(self, lock, monkeypatch):
        monkeypatch.setattr(prelude, "LOCK_SECONDS", 0)
        lock.touch()
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(prelude.Fault, match="a program of another run is still changing this host"):
                prelude.take_turn(str(lock))
        prelude.take_turn(str(lock))

    def test_a_run_whose_connection_has_gone_has_lost_its_turn(self, lock, other):
        lock.write_text(prelude.identity(str(other.pid)))
        other.kill()
        other.wait()
        prelude.take_turn(str(lock))
        assert lock.read_text() == prelude.connection()

    def test_another_process_by_the_same_id_has_no_turn(self, lock, other):
        pid, started = prelude.identity(str(other.pid)).split()
        lock.write_text(f"{pid} {int(started) - 1}")
        prelude.take_turn(str(lock))
        assert lock.read_text() == prelude.connection()

    # No process has the id of the last one: it is above PID_MAX_LIMIT.
    @pytest.mark.parametrize("text", ["", "\n", "garbage", "1", "a b c", f"{2**22 + 1} 0"])
    def test_a_lock_that_names_no_process_keeps_nobody_away(self, lock, text):
        lock.write_text(text)
        prelude.take_turn(str(lock))
        assert lock.read_text() == prelude.connection()

    def test_a_lock_that_is_a_link_is_not_written_through(self, lock, tmp_path):
        (tmp_path / "theirs").write_text("theirs")
        lock.symlink_to(tmp_path / "theirs")
        with pytest.raises(OSError, match="symbolic links"):
            prelude.take_turn(str(lock))
        assert (tmp_path / "theirs").read_text() == "theirs"
