"""What is watched, and which offered versions are newer than the pinned ones. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from tests.lab import LabError, versions
from tests.lab.versions import EngineVersions, GvisorRelease, ToolkitVersion

TOOLKIT = "toolkit"
GVISOR = "gvisor"
ENGINE = tuple(field.name for field in fields(EngineVersions))


@dataclass(frozen=True)
class Component:
    """Something of others' that the project stands on.

    Attributes:
        name: short; those of an engine's programs are the fields of EngineVersions.
        module: its Go module.
        pinned: the newest pinned version, as the module proxy writes it.
        queries: what the proxy is asked for, in order, where a module has no tags; the first answer counts.
    """

    name: str
    module: str
    pinned: str
    queries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pins:
    """The versions that the lab knows, the oldest first: those of tests/lab/versions.py."""

    toolkits: tuple[ToolkitVersion, ...] = versions.TOOLKIT_VERSIONS
    releases: tuple[GvisorRelease, ...] = versions.GVISOR_RELEASES
    engine: EngineVersions = versions.CURRENT_ENGINE

    def components(self) -> tuple[Component, ...]:
        """All that is watched."""
        release = self.releases[-1]
        # The branch that `go install` can build from; a proxy that serves no branches knows its newest commit
        # as the module's latest.
        queries = ("go", "latest")
        return (
            Component(TOOLKIT, versions.TOOLKIT_MODULE, f"v{self.toolkits[-1].version}"),
            Component(GVISOR, versions.GVISOR_MODULE, str(release.module_version), queries),
            Component("dockerd", versions.DOCKERD_MODULE, self.engine.dockerd),
            Component("containerd", versions.CONTAINERD_MODULE, self.engine.containerd),
            Component("runc", versions.RUNC_MODULE, self.engine.runc),
        )

    def as_if(self, name: str, version: str) -> Pins:
        """As if `version` of a component were the newest pinned one.

        Raises:
            ValueError: no such component or version, or a toolkit or release that is not among the pinned.
        """
        if name == TOOLKIT:
            known = [one.version for one in self.toolkits]
            return replace(self, toolkits=self.toolkits[: _place(version, known) + 1])
        if name == GVISOR:
            known = [one.date for one in self.releases]
            return replace(self, releases=self.releases[: _place(version, known) + 1])
        if name not in ENGINE:
            raise ValueError(
                f"{name!r} is not watched: {', '.join(one.name for one in self.components())} are"
            )
        if not re.match(r"v\d+\.\d+\.\d+", version):
            raise ValueError(f"{version!r} is not a version of a module, as {getattr(self.engine, name)} is")
        return replace(self, engine=replace(self.engine, **{name: version}))


def newer(pinned: str, offered: list[str]) -> tuple[str, ...]:
    """Those after the pinned version, in their order; pre-releases only where the pinned one is one."""
    wanted = [one for one in offered if _is_final(one) or not _is_final(pinned)]
    return tuple(sorted((one for one in wanted if _order(one) > _order(pinned)), key=_order))


def toolkit_of(version: str) -> ToolkitVersion:
    """From a module's version, as `v1.20.1`."""
    number = version.removeprefix("v")
    known = {one.version: one for one in versions.TOOLKIT_VERSIONS}
    return known.get(number) or ToolkitVersion(number)


def release_of(version: str) -> GvisorRelease:
    """From a module's version, which holds the commit's time: `v0.0.0-20260905035102-160fafc42237`.

    Raises:
        LabError: it holds none.
    """
    time = re.search(r"\b(\d{8})\d{6}-[0-9a-f]{12}$", version)
    if time is None:
        raise LabError(f"gVisor {version} has no commit's time in it, by which its releases are named")
    known = {one.module_version: one for one in versions.GVISOR_RELEASES}
    return known.get(version) or GvisorRelease(time.group(1), version)


def _place(version: str, known: list[str]) -> int:
    if version not in known:
        raise ValueError(f"{version!r} is not pinned: {', '.join(known)} are")
    return known.index(version)


def _is_final(version: str) -> bool:
    return "-" not in version


def _order(version: str) -> tuple[object, ...]:
    """For comparisons, by the rules of Semantic Versioning 2.0.0, 11."""
    numbers, _, before = version.removeprefix("v").partition("+")[0].partition("-")
    words = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in before.split("."))
    return (tuple(map(int, numbers.split("."))), not before, words)
