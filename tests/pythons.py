"""The Pythons that the wrapper is tested under: this machine's from 3.8 on, and the lab's newer one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installed_wrapper import PYTHON
from tests.lab import Lab
from tests.lab.python import PROGRAM, new_python
from tests.lab.versions import PYTHON_VERSION

_ASK = "import sys; print(*sys.version_info[:3], sys.executable)"


def _of_this_machine() -> dict[str, str]:
    """The newest of each minor version: of the system, on the PATH, and of pyenv."""
    candidates = [PYTHON, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(8, 20)))]
    candidates += map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    found = []
    for candidate in candidates:
        asked = subprocess.run([candidate, "-IS", "-c", _ASK], capture_output=True, text=True)
        if asked.returncode == 0:  # one of pyenv's shims may stand for no Python
            *version, path = asked.stdout.strip().split(" ", 3)
            found.append((tuple(map(int, version)), path))
    return {f"{major}.{minor}": path for (major, minor, _), path in sorted(found) if (major, minor) >= (3, 8)}


def of_the_lab() -> str:
    """The lab's Python, which may have to be built first."""
    return str(Lab.open().path(new_python()) / PROGRAM)


# For pytest: functions, as nothing is built while tests are collected.
PYTHONS = [
    *(pytest.param(lambda path=path: path, id=version) for version, path in _of_this_machine().items()),
    pytest.param(of_the_lab, id=f"{PYTHON_VERSION} of the lab", marks=pytest.mark.lab),
]
