"""What a plan for a host is: the reasons against touching it, or the changes, each in its step."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from deploys.model import paths

if TYPE_CHECKING:
    from deploys.model.changes import (
        EngineChange,
        FileChange,
        FileRestoration,
        KernelChange,
        LinkChange,
        PackageChange,
        ReleaseChange,
        WrapperChange,
    )


class Step(StrEnum):
    """The rooms of a site run, in their order."""

    KERNEL = "kernel"
    TOOLKIT = "toolkit"
    GVISOR = "gvisor"
    WRAPPER = "wrapper"
    DEVICE_SPECS = "device_specs"
    RUNTIME_CONFIG = "runtime_config"
    DOCKER = "docker"


@dataclass(frozen=True)
class Refusal:
    """Why a host is not touched: what is wrong and where, and what to do."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


@dataclass(frozen=True)
class Plan:
    """What a run does on one host.

    `probe_runsc`: the wrapper's settings are only known once the installed runsc was tried. `restored` are
    files of the other layout. `installation_was_cut`: what an installation of packages has rewritten has to
    be put back first. `repair`: what of `files` must not wait for its step, as far as it cannot wait. `notes`
    stop and change nothing: what an operator should know of the host. `asked` is a release that is fetched
    only to be asked for the drivers that it lists. `old_releases` are directories of gVisor's that go.
    """

    refusals: tuple[Refusal, ...]
    kernel: KernelChange | None = None
    packages: PackageChange | None = None
    release: ReleaseChange | None = None
    wrapper: WrapperChange | None = None
    engine: EngineChange | None = None
    files: tuple[tuple[Step, FileChange], ...] = ()
    links: tuple[tuple[Step, LinkChange], ...] = ()
    directories: tuple[str, ...] = ()
    probe_runsc: bool = False
    restored: tuple[FileRestoration, ...] = ()
    installation_was_cut: bool = False
    # It is no change of its own: two plans that write the same files are one.
    repair: FileChange | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    asked: ReleaseChange | None = None
    old_releases: tuple[str, ...] = ()

    @property
    def fetches(self) -> bool:
        """Whether anything must come over the network."""
        return self.packages is not None or self.release is not None

    @property
    def reasons(self) -> tuple[str, ...]:
        """A line per change, for people: what, and why."""
        parts = (self.kernel, self.packages, self.release, self.wrapper, self.engine)
        whole = [part.why for part in parts if part is not None]
        files = [f"{change.path}: {change.why}" for _, change in self.files]
        links = [f"{change.path} -> {change.target}: {change.why}" for _, change in self.links]
        probe = [f"{paths.WRAPPER_SETTINGS}: runsc has to be tried first"] if self.probe_runsc else []
        directories = [f"{path}: not there" for path in self.directories]
        old = [f"{path}: removed, as newer releases are there" for path in self.old_releases]
        restored = [f"{file.path}: {file.why}" for file in self.restored]
        cut = [f"{paths.TOOLKIT_CONFIG}: packages that were being installed have rewritten it"]
        return (
            *(cut if self.installation_was_cut else ()),
            *whole,
            *directories,
            *files,
            *restored,
            *probe,
            *links,
            *old,
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.reasons and not self.refusals

    def files_of(self, step: Step) -> tuple[FileChange, ...]:
        """The files that a step writes."""
        return tuple(change for owner, change in self.files if owner is step)

    def links_of(self, step: Step) -> tuple[LinkChange, ...]:
        """The links that a step switches."""
        return tuple(change for owner, change in self.links if owner is step)
