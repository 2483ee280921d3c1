"""The probe against programs that act like a runsc in one way each; the real ones are tried in the lab."""

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from nvproxy_wrapper.admin import probe
from nvproxy_wrapper.judge.rules.asked import CAPABILITIES
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.lab.cache import Cache

ACTOR = r"""#!/bin/sh
case "$*" in
    --version) echo "runsc version release-20260905.0"; echo "spec: 1.2.1" ;;
    flags)
        printf '  -nvproxy\n    \tenable it\n  -root string\n    \t-x\n  -host-settings value\n' >&2
        @FLAGS@ ;;
    --nvproxy-allowed-driver-capabilities=*" flags") case "$1" in *=compute|*=new-1) ;; *) exit 128 ;; esac ;;
    "nvproxy list-supported-drivers") echo 550.90.12; echo 570.124.06 ;;
    *" create "*) echo "$*" >>@HOME@/calls; @CREATE@ ;;
    *" delete "*) echo "$*" >>@HOME@/calls ;;
    *) exit 2 ;;
esac
"""
RUN_THE_HOOK = r"""touch "$(sed -n 's/.*"args": \["touch", "\([^"]*\)".*/\1/p' "$8/config.json")" """


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert list((tmp_path / "temporary").iterdir()) == []


def actor(home: Path, create: str, flags: str = ":") -> str:
    path = home / "runsc"
    text = ACTOR.replace("@HOME@", str(home)).replace("@CREATE@", create).replace("@FLAGS@", flags)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("create", "answer", "status"),
    [
        (RUN_THE_HOOK, True, 0),
        (":", False, 0),
        (f"{RUN_THE_HOOK}; exit 1", True, 0),
        ("echo no such luck >&2; exit 1", None, 2),
    ],
    ids=["runs the hook", "does not", "runs it and fails later", "fails"],
)
def test_the_mark_of_a_hook_is_the_answer(tmp_path, capsys, create, answer, status):
    assert probe.main([actor(tmp_path, create), "--format", "json"]) == status
    found = json.loads(capsys.readouterr().out)
    assert found["hooks_run"] is answer
    assert ("no such luck" in (found["why_not_told"] or "")) == (answer is None)
    assert found["version"] == "20260905.0"
    assert found["flags"] == ["nvproxy", "root", "host-settings"]
    assert found["supported_drivers"] == ["550.90.12", "570.124.06"]


def test_the_container_is_deleted_from_a_root_of_its_own(tmp_path):
    probe.main([actor(tmp_path, ":")])
    create, delete = (tmp_path / "calls").read_text().splitlines()
    assert create.split(" create ")[0] == delete.split(" delete ")[0]
    assert create.startswith(f"--root {tmp_path}/temporary/")


def test_what_a_sandbox_leaves_open_does_not_hold_the_probe_up(tmp_path):
    create = f"sleep 60 & echo $! >{tmp_path}/pid"
    assert probe.main([actor(tmp_path, create)]) == 0
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_creation_that_hangs_is_cut_off_and_nobody_can_tell(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 1)
    assert probe.main([actor(tmp_path, "exec sleep 60")]) == 2
    assert "cannot tell" in capsys.readouterr().out
    assert " delete " in (tmp_path / "calls").read_text()


CAN_BE_CHOSEN = r"printf '  -nvproxy-allowed-driver-capabilities string\n' >&2"


def test_runsc_is_asked_which_capabilities_it_takes(tmp_path, capsys):
    runsc = actor(tmp_path, ":", CAN_BE_CHOSEN)
    probe.main([runsc, "--capabilities", "new-1,new-2", "--format", "json"])
    found = json.loads(capsys.readouterr().out)["capabilities"]
    assert found.keys() == {*CAPABILITIES, "new-1", "new-2"}
    assert [name for name, is_taken in found.items() if is_taken] == ["compute", "new-1"]


def test_a_runsc_without_the_flag_is_asked_about_none(tmp_path, capsys):
    probe.main([actor(tmp_path, ":"), "--capabilities", "new-1", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["capabilities"] == {}


REAL = {
    # What each release answered, tried one by one.
    "20240729": set(),
    "20260224": {"compute", "utility", "graphics", "video", "fabric-imex-mgmt"},
    "20260905": {*DEFAULTS.runsc_capabilities},
}


@pytest.mark.parametrize("release", REAL)
def test_real_releases_take_what_they_took(release):
    """Where the lab has one already; what the stand-in above answers is theirs."""
    there = sorted((Cache.of_environment().directory / "parts").glob(f"runsc-{release}-*/runsc"))
    if not there:
        pytest.skip(f"the lab's cache has no runsc {release}")
    found = probe.Probe(str(there[0])).capabilities
    assert {name for name, is_taken in found.items() if is_taken} == REAL[release]


def test_side_binaries_are_those_beside_the_real_file(tmp_path):
    release = tmp_path / "20260905"
    (release / "gvisor-bin").mkdir(parents=True)
    (release / "gvisor-bin/gvisor_sentry").touch()
    actor(release, ":")
    (tmp_path / "current").symlink_to("20260905")
    assert probe.Probe(str(tmp_path / "current/runsc")).side_binaries == ["gvisor_sentry"]


@pytest.mark.parametrize("program", ["/bin/true", "/nonexistent/runsc", "/etc/passwd"])
def test_what_is_no_runsc_is_said_in_a_sentence(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        probe.main([program])
    assert stopped.value.code == 1
    assert program in capsys.readouterr().err or program == "/bin/true"
