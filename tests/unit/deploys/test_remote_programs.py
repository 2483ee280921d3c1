"""The smaller programs on a host; what they call there are stand-ins that say how they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.host.remote import containers_of_runtime, give_back, install_packages, prelude
from deploys.model import paths
from deploys.model.versions import TOOLKIT_PACKAGES

ONE, OTHER = "a" * 64, "b" * 64


class TestContainersOfRuntime:
    """Who still runs: no answer is never taken for nobody."""

    def ask(self):
        return containers_of_runtime.main({"runtimes": ["nvidia"]})

    def test_only_those_of_the_runtime_are_named(self, programs):
        programs.add(
            "docker",
            f"""case $1 in
ps) echo "{ONE}\n{OTHER}" ;;
*) printf "nvidia /train-1\\nrunc /web\\nnvidia /train-2\\n" ;;
esac""",
        )
        assert self.ask() == {"containers": ["train-1", "train-2"]}

    def test_a_host_without_running_containers_is_not_asked_about_them(self, programs):
        programs.add("docker", "")
        assert self.ask() == {"containers": []}
        assert programs.calls == ["docker ps --quiet --no-trunc"]

    @pytest.mark.parametrize(
        "body",
        [
            "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            f'[ "$1" = ps ] && echo {ONE} || {{ echo "Error: No such object" >&2; exit 1; }}',
        ],
        ids=["ps fails", "inspect fails"],
    )
    def test_what_cannot_be_told_is_an_error(self, programs, body):
        programs.add("docker", body)
        assert "does not tell which containers are running" in self.ask()["error"]

    def test_no_docker_at_all_is_an_error_too(self, programs):
        (programs.directory / "docker").unlink(missing_ok=True)
        assert "error" in self.ask()

    def test_a_container_that_ends_between_the_questions_does_not_hide_the_others(self, programs):
        programs.add(
            "docker",
            f"""case $1 in
