"""What somebody else has done to a host since the last run, and what of it must not wait. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.applied import Applied, Before
from deploys.model.changes import FileChange
from deploys.model.snapshot import ManagedFile
from deploys.model.toolkit_config import ToolkitConfigError, led_to_wrapper, runtimes_of

if TYPE_CHECKING:
    from deploys.model.managed_files import DesiredFile
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot


def drift(snapshot: HostSnapshot, path: str) -> str | None:
    """What somebody else has done to a file that a run has written; None where nobody has touched it."""
    written = Applied.read(snapshot).files.get(path)
    if written is None:
        return None
    there = snapshot.files.get(path)
    if there is None:
        return "somebody has deleted it since the last run"
    return None if there.sha256 == written.sha256 else "somebody has changed it since the last run"


def way_past_gvisor(settings: Settings, snapshot: HostSnapshot, wanted: DesiredFile) -> FileChange | None:
    """The change that closes at once a way past gVisor on a host that had none, or None.

    Where NVIDIA's configuration no longer leads to the wrapper, the next container runs under runc. What a
    run does before it comes to that file may fail, or take long. Only where all that the file leads to is
    there, and only the one key: the rest may be for a version of the toolkit that is still to come.

    Args:
        settings: the host's. Where they change the layout, nothing is repaired of what goes.
        snapshot: the host's.
        wanted: the file as it should be in the end.
    """
    applied = Applied.read(snapshot)
    links = (paths.WRAPPER_CURRENT, paths.GVISOR_CURRENT)
    is_whole = paths.LAUNCHER in applied.files and drift(snapshot, paths.LAUNCHER) is None
    if applied.gvisor is None or not is_whole or any(link not in snapshot.links for link in links):
        return None
    if Before.read(snapshot) is None or applied.layout is not settings.layout:
        return None
    there = snapshot.files.get(wanted.path)
    if there is None:
        return wanted.change("it is not there, and NVIDIA's default is runc, past gVisor")
    runtimes = None if there.text is None else runtimes_of(there.text)
    # One that nobody can read starts nothing.
    if there.text is None or runtimes is None or runtimes == (paths.LAUNCHER,):
        return None
    try:
        text = led_to_wrapper(there.text)
    except ToolkitConfigError:
        return None
    why = f"it leads to {', '.join(runtimes) or 'no runtime'}, past gVisor"
    return FileChange(wanted.path, text, wanted.mode, why, original=False)


def repaired_snapshot(snapshot: HostSnapshot, repair: FileChange) -> HostSnapshot:
    """The host once such a change was made."""
    sha256 = hashlib.sha256(repair.text.encode()).hexdigest()
    file = ManagedFile(sha256=sha256, mode=repair.mode, owner=0, group=0, is_link=False, text=repair.text)
    return snapshot.model_copy(update={"files": {**snapshot.files, repair.path: file}})
