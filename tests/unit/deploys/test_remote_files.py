"""put_files, install_release and removal, run for real in a directory of their own."""

from __future__ import annotations

import os
import re
import shutil
import stat

import pytest

from deploys.host.remote import install_release, prelude, put_files, removal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="files are given to root, which only root may do")


def kept(directory, path):
    return directory / str(path).strip("/").replace("/", "%")


class TestPutFiles:
    """Files, then byte-code, then links, and what was there before."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path):
        self.backup = tmp_path / "state" / "backup"
        self.path = tmp_path / "etc" / "config.toml"
        self.path.parent.mkdir()

    def put(self, text="new", *, original=False, mode=0o644, backup=True, **others):
        file = {"path": str(self.path), "text": text, "mode": mode, "original": original}
        task = {"directories": [], "files": [file], "links": [], "compile": [], "remove": [], **others}
        return put_files.main({**task, "backup": str(self.backup) if backup else None})

    def test_a_file_that_was_not_there_leaves_no_backup(self):
        assert self.put(original=True) == {}
        assert self.path.read_text() == "new"
        assert not self.backup.exists()

    def test_an_original_is_kept_once_and_what_came_later_beside_it(self):
        self.path.write_text("theirs")
        self.path.chmod(0o640)
        for text in ("first", "second", "third"):
            assert self.put(text, original=True) == {}
        original = kept(self.backup / "original", self.path)
        assert original.read_text() == "theirs"
        assert stat.S_IMODE(original.stat().st_mode) == 0o640
        assert self.replaced() == ["first", "second"]

    def replaced(self):
        return [copy.read_text() for copy in sorted((self.backup / "replaced").iterdir())]

    def test_what_is_ours_is_no_original(self):
        self.path.write_text("ours")
        self.put("next", original=False)
        assert self.replaced() == ["ours"]
        assert not (self.backup / "original").exists()

    def test_every_text_that_was_replaced_is_kept_under_its_name_and_the_time(self):
        for text in ("theirs", "another's"):
            self.path.write_text(text)
            self.put("ours")
        assert self.replaced() == ["theirs", "another's"]
        name = kept(self.backup, self.path).name
        for copy in (self.backup / "replaced").iterdir():
            assert re.fullmatch(re.escape(name) + r"\.\d{8}T\d{6}\.\d{6}Z", copy.name)

    def test_of_what_was_replaced_the_last_texts_are_kept_and_the_same_one_once(self):
        for number in range(prelude.KEPT + 5):
            for text in (f"edit {number}", "the same again and again"):
                self.path.write_text(text)
                self.put("ours")
        last = [f"edit {number}" for number in range(prelude.KEPT + 5)][-(prelude.KEPT - 1) :]
        assert self.replaced() == [*last, "the same again and again"]

    def test_the_copies_of_another_file_are_not_counted(self):
        directory = self.backup / "replaced"
        directory.mkdir(parents=True)
        other = directory / (kept(self.backup, self.path).name + ".d%x.20261125T204616.123456Z")
        other.write_text("another file's")
        for number in range(prelude.KEPT + 2):
            self.path.write_text(f"edit {number}")
            self.put("ours")
        assert other.read_text() == "another file's"
        assert len(self.replaced()) == prelude.KEPT + 1

    def test_a_fault_while_a_text_is_kept_leaves_it_where_it_is(self, monkeypatch):
        real = prelude.replace_file

        def full(path, *rest):
            if "replaced" in path:
                raise OSError(28, "No space left on device", path)
            real(path, *rest)

        monkeypatch.setattr(prelude, "replace_file", full)
        self.path.write_text("theirs")
        assert "No space left on device" in self.put("ours")["error"]
        assert self.path.read_text() == "theirs"

    def test_what_is_kept_is_closed_to_others(self):
        self.path.write_text("a secret")
        self.put(original=True)
        assert stat.S_IMODE(self.backup.stat().st_mode) == 0o700

    def test_a_fault_while_an_original_is_kept_changes_nothing_and_leaves_no_half_original(self, monkeypatch):
        self.path.write_text("theirs")
        real = prelude.replace_file

        def full(path, *rest):
            if "original" in path:
                raise OSError(28, "No space left on device", path)
            real(path, *rest)

        monkeypatch.setattr(put_files, "replace_file", full)
        assert "No space left on device" in self.put(original=True)["error"]
        assert self.path.read_text() == "theirs"
        monkeypatch.undo()
        assert self.put(original=True) == {}
        assert kept(self.backup / "original", self.path).read_text() == "theirs"

    def test_a_fault_says_where(self):
        shutil.rmtree(self.path.parent)
        self.path.parent.write_text("a file where a directory should be")
        error = self.put()["error"]
        assert str(self.path.parent) in error
        assert error.endswith("Repair the file system, and run again.")

    def test_links_come_last(self, tmp_path):
        link = tmp_path / "current"
        shutil.rmtree(self.path.parent)
        self.path.parent.write_text("")
        assert "error" in self.put(links=[{"path": str(link), "target": "new"}])
        assert not link.is_symlink()

    def test_a_compiled_directory_holds_its_own_files_and_no_other(self, tmp_path):
        package = tmp_path / "wrapper" / "nvproxy_wrapper"
        self.path = package / "admin" / "byte_code.py"
        self.path.parent.mkdir(parents=True)
        (package / "byte_code.py~").write_text("an editor's")
        (package / "__pycache__").mkdir()
        (package / "__pycache__" / "gone.cpython-311.pyc").write_text("")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "theirs").write_text("theirs")
        (package / "link").symlink_to(elsewhere)
        assert self.put("open(__file__ + 'c', 'w')\n", compile=[str(tmp_path / "wrapper")]) == {}
        files = [entry.name for entry in package.rglob("*") if entry.is_file()]
        assert sorted(files) == ["byte_code.py", "byte_code.pyc"]
        assert (elsewhere / "theirs").exists()

    def test_a_package_that_does_not_compile_is_said_and_made_live_by_no_link(self, tmp_path):
        self.path = tmp_path / "wrapper" / "nvproxy_wrapper" / "admin" / "byte_code.py"
        link = tmp_path / "current"
        links = [{"path": str(link), "target": "wrapper"}]
        found = self.put("raise SystemExit('no space')", compile=[str(tmp_path / "wrapper")], links=links)
        assert "no space" in found["error"]
        assert not link.is_symlink()

    def test_directories_named_are_removed(self, tmp_path):
        staging = tmp_path / "staging"
        (staging / "gvisor").mkdir(parents=True)
        assert self.put(remove=[str(staging), str(tmp_path / "not there")]) == {}
        assert not staging.exists()


class TestInstallRelease:
    """A staged release goes to its place whole."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path):
        self.staged = tmp_path / "staging" / "gvisor"
        self.directory = tmp_path / "opt" / "20260905"
        (self.staged / "gvisor-bin").mkdir(parents=True)
        self.write(self.staged, "new")

    def write(self, directory, text):
        for name in ("runsc", "gvisor-bin/sidecar"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)

    def install(self):
        return install_release.main({"staged": str(self.staged), "directory": str(self.directory)})

    def test_a_release_is_moved_with_its_side_binaries_and_modes(self):
        assert self.install() == {"tree": prelude.tree_digest(str(self.directory))}
        assert (self.directory / "gvisor-bin" / "sidecar").stat().st_mode & 0o777 == 0o755
        assert not self.staged.exists()
        assert [entry.name for entry in self.directory.parent.iterdir()] == ["20260905"]

    def test_the_same_release_is_left_where_it_is(self):
        self.write(self.directory, "new")
        before = (self.directory / "runsc").stat().st_ino
        self.install()
        assert (self.directory / "runsc").stat().st_ino == before, "it may be the current one"

    def test_a_release_that_was_changed_is_replaced(self):
        self.write(self.directory, "damaged")
        assert self.install() == {"tree": prelude.tree_digest(str(self.directory))}
        assert (self.directory / "runsc").read_text() == "new"
        assert [entry.name for entry in self.directory.parent.iterdir()] == ["20260905"]

    def test_what_a_killed_run_has_left_is_cleared_away(self):
        for name in (".nvproxy-fleet.new", ".nvproxy-fleet.old"):
            self.write(self.directory.with_name(self.directory.name + name), "half")
        assert "tree" in self.install()
        assert [entry.name for entry in self.directory.parent.iterdir()] == ["20260905"]

    def test_a_staging_directory_that_is_gone_is_told(self):
        shutil.rmtree(self.staged)
        assert str(self.directory) in self.install()["error"]
        assert not self.directory.exists()


