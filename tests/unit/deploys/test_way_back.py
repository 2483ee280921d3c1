"""A run killed before each of its changes on a host, and taken back: all is as it was, or all is new.

The programs are the real ones, in a root of their own; Docker and systemd are stand-ins. Python's audit hooks
tell of every call that changes something, so that the programs need no switch for tests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from deploys.host.remote import docker_engine, go_back, install_release, keep_way_back, put_files
from tests.killed import in_a_process

if TYPE_CHECKING:
    from pathlib import Path

OLD_RUNTIME = '{"debug": true, "runtimes": {"nvidia": {"path": "/old"}}}'
NEW_RUNTIME = '{"debug": true, "runtimes": {"nvidia": {"path": "/shim"}}}'


class Root:
    """A host's files below a directory, and a run that changes them all."""

    def __init__(self, docker, home: Path) -> None:
        self.docker, self.home = docker, home
        self.root = home / "root"
        self.etc, self.opt, self.state = (self.root / name for name in ("etc", "opt", "state"))
        self.way_back = self.state / "way-back"
        docker.path.parent.rmdir()
        docker.path = self.etc / "docker" / "daemon.json"
        for path in (docker.path.parent, self.opt, self.state):
            path.mkdir(parents=True)
        reload = docker.programs.home / "reload"
        reload.write_text(reload.read_text().replace(str(home / "etc" / "docker"), str(docker.path.parent)))
        docker.programs.add("systemd-run", "")
        docker.write(OLD_RUNTIME)
        docker.loads()
        for name in ("config.toml", "settings.json"):
            (self.etc / name).write_text(f"old {name}")
        (self.etc / "config.toml").chmod(0o640)
        for name in ("old", "staging/new"):
            (self.opt / name).mkdir(parents=True)
            (self.opt / name / "runsc").write_text(name)
        (self.opt / "current").symlink_to("old")

    @property
    def paths(self) -> list[str]:
        files = [self.etc / name for name in ("config.toml", "settings.json", "made/entry", "applied.json")]
        return [str(path) for path in (*files, self.opt / "current", self.etc / "wanted")]

    def programs(self):
        """What a run sends, in its order."""
        backup = str(self.state / "backup")

        def put(*texts, links=()):
            files = [{"path": path, "text": f"new {path}", "mode": 0o644, "original": True} for path in texts]
            task = {"directories": [], "files": files, "compile": [], "remove": [], "backup": backup}
            return lambda: put_files.main(
                {**task, "links": [{"path": path, "target": target} for path, target in links]}
            )

        config, settings, entry, applied, current, wanted = self.paths
        keep = {
            "directory": str(self.way_back),
            "paths": self.paths,
            "made": [str(self.opt / "wrapper")],
            "strays": [str(self.opt / "new"), str(self.docker.path)],
            "packages": False,
            "staging": str(self.opt / "staging"),
            "unit": str(self.etc / "unit"),
            "script": "s",
            "wanted": str(self.etc / "unit.wanted"),
            "unit_text": "u",
            "stdin": "i",
        }
        engine = self.docker.task(NEW_RUNTIME, "/shim")
        ours = [engine["file"], engine["load"], engine["load_old"]]
        keep["engine"] = {
            "path": str(self.docker.path),
            "daemon": "dockerd",
            "runtime": "nvidia",
            "runtime_path": "/old",
            "load": engine["load_old"],
            "ours": [hashlib.sha256(text["text"].encode()).hexdigest() for text in ours],
        }
        release = {"staged": str(self.opt / "staging" / "new"), "directory": str(self.opt / "new")}
        return [
            lambda: keep_way_back.main(keep),
            put(entry, links=[(wanted, "/unit")]),
            lambda: install_release.main(release),
            put(str(self.opt / "wrapper" / "a.py")),
            put(settings, links=[(current, "new")]),
            put(config),
            lambda: docker_engine.main(engine),
            put(applied),
            lambda: self.go("forget"),
        ]

    def run(self) -> None:
        for program in self.programs():
            answer = program()
            assert "error" not in answer, answer

    def go(self, do: str) -> dict[str, object]:
        return go_back.main({"directory": str(self.way_back), "do": do, "lock": str(self.home / "lock")})

    def state_of_all(self) -> dict[str, object]:
        """Everything but what is ours alone and in nobody's way: a whole release, copies of old files."""
        found: dict[str, object] = {"loaded": self.docker.loaded["nvidia"]["path"]}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.startswith(("state/backup", "opt/new", "opt/staging")) or name == "state":
                continue
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_file():
                found[name] = (path.read_text(), stat.S_IMODE(path.stat().st_mode))
            else:
                found[name] = None
        return found

    def restore(self, kept: Path) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(kept, self.root, symlinks=True)
        self.docker.loads()


