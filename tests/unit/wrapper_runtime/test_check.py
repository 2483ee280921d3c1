"""The check of an installed chain: sound as installed, and each single thing that is wrong is found.

It lies under /opt, as on a host: below /tmp, where everybody may write, nothing is sound.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from deploys.model.rendering import render
from nvproxy_wrapper.admin import check
from tests.installed_wrapper import PYTHON, InstalledWrapper, copy_of_the_package


class Chain:
    """An installed chain in a directory of its own, with config.toml and the record of what was applied."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "versions").mkdir()
        (home / "current").symlink_to("versions")
        copy_of_the_package(home / "versions")
        self.installed = home / "host"
        self.installed.mkdir()
        self.wrapper = InstalledWrapper(
            self.installed, package=home / "current", trusted_hooks=[], runsc_args=["--from-launcher"]
        )
        self.toolkit_config = home / "config.toml"
        self.write_runtimes(f'runtimes = ["{self.wrapper.launcher}"]')
        self.entry = home / "entry"
        self.applied = home / "applied.json"
        self.record(self.wrapper.launcher, self.wrapper.settings_file)

    def write_runtimes(self, line):
        self.toolkit_config.write_text(
            f'[nvidia-container-runtime]\nmode = "csv"\n{line}\n\n[nvidia-ctk]\npath = "x"\n'
        )

    def record(self, *paths):
        files = {str(path): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths}
        self.applied.write_text(json.dumps({"files": files}))

    def findings(self):
        return list(
            check.examine(
                str(self.wrapper.launcher),
                str(self.wrapper.settings_file),
                str(self.toolkit_config),
                str(self.applied),
                str(self.entry),
            )
        )

    def wrong(self):
        return [(found.subject, found.answer) for found in self.findings() if found.answer != check.YES]


@pytest.fixture
def chain(monkeypatch):
    # The interpreter that a host would have: the tests' own may lie anywhere, below /tmp too.
    monkeypatch.setattr(check.sys, "executable", PYTHON)
    home = Path(tempfile.mkdtemp(prefix="nvproxy-check-", dir="/opt"))
    yield Chain(home)
    shutil.rmtree(home)


def test_a_chain_as_installed_is_sound(chain):
    assert chain.wrong() == []
    assert check.overall(chain.findings()) == check.YES


def lead_to(chain, config_home):
    """An entry beside the chain, which names this configuration to NVIDIA's runtime."""
    text = render("nvproxy-entry.sh.j2", engine="docker", shim="/bin/true", config_home=str(config_home))
    chain.entry.write_text(text)
    chain.entry.chmod(0o755)
    config = config_home / "nvidia-container-runtime" / "config.toml"
    config.parent.mkdir(parents=True, mode=0o755)
    return config


def test_the_configuration_that_counts_is_the_one_that_the_entry_names(chain):
    config = lead_to(chain, chain.home / "own")
    assert ("config.toml", "no") in chain.wrong(), "it is not there, whatever stands in the host's own"
    chain.toolkit_config.rename(config)
    assert chain.wrong() == []


def test_an_entry_that_others_may_write_is_not_sound(chain):
    chain.toolkit_config.rename(lead_to(chain, chain.home / "own"))
    chain.entry.chmod(0o777)
    assert chain.wrong() == [("entry", "no")]


def test_a_launcher_that_others_may_write_is_not_sound(chain):
    chain.wrapper.launcher.chmod(0o775)
    assert ("launcher", "no") in chain.wrong()


def test_a_directory_on_the_way_that_others_may_write_is_not_sound(chain):
    chain.home.chmod(0o757)
    assert {subject for subject, _ in chain.wrong()} >= {
        "config.toml",
        "launcher",
        "wrapper",
        "runsc",
        "settings",
    }


def test_a_link_is_followed_and_its_own_way_is_looked_at(chain):
    elsewhere = chain.home / "open"
    elsewhere.mkdir(mode=0o755)
    chain.wrapper.runsc.rename(elsewhere / "runsc")
    chain.wrapper.runsc.symlink_to("../open/runsc")
    assert chain.wrong() == []
    elsewhere.chmod(0o777)
    assert ("runsc", "no") in chain.wrong()


