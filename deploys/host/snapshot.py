"""One look at a host: one program, one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pyinfra import host
from pyinfra.api import FactBase
from typing_extensions import override

from deploys.host.remote_program import answer, shell_line, stdin_for
from deploys.model import paths
from deploys.model.plan import Refusal
from deploys.model.snapshot import HostSnapshot
from deploys.model.versions import TOOLKIT_PACKAGES

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.sources import Sources

_PROGRAM = "snapshot_probe"
_SECONDS = 120
_TASK = {
    "files": [*paths.MANAGED_FILES, paths.APPLIED, paths.BEFORE],
    "links": [paths.GVISOR_CURRENT, paths.WRAPPER_CURRENT],
    "directories": [paths.DECISION_LOG_DIR],
    "packages": list(TOOLKIT_PACKAGES),
    "disk": [paths.GVISOR_DIR, paths.STATE_DIR],
    "proc_driver": paths.PROC_DRIVER,
}


class SnapshotProbe(FactBase[dict[str, Any]]):
    """The probe's answer as it came. It is never taken for a snapshot unread: see `take`."""

    @override
    def command(self) -> str:
        return shell_line(_PROGRAM, _SECONDS)

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        return answer(output)

    @staticmethod
    @override
    def default() -> dict[str, Any]:
        return answer([])


def take(settings: Settings, sources: Sources) -> HostSnapshot | Refusal:
    """Look at the current host; a host that gives no usable answer is a refusal, and stops nobody else."""
    trees = [
        f"{paths.GVISOR_DIR}/{settings.gvisor_release}",
        f"{paths.WRAPPER_DIR}/{sources.wrapper.directory_name}",
    ]
    found = host.get_fact(SnapshotProbe, _stdin=stdin_for(_PROGRAM, {**_TASK, "trees": trees}))
    if "error" in found:
        return Refusal(str(found["error"]).rstrip("."), "Repair that, and run again.")
    try:
        return HostSnapshot.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Refusal(
            f"the probe's answer has {first['input']!r} at {where}: {first['msg']}",
            "This is a fault of nvproxy-fleet; please report it with this sentence.",
        )
