"""Stops a program of a run before its n-th change, until it is told to go on. Lies on the lab host alone.

The host's own Python runs it at each start (`sitecustomize`), and Python's audit hooks tell of every call
that changes something: the programs need no switch for tests. `/run/nvproxy-fault/point` says which program
of the run it is, counted from 0, and which of its changes; `hit` is written when it is there, `go` lets it
on.
"""

# It is loaded by every Python of the host, before anything else: no more imports than it needs.
# ruff: noqa: PTH104, PTH110, PTH112, PTH115, PTH123

import atexit
import json
import os
import sys
import time

HOME = "/run/nvproxy-fault"
CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown"),
    "subprocess.Popen",
}


class Stop:
    """The point of one program."""

    def __init__(self, name):
        log = os.open(f"{HOME}/log", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        index = os.pread(log, 1 << 20, 0).count(b"start")
        os.write(log, f"start {name}\n".encode())
        point = {"program": -1, "change": 0}
        if os.path.exists(f"{HOME}/point"):
            with open(f"{HOME}/point", encoding="ascii") as file:
                point = json.load(file)
        self.log, self.name, self.count = log, name, 0
        self.change = point["change"] if point["program"] == index else None

    def hook(self, event, arguments):
        """A call that is about to be made."""
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes or str(path).startswith((HOME, "/run/nvproxy-fleet.lock")):
                return
        elif event not in CHANGES:
            return
        if self.count == self.change:
            self.stop()
        self.count += 1

    def end(self):
        """Behind the last change, where the program made fewer than were counted before."""
        if self.change is not None and self.change >= self.count:
            self.stop()
        os.write(self.log, f"end {self.name} {self.count}\n".encode())

    def stop(self):
        """Stand still."""
        self.change = None
        with open(f"{HOME}/hit.new", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.rename(f"{HOME}/hit.new", f"{HOME}/hit")
        while not os.path.exists(f"{HOME}/go"):
            time.sleep(0.02)


def watch():
    """Only a program that is started as deploys/host/remote_program.py does, and not the watch of a run."""
    words = getattr(sys, "orig_argv", [])
    if len(words) != 5 or words[1:3] != ["-I", "-c"] or not os.path.isdir(HOME):
        return
    if not os.readlink("/proc/self/fd/0").startswith("/var/lib"):
        stop = Stop(words[4])
        sys.addaudithook(stop.hook)
        atexit.register(stop.end)


watch()
