"""Inputs for a target that are steered by the code they reach: libFuzzer, by atheris.

`python -m tests.fuzz.guided TARGET RUNS SEED` prints one line of JSON: how many inputs ended in what. Where a
check fails, its error and how to see it again are printed, and the exit status is not 0. A changed input is
kept, and changed further, where it reaches something new: in the wrapper, in the model that it is compared
with, or in the target. What was kept lies under build/fuzz/, and the next run begins with it.
"""

from __future__ import annotations

import importlib
import json
import json.decoder
import json.scanner
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

KEPT = Path("build/fuzz")


def main() -> None:
    """Run one target; libFuzzer ends the process itself."""
    name, runs, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    target = _instrumented(name)
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    words = KEPT / f"{name}.words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
    options = [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={target.LONGEST}",
        *([f"-dict={words}"] if target.WORDS else []),
        f"-artifact_prefix={KEPT}/{name}-",
        # Seconds, for an input that takes a tenth of a millisecond: it hangs.
        "-timeout=20",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], _counted(target, runs))
    atheris.Fuzz()


def _instrumented(name: str) -> ModuleType:
    for function in (
        json.decoder.JSONObject,
        json.decoder.JSONArray,
        json.decoder.py_scanstring,
        json.scanner.py_make_scanner,
    ):
        atheris.instrument_func(function)
    with atheris.instrument_imports(include=["nvproxy_wrapper", "tests.fuzz"]):
        return importlib.import_module(f"tests.fuzz.targets.{name}")


def _counted(target: ModuleType, runs: int) -> Callable[[bytes], None]:
    from tests.fuzz import smallest  # noqa: PLC0415 - imported before, the targets' package would not be instrumented

    counts: Counter[str] = Counter()

    def check(data: bytes) -> None:
        try:
            counts[target.check(data)] += 1
        except Exception:
            print(smallest.say(target, data), file=sys.stderr)
            raise
        # No atexit: libFuzzer ends the process without Python.
        if counts.total() == runs:
            print(json.dumps(counts), flush=True)

    return check


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
