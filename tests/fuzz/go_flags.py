"""Go's package flag, told again: what `FlagSet.Parse` makes of arguments (src/flag/flag.go, parseOne)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class FlagError(Exception):
    """The arguments are refused, and the program does not go on."""


class Flags(NamedTuple):
    """The flags that a program or a subcommand defines, by name."""

    booleans: frozenset[str]
    with_value: frozenset[str]

    def parse(self, arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """The flags' values, the last one of each, and the arguments from the first that is none on.

        Raises:
            FlagError: a flag that is not defined, has bad syntax, lacks its value, or is `-help`.
        """
        values: dict[str, str] = {}
        rest = list(arguments)
        while rest and len(rest[0]) > 1 and rest[0][0] == "-":
            word = rest.pop(0)
            if word == "--":
                break
            name = word[2:] if word[1] == "-" else word[1:]
            if not name or name[0] in "-=":
                raise FlagError(f"bad flag syntax: {word}")
            # The name ends at the first `=` behind its first letter.
            name, equals, value = name.partition("=")
            values[name] = self._value(name, value if equals else None, rest)
        return values, rest

    def _value(self, name: str, value: str | None, rest: list[str]) -> str:
        if name in self.booleans:
            value = "true" if value is None else value
            if value not in _TRUE | _FALSE:
                raise FlagError(f"invalid boolean value {value!r} for -{name}")
            return "true" if value in _TRUE else "false"
        if name not in self.with_value:
            raise FlagError(f"flag provided but not defined: -{name}")
        if value is None:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        return value
