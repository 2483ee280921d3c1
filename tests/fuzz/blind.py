"""Inputs for a target without a guide: its seeds, and seeds changed at random.

`make test` runs a few thousand of them, `make fuzz` a million where its Python has no atheris.
`python -m tests.fuzz.blind TARGET RUNS SEED` prints one line of JSON: how many inputs ended in what.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

from tests.fuzz import smallest

if TYPE_CHECKING:
    from types import ModuleType


def run(target: ModuleType, runs: int, seed: int) -> Counter[str]:
    """Feed all seeds, and then changed ones; returns how many inputs ended in what.

    Fails as the target's check does, with a note that says how to see it again.
    """
    drawn = random.Random(seed)
    seeds = target.seeds()
    counts: Counter[str] = Counter()
    for number in range(max(runs, len(seeds))):
        data = seeds[number] if number < len(seeds) else _changed(drawn, seeds, target.WORDS)
        try:
            counts[target.check(data)] += 1
        except Exception as error:
            error.add_note(smallest.say(target, data))
            raise
    return counts


def _changed(drawn: random.Random, seeds: list[bytes], words: list[bytes]) -> bytes:
    data = drawn.choice(seeds)
    for _ in range(drawn.randint(1, 5)):
        start = drawn.randint(0, len(data))
        end = start + drawn.choice((0, 1, 1, 2, 8))
        other = drawn.choice(seeds)
        cut = drawn.randint(0, len(other))
        piece = drawn.choice(
            (
                b"",
                drawn.randbytes(1),
                drawn.choice(words or [b""]),
                data[start:end] * 2,
                other[cut : cut + drawn.randint(1, 20)],
            )
        )
        data = data[:start] + piece + data[end:]
    return data


if __name__ == "__main__":
    name, runs, seed = sys.argv[1:]
    print(json.dumps(run(importlib.import_module(f"tests.fuzz.targets.{name}"), int(runs), int(seed))))
