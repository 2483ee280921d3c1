"""The kinds of change that a run makes on a host. Each says why, as an operator reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from deploys.model import daemon_json, paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.snapshot import HostSnapshot


@dataclass(frozen=True)
class FileChange:
    """A file to write. `original`: what is there now was there before the first run."""

    path: str
    text: str
    mode: int
    why: str
    original: bool
    encoding: str = "utf-8"


@dataclass(frozen=True)
class FileRemoval:
    """A file to take away."""

    path: str
    why: str


@dataclass(frozen=True)
class FileRestoration:
    """A file of ours to take away again, with what was there before it coming back.

    That is `text`, or else the copy that was kept of it. Without either, the file goes, unless it `was_there`
    before and no run has come to replace it.
    """

    path: str
    why: str
    was_there: bool
    text: str | None = None


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
    """The toolkit's packages to fetch and install, all at one version; `disabled` are sources not to read."""

    version: str
    repository_url: str
    source: str
    key: str
    why: str
    disabled: tuple[str, ...] = ()


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

    `seen` is the sha256 of the file that the new text was made from. The daemon is given `load` in the file's
    place, and where that fails `load_old`: the same configuration as the new file and the one that is there,
    with all runtimes named, and all in the file's encoding. Afterwards it must have the runtime at
    `runtime_path`; at none where that is None. A `daemon` of None: Docker is gone, and only its file is left
    to write.
    """

    file: FileChange | FileRemoval | None
    seen: str | None
    daemon: str | None
    can_validate: bool
    runtime: str
    runtime_path: str | None
    load: str
    load_old: str
    old_encoding: str
    why: str

    @classmethod
    def of(
        cls,
        snapshot: HostSnapshot,
        file: FileChange | FileRemoval | None,
        *,
        runtime: tuple[str, str | None],
        also: Mapping[str, str],
        why: str,
    ) -> Self:
        """The change for the dockerd and the `daemon.json` of a snapshot.

        Args:
            snapshot: the host's.
            file: how the file changes.
            runtime: our runtime's name, and what it leads to afterwards.
            also: the runtimes, name to path, that dockerd has besides those of the new file.
            why: the reason, for people.
        """
        engine = snapshot.engine
        there = snapshot.files.get(paths.DAEMON_JSON)
        old = None if there is None else there.text
        new = old if file is None else file.text if isinstance(file, FileChange) else None
        return cls(
            file=file,
            seen=None if there is None else there.sha256,
            daemon=engine.daemon,
            can_validate=engine.can_validate,
            runtime=runtime[0],
            runtime_path=runtime[1],
            load=daemon_json.named(new, also),
            load_old=daemon_json.named(old, daemon_json.unnamed(engine.runtimes, engine.version, old)),
            old_encoding="utf-8" if there is None else there.encoding,
            why=why,
        )

    @property
    def encoding(self) -> str:
        """The encoding of the new file."""
        return self.file.encoding if isinstance(self.file, FileChange) else self.old_encoding
