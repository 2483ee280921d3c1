"""What differs between two texts of a file, as lines for people: no secrets, harmless to a terminal."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "(hidden)"
_KEY = "-----BEGIN PGP"
_NO_NEWLINE = "\\ No newline at end of file"

# Up to the last @ before a path: a password may hold one itself.
_IN_ADDRESS = re.compile(r"(?<=://)[^\s/\"'<>]*(?=@)")
# Where somebody has left the scheme out.
_PAIR = re.compile(r"[^\s/\"'<>:@]+:[^\s/\"'<>@]+(?=@[\w.-]+)")
_NAME = (
    r"passw|passphrase|secret|token|credential|signature|(?:api|access|private)[_-]?key|\bauth[\"']?\s*[:=]"
)
_VALUE = r"""(\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&"'}\]]+)"""
_BY_NAME = re.compile(rf"""(?i)((?=["']?[\w.-]*(?:{_NAME}))["']?[\w.-]+["']?){_VALUE}""")
_HEADER = re.compile(r"""(?i)(\bauthorization["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|[^"].*)""")


def hidden(line: str) -> str:
    """A line with what looks like a secret hidden: in addresses, and behind names as `token`."""
    line = _PAIR.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, line))
    return _BY_NAME.sub(rf"\1\2{HIDDEN}", _HEADER.sub(rf"\1{HIDDEN}", line))


def shown(line: str) -> str:
    """A line with what cannot be seen spelt out: a carriage return, a byte order mark, an escape sequence."""
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode()
        for letter in line
    )


def difference(path: str, old: str | None, new: str | None) -> tuple[str, ...]:
    """A unified difference, with secrets hidden; none where the texts are the same.

    Args:
        path: of the file.
        old: its text as it is; None where there is no file.
        new: as it will be; None where there will be no file.
    """
    if _KEY in f"{old}{new}":
        return () if old == new else ("(a key, which is not shown)",)
    before = "/dev/null" if old is None else f"{path} (as it is)"
    after = "/dev/null" if new is None else f"{path} (as it will be)"
    lines = difflib.unified_diff(_lines(old), _lines(new), before, after, lineterm="")
    return tuple(part for line in lines for part in _parts(line))


def _lines(text: str | None) -> list[str]:
    """Split where programs do; str.splitlines would do so at more letters than they take for an end."""
    return re.findall(r"[^\n]*\n|[^\n]+", text or "")


def _parts(line: str) -> Iterator[str]:
    whole = line.endswith("\n") or line.startswith(("---", "+++", "@@"))
    yield shown(hidden(line.removesuffix("\n")))
    if not whole:
        yield _NO_NEWLINE