class TestRemoval:
    """A host as it was before the first run. apt is a stand-in."""

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path, programs):
        self.programs = programs
        self.home = tmp_path
        programs.add("apt-mark", "")
        programs.add("apt-get", "[ ! -e locked ] || { echo 'E: Could not get lock' >&2; exit 100; }")

    def remove(self, **others):
        names = ("held", "packages", "files", "links", "directories", "parents", "before", "rewritten")
        lists = dict.fromkeys(names, ())
        return removal.main({**lists, "backup": str(self.home / "backup"), **others})

    def test_a_file_of_before_comes_back_with_its_mode_and_one_of_ours_goes(self):
        theirs, ours = self.home / "theirs", self.home / "ours"
        theirs.write_text("ours now")
        ours.write_text("ours")
        original = kept(self.home / "backup" / "original", theirs)
        original.parent.mkdir(parents=True)
        original.write_text("theirs")
        original.chmod(0o640)
        paths = [str(theirs), str(ours), str(self.home / "never there")]
        assert self.remove(files=paths) == {}
        assert theirs.read_text() == "theirs"
        assert stat.S_IMODE(theirs.stat().st_mode) == 0o640
        assert not ours.exists()
        assert self.remove(files=paths) == {}, "a second time is no fault"

    def test_a_file_that_is_written_anew_has_the_mode_that_it_had_before(self):
        path, gone = self.home / "config.toml", self.home / "gone.toml"
        path.write_text("ours")
        original = kept(self.home / "backup" / "original", path)
        original.parent.mkdir(parents=True)
        original.write_text("what the packages have made of it")
        original.chmod(0o640)
        written = [{"path": str(file), "text": "theirs", "mode": 0o644} for file in (path, gone)]
        assert self.remove(files=[str(path)], before=[str(path)], rewritten=written) == {}
        assert (path.read_text(), gone.read_text()) == ("theirs", "theirs")
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(gone.stat().st_mode)) == (0o640, 0o644)

    def test_what_lies_beside_ours_stays(self):
        opt = self.home / "opt"
        for release in ("20260905", "20250101"):
            (opt / release).mkdir(parents=True)
            (opt / release / "runsc").write_text("")
        (opt / "current").symlink_to("20260905")
        task = {
            "links": [str(opt / "current")],
            "directories": [str(opt / "20260905")],
            "parents": [str(opt)],
        }
        assert self.remove(**task) == {}
        assert [entry.name for entry in opt.iterdir()] == ["20250101"]

    def test_only_a_link_is_taken_away_as_a_link(self):
        (self.home / "current").mkdir()
        assert self.remove(links=[str(self.home / "current")]) == {}
        assert (self.home / "current").is_dir()

    def test_packages_go_first_and_a_fault_there_leaves_the_files(self):
        (self.programs.home / "locked").touch()
        path = self.home / "file"
        path.write_text("ours")
        with pytest.raises(prelude.Fault) as caught:
            self.remove(packages=["nvidia-container-toolkit"], files=[str(path)])
        assert str(caught.value) == (
            "apt-get purge failed: E: Could not get lock. Repair the package database, and run again."
        )
        assert path.exists()

    def test_a_file_of_before_that_no_run_has_come_to_replace_stays(self):
        path = self.home / "theirs"
        path.write_text("theirs")
        assert self.remove(files=[str(path)], before=[str(path)]) == {}
        assert path.read_text() == "theirs"

    def test_a_package_of_the_operators_does_not_go_with_ours(self):
        self.programs.add(
            "apt-get", "printf 'Purg nvidia-container-toolkit [1.20.0-1]\\nRemv nvidia-docker2 [2.14]\\n'"
        )
        with pytest.raises(prelude.Fault, match=r"would remove nvidia-docker2 too\. Remove these first"):
            self.remove(packages=["nvidia-container-toolkit"])
        assert all(call.endswith("--simulate") for call in self.programs.calls)

    def test_packages_that_were_there_before_are_let_go_of_and_stay(self):
        assert self.remove(held=["nvidia-container-toolkit"], packages=[]) == {}
        assert self.programs.calls == ["apt-mark unhold nvidia-container-toolkit"]
