"""Docker's configuration on a host: checked, written, loaded, read back; and the old one back on any fault.

dockerd, docker and systemctl are stand-ins (conftest.Docker); the program is the real one.
"""

from __future__ import annotations

import json
import os
import stat

import pytest

from deploys.host.remote import docker_engine
from deploys.model import daemon_json

OLD = '{"debug": true}\n'
NEW = '{"debug": true, "runtimes": {"nvidia": {"path": "/shim"}}}\n'

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="files are given to root, which only root may do")


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(docker_engine, "RELOAD_SECONDS", 0)


def everything_below(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_runtime_is_checked_written_loaded_and_read_back(docker):
    docker.write(OLD)
    assert docker_engine.main(docker.task(NEW)) == {}
    assert docker.path.read_text() == NEW
    assert docker.loaded["nvidia"] == {"path": "/shim"}
    names = [call.split()[0] for call in docker.programs.calls]
    assert names == ["docker", "dockerd", "systemctl", "docker"]
    assert docker.programs.calls[2] == "systemctl reload docker", "a restart would stop containers"
    assert everything_below(docker.path.parent) == ["daemon.json"]


def test_a_daemon_without_validate_is_not_asked(docker):
    assert docker_engine.main(docker.task(NEW, can_validate=False)) == {}
    assert docker.validated is None


def test_where_docker_is_gone_its_file_is_written_and_nobody_asked(docker):
    docker.write(NEW)
    gone = {"daemon": None, "can_validate": False, "runtime_path": None}
    assert docker_engine.main(docker.task(OLD, **gone)) == {}
    assert docker.path.read_text() == OLD
    assert docker.programs.calls == []


def test_where_docker_is_gone_a_fault_puts_the_file_back_and_asks_nobody(docker, monkeypatch):
    docker.write(NEW)
    real, calls = docker_engine.put, []

    def half_at_the_first(path, *rest):
        calls.append(path)
        if len(calls) == 1:
            docker.path.write_text("{")
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(docker_engine, "put", half_at_the_first)
    gone = {"daemon": None, "can_validate": False, "runtime_path": None}
    error = docker_engine.main(docker.task(OLD, **gone))["error"]
    assert error.endswith(f"The old {docker.path} is back.")
    assert docker.path.read_text() == NEW
    assert docker.programs.calls == []


def test_what_is_checked_is_closed_to_others_as_the_real_one_may_be(docker):
    docker.write(OLD, mode=0o600)
    docker_engine.main(docker.task(NEW))
    assert docker.validated == "600 0"


def test_a_closed_file_of_somebody_elses_stays_closed_and_theirs(docker):
    docker.write(OLD, mode=0o640, owner=(0, 33))
    assert docker_engine.main(docker.task(NEW)) == {}
    status = docker.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, 33)


def test_a_configuration_that_dockerd_would_refuse_is_not_written(docker):
    docker.write(OLD)
    docker.suffers("refuses")
    answer = docker_engine.main(docker.task(NEW))
    assert (
        answer["error"] == "dockerd would refuse the new configuration: unknown key: x. Nothing was changed."
    )
    assert docker.path.read_text() == OLD
    assert everything_below(docker.path.parent) == ["daemon.json"]
    assert not any(call.startswith("systemctl") for call in docker.programs.calls)
    assert not docker.backup.exists()


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("deaf", "dockerd was reloaded, but its runtime 'nvidia' is None, not '/shim'"),
        ("dies", "dockerd was reloaded, and does not answer any more"),
        ("null", "dockerd was reloaded, and does not answer any more"),
        ("no-reload", "'systemctl reload docker' failed: Job is not applicable"),
    ],
)
@pytest.mark.parametrize("old", [OLD, None], ids=["a file before", "no file before"])
def test_a_configuration_that_was_not_taken_is_undone(docker, trouble, sentence, old):
    if old is not None:
        docker.write(old, mode=0o640, owner=(0, 33))
    docker.suffers(trouble)
    answer = docker_engine.main(docker.task(NEW))
    assert answer["error"].startswith(f"{sentence}. The old {docker.path} is back")
    if old is None:
        assert not docker.path.exists()
    else:
        assert docker.path.read_text() == old
        assert (stat.S_IMODE(docker.path.stat().st_mode), docker.path.stat().st_gid) == (0o640, 33)
    assert [call for call in docker.programs.calls if call.startswith("systemctl")][1:] == [
        "systemctl reload-or-restart docker"
    ], "what is loaded must be the old one, too, and a dockerd that has died of it is started"


