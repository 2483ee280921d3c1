"""JSON for a root program: one reading only, and what was not touched comes out as it came in.

The C scanner and encoder of CPython are used by themselves: `import json` costs more than the whole rewrite,
as it pulls in `re`, `enum` and `functools`; Debian's python3-minimal has no `json` at all. They are private
and have looked the same from 3.8 to 3.14; where they are missing, `json` is imported.

What Go's reader (nvidia-container-runtime, runsc) and Python's would understand differently is refused: a
name twice in one object (both take the last, but a reader in between may not), NaN and Infinity, a lone
surrogate (Go reads U+FFFD), bytes that are not UTF-8 (Go reads U+FFFD), more than `MAX_DEPTH` levels,
anything after the value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_BYTES = 16 * 1024 * 1024
"""Largest document that is read. containerd's own limit for a spec in its metadata is below this by far."""

MAX_DEPTH = 200
"""Most levels of objects and arrays. The OCI runtime spec (v1.3.0) has no more than 8."""

_WHITESPACE = " \t\n\r"
_MAX_INT_DIGITS = 20


class JSONError(ValueError):
    """Not a JSON object that is read one way only; the message follows the file's name in a sentence."""


class Number:
    """A number that int cannot give back letter by letter: a fraction, an exponent, `-0`, over 20 digits."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


class _Raw(str):
    """Text that goes into the output without quotes: what a `Number` becomes on its way out."""

    __slots__ = ()


def loads(data: bytes) -> dict[str, Any]:
    """The one JSON object in `data`; numbers that int cannot give back exactly are `Number`.

    Raises:
        JSONError: it is not one, or it could be read in two ways.
    """
    if len(data) > MAX_BYTES:
        raise JSONError(f"is {len(data)} bytes long, more than the {MAX_BYTES} that are read")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JSONError(f"is not UTF-8 at byte {error.start}") from None
    value = _scan_object(text)
    _check_depth(value)
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def every_pair(data: bytes) -> Any:
    """The first value in `data`, with all that could be read of it; an object is a tuple of (name, value).

    Nothing that Go reads is left out, but for what is nested too deep: of a name that is there twice both
    values are kept, bytes that are not UTF-8 become U+FFFD, and what comes after the value does not count.

    Raises:
        JSONError: it is not JSON, for Go neither.
        RecursionError: it is nested too deep.
    """
    return _first_value(data.decode("utf-8", "replace"), _make_scan(_PairsContext))[0]


def _scan_object(text: str) -> dict[str, Any]:
    try:
        value, end = _first_value(text, _scan)
    except RecursionError:
        raise JSONError(f"is nested deeper than {MAX_DEPTH} levels") from None
    if text[end:].strip(_WHITESPACE):
        raise JSONError(f"has more after its end, at character {end}")
    if not isinstance(value, dict):
        raise JSONError(f"is not an object but {kind(value)}")
    return value


def _first_value(text: str, scan: Callable[[str, int], tuple[Any, int]]) -> tuple[Any, int]:
    try:
        return scan(text, len(text) - len(text.lstrip(_WHITESPACE)))
    except StopIteration as stop:
        raise JSONError(f"is not JSON at character {stop.value}") from None
    except (JSONError, RecursionError):
        raise
    except ValueError as error:
        raise JSONError(f"is not JSON ({error})") from None
    except (ImportError, SystemError):
        # The C scanner takes its JSONDecodeError from `json`: ImportError where python3-minimal lacks that,
        # and before 3.12 SystemError where nobody has imported it.
        raise JSONError("is not JSON") from None


def dumps(value: object) -> bytes:
    """`value` in compact UTF-8, names in their order: what Go's encoder writes, without a newline."""
    try:
        text = "".join(_encode(value, 0))
    except _NumberInside:
        text = "".join(_encode_with_numbers(value, 0))
    return text.encode("utf-8")


