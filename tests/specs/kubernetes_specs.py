"""The specs that gVisor's containerd shim left, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "kubernetes"
NAMES = sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))
SANDBOXES = [name for name in NAMES if name.endswith(".sandbox")]
CONTAINERS = [name for name in NAMES if not name.endswith(".sandbox")]


def shims_spec(name: str) -> dict[str, Any]:
    """One of them, to be changed."""
    spec: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return spec
