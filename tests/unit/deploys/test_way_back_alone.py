"""A host that is left alone by its run: what was started there goes back, by the real way of being started.

The connection is a process of this machine, as sshd's is on a host; systemd-run is a stand-in that starts
what it is told to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from deploys.host.remote_program import shell_line, stdin_for
from deploys.model import paths


@pytest.fixture
def alone(tmp_path, programs, monkeypatch):
    monkeypatch.setattr(paths, "PYTHON", "/usr/bin/python3")
    programs.add(
        "systemd-run", 'for script; do :; done; setsid /bin/sh "$script" >watched 2>&1 </dev/null & :'
    )
    return Alone(tmp_path, programs)


class Alone:
    """One file and one link below a directory, a way back for them, and a run that changes them."""

    def __init__(self, home, programs):
        self.home, self.programs = home, programs
        self.file, self.link, self.way_back = home / "file", home / "link", home / "state" / "way-back"
        self.file.write_text("old")
        self.link.symlink_to("old")
        self.lock = str(home / "lock")

    def sent(self, program, task, lock):
        """As it is sent, but for the stand-ins in front of this machine's own programs."""
        sent = json.loads(stdin_for(program, task, lock))
        first = f'SEARCH_PATH = "{self.programs.directory}:'
        sent["modules"] = [(name, text.replace('SEARCH_PATH = "', first)) for name, text in sent["modules"]]
        return json.dumps(sent)

    def begin(self):
        """A connection that has put things aside, and stays; its process id."""
        watching = {"directory": str(self.way_back), "do": "watch", "lock": self.lock}
        task = {
            "directory": str(self.way_back),
            "paths": [str(self.file), str(self.link)],
            "made": [],
            "strays": [],
            "staging": str(self.home / "staging"),
            "packages": False,
            "engine": None,
            "unit": str(self.home / "unit"),
            "wanted": str(self.home / "wanted"),
            "unit_text": "",
            "script": f"{shell_line('go_back', 60)} <{self.way_back}/stdin.json\n",
            "stdin": self.sent("go_back", watching, None),
        }
        (self.home / "sent").write_text(self.sent("keep_way_back", task, self.lock))
        (self.home / "line").write_text(shell_line("keep_way_back", 60))
        # As sshd: a listener that is a child of process 1, and a child of it for the connection.
        sends = f"sh {self.home}/line <{self.home}/sent >{self.home}/answer"
        line = f"echo $$ >{self.home}/pid; {sends}; exec sleep 100"
        subprocess.Popen(
            ["setsid", "--fork", "sh", "-c", 'sh -c "$0" & wait', line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).wait()
        wait_for(lambda: (self.programs.home / "watched").exists() and (self.home / "answer").read_text())
        assert json.loads((self.home / "answer").read_text()) == {}
        return int((self.home / "pid").read_text())

    def change(self):
        self.file.write_text("new")
        self.link.unlink()
        self.link.symlink_to("new")

    @property
    def state(self):
        return self.file.read_text(), str(self.link.readlink())


def wait_for(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come")


def test_the_host_goes_back_when_the_connection_is_gone_and_not_before(alone):
    connection = alone.begin()
    alone.change()
    time.sleep(1)
    assert alone.state == ("new", "new")
    os.kill(connection, signal.SIGKILL)
    wait_for(lambda: not alone.way_back.exists())
    wait_for((alone.programs.home / "watched").read_text)
    assert alone.state == ("old", "old")
    assert json.loads((alone.programs.home / "watched").read_text()) == {"back": True, "left": []}
    assert not (alone.home / "unit").exists()