ps) [ -e asked ] && echo {ONE} || echo "{ONE}\n{OTHER}" ;;
*) [ -e asked ] && echo "nvidia /train" || {{ touch asked; echo "nvidia /train"; exit 1; }} ;;
esac""",
        )
        assert self.ask() == {"containers": ["train"]}


class TestInstallPackages:
    """Four packages at one version, from what was staged."""

    APT = "/staging/apt"
    # As the packages' own installation script: nvidia-ctk config --in-place.
    REWRITES = "case $* in *install*) echo 'runtimes = []' >{config} ;; esac"

    @pytest.fixture(autouse=True)
    def _paths(self, tmp_path):
        self.config, self.kept = tmp_path / "etc" / "config.toml", tmp_path / "kept.json"

    def install(self, packages=TOOLKIT_PACKAGES, *, set_aside=False):
        return install_packages.main(
            {
                "packages": list(packages),
                "version": "1.20.0-1",
                "apt": self.APT,
                "left_alone": str(self.config),
                "kept": str(self.kept),
                "set_aside": set_aside,
            }
        )

    def rewriting(self, programs, then="exit 0"):
        make = f"mkdir -p {self.config.parent}"
        programs.add("apt-get", f"{make}; {self.REWRITES.format(config=self.config)}; {then}")
        programs.add("apt-mark", "")

    @pytest.mark.parametrize("then", ["exit 0", "exit 100"])
    def test_the_configuration_that_the_packages_rewrite_is_to_the_letter_what_it_was(self, programs, then):
        self.config.parent.mkdir()
        self.config.write_bytes(b"# mine\r\nmode = 'x'")
        self.config.chmod(0o640)
        self.rewriting(programs, then)
        self.install()
        assert self.config.read_bytes() == b"# mine\r\nmode = 'x'"
        assert self.config.stat().st_mode & 0o777 == 0o640
        assert not self.kept.exists()

    def test_one_that_was_not_there_is_not_there_nor_its_directory(self, programs):
        self.rewriting(programs)
        assert self.install() == {}
        assert not self.config.parent.exists()

    def test_after_an_installation_that_was_cut_off_it_is_what_it_was_before_that(self, programs):
        self.config.parent.mkdir()
        self.config.write_text("mine")
        # A kill leaves what is kept while the packages are installed.
        self.rewriting(programs, f"cp {self.kept} {self.kept}.left")
        self.install()
        self.kept.with_suffix(".json.left").rename(self.kept)
        self.config.write_text("rewritten")
        calls = len(programs.calls)
        assert self.install(()) == {}
        assert self.config.read_text() == "mine"
        assert len(programs.calls) == calls, "nothing is installed"

    def test_one_that_nvidia_ctk_cannot_read_is_set_aside_meanwhile(self, programs):
        self.config.parent.mkdir()
        self.config.write_text("= broken")
        programs.add("apt-get", f"test ! -e {self.config}")
        programs.add("apt-mark", "")
        assert self.install(set_aside=True) == {}
        assert self.config.read_text() == "= broken"

    def test_all_four_are_pinned_installed_and_held(self, programs):
        programs.add("apt-get", "")
        programs.add("apt-mark", "")
        assert self.install() == {}
        install = next(call for call in programs.calls if " install " in call)
        assert install.endswith(" ".join(f"{name}=1.20.0-1" for name in TOOLKIT_PACKAGES))
        assert "Dir::Cache::archives=/staging/apt/archives" in install
        assert "DPkg::Lock::Timeout=" in install
        assert programs.calls[-1] == f"apt-mark hold {' '.join(TOOLKIT_PACKAGES)}"

    def test_a_fault_of_dpkg_is_told_in_its_own_words_and_nothing_is_held(self, programs):
        programs.add(
            "apt-get", "case $* in *install*) echo 'E: Sub-process dpkg returned 1' >&2; exit 100 ;; esac"
        )
        programs.add("apt-mark", "")
        error = self.install()["error"]
        assert "E: Sub-process dpkg returned 1" in error
        assert error.endswith("Repair the package database (apt-get -f install), and run again.")
        assert not any(call.startswith("apt-mark") for call in programs.calls)

    def test_nothing_comes_over_the_network_any_more(self, programs):
        programs.add("apt-get", "")
        programs.add("apt-mark", "")
        self.install()
        assert not any(" update" in call for call in programs.calls)
        words = programs.calls[0].split()
        assert "--no-download" in words
        assert {f"Dir::State::Lists={self.APT}/lists", f"Dir::Etc::SourceParts={self.APT}/parts"} <= set(
            words
        )

    def test_no_package_of_the_operators_is_removed_on_the_way(self, programs):
        programs.add("apt-get", "")
        programs.add("apt-mark", "")
        self.install()
        assert "--no-remove" in programs.calls[0].split()


class TestGiveBack:
    """Files of the other layout: ours go, and the host's own come back."""

    def give_back(self, tmp_path, *, was_there, text=None):
        file = {"path": str(tmp_path / "etc/x.csv"), "text": text, "was_there": was_there}
        task = {"files": [file], "emptied": [str(tmp_path / "etc")], "backup": str(tmp_path / "backup")}
        assert give_back.main(task) == {}
        return tmp_path / "etc/x.csv"

    @pytest.fixture
    def ours(self, tmp_path):
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/x.csv").write_text("ours")

    def kept(self, tmp_path):
        return Path(prelude.kept_path(str(tmp_path / "backup"), str(tmp_path / "etc/x.csv")))

    @pytest.mark.usefixtures("ours")
    def test_one_that_was_not_there_goes_with_its_empty_directory(self, tmp_path):
        assert not self.give_back(tmp_path, was_there=False).parent.exists()

    @pytest.mark.usefixtures("ours")
    def test_a_directory_in_which_something_is_left_stays(self, tmp_path):
        (tmp_path / "etc/l4t.csv").write_text("lib, /x\n")
        assert self.give_back(tmp_path, was_there=False).parent.is_dir()

    @pytest.mark.usefixtures("ours")
    def test_what_was_there_comes_back_and_is_kept_no_longer(self, tmp_path):
        prelude.replace_file(str(self.kept(tmp_path)), b"\xfftheirs", 0o640)
        file = self.give_back(tmp_path, was_there=True)
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"\xfftheirs", 0o640)
        assert not self.kept(tmp_path).exists()

    @pytest.mark.usefixtures("ours")
    def test_a_text_that_others_have_written_into_comes_back_in_the_mode_that_it_had(self, tmp_path):
        prelude.replace_file(str(self.kept(tmp_path)), b"theirs", 0o640)
        file = self.give_back(tmp_path, was_there=True, text="edited")
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("edited", 0o640)

    @pytest.mark.usefixtures("ours")
    def test_one_that_was_there_and_that_no_run_came_to_replace_stays(self, tmp_path):
        assert self.give_back(tmp_path, was_there=True).read_text() == "ours"

    def test_a_copy_is_where_the_plan_looks_for_it(self):
        assert paths.original_of("/etc/a/b") == prelude.kept_path(paths.BACKUP_DIR, "/etc/a/b")


def test_the_search_path_holds_no_place_that_others_may_write_to():
    for directory in map(Path, prelude.SEARCH_PATH.split(":")):
        if directory.is_dir():
            assert (directory.stat().st_uid, directory.stat().st_mode & 0o002) == (0, 0)