def test_links_that_never_end_are_no_answer(chain):
    chain.wrapper.runsc.unlink()
    chain.wrapper.runsc.symlink_to("runsc")
    assert ("runsc", "cannot tell") in chain.wrong()


@pytest.mark.parametrize("name", ["runtime.py", "judge/decision.py"])
def test_a_module_of_another_user_is_not_sound(chain, name):
    os.chown(chain.home / "versions/nvproxy_wrapper" / name, 1234, 0)
    assert chain.wrong() == [("wrapper", "no")]


def test_a_runsc_that_not_everybody_may_execute_is_not_sound(chain):
    chain.wrapper.runsc.chmod(0o700)
    assert chain.wrong() == [("runsc", "no")]


def test_a_side_binary_that_others_may_write_is_not_sound(chain):
    side = chain.installed / "gvisor-bin/gvisor_sentry"
    side.parent.mkdir()
    side.write_text("")
    side.chmod(0o777)
    assert chain.wrong() == [("side binary", "no")]


@pytest.mark.parametrize("gone", ["launcher", "runsc", "settings_file"])
def test_a_missing_part_is_not_sound(chain, gone):
    getattr(chain.wrapper, gone).unlink()
    assert check.overall(chain.findings()) == check.NO


def test_a_wrapper_that_is_gone_is_not_sound(chain):
    (chain.home / "current").unlink()
    assert chain.wrong() == [("wrapper", "no")]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('runtimes = ["{}", "runc"]', "no"),
        ('runtimes = ["nvproxy-runsc"]', "no"),
        ("runtimes = []", "no"),
        ('runtimes = ["runc"]\nruntimes = ["{}"]', "cannot tell"),
        ('runtimes = [\n  "{}"\n]', "cannot tell"),
        ("runtimes = ['{}']", "cannot tell"),
        ('# runtimes = ["{}"]', "cannot tell"),
        ('[other]\nruntimes = ["{}"]', "cannot tell"),
        ('x = """\n"""\nruntimes = ["{}"]', "cannot tell"),
        ('  runtimes=[ "{}" ] # the only one', None),
    ],
)
def test_only_the_launcher_alone_is_sound_as_a_runtime(chain, line, answer):
    chain.write_runtimes(line.format(chain.wrapper.launcher))
    assert chain.wrong() == ([("config.toml", answer)] if answer else [])


def test_settings_that_name_another_runsc_than_the_launcher_are_not_sound(chain):
    other = chain.installed / "other"
    shutil.copy(chain.wrapper.runsc, other)
    chain.wrapper.write_settings(runsc=str(other), runsc_args=["--from-launcher"], trusted_hooks=[])
    chain.record(chain.wrapper.launcher)
    assert chain.wrong() == [("launcher", "no")]


def test_settings_that_are_refused_are_not_sound(chain):
    chain.wrapper.write_settings(colour="red")
    assert ("settings", "no") in chain.wrong()


def test_a_file_that_is_not_as_it_was_written_is_not_sound(chain):
    chain.toolkit_config.write_text(chain.toolkit_config.read_text() + "# edited\n")
    chain.record(chain.toolkit_config)
    chain.toolkit_config.write_text(chain.toolkit_config.read_text() + "# again\n")
    assert chain.wrong() == [("hashes", "no")]


@pytest.mark.parametrize("record", [None, "{", '{"files": 1}', '{"files": {"/x": {}}}', "[]"])
def test_without_a_record_nobody_can_tell(chain, record):
    chain.applied.unlink()
    if record is not None:
        chain.applied.write_text(record)
    assert chain.wrong() == [("hashes", "cannot tell")]


@pytest.mark.parametrize(
    ("answers", "status"), [(["yes"], 0), (["yes", "cannot tell"], 2), (["cannot tell", "no"], 1)]
)
def test_the_exit_status_is_the_worst_answer(monkeypatch, capsys, answers, status):
    monkeypatch.setattr(check, "examine", lambda: [check.Finding("x", answer, "seen") for answer in answers])
    assert check.main([]) == status
    assert check.main(["--format", "json"]) == status
    out = capsys.readouterr().out
    assert [found["answer"] for found in json.loads(out[out.index("{") :])["findings"]] == answers
