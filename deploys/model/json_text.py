"""JSON as a text with places: read to the letter, and edited so that everything else stays to the byte.

`json` alone does not do: what it writes back has another layout, other spellings of numbers and characters,
and of a key that is there twice only the last.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "\ufeff"
"""The byte order mark, as it stands at the beginning of a decoded text."""

_SPACE = re.compile(r"[ \t\n\r]*")
_QUOTES = "'\u2018\u2019\u201c\u201d\u00ab\u00bb"


class JsonTextError(ValueError):
    """The text is not JSON that is read in one way only; `str()` says what is wrong, and in which line."""


@dataclass(frozen=True)
class Number:
    """A number as it is spelled: 1e1, 10.0 and 10 are three, and none is too large."""

    literal: str


@dataclass(frozen=True)
class Member:
    """A key of an object, the place where its quotes begin, and its value."""

    name: str
    start: int
    value: Value


@dataclass(frozen=True)
class Value:
    """A value from `start` up to `end`; `plain` is what it means, as `json` has it but for numbers."""

    start: int
    end: int
    plain: Any
    members: tuple[Member, ...] = field(default=())

    def member(self, name: str) -> Member | None:
        """The member of that name, where this is an object that has it."""
        return next((member for member in self.members if member.name == name), None)


def read(text: str) -> Value | None:
    """The one value of a text; None where the text is empty. A byte order mark may stand before it.

    Raises:
        JsonTextError: it is no JSON, or has a key twice in one object.
    """
    return _Reader(text).document()


def place(text: str, at: int) -> str:
    """A position for people. The byte order mark is no column: no editor shows it."""
    before = text[:at].removeprefix(MARK)
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.begin = len(text) - len(text.removeprefix(MARK).lstrip())
        self.end = max(self.begin, len(text.rstrip()))
        self.scalars = json.JSONDecoder(
            parse_int=Number, parse_float=Number, parse_constant=lambda _: None, strict=True
        )

    def document(self) -> Value | None:
        if self.begin == self.end:
            return None
        try:
            value = self.value(self.begin)
        except RecursionError:
            raise JsonTextError("it is nested too deeply") from None
        after = self.skip(value.end)
        if after < self.end:
            # Docker up to 20.10 reads no further than the end of the first object, and says nothing.
            self.fail(after, "Extra data", "what stands before it is complete; is it a brace too many?")
        return value

    def value(self, at: int) -> Value:
        opening = self.text[at : at + 1]
        if opening == "{":
            return self.object(at)
        if opening == "[":
            return self.array(at)
        return self.scalar(at)

    def scalar(self, at: int) -> Value:
        # The decoder would also read NaN and Infinity, which are no JSON.
        if at >= self.end or not re.match(r'["tfn]|-?[0-9]', self.text[at : at + 2]):
            self.unexpected(at, "a value")
        try:
            plain, end = self.scalars.raw_decode(self.text, at)
        except json.JSONDecodeError as error:
            self.fail(error.pos, error.msg.removesuffix(" at"))
        return Value(at, end, plain)

    def array(self, start: int) -> Value:
        plain: list[Any] = []
        at = self.skip(start + 1)
        while self.text[at : at + 1] != "]" or plain:
            value = self.value(at)
            plain.append(value.plain)
            at = self.skip(value.end)
            if self.text[at : at + 1] == "]":
                break
            at = self.over_comma(at, "]")
        return Value(start, at + 1, plain)

    def object(self, start: int) -> Value:
        members: dict[str, Member] = {}
        at = self.skip(start + 1)
        while self.text[at : at + 1] != "}" or members:
            if self.text[at : at + 1] != '"':
                self.unexpected(at, "a key in double quotes")
            member = self.member(at, members)
            members[member.name] = member
            at = self.skip(member.value.end)
            if self.text[at : at + 1] == "}":
                break
            at = self.over_comma(at, "}")
        plain = {member.name: member.value.plain for member in members.values()}
        return Value(start, at + 1, plain, tuple(members.values()))

    def member(self, start: int, others: dict[str, Member]) -> Member:
        key = self.scalar(start)
        if key.plain in others:
            first = place(self.text, others[key.plain].start)
            raise JsonTextError(
                f"the key {key.plain!r} is there twice, in {first} and in {place(self.text, start)}"
            )
        at = self.skip(key.end)
        if self.text[at : at + 1] != ":":
            self.unexpected(at, "a colon")
        return Member(key.plain, start, self.value(self.skip(at + 1)))

    def over_comma(self, at: int, closing: str) -> int:
        if self.text[at : at + 1] != ",":
            self.unexpected(at, f"a comma or {closing}")
        after = self.skip(at + 1)
        if self.text[after : after + 1] == closing:
            self.fail(at, f"there is a comma too many before the {closing}")
        return after

    def skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return at if match is None else match.end()

    def unexpected(self, at: int, wanted: str) -> NoReturn:
        there = self.text[at : at + 1]
        if at >= self.end:
            self.fail(at, f"it ends where {wanted} should stand", "is it cut off?")
        if there == "#" or self.text[at : at + 2] in {"//", "/*"}:
            self.fail(at, "there is a comment", "JSON has none: take it out")
        if there == "\0":
            self.fail(at, "there is a zero byte", "UTF-16 needs its byte order mark")
        if there in _QUOTES:
            self.fail(at, f"there is {there} where {wanted} should stand", 'write "')
        self.fail(at, f"there is {there!r} where {wanted} should stand")

    def fail(self, at: int, what: str, hint: str = "") -> NoReturn:
        raise JsonTextError(f"it is not JSON: {what} in {place(self.text, at)}{hint and f' ({hint})'}")


@dataclass(frozen=True)
class _Layout:
    """How a member is written: in lines, each below the indentation, or (without a unit) all in one."""

    newline: str
    indent: str = ""
    unit: str | None = None

    def write(self, plain: Any) -> str:
        if self.unit is None:
            return json.dumps(plain, ensure_ascii=False)
        lines = json.dumps(plain, ensure_ascii=False, indent=self.unit)
        return lines.replace("\n", self.newline + self.indent)


def with_member(text: str, holder: Value, name: str, plain: Any) -> str:
    """The text with a member in one of its objects: in the old one's place, or as the last.

    Args:
        text: a document that `read` has read.
        holder: the object of it.
        name: the member's.
        plain: its value, as `json.dumps` takes it. It is written as the text around it is.
    """
    there = holder.member(name)
    if there is not None:
        raw = text[there.value.start : there.value.end]
        in_lines = "\n" in raw or (not there.value.members and "\n" in text[: there.start])
        layout = _layout(text, _indent(text, there.start), in_lines=in_lines)
        return text[: there.value.start] + layout.write(plain) + text[there.value.end :]
    return _appended(text, holder, name, lambda layout: layout.write(plain))


def with_raw_member(text: str, holder: Value, name: str, raw: str) -> str:
    """The text with a member whose value is spelled out already, in the old one's place or as the last."""
    there = holder.member(name)
    if there is not None:
        return text[: there.value.start] + raw + text[there.value.end :]
    return _appended(text, holder, name, lambda _: raw)


