"""One host's way through a site run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyinfra import host

from deploys.host import inventory, snapshot
from deploys.model.applied import Applied, AppliedRelease, RuntimeProbe
from deploys.model.kept_from_packages import put_back
from deploys.model.plan import Plan, Refusal
from deploys.model.site_plan import applied_after, site_plan
from deploys.model.way_back import Open

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.sources import Sources


@dataclass
class HostRun:
    """What is known of a host in this run.

    Attributes:
        looked: the host as it was before anything was changed; None where it could not be looked at.
        tree: digest of the installed gVisor release, once it is installed.
        probe: what its runsc does, once it was tried.
        repaired: whether the way past gVisor was closed in this run.
        way_back: what it goes back to, should an operation fail now.
        recorded: whether all is written, and only the verification is left.
        listed: the drivers that runsc lists, by release, of those that were asked.
    """

    settings: Settings
    sources: Sources
    looked: HostSnapshot | None
    plan: Plan
    tree: str | None = field(default=None)
    probe: RuntimeProbe | None = field(default=None)
    repaired: bool = field(default=False)
    way_back: Open = field(default=Open.NOT)
    recorded: bool = field(default=False)
    listed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def snapshot(self) -> HostSnapshot:
        """The look at the host; a host without one was refused before anybody asks for it."""
        if self.looked is None:
            raise LookupError("a host that gave no snapshot was not refused")
        return self.looked

    @property
    def gvisor(self) -> AppliedRelease | None:
        """The release that is installed, with its tree and probe as far as they are known."""
        if self.tree is None:
            return None
        return AppliedRelease(release=self.settings.gvisor_release, tree=self.tree, probe=self.probe)

    @property
    def record(self) -> str | None:
        """The record that this run leaves, as far as the installed release is known; None where it is not."""
        if self.gvisor is None:
            return None
        return applied_after(self.settings, self.snapshot, self.sources, self.gvisor).text()


def look() -> HostRun:
    """Settings, one look, and the plan for the current host. All settings of all hosts are checked first."""
    settings, sources = inventory.checked(host.name)
    seen = snapshot.take(settings, sources)
    if isinstance(seen, Refusal):
        return HostRun(settings, sources, None, Plan(refusals=(seen,)))
    seen = put_back(seen)
    planned = site_plan(settings, seen, sources)
    before = Applied.read(seen).gvisor if planned.release is None else None
    return HostRun(
        settings,
        sources,
        seen,
        planned,
        tree=before.tree if before is not None else None,
        probe=before.probe if before is not None else None,
    )