@pytest.fixture
def root(docker, tmp_path, monkeypatch):
    monkeypatch.setattr(docker_engine, "RELOAD_SECONDS", 0)
    made = Root(docker, tmp_path)
    shutil.copytree(made.root, tmp_path / "kept", symlinks=True)
    return made


@pytest.fixture
def every(pytestconfig):
    """Every change with --long, else every fifth."""
    return 1 if pytestconfig.getoption("--long") else 5


def test_a_run_that_is_killed_before_any_of_its_changes_is_taken_back_whole(root, every):
    old = root.state_of_all()
    changes = in_a_process(root.run)
    assert changes is not None
    new = root.state_of_all()
    assert new != old
    outcomes = []
    for at in sorted({*range(0, changes, every), *range(changes - 4, changes)}):
        root.restore(root.home / "kept")
        assert in_a_process(root.run, at) is None
        assert root.go("back")["left"] == []
        found = root.state_of_all()
        assert found in (old, new), (at, set(found.items()) ^ set(old.items()))
        assert not list(root.root.rglob("*.nvproxy-fleet.*")), f"killed before change {at} of {changes}"
        outcomes.append(found == new)
    assert changes > 80
    assert outcomes == sorted(outcomes), "old up to the commit, and new from there"
    assert outcomes[-1], "it was killed behind the commit"


def test_a_way_back_that_is_killed_itself_is_gone_again(root, every):
    old = root.state_of_all()

    def all_but_the_end():
        for program in root.programs()[:-1]:
            program()

    in_a_process(all_but_the_end)
    shutil.copytree(root.root, root.home / "changed", symlinks=True)
    steps = in_a_process(lambda: root.go("back"))
    assert steps is not None
    assert root.state_of_all() == old
    for at in range(0, steps, every):
        root.restore(root.home / "changed")
        assert in_a_process(lambda: root.go("back"), at) is None
        root.go("back")
        assert root.state_of_all() == old, f"killed before change {at} of {steps}"
        assert not list(root.root.rglob("*.nvproxy-fleet.*"))


class TestWatch:
    """The watch that the host's systemd starts."""

    @pytest.fixture(autouse=True)
    def _begun(self, root, monkeypatch):
        self.root = root
        monkeypatch.setattr(go_back, "WATCH_SECONDS", 0.01)
        monkeypatch.setattr(go_back, "AGAIN_SECONDS", 0.01)
        self.old = root.state_of_all()
        for program in root.programs()[:-1]:
            program()

    def record(self, **changes):
        path = self.root.way_back / "record.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def test_it_goes_back_when_the_connection_is_gone(self):
        self.record(connection="1 1")
        assert self.root.go("watch") == {"back": True, "left": []}
        assert self.root.state_of_all() == self.old

    def test_it_goes_back_after_a_reboot_and_asks_nothing_of_a_docker_that_is_not_up(self):
        self.record(boot="another")
        (self.root.docker.programs.home / "dead").touch()
        calls = len(self.root.docker.programs.calls)
        assert self.root.go("watch") == {"back": True, "left": []}
        assert self.root.docker.programs.calls[calls:] == []
        assert self.root.docker.path.read_text() == OLD_RUNTIME

    def test_it_ends_with_the_run(self):
        new = self.root.state_of_all()
        self.root.go("forget")
        assert self.root.go("watch") == {"back": False, "left": []}
        found = self.root.state_of_all()
        assert found.items() <= new.items()
        assert found["etc/config.toml"] == new["etc/config.toml"]

    def test_what_cannot_be_put_back_is_told_tried_again_and_stays_put_aside(self, monkeypatch):
        monkeypatch.setattr(go_back, "TRIES", 2)
        self.record(connection="1 1")
        (self.root.etc / "config.toml").unlink()
        (self.root.etc / "config.toml").mkdir()
        left = self.root.go("watch")["left"]
        assert [str(self.root.etc / "config.toml") in sentence for sentence in left] == [True]
        assert (self.root.way_back / "record.json").exists()
        assert (self.root.etc / "settings.json").read_text() == "old settings.json", "the rest goes on"

    def test_a_daemon_json_that_somebody_else_has_written_meanwhile_stays(self):
        self.root.docker.write('{"theirs": true}')
        assert "changed by somebody else" in self.root.go("back")["left"][0]
        assert self.root.docker.path.read_text() == '{"theirs": true}'

    def test_a_dockerd_that_died_is_started_with_the_old_file(self):
        (self.root.docker.programs.home / "dead").touch()
        self.root.docker.programs.add("systemctl", "rm -f dead; ./reload")
        assert self.root.go("back")["left"] == []
        assert "systemctl reload-or-restart docker" in self.root.docker.programs.calls
        assert self.root.state_of_all() == self.old

    def test_a_run_after_one_that_nobody_took_back_keeps_the_state_before_both(self):
        self.root.programs()[0]()
        self.root.go("back")
        assert self.root.state_of_all() == self.old
