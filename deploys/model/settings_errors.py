"""What an operator reads where a setting is wrong: what is there, why not, what must be, what was meant."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

from deploys.model.setting_values import WrongValueError
from deploys.model.text_difference import HIDDEN, hidden, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic.fields import FieldInfo

_LONGEST = 200
_KEY = "[key]"
_LIMITS = {
    "greater_than_equal": "it is below {ge}",
    "less_than_equal": "it is above {le}",
    "too_short": "it is empty",
}
_SECRET = re.compile(r"(?i)pass|pwd|secret|token|cred|private")
# As pydantic begins the names of its errors.
_NEEDED = {
    "string": "a text",
    "tuple": "a list",
    "dict": "a mapping",
    "bool": "true or false",
    "int": "a whole number",
    "finite": "a whole number",
    "path": "a path",
    "date": "a day",
    "enum": "a text",
}
_KINDS = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number with a fraction",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}
_SAME = {("a path", "a text"), ("a whole number", "a number"), ("a day", "a text")}
_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64"}


def sentences(
    host: str, detail: Mapping[str, Any], fields: Mapping[str, FieldInfo], others: Collection[str]
) -> list[str]:
    """What is said of one error of pydantic's, none of it in pydantic's words.

    Args:
        host: the host's name.
        detail: the error, as ValidationError.errors() has it.
        fields: the settings that there are.
        others: keys that belong to pyinfra itself.
    """
    place, value = detail["loc"], detail["input"]
    if not place:
        # Of settings that do not go together.
        return [f"host {host}: {line}" for line in str(_cause(detail)).splitlines()]
    key = str(place[0])
    where = f"host {host}: setting {key}"
    if detail["type"] == "extra_forbidden":
        return [_unknown(where, key, value, fields, others)]
    must = f"It must be {fields[key].description}."
    if detail["type"] == "missing":
        return [f"{where} is missing. {must}"]
    steps = place[1:-1] if place[-1] == _KEY else place[1:]
    at = "".join(f"[{step!r}]" for step in steps[: len(steps) - (place[-1] == _KEY)])
    if place[-1] == _KEY:
        stands = f"{where}{at} has the key {_quoted(value)}, which is not allowed"
    else:
        stands = f"{where}{at} = {_quoted(value)} is not allowed"
    reason = _reason(detail, fields[key])
    because = f" ({reason})" if reason else ""
    return [hidden(f"{stands}{because}. {must}{_guess(key, detail, fields[key])}")]


def _cause(detail: Mapping[str, Any]) -> Any:
    return detail.get("ctx", {}).get("error", "")


def _quoted(value: Any) -> str:
    text = shown(repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _unknown(
    where: str, key: str, value: Any, fields: Mapping[str, FieldInfo], others: Collection[str]
) -> str:
    known = {name.lower(): name for name in (*fields, *sorted(others))}
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1)
    meant = known[near[0]] if near else None
    is_secret = _SECRET.search(key) or (meant is not None and _SECRET.search(meant))
    what = f"{where} = {HIDDEN}" if is_secret else hidden(f"{where} = {_quoted(value)}")
    hint = f"Did you mean {meant}?" if meant else f"Known are: {', '.join(fields)}."
    return f"{what} is unknown. {hint}"


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def _reason(detail: Mapping[str, Any], field: FieldInfo) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    needed, given = _NEEDED.get(kind.partition("_")[0], ""), _kind(value)
    if kind == "value_error":
        return str(_cause(detail))
    if value is None:
        return "there is nothing" if field.is_required() else "there is nothing; leave it out for its default"
    if isinstance(value, float) and needed == "a text":
        return "it was read as a number, and may have lost zeros; write it in quotes"
    if kind in _LIMITS and not isinstance(value, bool):
        return _LIMITS[kind].format(**context)
    needed = needed or ("a whole number" if kind in _LIMITS else "")
    differs = needed and given != needed and (needed, given) not in _SAME
    return f"it is {given}, where {needed} is needed" if differs else ""


def _guess(key: str, detail: Mapping[str, Any], field: FieldInfo) -> str:
    meant = _meant(detail, field)
    if meant is None:
        return ""
    given = detail["input"]
    if isinstance(meant, str) and isinstance(given, str | list):
        return f" Did you mean {meant}?"
    # pyinfra reads --data as JSON, and what is none as a text.
    by_data = f" With --data: --data '{key}={json.dumps(meant)}'." if len(detail["loc"]) == 1 else ""
    return f" Did you mean {json.dumps(meant)}?{by_data}"


def _meant(detail: Mapping[str, Any], field: FieldInfo) -> Any:
    kind, value, cause = detail["type"], detail["input"], _cause(detail)
    if isinstance(cause, WrongValueError):
        return cause.meant
    if isinstance(value, str):
        return _meant_by_text(value, detail, field)
    if isinstance(value, list) and [type(one) for one in value] == [str] and kind in ("string_type", "enum"):
        return value[0]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number and kind == "string_type" and len(detail["loc"]) == 1 else None


def _meant_by_text(text: str, detail: Mapping[str, Any], field: FieldInfo) -> Any:
    kind = detail["type"]
    if kind == "tuple_type":
        words = re.findall(r"[^\s,\[\]\"']+", text)
        is_nested = len(detail["loc"]) == 1 and isinstance((field.examples or [[None]])[0][0], list)
        # It would be refused next.
        if not words or "all" in words:
            return None
        return [words] if is_nested else words
    if kind == "enum":
        expected = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
        return _ARCHITECTURES.get(text.lower()) or _nearest(text, expected)
    if kind == "bool_parsing":
        return {"true": True, "false": False, None: None}[_nearest(text, ["true", "false"])]
    number = re.fullmatch(r"\s*(\d+)\s*[A-Za-z]*\s*", text, re.ASCII) if kind == "int_parsing" else None
    return None if number is None else int(number[1])


def _nearest(text: str, known: Collection[str]) -> str | None:
    near = difflib.get_close_matches(text.strip().lower(), known, n=1)
    return near[0] if near else None