def kind(value: object) -> str:
    """What a JSON value is, for a sentence: "an object", "a string", "true", "null", ..."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a string", int: "a number", Number: "a number"}
    return names.get(type(value), "something else")


class _NumberInside(Exception):  # noqa: N818 - a signal between the two encoders, not an error
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise JSONError(f"has the name {name!r} twice in one object")
            seen.add(name)
    return made


def _integer(text: str) -> int | Number:
    # int() of a megabyte of digits takes minutes before 3.8.14, and -0 would come back as 0.
    if len(text) > _MAX_INT_DIGITS or text == "-0":
        return Number(text)
    return int(text)


def _constant(text: str) -> None:
    raise JSONError(f"has {text}, which is no JSON number")


class _Context:
    """What `_json.make_scanner` reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_no_duplicates)
    parse_float = Number
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


class _PairsContext(_Context):
    object_pairs_hook = tuple  # type: ignore[assignment]


def _check_depth(value: dict[str, Any]) -> None:
    # Level by level and not by recursion: from 3.12 on the C scanner itself goes thousands of levels down.
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise JSONError(f"is nested deeper than {MAX_DEPTH} levels")
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]


def _check_surrogates(value: dict[str, Any]) -> None:
    try:
        dumps(value)
    except UnicodeEncodeError as error:
        raise JSONError(f"has half of a surrogate pair, {error.object[error.start]!r}") from None


def _refuse_numbers(value: object) -> object:
    if isinstance(value, Number):
        raise _NumberInside
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _raw_number(value: object) -> _Raw:
    if isinstance(value, Number):
        return _Raw(value.text)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _string_or_raw(text: str) -> str:
    return str(text) if type(text) is _Raw else _quote(text)


try:
    import _json

    _quote = _json.encode_basestring
    _make_scan: Any = _json.make_scanner
    _make = _json.make_encoder
    # markers, default, encoder, indent, key separator, item separator, sort_keys, skipkeys, allow_nan
    _encode = _make(None, _refuse_numbers, _quote, None, ":", ",", False, False, False)
    _encode_with_numbers = _make(None, _raw_number, _string_or_raw, None, ":", ",", False, False, False)
except (ImportError, AttributeError, TypeError):
    import json

    _quote = json.encoder.py_encode_basestring

    # Python's own scanner takes more than the C one and Go's reader: digits of other scripts, `\u+123`.
    def _check_digits(text: str, allowed: str) -> None:
        if not set(text) <= set(allowed):
            raise ValueError(f"{text!r} is not of its digits")

    def _ascii_number(text: str) -> Number | int:
        _check_digits(text, "-+.eE0123456789")
        return _integer(text) if text.lstrip("-").isdigit() else Number(text)

    def _make_scan(context: type[_Context]) -> Callable[[str, int], tuple[Any, int]]:
        python_scan = json.JSONDecoder(  # type: ignore[attr-defined]
            object_pairs_hook=context.object_pairs_hook,
            parse_float=_ascii_number,
            parse_int=_ascii_number,
            parse_constant=_constant,
        ).scan_once

        def checked_scan(text: str, start: int) -> tuple[Any, int]:
            place = text.find("\\")
            while place >= 0:
                if text.startswith("u", place + 1):
                    _check_digits(text[place + 2 : place + 6], "0123456789abcdefABCDEF")
                place = text.find("\\", place + 2)
            found: tuple[Any, int] = python_scan(text, start)
            return found

        return checked_scan

    def _make_python_encoder(default: Any, quote: Any) -> Any:
        return json.encoder._make_iterencode(  # type: ignore[attr-defined]  # noqa: SLF001 - what JSONEncoder itself calls
            None, default, quote, None, repr, ":", ",", False, False, False
        )

    _encode = _make_python_encoder(_refuse_numbers, _quote)
    _encode_with_numbers = _make_python_encoder(_raw_number, _string_or_raw)

_scan = _make_scan(_Context)
