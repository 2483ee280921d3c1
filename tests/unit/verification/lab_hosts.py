"""Hosts of the lab as they answered: `answers/` holds what `container_runs.py` printed there.

`csv_2_gpus` is gpu-a (Docker 20.10), `auto_8_gpus` gpu-b; runsc 20260905, toolkit 1.20.1. The rest of a name
says what was broken on purpose before. The texts of files that no check reads are left out.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploys.model.verification.answers import Answer
from deploys.model.verification.judgement import judge
from deploys.model.verification.questions import verification
from tests.deploys.example_hosts import BLANK, settings, snapshot

if TYPE_CHECKING:
    from deploys.model.checks import Check, HostResult
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.verification.questions import Verification

KERNEL = "6.18.44-fc-v595"


# A container has no kernel driver that runsc could ask.
LAB = {"driver_version": "570.124.06"}


def uuid(minor: int) -> str:
    return f"GPU-6c616200-0000-0000-0000-{minor:012x}"


def host(
    minors: list[int | None], *, kernel: str = KERNEL, driver: str | None = "570.124.06"
) -> HostSnapshot:
    """A host with these minors in PCI order; a GPU without one tells no UUID either."""
    record: dict[str, Any] = copy.deepcopy(BLANK)
    record["gpus"] = [
        {
            "pci": f"0000:{index + 1:02x}:00.0",
            "uuid": None if minor is None else uuid(minor),
            "minor": minor,
            "model": None,
        }
        for index, minor in enumerate(minors)
    ]
    record["os"]["kernel"] = kernel
    record["driver"]["version"] = driver
    return snapshot(record)


def answer(name: str) -> dict[str, Any]:
    """What a lab host answered, as JSON."""
    return json.loads((Path(__file__).parent / "answers" / f"{name}.json").read_text(encoding="utf-8"))


def asked(name: str) -> Verification:
    """What it had been asked."""
    return verification(settings(toolkit_mode=name.partition("_")[0], **LAB), snapshot(answer(name)["look"]))


def judged(name: str, found: dict[str, Any] | None = None) -> HostResult:
    """What comes of an answer, as it was recorded or changed by a test."""
    return judge("gpu-x", asked(name), Answer.read(found if found is not None else answer(name)))


def check(result: HostResult, name: str) -> Check:
    (found,) = [check for check in result.checks if check.id == name]
    return found
