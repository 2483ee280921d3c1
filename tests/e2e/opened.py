"""What can be opened in a container, told by the lab's client (tests/lab/driver/client.c), not by a list."""

from __future__ import annotations

import json
import re

from tests.lab.driver import CLIENT as _CLIENT

CLIENT = f"/{_CLIENT}"


def opened_minors(said: str) -> set[int]:
    """The minors of the GPUs whose nodes opened, whether the driver then answered or not."""
    return _minors(said, "open")


def answered_minors(said: str) -> set[int]:
    """The minors of the GPUs that the driver gave the client as a device."""
    return _minors(said, "RM_ALLOC")


def _minors(said: str, call: str) -> set[int]:
    facts = [json.loads(line) for line in said.splitlines()]
    nodes = [fact["node"] for fact in facts if fact["call"] == call and fact["result"] == "ok"]
    return {int(found[1]) for node in nodes if (found := re.fullmatch(r".*/nvidia(\d+)", node))}
