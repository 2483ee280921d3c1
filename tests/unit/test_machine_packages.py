"""Which Debian packages are missing on this machine, and what is said where they cannot be installed."""

from __future__ import annotations

import os

import pytest

from tests import machine_packages
from tests.machine_packages import (
    PACKAGES,
    Package,
    PackagesError,
    Use,
    install,
    main,
    missing,
    needed_for,
    not_installed,
)

# dpkg-query of Debian 12, where strace was removed and not purged. It says nothing on a package that it has
# never seen.
DPKG_SAYS = "bzip2 installed\nlogrotate not-installed\nstrace config-files\nlibc6-dev installed\n"


@pytest.fixture
def apt_get(tmp_path, monkeypatch):
    """A machine whose programs are these: `apt_get(script)` makes its apt-get; root asks."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def write(script):
        program = tmp_path / "apt-get"
        program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n{script}\n')
        program.chmod(0o755)

    return write


def test_every_package_stands_once_with_its_use_and_its_reason():
    names = [package.name for package in PACKAGES]
    assert names == sorted(set(names))
    for package in PACKAGES:
        assert package.uses, package.name
        assert len(package.reason.split()) > 3, package.name
    assert set(Use) == {use for package in PACKAGES for use in package.uses}


def test_only_what_dpkg_calls_installed_is_there():
    names = ["busybox", "bzip2", "logrotate", "strace"]
    assert not_installed(names, DPKG_SAYS) == ["busybox", "logrotate", "strace"]


def test_a_package_for_two_uses_is_asked_for_once():
    both = needed_for([Use.TESTS, Use.LAB])
    assert both.count("gcc") == 1
    assert set(both) == {*needed_for([Use.TESTS]), *needed_for([Use.LAB])}


def test_this_machines_own_dpkg_is_understood(monkeypatch):
    listed = (Package("dpkg", (Use.TESTS,), "is there"), Package("nvproxy-none", (Use.TESTS,), "is nowhere"))
    monkeypatch.setattr(machine_packages, "PACKAGES", listed)
    assert missing([Use.TESTS]) == ["nvproxy-none"]


def test_apt_get_is_asked_for_what_is_missing_and_for_no_more(apt_get, tmp_path):
    apt_get("")
    install(["strace", "busybox"], tmp_path / "log")
    calls = [call.split() for call in (tmp_path / "calls").read_text().splitlines()]
    assert [call[-1] for call in calls] == ["update", "busybox"]
    assert calls[1][calls[1].index("install") :] == [
        "install", "--yes", "--no-install-recommends", "strace", "busybox"
    ]  # fmt: skip


def test_an_installation_that_fails_ends_in_one_sentence_with_the_last_words_and_where_to_read_all(
    apt_get, tmp_path
):
    apt_get('[ "$3" = update ] || { echo first; echo "E: Unable to locate package strace"; exit 100; }')
    with pytest.raises(PackagesError) as failed:
        install(["strace"], tmp_path / "log")
    assert "strace cannot be installed" in str(failed.value)
    assert "status 100 (E: Unable to locate package strace)" in str(failed.value)
    assert str(tmp_path / "log") in str(failed.value)


def test_who_is_not_root_is_told_what_to_install(apt_get, tmp_path, monkeypatch):
    apt_get("")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PackagesError, match=r"only root .*: strace\. .*sudo apt-get install .*strace'"):
        install(["strace"], tmp_path / "log")
    assert not (tmp_path / "calls").exists()


def test_a_system_without_apt_is_told_what_it_needs(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["tests"]) == 1
    assert "this system has no apt-get: " + " ".join(needed_for([Use.TESTS])) in capsys.readouterr().err
