"""The smaller programs on a host; what they call there are stand-ins that say how they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.host.remote import containers_of_runtime, install_packages, prelude
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

    def install(self):
        return install_packages.main(
            {
                "packages": list(TOOLKIT_PACKAGES),
                "version": "1.20.0-1",
                "apt": self.APT,
            }
        )

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


def test_the_search_path_holds_no_place_that_others_may_write_to():
    for directory in map(Path, prelude.SEARCH_PATH.split(":")):
        if directory.is_dir():
            assert (directory.stat().st_uid, directory.stat().st_mode & 0o002) == (0, 0)
