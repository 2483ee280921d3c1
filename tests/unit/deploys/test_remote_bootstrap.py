"""How a program gets to a host: one shell line, one JSON object in, one out, whatever happens in between.

Run by this machine's own shell and Python, and by the oldest Python that is supported where there is one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from deploys.host import remote_program
from deploys.host.remote_program import NO_PYTHON, answer, shell_line, stdin_for
from deploys.host.snapshot import TASK as SNAPSHOT_TASK
from deploys.model import paths
from deploys.model.snapshot import HostSnapshot

REMOTE = Path(remote_program.__file__).parent / "remote"
THIS = Path("/usr/bin/python3")
# pyenv's own python3.8 in PATH is a program that may say there is none.
OLDEST = next(Path.home().glob(".pyenv/versions/3.8.*/bin/python3"), Path("/usr/bin/python3.8"))
PROGRAMS = sorted(path.stem for path in REMOTE.glob("*.py") if path.stem != "prelude")
NOTHING_TO_PUT = {"directories": [], "files": [], "links": [], "compile": [], "remove": [], "backup": None}


@pytest.fixture(
    params=[
        pytest.param(
            OLDEST,
            id="3.8",
            marks=pytest.mark.skipif(
                not OLDEST.exists(), reason="no Python 3.8 on this machine, and no package brings it"
            ),
        ),
        pytest.param(THIS, id="this machine's"),
    ]
)
def python(request, monkeypatch):
    monkeypatch.setattr(paths, "PYTHON", str(request.param))
    return request.param


def send(program: str, stdin: str, seconds: int = 60) -> dict[str, object]:
    """The answer of a program, as the controller reads it."""
    done = subprocess.run(
        ["/bin/sh", "-c", shell_line(program, seconds)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer(done.stdout.splitlines())


def made_up(text: str, task: object = None, lock: str | None = None, like: str = "put_files") -> str:
    """Stdin of a program that is not one of the project's, with the modules that one of them is sent with."""
    return json.dumps({**json.loads(stdin_for(like, {})), "program": text, "task": task, "lock": lock})


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_is_one_that_the_interpreter_can_read(python, program):
    source = (REMOTE / f"{program}.py").read_text(encoding="utf-8")
    text = "import sys; compile(sys.stdin.read(), 'program', 'exec')"
    done = subprocess.run(
        [python, "-I", "-c", text], input=source, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_imports_nothing_but_the_standard_library_and_what_is_sent_with_it(python, program):
    # With another name, main is not called: only the imports are tried.
    head = 'import sys; exec(compile(INPUT, "program", "exec"), {"__name__": "tried"}); print("{}")'
    source = (REMOTE / f"{program}.py").read_text(encoding="utf-8")
    assert send(program, made_up(head, source, like=program)) == {}


def test_a_snapshot_of_this_machine_is_one_that_the_model_reads(python):
    found = send("snapshot_probe", stdin_for("snapshot_probe", {**SNAPSHOT_TASK, "trees": ["/opt/gvisor/1"]}))
    seen = HostSnapshot.model_validate(found)
    assert seen.uid == os.getuid()
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[:3])"], capture_output=True, text=True
    )
    assert str(seen.python) == version.stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="files are given to root, which only root may do")
def test_files_are_put_with_text_that_is_not_ascii(python, tmp_path):
    file = {"path": str(tmp_path / "ö" / "file"), "text": "größer\n", "mode": 0o600, "original": False}
    assert send("put_files", stdin_for("put_files", {**NOTHING_TO_PUT, "files": [file]})) == {}
    assert (tmp_path / "ö" / "file").read_text(encoding="utf-8") == "größer\n"


def test_a_task_larger_than_a_command_line_may_be_arrives(python, tmp_path):
    stdin = made_up('import json; print(json.dumps({"length": len(INPUT)}))', "x" * 3_000_000)
    assert send("large", stdin) == {"length": 3_000_000}


def test_a_program_that_fails_says_so_in_one_sentence(python):
    assert send("put_files", made_up("raise KeyError('x')")) == {"error": "put_files failed: KeyError: 'x'"}


def test_a_fault_is_its_own_sentence(python):
    text = 'from deploys.host.remote.prelude import Fault\nraise Fault("the disk is full. Free some.")'
    assert send("stage", made_up(text)) == {"error": "the disk is full. Free some."}


def test_a_program_makes_its_files_for_everybody_to_read_whatever_the_hosts_umask(python, tmp_path):
    before = os.umask(0o077)
    try:
        send("mkdir", made_up('import os; os.mkdir(INPUT); print("{}")', str(tmp_path / "made")))
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("path", ["/nonexistent/python3", "/bin/false"])
def test_a_host_without_a_python_that_will_do_says_what_to_install(monkeypatch, path):
    monkeypatch.setattr(paths, "PYTHON", path)
    assert send("snapshot_probe", stdin_for("snapshot_probe", {})) == NO_PYTHON


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SLOW = """
from deploys.host.remote.prelude import run
try:
    run(["sh", "-c", "echo $$ >%s; sleep 600"], 300)
finally:
    open(INPUT + ".undone", "w").close()
print("{}")
"""


def test_a_program_whose_time_is_over_ends_with_what_it_started_and_may_undo(python, tmp_path):
    mark = tmp_path / "mark"
    found = send("docker_engine", made_up(SLOW % mark, str(mark)), seconds=2)
    assert found["error"] == "docker_engine was stopped, or took more than its time. Run again."
    assert Path(f"{mark}.undone").exists()
    child = int(mark.read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)


def test_being_stopped_is_not_taken_for_a_fault_of_the_file_system(python):
    text = (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n    signal.pause()\n"
        'except OSError as error:\n    print(\'{"error": "%s: %s"}\' % (error.filename, error.strerror))'
    )
    assert "took more than its time" in send("put_files", made_up(text))["error"]


def test_two_runs_do_not_change_a_host_at_once(python, tmp_path):
    lock = tmp_path / "lock"
    holder = subprocess.Popen(["sleep", "600"])
    try:
        started = Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[19]
        lock.write_text(f"{holder.pid} {started}")
        found = send("put_files", made_up('print("{}")', lock=str(lock)))
        assert "another run is changing this host" in found["error"]
    finally:
        holder.kill()
        holder.wait()
    assert send("put_files", made_up('print("{}")', lock=str(lock))) == {}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ([], "it printed nothing"),
        (["bash: line 1: timeout: command not found"], "timeout: command not found"),
        (['{"a": 1}', "and more"], "and more"),
        (["[1]"], "[1]"),
        (["null"], "null"),
    ],
)
def test_what_is_no_answer_is_an_error_that_quotes_it(output, said):
    error = answer(output)["error"]
    assert "gave no answer" in error
    assert said in error


def test_an_answer_may_stand_on_several_lines():
    assert answer(["", '{"a":', " 1}"]) == {"a": 1}


def test_an_answer_of_a_hundred_thousand_brackets_is_an_error_and_no_exception():
    assert "gave no answer" in answer(["[" * 100_000])["error"]
