"""The part of the wrapper that a container waits for imports little, and is the same under every Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pythons import PYTHONS
from tests.specs.captured_specs import FOLDER

ROOT = Path(__file__).resolve().parents[3]

JUDGE = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from nvproxy_wrapper.host import views
from nvproxy_wrapper.judge import rewrite, settings, strict_json
made = []
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        spec = strict_json.loads(file.read())
    for hooks_run in (b"true", b"false"):
        chosen = settings.parse_settings(b'{"hooks_run":' + hooks_run + b"}", "x")
        decision = rewrite.decide(spec, chosen, views.ProcDriverView("/nonexistent"))
        made.append(strict_json.dumps(decision.spec))
new = sorted(name for name in set(sys.modules) - before if not name.startswith("nvproxy_wrapper"))
print(" ".join(new), flush=True)
sys.stdout.buffer.write(b"\\n".join(made))
"""


def judge_all(python):
    specs = sorted(map(str, FOLDER.glob("*.json")))
    command = [python, "-IS", "-c", JUDGE, str(ROOT), *specs]
    result = subprocess.run(command, capture_output=True, check=True)
    imported, _, made = result.stdout.partition(b"\n")
    return imported.decode().split(), made


@pytest.mark.parametrize("python", PYTHONS)
def test_judging_a_spec_imports_nothing_but_posix_and_the_json_scanner(python):
    imported, _ = judge_all(python())
    assert set(imported) <= {"posix", "_json", "fcntl", "__future__"}


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_judges_every_captured_spec_alike(python):
    assert judge_all(python())[1] == judge_all(sys.executable)[1]
