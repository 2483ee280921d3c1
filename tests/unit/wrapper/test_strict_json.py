"""One reading of a document, and what was not touched comes out as it came in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvproxy_wrapper.judge import strict_json
from tests.specs.captured_specs import CAPTURED

EXAMPLES = int(os.environ.get("WRAPPER_EXAMPLES", "10000")) // 20

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda captured: captured.path.stem)
def test_a_captured_spec_comes_out_byte_for_byte(captured):
    data = captured.path.read_bytes()
    assert strict_json.dumps(strict_json.loads(data)) == data


@given(OBJECTS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_python_writes_compactly_comes_out_byte_for_byte(value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert strict_json.dumps(strict_json.loads(data)) == data


@given(OBJECTS, st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_it_reads_what_json_reads(value, ensure_ascii):
    data = json.dumps(value, ensure_ascii=ensure_ascii, indent=1).encode()
    again = json.loads(strict_json.dumps(strict_json.loads(data)))
    assert again == value
    assert list(again) == list(value)


@given(st.binary(max_size=40) | st.builds(lambda a, b: a + b, st.just(b'{"a":'), st.binary(max_size=20)))
@settings(max_examples=EXAMPLES, deadline=None)
def test_anything_is_read_as_json_reads_it_or_refused(data):
    try:
        value = strict_json.loads(data)
    except strict_json.JSONError:
        return
    assert json.loads(strict_json.dumps(value)) == json.loads(data)


@pytest.mark.parametrize(
    "number", ["1.10", "1e400", "-0", "-0.0", "1E+2", "9007199254740993", "18446744073709551615", "1" * 5000]
)
def test_numbers_come_out_letter_by_letter(number):
    data = f'{{"a":[{number},{{"b":{number}}}],"c":"1.10"}}'.encode()
    assert strict_json.dumps(strict_json.loads(data)) == data


@pytest.mark.parametrize(
    ("number", "is_int"),
    [
        *(("0", True), ("-1", True), ("1" * 20, True), ("-" + "1" * 19, True), ("1" * 21, False)),
        *(("-" + "1" * 20, False), ("-0", False), ("1.0", False), ("1e2", False)),
    ],
)
def test_a_number_is_an_int_where_that_has_its_letters_and_at_most_twenty(number, is_int):
    read = strict_json.loads(f'{{"a":{number}}}'.encode())["a"]
    assert type(read) is (int if is_int else strict_json.Number)
    assert str(read) == number


def test_two_readings_of_one_number_are_equal_and_so_are_their_hashes():
    """Whether a rewritten spec differs from the one that was given is asked by comparing them."""
    one, other = (strict_json.loads(b'{"a":[1.50,-0]}')["a"] for _ in range(2))
    assert one == other
    assert {*one} == {*other}
    assert one[0] != strict_json.loads(b'{"a":1.5}')["a"]
    assert one[0] != "1.50"


def test_a_document_of_very_many_parts_comes_out_byte_for_byte():
    """The C encoder hands out more than one piece of text then (CPython 3.11, _PyAccu_Accumulate)."""
    for number in ("1", "1.5"):
        data = b'{"a":[' + b",".join([number.encode()] * 150_000) + b"]}"
        assert strict_json.dumps(strict_json.loads(data)) == data


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, b"x", object(), {b"x": 1}],
    ids=lambda value: repr(value)[:9],
)
def test_what_json_has_no_word_for_is_not_written(value):
    number = strict_json.Number("1.5")
    for document in ({"a": value}, {"n": number, "a": value}):
        with pytest.raises((TypeError, ValueError)):
            strict_json.dumps(document)


def test_space_around_the_object_is_jsons_own_and_no_other():
    for letter in map(chr, range(0x3100)):
        for text in (f"{letter}{{}}", f"{{}}{letter}", f"{letter * 2}{{}}", f"{{}}{letter * 2}"):
            try:
                is_read = strict_json.loads(text.encode()) == {}
            except strict_json.JSONError:
                is_read = False
            assert is_read is (letter in " \t\n\r"), text


def test_the_largest_document_that_is_read_has_sixteen_mebibytes():
    begin, end = b'{"a":"', b'"}'
    data = begin + b"x" * (16 * 2**20 - len(begin + end)) + end
    assert len(strict_json.loads(data)["a"]) == len(data) - len(begin + end)
    with pytest.raises(strict_json.JSONError, match="16777217 bytes long, more than the 16777216 that"):
        strict_json.loads(data + b" ")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"devices":[],"devices":[]}', "'devices' twice"),
        (b'{"a":{"b":1,"\\u0062":2}}', "'b' twice"),
        (b'{"a":1,"b":2,"b":3}', "'b' twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"\\uDFFF x"}', "surrogate"),
        (b'{"\\ud83d":1}', "surrogate"),
        (b'{"a":"\xff"}', "UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"{}x", "after its end"),
        (b"{}{}", "after its end"),
        (b"{} \0", "after its end"),
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"null", "but null$"),
        (b"true", "but true$"),
        (b"false", "but false$"),
        (b"1", "but a number$"),
        (b"1.5", "a number"),
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":+1}', "not JSON"),
        (b'{"a":1.}', "not JSON"),
        (b'{"a":"\x01"}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "deeper than 200"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "deeper than 200"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "deeper than 200"),
    ],
    ids=lambda part: part[:20] if isinstance(part, bytes) else part,
)
def test_what_could_be_read_in_two_ways_is_refused(data, what):
    with pytest.raises(strict_json.JSONError, match=what):
        strict_json.loads(data)


def test_two_hundred_levels_are_read():
    data = b'{"a":' + b"[" * 199 + b"]" * 199 + b"}"
    assert strict_json.dumps(strict_json.loads(data)) == data


def test_a_surrogate_pair_is_one_letter():
    assert strict_json.loads(b'{"a":"\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


WITHOUT_C = """
import sys
sys.modules["_json"] = None
sys.path.insert(0, sys.argv[1])
from nvproxy_wrapper.judge import strict_json
for line in sys.stdin.buffer:
    try:
        print(strict_json.dumps(strict_json.loads(line.rstrip(b"\\n"))).decode())
    except strict_json.JSONError:
        print("refused")
