"""The kinds of change that a run makes on a host. Each says why, as an operator reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from deploys.model import paths

if TYPE_CHECKING:
    from deploys.model.snapshot import HostSnapshot


@dataclass(frozen=True)
class FileChange:
    """A file to write. `original`: what is there now was there before the first run."""

    path: str
    text: str
    mode: int
    why: str
    original: bool


@dataclass(frozen=True)
class FileRemoval:
    """A file to take away."""

    path: str
    why: str


@dataclass(frozen=True)
class LinkChange:
    """A symbolic link to switch."""

    path: str
    target: str
    why: str


@dataclass(frozen=True)
class KernelChange:
    """Modules to load and device nodes to make now, by the program that does so at every boot."""

    why: str


@dataclass(frozen=True)
class PackageChange:
    """The toolkit's packages to fetch and install, all at one version."""

    version: str
    repository_url: str
    source: str
    key: str
    why: str


@dataclass(frozen=True)
class ReleaseChange:
    """A release of gVisor to fetch and install."""

    release: str
    url: str
    sha512: str
    directory: str
    why: str


@dataclass(frozen=True)
class WrapperChange:
    """The wrapper's package to write into a directory of its own."""

    directory: str
    files: tuple[FileChange, ...]
    why: str


@dataclass(frozen=True)
class EngineChange:
    """Docker's configuration to write, or (without `file`) only to load again.

    `seen` is the sha256 of the file that the new text was made from. Afterwards the daemon must have the
    runtime at `runtime_path`; at none where that is None. A `daemon` of None: Docker is gone, and only its
    file is left to write.
    """

    file: FileChange | FileRemoval | None
    seen: str | None
    daemon: str | None
    can_validate: bool
    runtime: str
    runtime_path: str | None
    why: str

    @classmethod
    def of(
        cls,
        snapshot: HostSnapshot,
        file: FileChange | FileRemoval | None,
        *,
        runtime: str,
        runtime_path: str | None,
        why: str,
    ) -> Self:
        """The change for the dockerd and the `daemon.json` of a snapshot."""
        engine = snapshot.engine
        there = snapshot.files.get(paths.DAEMON_JSON)
        seen = None if there is None else there.sha256
        return cls(file, seen, engine.daemon, engine.can_validate, runtime, runtime_path, why)
