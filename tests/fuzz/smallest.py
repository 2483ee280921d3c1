"""The smallest part of a failing input that still fails: what a person has to read."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


# Bytes that may have to go together, as the two brackets of a list and what stands between them.
_TOGETHER = 24


def failing(target: ModuleType, data: bytes) -> bytes:
    """`data` without all that can be left out while the target's check fails in the same way."""
    how = type(_failure(target, data))
    lengths = [len(data) >> power for power in range(1, len(data).bit_length())]
    lengths = [length for length in lengths if length > _TOGETHER] + list(range(_TOGETHER, 0, -1))
    before = b""
    while data != before:
        before = data
        for length in lengths:
            start = 0
            while start + length <= len(data):
                shorter = data[:start] + data[start + length :]
                if type(_failure(target, shorter)) is how:
                    data = shorter
                else:
                    start += 1 if length <= _TOGETHER else length
    return data


def say(target: ModuleType, data: bytes) -> str:
    """What fails with the smallest part of `data`, and how to see it again."""
    small = failing(target, data)
    name = target.__name__.rpartition(".")[2]
    call = f"from tests.fuzz.targets import {name}; {name}.check({small!r})"
    return f"Smallest input: {_failure(target, small)!r:.1000}\n.venv/bin/python -c {shlex.quote(call)}"


def _failure(target: ModuleType, data: bytes) -> BaseException | None:
    try:
        target.check(data)
    except Exception as error:  # noqa: BLE001 - whatever the check fails with
        return error
    return None