"""


def test_without_the_c_scanner_the_answers_are_the_same():
    lines = [captured.path.read_bytes() for captured in CAPTURED[::10]]
    lines += [
        b'{"a":[1.10,-0,1e400,{"x":"\\u00e9"}],"b":[]}',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"{",
        b"[]",
        b'{"a":"\\ud800"}',
        *(b'{"a":"\\u+123"}', b'{"a":"\\u 12f"}', b'{"\\u1_2f":1}', b'{"a":"\\u12"}', b'{"a":"\\\\u+123"}'),
        *('{"a":1\u0661}'.encode(), '{"a":1.\u0661}'.encode(), b'{"a":"x\\'),
    ]
    result = subprocess.run(
        [sys.executable, "-IS", "-c", WITHOUT_C, str(Path.cwd())],
        input=b"\n".join(lines),
        capture_output=True,
        check=True,
    )
    expected = []
    for line in lines:
        try:
            expected.append(strict_json.dumps(strict_json.loads(line)))
        except strict_json.JSONError:
            expected.append(b"refused")
    assert result.stdout.splitlines() == expected


def test_where_nobody_has_imported_json_broken_input_is_refused_too():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from nvproxy_wrapper.judge import strict_json\n"
        "assert 'json' not in sys.modules\n"
        "try: strict_json.loads(b'{')\n"
        "except strict_json.JSONError: print('refused')"
    )
    result = subprocess.run(
        [sys.executable, "-IS", "-c", code, str(Path.cwd())], capture_output=True, text=True, check=True
    )
    assert result.stdout == "refused\n"
