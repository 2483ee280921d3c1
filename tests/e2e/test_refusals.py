"""Bad input stops that host before anything is changed on it, says why and what to do; others go on."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from tests.e2e.site import data, inventory_with, lab_state, pyinfra
from tests.lab import Engine, HostDefinition, Lab

# What must be the same afterwards, in words that the host itself compares: everything that a site run writes.
FINGERPRINT = (
    "find /etc /opt /usr/local /var/lib/nvproxy-fleet -xdev -type f -newer /etc/hostname -print0 2>/dev/null "
    "| sort -z | xargs -0r sha256sum; dpkg-query -W; docker info -f '{{json .Runtimes}}' 2>/dev/null; true"
)
DEFINITIONS = {
    "no-release": HostDefinition("no-release"),
    "bad-hash": HostDefinition("bad-hash"),
    "other-key": HostDefinition("other-key"),
    "bad-json": HostDefinition("bad-json"),
    "no-docker": HostDefinition("no-docker", engine=Engine.NONE),
    "bad-driver": HostDefinition("bad-driver", driver_version="570.99.99"),
    "sound": HostDefinition("sound"),
}
SAID = {
    "no-release": ("20991231", "404", "Set gvisor_release"),
    "bad-hash": ("sha512", "Nothing was installed", "gvisor_sha512"),
    "other-key": ("libnvidia-container/stable", "not signed", "toolkit_key"),
    "bad-json": ("/etc/docker/daemon.json", "not JSON", "line 2", "Repair it by hand"),
    "no-docker": ("no Docker", "docker.io", "run again"),
    "bad-driver": ("570.99.99", "supports", "gvisor_release"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, machine):
    """One run over a sound host and six that each have one thing wrong; fingerprints before and after."""
    lab = Lab.open()
    lab.up([replace(definition, machine=machine) for definition in DEFINITIONS.values()])
    try:
        state = lab_state()
        release = max(state["mirror"]["gvisor_releases"])
        wrong_key = tmp_path_factory.mktemp("key") / "other.asc"
        wrong_key.write_text(another_key(tmp_path_factory.mktemp("gnupg")))
        overrides = {name: {"toolkit_mode": "csv"} for name in DEFINITIONS}
        overrides["no-release"] |= {"gvisor_release": "20991231"}
        overrides["bad-hash"] |= {"gvisor_release": release, "gvisor_sha512": {"x86_64": "0" * 128}}
        overrides["other-key"] |= {"toolkit_key": str(wrong_key)}
        lab.host("bad-json").run("mkdir -p /etc/docker && echo '{\"runtimes\": {' > /etc/docker/daemon.json")
        before = {name: lab.host(name).run(FINGERPRINT).stdout for name in SAID}
        inventory = inventory_with(tmp_path_factory.mktemp("inventory"), overrides)
        run = pyinfra("site", inventory=inventory)
        after = {name: lab.host(name).run(FINGERPRINT).stdout for name in SAID}
        yield run, before, after
    finally:
        lab.down(list(DEFINITIONS))


def another_key(home):
    """The public key of somebody else."""
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-generate-key", "somebody@else.example", "ed25519", "sign"],
        check=True,
        capture_output=True,
    )
    return subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", SAID)
def test_the_host_says_what_is_wrong_and_what_to_do(outcome, name):
    run, _, _ = outcome
    lines = [line for line in run.screen.splitlines() if name in line]
    for words in SAID[name]:
        assert any(words in line for line in lines), "\n".join(lines)
    assert "Traceback" not in run.screen


@pytest.mark.parametrize("name", SAID)
def test_nothing_was_changed_on_it(outcome, name):
    _, before, after = outcome
    assert after[name] == before[name]


def test_the_run_fails_and_the_sound_host_goes_on(outcome):
    run, _, _ = outcome
    assert run.status == 1
    assert run.failed_hosts() == sorted(SAID)


def test_an_unknown_setting_stops_the_run_before_any_host_is_touched(site):
    run = pyinfra("site", *data(gvisor_relase="20260905"))
    assert run.status == 1
    assert "gvisor_relase" in run.screen
    assert "Did you mean gvisor_release?" in run.screen
    assert "Traceback" not in run.screen
    assert "Fetch and check" not in run.screen
