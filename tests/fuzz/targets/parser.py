"""The JSON parser: what it accepts it reads as Python's does; what it refuses, for a reason that is there."""

from __future__ import annotations

import json
from typing import Any

from nvproxy_wrapper.judge import strict_json
from tests.fuzz.json_model import Literal, read
from tests.specs.captured_specs import CAPTURED

LONGEST = 512

# A longer seed is cut into the objects in it: short inputs are changed often enough to be changed well.
_LONGEST_SEED = 300

WORDS = [
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n", b"null", b"true", b"false", b"{}", b"[]"),
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"-0",
        b"0",
        b"1.10",
        b"1e5",
        b"-1E+400",
        b"9007199254740993",
        b"01",
    ),
    *(b"18446744073709551616", b"-9223372036854775808", b"111111111111111111111", b"0.", b"1e", b"\xd9\xa1"),
    *(
        b'"a":',
        b'"\\u0061":',
        b'"a":1,"a":2',
        b"\\ud83d\\ude00",
        b"\\ud800",
        b"\\uDFFF",
        b"\\u0000",
        b"\\u+123",
    ),
    *(
        b"\\u 12f",
        b"\\u1_2f",
        b"\\n",
        b"\\/",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
    ),
    *(b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80", b"[" * 60, b"]" * 60, b'{"a":' * 12, b"}" * 60),
]


def seeds() -> list[bytes]:
    found = {b"{}", b'{"a":[1.10,-0,1e400,{"x":"\\u00e9"}],"b":[]}', b'{"a":NaN,"a":"\\ud800"}'}
    found.update((b"[]", b"[{}]", b'"x"', b"1", b"-0", b"null", b""))
    for levels in (199, 200):
        found.add(b'{"a":' + b"[" * levels + b"]" * levels + b"}")
    for captured in CAPTURED:
        found.update(_short_objects(captured.spec))
    return sorted(found)


def _short_objects(value: Any) -> set[bytes]:
    if not isinstance(value, dict | list) or not value:
        return set()
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) <= _LONGEST_SEED:
        return {data if isinstance(value, dict) else b'{"a":' + data + b"}"}
    return set().union(*map(_short_objects, value.values() if isinstance(value, dict) else value))


def check(data: bytes) -> str:
    reading = read(data)
    value, refusal = _loaded(data)
    if refusal:
        told = f"refused as {refusal!r}, and may be as {sorted(reading.faults)}"
        assert any(fault in refusal for fault in reading.faults), told
        return "refused"
    assert not reading.faults, f"accepted as {value!r:.200}, and {sorted(reading.faults)}"
    assert _is_same(value, reading.value), f"read as {value!r:.200}, and it is {reading.value!r:.200}"
    written = strict_json.dumps(value)
    again, refusal = _loaded(written)
    assert not refusal, f"written as {written[:200]!r}, which is refused as {refusal!r}"
    assert _is_same(again, reading.value), f"written as {written[:200]!r}, which is {again!r:.200}"
    return "accepted"


def _loaded(data: bytes) -> tuple[Any, str]:
    """The value, and why it is refused."""
    try:
        return strict_json.loads(data), ""
    except strict_json.JSONError as error:
        return None, str(error)


def _is_same(ours: Any, theirs: Any) -> bool:
    """Equal in value, type and order; a number letter by letter, and an int where that can give it back."""
    if isinstance(theirs, dict):
        return (
            type(ours) is dict
            and list(ours) == list(theirs)
            and all(_is_same(ours[name], value) for name, value in theirs.items())
        )
    if isinstance(theirs, list):
        return type(ours) is list and len(ours) == len(theirs) and all(map(_is_same, ours, theirs))
    if isinstance(theirs, Literal):
        text = theirs.text
        if len(text) <= 20 and text.removeprefix("-").isdecimal() and text != "-0":
            return type(ours) is int and str(ours) == text
        return type(ours) is strict_json.Number and ours.text == text
    return type(ours) is type(theirs) and ours == theirs
