"""APT's source files that others have left behind: what they name, and what becomes of them beside ours.

APT refuses to do anything at all where two entries of one repository have different Signed-By
(apt 2.6, apt-pkg/deb/debmetaindex.cc), and where a source file cannot be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = "/etc/apt/sources.list"
PARTS = "/etc/apt/sources.list.d/"
DISABLED = (
    "# Disabled by nvproxy-fleet, which has a source of its own for this; remove.py brings this file back."
)
WORD = "nvidia"
"""What a file has in its name or text that may be NVIDIA's; other files are no concern of ours."""

# The one of today, those of one distribution each up to 2023, and those of packages that ended with 1.14.
_NVIDIA = re.compile(
    r"https?://nvidia\.github\.io/(libnvidia-container|nvidia-container-runtime|nvidia-docker)(/|$)"
)
_LIST_ENTRY = re.compile(r"(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?")
_DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Owner(Enum):
    """Whose repository an entry is of."""

    OURS = "the repository that is installed from"
    NVIDIA = "another of NVIDIA's repositories of the container toolkit"
    OTHER = "a repository of something else"


@dataclass(frozen=True)
class Entry:
    """One repository that a file names and APT reads, with its line, and the key that it is signed with."""

    line: int
    uri: str
    suite: str
    signed_by: str | None

    def owner(self, ours: str) -> Owner:
        """Whose it is; `ours` is the address of the directory that holds the packages."""
        if _same(self.uri) == _same(ours):
            return Owner.OURS
        return Owner.NVIDIA if _NVIDIA.match(self.uri) else Owner.OTHER


@dataclass(frozen=True)
class Malformed:
    """A line that APT cannot read, for which it refuses to do anything."""

    line: int
    text: str


@dataclass(frozen=True)
class SourceFile:
    """A source file as APT reads it."""

    path: str
    text: str
    entries: tuple[Entry, ...]
    malformed: tuple[Malformed, ...]

    @classmethod
    def read(cls, path: str, text: str, machine: str) -> SourceFile:
        """Read a `.list` or a `.sources` file; `machine` is uname's, and stands for `$(ARCH)`."""
        parts = tuple(_stanzas(text) if path.endswith(".sources") else _lines(text))
        arch = debian_name(machine)
        entries = tuple(
            Entry(part.line, part.uri.replace("$(ARCH)", arch), part.suite, part.signed_by)
            for part in parts
            if isinstance(part, Entry)
        )
        return cls(path, text, entries, tuple(part for part in parts if isinstance(part, Malformed)))

    def is_in_the_way(self, ours: str) -> bool:
        """Whether it names what our own source replaces, or keeps APT from working.

        A line that cannot be read counts where the file's name or text has `nvidia` in it: a page that says
        "not found", written by instructions of NVIDIA's that a distribution had none for.
        """
        mentions = WORD in (self.path + self.text).lower()
        replaced = any(entry.owner(ours) is not Owner.OTHER for entry in self.entries)
        return replaced or (bool(self.malformed) and mentions)

    def others(self, ours: str) -> tuple[Entry, ...]:
        """What it names besides, which must not be lost."""
        return tuple(entry for entry in self.entries if entry.owner(ours) is Owner.OTHER)

    def why(self, ours: str, key: str) -> str:
        """Why it is in the way, for people, with its line."""
        if self.malformed:
            first = self.malformed[0]
            return f"line {first.line} is no entry that apt could read ({first.text[:60]!r})"
        entry = next(entry for entry in self.entries if entry.owner(ours) is not Owner.OTHER)
        signed = "with no key of its own"
        if entry.signed_by is not None:
            signed = f"signed by {'a key in it' if chr(10) in entry.signed_by else entry.signed_by}"
        what = f"line {entry.line} names {entry.uri}, {signed}"
        if entry.owner(ours) is Owner.OURS and entry.signed_by != key:
            return f"{what}; apt refuses a repository that is there twice with different keys"
        return f"{what}; our own source takes its place"


def is_source(path: str) -> bool:
    """Whether APT reads a file of this path; it leaves those of any other name alone."""
    name = path.removeprefix(PARTS)
    is_part = name != path and re.fullmatch(r"[\w.:-]+\.(list|sources)", name)
    return path == MAIN or bool(is_part)


def debian_name(machine: str) -> str:
    """An architecture as Debian calls it, by uname's name for it."""
    return _DEBIAN_NAMES.get(machine, machine)


def is_disabled(text: str) -> bool:
    """Whether a run has disabled a file of this text."""
    return text.startswith(DISABLED)


def disabled(text: str) -> str:
    """The text with every line a comment; one that is disabled already stays as it is."""
    if is_disabled(text):
        return text
    return "\n".join([DISABLED, *("# " + line for line in text.splitlines())]) + "\n"


def _same(uri: str) -> str:
    return uri.rstrip("/")


def _lines(text: str) -> Iterator[Entry | Malformed]:
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        match = _LIST_ENTRY.fullmatch(said)
        # A suite that ends with a slash has no components; any other has one at least.
        if match is None or match[4].endswith("/") == bool(match[5].split()):
            yield Malformed(number, said)
            continue
        options = dict(re.findall(r"([\w-]+)\s*[-+]?=\s*(\S+)", match[2] or ""))
        keys = {name.lower(): value for name, value in options.items()}
        yield Entry(number, match[3], match[4], keys.get("signed-by"))


def _stanzas(text: str) -> Iterator[Entry | Malformed]:
    fields: dict[str, str] = {}
    start, last = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            yield from _of_stanza(fields, start)
            fields, last = {}, ""
        elif line[0] in " \t" and last:
            fields[last] += "\n" + line.strip()
        elif ":" in line:
            start = start if fields else number
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()
        else:
            yield Malformed(number, line.strip())


def _of_stanza(fields: dict[str, str], line: int) -> Iterator[Entry | Malformed]:
    if not fields or fields.get("enabled", "yes").lower() in {"no", "false", "without", "off", "disable"}:
        return
    if not fields.get("types") or not fields.get("uris") or not fields.get("suites"):
        yield Malformed(line, "a stanza without Types, URIs or Suites")
        return
    for uri in fields["uris"].split():
        for suite in fields["suites"].split():
            yield Entry(line, uri, suite, fields.get("signed-by"))
