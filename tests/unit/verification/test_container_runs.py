"""The program that starts the containers: the file system it makes, its limits, and that it leaves nothing.

The NVIDIA runtime is a shell script here, which behaves badly on purpose; the real one is asked in the lab.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from deploys.host.remote import bundle_containers, prelude, processes, smoke_image
from deploys.host.remote_program import answer, shell_line, stdin_for
from deploys.model.sight import END_LINE
from deploys.model.verification.answers import Answer
from deploys.model.verification.questions import task, verification
from tests.deploys.example_hosts import settings
from tests.unit.verification.lab_hosts import host

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, so it needs root")


# The file system of the containers.


def layout(tmp_path: Path) -> Path:
    """A host like Debian 12: /lib and /bin are links into /usr, sh is a link, a library has its own link."""
    for directory in ("usr/bin", "usr/lib/x86_64-linux-gnu"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "bin").symlink_to(tmp_path / "usr" / "bin")
    (tmp_path / "usr/bin/dash").write_bytes(b"dash")
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "usr/lib/x86_64-linux-gnu/libx.so.1.2").write_bytes(b"x")
    (tmp_path / "usr/lib/x86_64-linux-gnu/libx.so.1").symlink_to("../x86_64-linux-gnu/libx.so.1.2")
    return tmp_path


def test_a_file_comes_with_every_link_and_directory_on_its_way(tmp_path):
    root = str(layout(tmp_path))
    entries = {}
    smoke_image.with_links(f"{root}/lib/x86_64-linux-gnu/libx.so.1", entries)
    smoke_image.with_links(f"{root}/bin/sh", entries)
    mine = {path[len(root) :]: entry for path, entry in entries.items() if path.startswith(f"{root}/")}
    library = "/usr/lib/x86_64-linux-gnu/libx.so.1"
    assert mine == {
        "/lib": ("link", "usr/lib"),
        "/bin": ("link", f"{root}/usr/bin"),
        "/usr": ("directory", ""),
        "/usr/bin": ("directory", ""),
        "/usr/bin/sh": ("link", "dash"),
        "/usr/bin/dash": ("file", f"{root}/usr/bin/dash"),
        "/usr/lib": ("directory", ""),
        "/usr/lib/x86_64-linux-gnu": ("directory", ""),
        library: ("link", "../x86_64-linux-gnu/libx.so.1.2"),
        f"{library}.2": ("file", f"{root}{library}.2"),
    }


def test_links_that_go_round_are_a_fault_and_no_endless_loop(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(prelude.Fault, match="too many levels"):
        smoke_image.with_links(str(tmp_path / "a"), {})


def test_the_hash_is_of_names_and_contents_and_of_nothing_else(tmp_path):
    first = tmp_path / "one"
    first.write_bytes(b"same")
    second = tmp_path / "two"
    second.write_bytes(b"same")

    def name(**entries):
        return smoke_image.content_hash({f"/{key}": value for key, value in entries.items()})

    assert name(x=("file", str(first))) == name(x=("file", str(second)))
    assert name(x=("file", str(first)), y=("directory", "")) == name(
        y=("directory", ""), x=("file", str(first))
    )
    second.write_bytes(b"other")
    assert name(x=("file", str(first))) != name(x=("file", str(second)))
    assert name(x=("file", str(first))) != name(y=("file", str(first)))
    assert name(x=("link", "a")) != name(x=("text", "a"))


def test_the_file_system_made_of_this_machine_runs_its_programs(tmp_path):
    entries = smoke_image.host_entries(task(verification(settings(), host([]))))
    root = tmp_path / "rootfs-x"
    smoke_image.build_root(entries, str(root))
    assert [path.name for path in tmp_path.iterdir()] == ["rootfs-x"]
    if os.geteuid() == 0:
        done = subprocess.run(
            ["chroot", str(root), "/bin/sh", "-c", "ls / && id -un && cat /etc/passwd && env"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": prelude.SEARCH_PATH},
        )
        assert done.returncode == 0, done.stderr
        assert "proc" in done.stdout.split()
    with tarfile.open(fileobj=io.BytesIO(smoke_image.archive(str(root)))) as tar:
        names = {os.path.normpath(member.name) for member in tar.getmembers()}
        owners = {(member.uid, member.gid, member.mtime) for member in tar.getmembers()}
    assert {"etc/passwd", "proc", "usr/bin/cat"} <= names
    assert owners == {(0, 0, 0)}


@needs_root
def test_nothing_is_deleted_through_a_mount_that_was_left_behind(tmp_path, monkeypatch):
    precious = tmp_path / "host"
    precious.mkdir()
    (precious / "libcuda.so").write_bytes(b"the host's own")
    place = tmp_path / "run" / "rootfs" / "lib"
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, place], check=True)
    try:
        # With a umount that does not help, the directory stays.
        real = smoke_image.run
        monkeypatch.setattr(smoke_image, "run", lambda *_, **__: processes.Finished(1, "", ""))
        assert "still mounted" in smoke_image.remove_tree(str(tmp_path / "run"))
        assert (precious / "libcuda.so").exists()
        monkeypatch.setattr(smoke_image, "run", real)
        assert smoke_image.remove_tree(str(tmp_path / "run")) is None
    finally:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
    assert not (tmp_path / "run").exists()
    assert (precious / "libcuda.so").read_bytes() == b"the host's own"


# Running programs.


def test_what_takes_too_long_is_killed_with_what_it_started(tmp_path):
    done = processes.run(["sh", "-c", f"echo begun; sleep 60 & echo $! >{tmp_path}/child; wait"], 0.5)
    assert done.timed_out
    assert done.code is None
    assert done.out == "begun\n"
    assert gone((tmp_path / "child").read_text())


def test_a_program_that_is_not_there_is_told_by_name():
    done = processes.run(["/nowhere/docker"], 5)
    assert done.code is None
    assert not done.timed_out
    assert processes.outcome(done)["not_run"] == "/nowhere/docker: No such file or directory"


def test_every_error_of_a_runtimes_log_is_read_not_only_the_last(tmp_path):
    log = tmp_path / "log.json"
    # runsc writes no newline between its objects; the shim does.
    log.write_text(
        '{"level":"error","msg":"the cause"}{"level":"info","msg":"noise"}\n'
        '{"level":"error","msg":"EOF"}not JSON'
    )
    assert list(bundle_containers.logged_errors(str(log))) == ["the cause", "EOF"]
    assert list(bundle_containers.logged_errors(str(tmp_path / "none"))) == []


# The whole program, with stand-ins.


def gone(pid: str) -> bool:
    """Whether a process ends within a while; a zombie has ended."""
    for _ in range(250):
        try:
            if (
                Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                == "Z"
            ):
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


SHIM = """
while [ $# -gt 1 ]; do
  case $1 in create | start | delete) command=$1 ;; --bundle) bundle=$2 ;; --pid-file) pid_file=$2 ;; esac
  shift
