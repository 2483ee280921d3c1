"""Programs of a host that are stand-ins, and tell what they were asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from deploys.host.remote import prelude, snapshot_probe
from deploys.model import daemon_json

if TYPE_CHECKING:
    from pathlib import Path

# No test asserts a time: the machine may be doing something else.
settings.register_profile("deploys", deadline=None)
settings.load_profile("deploys")


class Programs:
    """A directory of stand-ins in front of the machine's own programs; they write down their calls."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._calls = home / "calls"
        self.directory = home / "bin"
        self.directory.mkdir(parents=True)

    def add(self, name: str, body: str) -> None:
        """A program: the body of a shell script, run in `home`."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\ncd {self.home} && printf '%s\\n' \"{name} $*\" >>calls\n{body}\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs(tmp_path / "programs")
    for module in (prelude, snapshot_probe):
        monkeypatch.setattr(module, "SEARCH_PATH", f"{made.directory}:/usr/bin:/bin")
    return made


class Docker:
    """A dockerd that is a stand-in: a reload takes in daemon.json as the real one does, unless it suffers.

    Where the file names no `runtimes`, or is not there, those stay that were loaded; so does the default
    runtime (seen with Docker 20.10.24 and 29).

    It suffers from: refuses (--validate says no), deaf (a reload changes nothing), dies (a reload kills it),
    null (it answers without runtimes), no-reload (systemctl fails).
    """

    def __init__(self, programs: Programs, home: Path) -> None:
        self.programs = programs
        self.path = home / "etc" / "docker" / "daemon.json"
        self.path.parent.mkdir(parents=True)
        self.backup = home / "backup"
        self.besides: dict[str, str] = {}
        self._loaded = programs.home / "loaded"
        self._loaded.write_text('{"runc": {"path": "runc"}}')
        programs.add(
            "dockerd",
            'stat -c "%a %u" "$3" >validated\n[ ! -e refuses ] || { echo "unknown key: x" >&2; exit 1; }',
        )
        programs.add("docker", "[ ! -e dead ] || exit 1\ncat loaded")
        programs.add(
            "systemctl",
            """[ ! -e no-reload ] || { echo 'Job is not applicable' >&2; exit 1; }
[ ! -e dies ] || touch dead
[ ! -e null ] || { echo null >loaded; exit 0; }
[ -e deaf ] || ./reload""",
        )
        reload = programs.home / "reload"
        reload.write_text(
            "#!/usr/bin/python3 -IS\n"
            "import json, os\n"
            f"path = {str(self.path)!r}\n"
            "content = open(path, 'rb').read() if os.path.exists(path) else b''\n"
            "is_utf_16 = content[:2] in (b'\\xff\\xfe', b'\\xfe\\xff')\n"
            "text = content.decode('utf-16' if is_utf_16 else 'utf-8-sig')\n"
            "open('texts', 'a').write(json.dumps(text) + '\\n')\n"
            "config = json.loads(text or '{}')\n"
            "if 'runtimes' in config:\n"
            "    loaded = {'runc': {'path': 'runc'}, **(config['runtimes'] or {})}\n"
            "    open('loaded', 'w').write(json.dumps(loaded))\n"
        )
        reload.chmod(0o755)

    def suffers(self, trouble: str) -> None:
        (self.programs.home / trouble).touch()

    @property
    def loaded(self) -> dict[str, object]:
        return json.loads(self._loaded.read_text())

    @property
    def reloaded(self) -> list[dict[str, object]]:
        """What stood in the file at each reload."""
        path = self.programs.home / "texts"
        texts = path.read_text().splitlines() if path.exists() else []
        return [json.loads(json.loads(text) or "{}") for text in texts]

    @property
    def validated(self) -> str | None:
        """Mode and owner of the file that dockerd was asked about."""
        path = self.programs.home / "validated"
        return path.read_text().strip() if path.exists() else None

    def loads(self) -> None:
        """Read the file, as at a start."""
        subprocess.run([self.programs.home / "reload"], cwd=self.programs.home, check=True)

    def write(self, text: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        self.path.write_bytes(text.encode())
        self.path.chmod(mode)
        os.chown(self.path, *owner)

    def task(
        self,
        text: str | None,
        runtime_path: str | None = "/shim",
        *,
        original: bool = False,
        **others: object,
    ) -> dict[str, object]:
        """To write a text, or to have no file where that is None."""
        there = self.path.read_bytes() if self.path.exists() else None
        old, old_encoding = (None, "utf-8") if there is None else prelude.decoded(there)
        new = old if others.get("file", True) is None else text
        encoding = others.pop("encoding", "utf-8")
        return {
            "path": str(self.path),
            "file": {"text": text, "encoding": encoding, "original": original},
            "load": {"text": daemon_json.named(new, self.besides), "encoding": encoding},
            "load_old": {"text": daemon_json.named(old, self.besides), "encoding": old_encoding},
            "backup": str(self.backup),
            "runtime": "nvidia",
            "runtime_path": runtime_path,
            "seen": None if there is None else hashlib.sha256(there).hexdigest(),
            "daemon": "dockerd",
            "can_validate": True,
            **others,
        }


@pytest.fixture
def docker(programs: Programs, tmp_path: Path) -> Docker:
    return Docker(programs, tmp_path)
