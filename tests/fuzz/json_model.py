r"""How a document may be read: by Python's own json, with everything noted that could be read in two ways.

Its scanner in Python, as the wrapper uses the one in C: two programs have to agree, and a fuzzer sees the
branches of this one. Up to 3.12 it is laxer in two places, which are noted as well: digits of other scripts
in a number, and signs or spaces in `\uXXXX`.
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import re
import types
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 200

_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, letter by letter; no tuple and no string, which a schema would take for one of JSON's own."""

    text: str


class Reading(NamedTuple):
    """What came of a document.

    Attributes:
        value: the value; None where there is none.
        faults: why it has to be refused, in words of the wrapper's message; empty: it must be accepted.
    """

    value: Any
    faults: frozenset[str]


def read(data: bytes) -> Reading:
    """Read a document."""
    if len(data) > MAX_BYTES:
        return Reading(None, frozenset(["bytes long"]))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Reading(None, frozenset(["is not UTF-8"]))
    _FAULTS.clear()
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        _FAULTS.add("has more after" if error.msg == "Extra data" else "is not JSON")
        return Reading(None, frozenset(_FAULTS))
    except ValueError:
        # `\\u-001` is a letter that there is none of, and its int() is a number.
        return Reading(None, frozenset([*_FAULTS, "is not JSON"]))
    except RecursionError:
        # How deep a scanner gets before it sees that the end is missing is nobody's contract.
        return Reading(None, frozenset([*_FAULTS, "is nested deeper", "is not JSON"]))
    if not isinstance(value, dict):
        _FAULTS.add("is not an object")
    if depth(value) > MAX_DEPTH:
        _FAULTS.add("is nested deeper")
    return Reading(value, frozenset(_FAULTS))


def depth(value: Any) -> int:
    """Levels of objects and arrays."""
    deepest = 0
    todo = [(value, 1)]
    while todo:
        here, level = todo.pop()
        if isinstance(here, dict | list):
            deepest = max(deepest, level)
            todo += [(child, level + 1) for child in (here.values() if isinstance(here, dict) else here)]
    return deepest


_FAULTS: set[str] = set()


def _pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(found)
    if len(made) < len(found):
        _FAULTS.add("twice in one object")
    return made


def _constant(word: str) -> None:
    _FAULTS.add(f"has {word}, which is no JSON number")


def _number(text: str) -> Literal:
    if not text.isascii():
        # Where such digits are none, the number ends before them.
        _FAULTS.update(("is not JSON", "has more after"))
    return Literal(text)


def _string(text: str, start: int, strict: bool) -> tuple[str, int]:
    value, end = json.decoder.py_scanstring(text, start, strict)
    if any(found[1] == "u" for found in _ESCAPE.finditer(text, start, end - 1)):
        _FAULTS.add("is not JSON")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        _FAULTS.add("half of a surrogate pair")
    return value, end


def _decoder() -> json.JSONDecoder:
    made: Any = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_float=_number, parse_int=_number, parse_constant=_constant
    )
    # Objects scan their names by a global of that module, which is the function in C.
    scan_object = types.FunctionType(
        json.decoder.JSONObject.__code__, {**vars(json.decoder), "scanstring": _string}
    )
    scan_object.__defaults__ = json.decoder.JSONObject.__defaults__
    made.parse_object = scan_object
    made.parse_string = _string
    made.scan_once = json.scanner.py_make_scanner(made)
    return made


_DECODER = _decoder()