def test_an_undo_that_fails_says_that_a_human_is_needed_now(docker, monkeypatch):
    docker.write(OLD)
    docker.suffers("deaf")
    real, calls = docker_engine.put, []

    def full_from_the_second_on(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(docker_engine, "put", full_from_the_second_on)
    error = docker_engine.main(docker.task(NEW))["error"]
    assert (
        "could not be put back: [Errno 28] No space left on device. It has to be repaired by hand, now."
        in error
    )


def test_a_full_disk_is_what_the_operator_is_told(docker, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    docker.write(OLD)
    monkeypatch.setattr(docker_engine, "replace_file", full)
    assert "No space left on device" in docker_engine.main(docker.task(NEW))["error"]


def test_a_reload_alone_checks_the_file_that_is_there_first(docker):
    docker.write(NEW)
    docker.suffers("refuses")
    assert "unknown key: x" in docker_engine.main(docker.task(None, file=None))["error"]
    assert not any(call.startswith("systemctl") for call in docker.programs.calls)


def test_a_reload_alone_writes_nothing(docker):
    docker.write(NEW)
    before = docker.path.stat()
    assert docker_engine.main(docker.task(None, file=None)) == {}
    assert docker.path.stat() == before
    assert not docker.backup.exists()


@pytest.mark.parametrize("text", [OLD, "", None], ids=["a file", "an empty file", "no file"])
def test_a_runtime_goes_though_the_file_that_stays_names_none(docker, text):
    """A reload keeps what is loaded where the file names no runtimes; so it is told that there are none."""
    docker.write(NEW)
    assert docker_engine.main(docker.task(NEW)) == {}
    assert docker_engine.main(docker.task(text, None)) == {}
    assert "nvidia" not in docker.loaded
    assert (docker.path.read_text() if docker.path.exists() else None) == text
    assert docker.reloaded[-1] == {**json.loads(text or "{}"), "runtimes": {}}, "every other key as it stays"


def test_a_runtime_that_is_only_loaded_goes_and_its_file_stays_as_it_was(docker):
    docker.write(NEW)
    docker_engine.main(docker.task(NEW))
    docker.write(OLD)
    assert docker_engine.main(docker.task(None, None, file=None)) == {}
    assert "nvidia" not in docker.loaded
    assert docker.path.read_text() == OLD


@pytest.mark.parametrize("old", [OLD, "", None], ids=["a file", "an empty file", "no file"])
def test_what_was_loaded_of_a_configuration_that_is_undone_is_not_loaded_any_more(docker, monkeypatch, old):
    if old is not None:
        docker.write(old)
    real = docker_engine.reload

    def loads_and_fails(name, path, verb):
        real(name, path, verb)
        if verb == "reload":
            assert "nvidia" in docker.loaded
            raise docker_engine.Fault("it answered something else")

    monkeypatch.setattr(docker_engine, "reload", loads_and_fails)
    answer = docker_engine.main(docker.task(NEW))
    assert "is back and loaded" in answer["error"]
    assert (docker.path.read_text() if docker.path.exists() else None) == old
    assert docker.loaded == {"runc": {"path": "runc"}}


def test_an_undo_that_dockerd_does_not_take_says_so(docker):
    docker.write(OLD)
    docker.suffers("dies")
    error = docker_engine.main(docker.task(NEW))["error"]
    assert "is back, but not loaded: dockerd was reloaded, and does not answer any more" in error


def test_a_kill_between_load_and_last_write_leaves_a_whole_file_and_the_next_run_ends_the_work(
    docker, monkeypatch
):
    docker.write(NEW)
    docker_engine.main(docker.task(NEW))
    puts = []

    def killed_at_the_second(path, content, state):
        puts.append(path)
        if len(puts) == 2:
            raise KeyboardInterrupt
        real(path, content, state)

    real = docker_engine.put
    monkeypatch.setattr(docker_engine, "put", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        docker_engine.main(docker.task(OLD, None))
    left = docker.path.read_text()
    assert json.loads(left) == {**json.loads(OLD), "runtimes": {}}
    monkeypatch.setattr(docker_engine, "put", real)
    second = daemon_json.without_runtime(left, "nvidia", OLD)
    assert docker_engine.main(docker.task(second, None)) == {}
    assert docker.path.read_text() == OLD
    assert "nvidia" not in docker.loaded


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_file_with_a_byte_order_mark_is_written_loaded_and_given_back_in_its_encoding(docker, encoding):
    theirs = '\ufeff{\r\n  "labels": ["ort=München"]\r\n}\r\n'
    docker.path.write_bytes(theirs.encode(encoding))
    ours = daemon_json.with_runtime(theirs, "nvidia", "/shim")
    assert docker_engine.main(docker.task(ours, encoding=encoding)) == {}
    assert docker.path.read_bytes() == ours.encode(encoding)
    assert docker.loaded["nvidia"] == {"path": "/shim"}
    assert docker_engine.main(docker.task(theirs, None, encoding=encoding)) == {}
    assert docker.path.read_bytes() == theirs.encode(encoding)
    assert "nvidia" not in docker.loaded


def test_what_is_loaded_of_the_command_line_stays_loaded_and_is_not_in_the_file(docker):
    docker.besides = {"kata": "/k"}
    docker.write(OLD)
    assert docker_engine.main(docker.task(NEW)) == {}
    assert docker.loaded["kata"] == {"path": "/k"}
    assert docker.path.read_text() == NEW
    docker.suffers("no-reload")
    assert "error" in docker_engine.main(docker.task(OLD, None))
    assert docker.path.read_text() == NEW


# Files as owners have them, one of each kind; an empty one and none are kinds too.
FORMER = {"path": "nvidia-container-runtime", "runtimeArgs": []}
OWNERS = {
    "no file": None,
    "empty": "",
    "an empty object": "{ }\n",
    "no runtimes": '{\n\t"log-opts": {"max-size": "10m"},\n\t"storage-driver": "overlay2"\n}',
    "windows lines": '{\r\n    "mtu": 1450\r\n}\r\n',
    "empty runtimes": '{"runtimes": {}, "debug": true}',
    "another runtime": '{"runtimes": {"kata": {"path": "/k"}}, "features": {"cdi": true}}',
    "a runtime of our name": json.dumps(
        {"runtimes": {"nvidia": FORMER}, "default-runtime": "nvidia"}, indent=3
    ),
    "ours and another": json.dumps({"runtimes": {"nvidia": FORMER, "kata": {"path": "/k"}}}),
    "one by its type": '{"runtimes": {"nvidia": {"runtimeType": "io.containerd.runc.v2", "options": {}}}}',
    "runtimes that are null": '{"runtimes": null, "debug": true}',
    "odd spellings": '{"labels": ["ort=M\\u00fcnchen"], "x": 12345678901234567890, "shutdown-timeout": 1e1}',
}


@pytest.mark.parametrize("owners", OWNERS.values(), ids=OWNERS)
def test_in_and_out_again_file_and_runtimes_are_as_they_were(docker, owners):
    if owners is not None:
        docker.write(owners, mode=0o640, owner=(0, 33))
    docker.loads()
    loaded = docker.loaded
    ours = daemon_json.with_runtime(owners or "", "nvidia", "/shim")
    assert docker_engine.main(docker.task(ours)) == {}
    assert docker.loaded["nvidia"] == {"path": "/shim"}
    back = daemon_json.without_runtime(ours, "nvidia", owners)
    path = daemon_json.runtime_path(loaded.get("nvidia"))
    assert docker_engine.main(docker.task(back, path)) == {}
    assert (docker.path.read_bytes().decode() if docker.path.exists() else None) == owners
    assert docker.loaded == loaded


@pytest.mark.parametrize("trouble", ["dies", "null", "deaf"])
def test_no_answer_is_not_taken_for_the_runtime_being_gone(docker, trouble):
    docker.write(NEW)
    docker_engine.main(docker.task(NEW))
    docker.suffers(trouble)
    assert "error" in docker_engine.main(docker.task(OLD, None))
    assert docker.path.read_text() == NEW


def replaced(docker):
    return [copy.read_text() for copy in sorted((docker.backup / "replaced").iterdir())]


def test_the_original_is_kept_once_and_what_came_later_beside_it(docker):
    docker.write(OLD, mode=0o644)
    name = str(docker.path).strip("/").replace("/", "%")
    original = docker.backup / "original" / name
    docker_engine.main(docker.task(NEW, original=True))
    assert original.read_text() == OLD
    assert stat.S_IMODE(docker.backup.stat().st_mode) == 0o700
    docker_engine.main(docker.task(json.dumps(json.loads(NEW)), original=True))
    assert original.read_text() == OLD, "never written again"
    assert replaced(docker) == [NEW]
    docker_engine.main(docker.task(NEW, original=False))
    assert replaced(docker) == [NEW, json.dumps(json.loads(NEW))]
    assert original.read_text() == OLD


@pytest.mark.parametrize("meanwhile", [None, '{"debug": false}'])
def test_what_somebody_else_writes_meanwhile_is_not_lost(docker, meanwhile):
    docker.write(OLD)
    task = docker.task(NEW)
    if meanwhile is None:
        docker.path.unlink()
    else:
        docker.write(meanwhile)
    assert "was changed by somebody else" in docker_engine.main(task)["error"]
    assert (docker.path.read_text() if docker.path.exists() else None) == meanwhile
