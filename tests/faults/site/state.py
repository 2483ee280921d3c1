"""What is on a host, in one look: managed paths by their hashes, Docker, packages, what is half, who runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import paths

if TYPE_CHECKING:
    from tests.lab import Host

SURVIVORS = ("survivor-runsc", "survivor-runc")
_MANAGED = [*paths.MANAGED_FILES, *paths.MANAGED_LINKS, paths.APPLIED]
_LOOK = """
import hashlib, json, os, subprocess, sys
managed, survivors, state = json.loads(sys.argv[1])

def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None

def content(path):
    if os.path.islink(path):
        return "-> " + os.readlink(path)
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    with open(path, "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    return "%s %o %d %d" % (sha256, status.st_mode, status.st_uid, status.st_gid)

half = []
for top in ("/etc", "/opt", "/usr/local", "/var/lib/nvproxy-fleet"):
    for place, names, files in os.walk(top):
        half += [os.path.join(place, name) for name in names + files if ".nvproxy-fleet." in name]
for path in (state + "/way-back", "/etc/systemd/system/nvproxy-fleet-way-back.service"):
    half += [path] if os.path.lexists(path) else []
packages = ("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\\n", "*nvidia-container*")
pid = "{{.State.Pid}} {{.State.Running}}"
runtimes = run("docker", "info", "--format", "{{json .Runtimes}}")
print(json.dumps({
    "managed": {path: content(path) for path in managed},
    "loaded": json.loads(runtimes) if runtimes else None,
    "packages": run(*packages),
    "half": half,
    "running": {name: run("docker", "inspect", "-f", pid, name) for name in survivors},
}))
"""


@dataclass(frozen=True)
class State:
    """A host's state.

    Attributes:
        managed: path -> hash, mode and owner of a file, target of a link, None where nothing is.
        loaded: the runtimes that dockerd has, None where it does not answer.
        packages: the toolkit's packages with their versions, and whether dpkg has them whole.
        half: temporary files, and what is put aside for a way back.
        running: process id of each container that was started before.
    """

    managed: dict[str, str | None]
    loaded: dict[str, object] | None
    packages: str | None
    half: list[str]
    running: dict[str, str | None]

    @property
    def config(self) -> tuple[object, ...]:
        """What must be as it was or as it will be, in one."""
        return tuple(sorted(self.managed.items(), key=str)), json.dumps(self.loaded, sort_keys=True)


def look(host: Host) -> State:
    """Look at a host."""
    asked = json.dumps([_MANAGED, SURVIVORS, paths.STATE_DIR])
    return State(**json.loads(host.run(["python3", "-c", _LOOK, asked], timeout=60).stdout))


def differences(one: State, other: State) -> list[str]:
    """The managed paths that two states do not have in common."""
    found = [path for path, value in one.managed.items() if other.managed.get(path) != value]
    return found + (["what dockerd has loaded"] if one.loaded != other.loaded else [])
