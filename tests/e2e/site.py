"""Run the deploys on the lab's hosts as a user does: the pyinfra command, an inventory, a deploy."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = Path(sys.executable).parent / "pyinfra"
LAB_INVENTORY = ROOT / "inventories" / "lab.py"


@dataclass(frozen=True)
class Run:
    """One run of pyinfra: exit status, all that a user saw, and its own JSON (absent where it aborted)."""

    status: int
    screen: str
    result: dict | None

    def changed(self) -> dict[str, list[str]]:
        """The operations that changed something, with the hosts on which they did."""
        assert self.result is not None, self.screen
        operations = self.result["results"]["operations"]
        return {entry["name"]: entry["success"] for entry in operations if entry["success"]}

    def report(self) -> dict:
        """The report of this run's verification, which the last line of the screen names."""
        path = re.search(r"^Report: (\S+)$", self.screen, re.MULTILINE)
        assert path is not None, self.screen
        return json.loads((ROOT / path.group(1)).read_text(encoding="utf-8"))

    def failed_hosts(self) -> list[str]:
        """The hosts that were dropped."""
        assert self.result is not None, self.screen
        return sorted(self.result["results"]["failed_hosts"])


def pyinfra(deploy: str, *arguments: str, inventory: Path = LAB_INVENTORY, seconds: float = 900) -> Run:
    """`pyinfra INVENTORY deploys/DEPLOY.py -y --json …`, from the checkout's root.

    Of the lab's own inventory only the default hosts: other tests' hosts may be up beside them.
    """
    if inventory == LAB_INVENTORY and "--limit" not in arguments:
        arguments = (*arguments, "--limit", "gpu-a", "--limit", "gpu-b")
    command = [str(PYINFRA), "-y", "--json", str(inventory), f"deploys/{deploy}.py", *arguments]
    environment = {**os.environ, "PYINFRA_PROGRESS": "off", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)
    try:
        result = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        result = None
    return Run(done.returncode, done.stderr, result)


def data(**values: object) -> list[str]:
    """`--data` arguments: settings for every host of the run, over what the inventory says."""
    return [word for key, value in values.items() for word in ("--data", f"{key}={json.dumps(value)}")]


def inventory_with(directory: Path, hosts: dict[str, dict[str, object]]) -> Path:
    """An inventory of lab hosts with settings of their own, over those that `inventories/lab.py` gives."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "overrides.json").write_text(json.dumps(hosts), encoding="utf-8")
    group_data = directory / "group_data"
    if not group_data.exists():
        group_data.symlink_to(ROOT / "inventories" / "group_data")
    text = f"""
import json, runpy
from pathlib import Path
_lab = runpy.run_path({str(LAB_INVENTORY)!r})
_overrides = json.loads((Path(__file__).parent / "overrides.json").read_text())
csv = [(n, {{**d, **_overrides[n]}}) for n, d in _lab["csv"] if n in _overrides]
auto = [(n, {{**d, **_overrides[n]}}) for n, d in _lab["auto"] if n in _overrides]
"""
    path = directory / "inventory.py"
    path.write_text(text, encoding="utf-8")
    return path


def lab_state() -> dict:
    """What the lab has told its inventory."""
    return runpy.run_path(str(LAB_INVENTORY))["_LAB"]
