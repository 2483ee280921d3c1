"""Programs that may be killed before any of their changes: what must be there at each moment, is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploys.host.remote import install_release, prelude, removal, stage
from tests.killed import in_a_process


class TestInstallRelease:
    """A release that is in use is damaged, and replaced."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path):
        self.home = tmp_path
        self.set_up()

    def set_up(self):
        shutil.rmtree(self.home)
        for name, text in (("staged", "new"), ("opt/1", "damaged")):
            (self.home / name).mkdir(parents=True)
            (self.home / name / "runsc").write_text(text)

    def install(self):
        task = {"staged": str(self.home / "staged"), "directory": str(self.home / "opt" / "1")}
        answer = install_release.main(task)
        assert "error" not in answer, answer

    def test_there_is_no_moment_at_which_it_is_not_there(self):
        changes = in_a_process(self.install)
        assert changes is not None
        for at in range(changes):
            self.set_up()
            assert in_a_process(self.install, at) is None
            assert (self.home / "opt" / "1" / "runsc").read_text() in ("damaged", "new")

    def test_where_two_directories_cannot_change_places_it_is_replaced_all_the_same(self, monkeypatch):
        monkeypatch.setattr(install_release, "exchange", lambda *_: False)
        self.install()
        assert (self.home / "opt" / "1" / "runsc").read_text() == "new"
        assert [path.name for path in (self.home / "opt").iterdir()] == ["1"]


def test_a_removal_that_was_killed_is_ended_by_the_next(tmp_path, programs):
    programs.add("apt-mark", "")
    programs.add("apt-get", "")
    home = tmp_path / "root"

    def set_up():
        shutil.rmtree(home, ignore_errors=True)
        for name in ("etc/theirs", "etc/ours", "etc/config.toml", "opt/1/runsc", "opt/2/runsc", "state/x"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("ours")
        kept = prelude.kept_path(str(home / "state/backup"), str(home / "etc/theirs"))
        Path(kept).parent.mkdir(parents=True)
        Path(kept).write_text("theirs")
        (home / "opt" / "current").symlink_to("1")

    def remove():
        names = ("theirs", "ours", "config.toml")
        removal.main(
            {
                "held": ["toolkit"],
                "packages": ["toolkit"],
                "files": [str(home / "etc" / name) for name in names],
                "links": [str(home / "opt" / "current")],
                "directories": [str(home / "opt" / "1"), str(home / "state")],
                "parents": [str(home / "opt")],
                "before": [str(home / "etc" / "theirs"), str(home / "etc" / "config.toml")],
                "rewritten": [{"path": str(home / "etc/config.toml"), "text": "before", "mode": 0o644}],
                "backup": str(home / "state" / "backup"),
            }
        )

    def there():
        return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}

    set_up()
    changes = in_a_process(remove)
    assert changes is not None
    assert there() == {"etc/theirs": "theirs", "etc/config.toml": "before", "opt/2/runsc": "ours"}
    gone = there()
    for at in range(changes):
        set_up()
        assert in_a_process(remove, at) is None
        remove()
        assert there() == gone, f"killed before change {at} of {changes}"


class TestInterruptedDpkg:
    """apt does nothing where dpkg was killed, until somebody has finished its work."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path, programs, monkeypatch):
        monkeypatch.setattr(prelude, "DPKG", str(tmp_path))
        (tmp_path / "updates").mkdir()
        (tmp_path / "lock-frontend").touch()
        self.updates = tmp_path / "updates"
        self.programs = programs
        programs.add("dpkg", "")
        programs.add("apt-get", "exit 1")

    def stage(self, tmp_path):
        with pytest.raises(prelude.Fault):
            stage.stage_toolkit(
                str(tmp_path / "staging"),
                {"source_path": "x.list", "source": "", "key": "", "key_path": "k", "url": "u"},
            )
        return [call for call in self.programs.calls if call.startswith("dpkg")]

    def test_its_work_is_finished_before_anything_is_fetched(self, tmp_path):
        (self.updates / "0001").touch()
        assert self.stage(tmp_path) == ["dpkg --force-confold --configure -a"]

    def test_packages_that_nobody_was_at_are_left_alone(self, tmp_path):
        assert self.stage(tmp_path) == []