def without_member(text: str, holder: Value, name: str) -> str:
    """The text without a member of one of its objects, and without the comma and the space that it needed."""
    names = [member.name for member in holder.members]
    if name not in names:
        return text
    at = names.index(name)
    gone = holder.members[at]
    if len(names) == 1:
        return text[: holder.start + 1] + text[holder.end - 1 :]
    if at == len(names) - 1:
        return text[: holder.members[at - 1].value.end] + text[gone.value.end :]
    return text[: gone.start] + text[holder.members[at + 1].start :]


def _appended(text: str, holder: Value, name: str, write: Callable[[_Layout], str]) -> str:
    members = holder.members
    key = json.dumps(name, ensure_ascii=False) + ": "
    if not members:
        closing = _indent(text, holder.start)
        in_lines = "\n" in text.strip() or holder.start == len(text) - len(text.removeprefix(MARK).lstrip())
        layout = _layout(text, closing, in_lines=in_lines)
        if layout.unit is None:
            return f"{text[: holder.start]}{{{key}{write(layout)}}}{text[holder.end :]}"
        inner = _Layout(layout.newline, closing + layout.unit, layout.unit)
        lines = f"{{{inner.newline}{inner.indent}{key}{write(inner)}{inner.newline}{closing}}}"
        return text[: holder.start] + lines + text[holder.end :]
    last = members[-1]
    if len(members) > 1:
        between = text[members[-2].value.end : last.start]
    else:
        between = "," + (text[holder.start + 1 : last.start] or " ")
    layout = _layout(text, _indent(text, last.start), in_lines="\n" in between)
    return text[: last.value.end] + between + key + write(layout) + text[last.value.end :]


def _layout(text: str, indent: str, *, in_lines: bool) -> _Layout:
    newline = "\r\n" if "\r\n" in text else "\n"
    return _Layout(newline, indent, _unit(text)) if in_lines else _Layout(newline)


def _indent(text: str, at: int) -> str:
    """The space that the line of a position begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at].removeprefix(MARK)
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """By how much the document's members stand further in than its last brace; four spaces if in one line."""
    root = read(text)
    if root is None or not root.members or "\n" not in text[root.start : root.members[0].start]:
        return "    "
    inner = _indent(text, root.members[0].start)
    outer = _indent(text, root.end - 1)
    return inner.removeprefix(outer) if inner.startswith(outer) else "    "
