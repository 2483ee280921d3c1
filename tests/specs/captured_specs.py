"""The captured specs, and what each of them must become, told from its file's name and the README alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.driver_tree import captured_uuid

FOLDER = Path(__file__).parent / "captured"

_REQUESTS = {
    "no-gpu": None,
    "visible-void": None,
    "visible-none": "none",
    "visible-all": "all",
    "caps-all": "all",
    "cuda-image": "all",
    "visible-0": ["0"],
    "visible-1": ["1"],
    "visible-0+2": ["0", "2"],
    "visible-uuid1": [captured_uuid(1)],
}
_MINORS = {
    "visible-0": [0],
    "visible-1": [1],
    "visible-0+2": [0, 2],
    "visible-uuid1": [1],
    "visible-none": [],
}


@dataclass(frozen=True)
class Captured:
    """One captured spec: its file and the three parts of its name."""

    path: Path
    toolkit: str
    mode: str
    request: str

    @property
    def spec(self) -> dict:
        """The spec, parsed anew."""
        return json.loads(self.path.read_bytes())

    @property
    def spec_class(self) -> str:
        """Its class: `auto` was legacy up to 1.17 and is jit-cdi since; only legacy marks every container."""
        version = tuple(map(int, self.toolkit.split(".")))
        mode = ("legacy" if version < (1, 18) else "jit-cdi") if self.mode == "auto" else self.mode
        return "none" if mode != "legacy" and self.requested is None else mode

    @property
    def requested(self) -> str | list[str] | None:
        """What explain has to say was asked for."""
        return _REQUESTS[self.request]

    @property
    def gpus(self) -> list[int]:
        """The minors that the container may have; the CSV files listed four of the eight."""
        if self.spec_class in ("none", "legacy"):
            return []
        return _MINORS.get(self.request, list(range(4 if self.spec_class == "csv" else 8)))


CAPTURED = tuple(
    Captured(path, *path.stem.split("_"))
    for path in sorted(FOLDER.glob("*.json"), key=lambda path: path.name)
)