done
echo "$command $1" >>HOME/calls
case $command in
create) CREATE ;;
esac
"""
SAYS_ALL = f"sh -c \"sleep 0.1; echo 'kernel gvisor'; echo '{END_LINE}'\" & echo $! >\"$pid_file\""


class Host:
    """A host whose NVIDIA runtime is a script, without Docker."""

    def __init__(self, home: Path) -> None:
        self.home = home
        what = task(verification(settings(), host([])))
        self.shim(SAYS_ALL)
        self.task = {
            **what,
            "dir": str(home / "verify"),
            "state_dir": str(home / "state"),
            "shim": str(home / "shim"),
            "runtime": str(home / "shim"),
            "commands": {"smi_help": {"argv": ["sh", "-c", "cat; echo help"], "stdin": "some "}},
            "runs": [run for run in what["runs"] if run["id"] == "bundle.nothing"],
            "workers": 1,
            "seconds_each": 10,
        }

    def shim(self, create: str) -> None:
        text = SHIM.replace("CREATE", create).replace("HOME", str(self.home))
        (self.home / "shim").write_text(f"#!/bin/sh\n{text}")
        (self.home / "shim").chmod(0o755)

    def shim_of_run(self) -> None:
        """A runtime whose one call is the container."""
        self.shim(SAYS_ALL)
        text = (self.home / "shim").read_text()
        said = f"run) echo 'kernel gvisor'; echo '{END_LINE}' ;;\n"
        text = text.replace("create | start", "run | create | start").replace("create) ", f"{said}create) ")
        (self.home / "shim").write_text(text)

    def start(self) -> subprocess.Popen[str]:
        """The program as it is sent to a host, but for ssh."""
        line = shell_line("container_runs", 60).replace("/usr/bin/python3", sys.executable)
        process = subprocess.Popen(
            ["sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(stdin_for("container_runs", self.task))
        process.stdin.close()
        process.stdin = None
        return process

    def answer(self) -> Answer:
        out, _ = self.start().communicate(timeout=50)
        return Answer.read(answer(out.splitlines()))

    @property
    def calls(self) -> list[str]:
        file = self.home / "calls"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def left(self) -> list[str]:
        """What is there beyond the file system that is kept."""
        runs = self.home / "verify" / "runs"
        return sorted(
            [*(str(path) for path in runs.iterdir())]
            + [path.name for path in (self.home / "verify").iterdir() if path.name.startswith("partial")]
            + (["state"] if (self.home / "state").exists() else [])
        )


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", prelude.SEARCH_PATH)
    return Host(tmp_path)


def test_a_container_is_created_started_heard_out_and_deleted(stub):
    found = stub.answer()
    assert found.error is None
    (outcome,) = found.runs.values()
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["kernel gvisor", END_LINE]
    assert stub.calls == ["create", "start", "delete"]
    assert stub.left == []
    assert found.commands["smi_help"].out == "some help\n"


def test_the_second_verification_makes_no_file_system_again_and_removes_one_of_another_version(stub):
    stub.answer()
    (root,) = (stub.home / "verify").glob("rootfs-*")
    made = root.stat().st_ino
    (stub.home / "verify" / "partial-of-a-killed-run").mkdir()
    (stub.home / "verify" / "rootfs-0123").mkdir()
    stub.answer()
    assert [path.stat().st_ino for path in (stub.home / "verify").glob("rootfs-*")] == [made]
    assert stub.left == []


def test_a_container_that_never_ends_is_stopped_and_told_so(stub):
    stub.shim('sleep 300 & echo $! >"$pid_file"; cp "$pid_file" HOME/container')
    stub.task["seconds_each"] = 1
    (outcome,) = stub.answer().runs.values()
    assert outcome.timed_out
    assert stub.calls == ["create", "start", "delete"]
    assert stub.left == []


def test_a_runtime_that_hangs_in_create_is_killed_with_its_children(stub):
    stub.shim("sleep 300 & echo $! >HOME/child; wait")
    stub.task["seconds_each"] = 1
    (outcome,) = stub.answer().runs.values()
    assert outcome.timed_out
    assert gone((stub.home / "child").read_text())
    assert stub.calls == ["create", "delete"]
    assert stub.left == []


def test_a_container_that_dies_without_its_last_line_does_not_cost_the_whole_limit(stub):
    stub.shim('sh -c "echo half" & echo $! >"$pid_file"; wait')
    stub.task["seconds_each"] = 40
    (outcome,) = stub.answer().runs.values()
    assert not outcome.timed_out
    assert outcome.out == "half\n"


def test_a_create_that_fails_is_not_started_and_its_log_is_told(stub):
    stub.shim("""echo '{"level":"error","msg":"the real cause"}' >"$bundle/log.json"; echo EOF >&2; exit 1""")
    (outcome,) = stub.answer().runs.values()
    assert outcome.code == 1
    assert outcome.err.splitlines() == ["EOF", "the real cause"]
    assert stub.calls == ["create", "delete"]


def test_a_container_is_gone_before_the_next_one_is_made(stub):
    (run,) = stub.task["runs"]
    stub.task["runs"] = [run, {**run, "id": "second"}, {**run, "id": "third"}]
    stub.shim(f"ls HOME/verify/runs | wc -l >>HOME/at_once; {SAYS_ALL}")
    stub.answer()
    assert (stub.home / "at_once").read_text().split() == ["1", "1", "1"]


PROCESSORS = len(os.sched_getaffinity(0))


def test_as_many_are_there_at_once_as_there_are_workers_each_by_a_name_that_begins_no_other(stub):
    (run,) = stub.task["runs"]
    stub.task.update(runs=[{**run, "id": f"run {number}"} for number in range(6)], workers=3)
    stub.shim(f"ls HOME/verify/runs | wc -l >>HOME/at_once; {SAYS_ALL}")
    found = stub.answer()
    assert [outcome.code for outcome in found.runs.values()] == [0] * 6
    at_once = [int(count) for count in (stub.home / "at_once").read_text().split()]
    assert max(at_once) <= min(3, PROCESSORS), "more would only wait for each other"
    names = {line.split()[1] for line in (stub.home / "calls").read_text().splitlines()}
    assert len(names) == 6
    assert not [one for one in names for other in names if one != other and other.startswith(one)]
    assert stub.left == []


def test_who_is_told_to_stop_tidies_up_after_every_container_that_runs(stub):
    (run,) = stub.task["runs"]
    stub.task.update(runs=[{**run, "id": f"run {number}"} for number in range(5)], workers=3)
    stub.shim("sleep 300 & echo $! >>HOME/child; wait")
    begun = min(3, PROCESSORS)
    process = stub.start()
    for _ in range(1000):
        if (stub.home / "child").exists() and len((stub.home / "child").read_text().split()) == begun:
            break
        time.sleep(0.02)
    os.kill(program_of(process), signal.SIGTERM)
    out, _ = process.communicate(timeout=50)
    assert "SIGTERM" in Answer.read(answer(out.splitlines())).error
    assert all(map(gone, (stub.home / "child").read_text().split()))
    assert len((stub.home / "child").read_text().split()) == begun, "none was begun after the signal"
    assert stub.left == []


@needs_root
def test_what_a_run_hides_is_hidden_from_its_runtime_alone(stub):
    (stub.home / "hidden").write_text("here\n")
    (stub.home / "directory").mkdir()
    (stub.home / "directory" / "file").write_text("x")
    (run,) = stub.task["runs"]
    hides = [f"{stub.home}/hid*", f"{stub.home}/directory"]
    stub.task["runs"] = [{**run, "hides": hides}]
    stub.shim(f"cat HOME/hidden >HOME/seen; ls HOME/directory >>HOME/seen; {SAYS_ALL}")
    (outcome,) = stub.answer().runs.values()
    assert outcome.code == 0, outcome.err
    assert (stub.home / "seen").read_text() == ""
    assert (stub.home / "hidden").read_text() == "here\n"
    assert (stub.home / "directory" / "file").exists()


def test_a_container_by_one_call_is_heard_out_and_deleted(stub):
    (run,) = stub.task["runs"]
    stub.task["runs"] = [{**run, "start": "run"}]
    stub.shim_of_run()
    (outcome,) = stub.answer().runs.values()
    assert outcome.out.splitlines() == ["kernel gvisor", END_LINE]
    assert stub.calls == ["run", "delete"]
    assert stub.left == []


def test_an_entry_of_its_own_is_called_with_the_bundles_path(stub):
    (run,) = stub.task["runs"]
    text = f'#!/bin/sh\necho BUNDLE >>{stub.home}/homes\nexec {stub.home}/shim "$@"\n'
    stub.task["runs"] = [{**run, "entry": text, "config": "# none"}]
    (outcome,) = stub.answer().runs.values()
    assert outcome.code == 0
    homes = (stub.home / "homes").read_text().split()
    assert homes[0].startswith(f"{stub.home}/verify/runs/nvproxy-verify-")
    assert len(homes) == 3


def test_a_trace_of_the_loader_on_the_host_is_told(stub):
    (run,) = stub.task["runs"]
    loader = str(stub.home / "verify" / "loader")
    stub.task["runs"] = [{**run, "loader": loader}, {**run, "id": "second"}]
    stub.shim(f"[ ! -d {loader} ] || : >{loader}/$1.123; {SAYS_ALL}")
    found = stub.answer()
    assert len(found.runs["bundle.nothing"].loaded or ()) == 1
    assert found.runs["second"].loaded is None
    assert not (stub.home / "verify" / "loader").exists()


def test_when_the_time_for_all_is_over_the_rest_is_not_begun(stub):
    (run,) = stub.task["runs"]
    stub.shim("sleep 300")
    # More than it takes to make the image, on a machine that is busy, too.
    stub.task.update(seconds_each=5, seconds_all=5, runs=[run, {**run, "id": "second"}])
    found = stub.answer()
    assert found.runs["bundle.nothing"].timed_out
    assert "were over" in (found.runs["second"].not_run or "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_stop_tidies_up_first(stub, number):
    stub.shim("sleep 300 & echo $! >HOME/child; wait")
    process = stub.start()
    wait_for(stub.home / "child")
    os.kill(program_of(process), number)
    out, _ = process.communicate(timeout=50)
    assert number.name in Answer.read(answer(out.splitlines())).error
    assert gone((stub.home / "child").read_text())
    assert stub.left == []


def test_what_a_killed_verification_left_is_removed_by_the_next(stub):
    # Named like a runtime's own processes: the container's id is among the arguments.
    stub.shim('setsid sh -c "sleep 300; :" "$1" & echo $! >HOME/child; sleep 300')
    process = stub.start()
    wait_for(stub.home / "child")
    os.kill(program_of(process), signal.SIGKILL)
    process.communicate(timeout=50)
    assert len(stub.left) == 1
    left = (stub.home / "child").read_text()
    stub.shim(SAYS_ALL)
    (outcome,) = stub.answer().runs.values()
    assert outcome.code == 0
    assert gone(left)
    assert stub.left == []


def program_of(process: subprocess.Popen[str]) -> int:
    """The Python that runs the program: below sh and timeout."""
    pid = str(process.pid)
    while Path(f"/proc/{pid}/exe").resolve() != Path(sys.executable).resolve():
        (pid,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(pid)


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists() and path.read_text().strip():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} did not come")


def test_a_control_without_its_runtime_is_not_tried(stub):
    (run,) = stub.task["runs"]
    stub.task["runs"] = [{**run, "needs": "no-such-runtime"}]
    (outcome,) = stub.answer().runs.values()
    assert outcome.missing == "no-such-runtime"
    assert stub.calls == []
