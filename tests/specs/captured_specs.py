"""The captured specs, and what each of them must become, told from its file's name and the README alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.driver_tree import CAPTURED_HOST, LAB_HOST, TreeGpu, captured_uuid

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
    "memory-limit": ["1"],
}
_MINORS = {
    "visible-0": [0],
    "visible-1": [1],
    "visible-0+2": [0, 2],
    "visible-uuid1": [1],
    "visible-none": [],
    "memory-limit": [1],
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
    def version(self) -> tuple[int, ...]:
        """The toolkit's version, to be compared."""
        return tuple(map(int, self.toolkit.split(".")))

    @property
    def host(self) -> tuple[TreeGpu, ...]:
        """The GPUs of the host that it is from."""
        return CAPTURED_HOST if self.version < (1, 20, 1) else LAB_HOST

    @property
    def asked(self) -> str | list[str] | None:
        """What was asked for, by its name."""
        return _REQUESTS[self.request]

    @property
    def spec_class(self) -> str:
        """Its class: `auto` was legacy up to 1.17 and is jit-cdi since; only legacy marks every container."""
        mode = ("legacy" if self.version < (1, 18) else "jit-cdi") if self.mode == "auto" else self.mode
        # In mode cdi `none` names no device of the CDI file, and the spec stays as it was.
        asks_for_nothing = self.asked is None or (mode == "cdi" and self.asked == "none")
        return "none" if mode != "legacy" and asks_for_nothing else mode

    @property
    def is_listed(self) -> bool:
        """Whether the toolkit listed device nodes."""
        return self.spec_class not in ("none", "legacy")

    @property
    def requested(self) -> str | list[str] | None:
        """What explain has to say was asked for: from 1.20.1 on the toolkit replaces it by `void`."""
        return None if self.is_listed and self.version >= (1, 20, 1) else self.asked

    @property
    def refused_by(self) -> str | None:
        """The rule that has to refuse it: what was asked for cannot be told, or not be done."""
        if self.spec_class == "legacy" and self.request == "memory-limit":
            return "hooks.memory"
        is_alone = self.request in ("visible-1", "visible-uuid1", "memory-limit")
        is_lost = self.spec_class == "csv" and self.requested is None and not is_alone
        return "devices.scope" if is_lost else None

    @property
    def gpus(self) -> list[int]:
        """The minors that the container may have; the CSV files listed four of the eight."""
        if self.asked is None or self.spec_class == "none" or self.refused_by:
            return []
        return _MINORS.get(self.request, list(range(4 if self.spec_class == "csv" else 8)))

    @property
    def asked_minors(self) -> set[int]:
        """The minors that were asked for, listed or not."""
        return set() if self.asked is None else set(_MINORS.get(self.request, range(8)))


CAPTURED = tuple(
    Captured(path, *path.stem.split("_"))
    for path in sorted(FOLDER.glob("*.json"), key=lambda path: path.name)
)
