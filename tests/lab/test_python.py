"""The Python of Debian's next suite: an ordinary program, and one that is not there is named."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab import Lab, LabError
from tests.lab.debian import download_packages
from tests.lab.python import PROGRAM, new_python
from tests.lab.versions import PYTHON_SUITE, PYTHON_VERSION

pytestmark = pytest.mark.lab

TELL = """
import hashlib, json, os, shutil, subprocess, sys
maps = [line.split(None, 5) for line in open("/proc/self/maps")]
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "program": [sys.executable, os.readlink("/proc/self/exe"), sys.orig_argv[0]],
    "libraries": sorted({place[5].strip() for place in maps if ".so" in place[-1]}),
    "a child's": subprocess.check_output(["/bin/cat", "/proc/self/maps"], text=True),
}))
"""


def test_it_is_an_ordinary_program_that_loads_no_library_of_this_machine():
    part = Lab.open().path(new_python())
    python = str(part / PROGRAM)
    told = json.loads(subprocess.check_output([python, "-IS", "-c", TELL]))
    assert told["version"] == PYTHON_VERSION
    assert told["program"] == [python] * 3
    assert {"libc.so.6", "libcrypto.so.3"} <= {Path(library).name for library in told["libraries"]}
    assert [library for library in told["libraries"] if not Path(library).is_relative_to(part)] == []
    assert str(part) not in told["a child's"]


def test_a_package_that_the_suite_has_no_more_is_named(tmp_path):
    with pytest.raises(LabError, match=r"has no python3\.0-minimal: change the suite"):
        download_packages(("libc6", "python3.0-minimal"), PYTHON_SUITE, tmp_path, tmp_path / "log")
