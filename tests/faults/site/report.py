"""docs/faults.md: what became of a host for each fault, written by the run that measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.site.walk import Outcome


def markdown(outcomes: Sequence[Outcome], when: str, minutes: float, setting: str) -> str:
    """The page."""
    good = sum(outcome.good for outcome in outcomes)
    by_state = {state: sum(one.state == state for one in outcomes) for state in ("old", "new", "neither")}
    rows = [
        f"| {one.fault} | {one.where} | {one.state} | {'up' if one.engine else 'down'} | {one.running} "
        f"| {', '.join(one.half) or 'nothing'} | {line(one.converges)} | {line(one.remark)} |"
        for one in outcomes
    ]
    return f"""# Faults

`make faults` wrote this page on {when}: {len(outcomes)} faults in {minutes:.0f} minutes, on {setting}.
**{good} of {len(outcomes)} ended as they must; {by_state["old"]} in the old state, {by_state["new"]} in the
new one, {by_state["neither"]} in neither.**

A site run is stopped on the host before one change of one of its programs (a file opened to be written, a
rename, a link, a program started), and then the fault is done to it. The host is looked at when nobody works
on it any more, and then the next run goes over it. What the columns say:

- *state*: **old** where every managed path (`MANAGED_FILES` and `MANAGED_LINKS` of `deploys/model/paths.py`,
  and the record `applied.json`) has the content, mode and owner, or the target, that it had before the run,
  and dockerd has loaded what it had then; **new** where all of that is as the next run, with nothing in its
  way, leaves it; **neither** is a mixture. Packages are not among it: each is dpkg's to have whole.
- *engine*: whether dockerd answers.
- *containers*: whether a container in gVisor and one under runc, both started before, are the same
  processes. A reboot ends every container; there it says that both start again.
- *left half*: temporary files and what was put aside for the way back, anywhere in `/etc`, `/opt`,
  `/usr/local` and `/var/lib/nvproxy-fleet` but its staging directory.
- *next run*: whether it converges the host, its verification included, and leaves nothing behind.

| fault | where in the run | state | engine | containers | left half | next run | remark |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Not real here: the host is a container of the lab, so a reboot is every process killed and the host booted
from its disk, and what the kernel had not written yet is not lost. `disk full` fills
`/var/lib/nvproxy-fleet`, `/opt/gvisor` and `/opt/nvproxy-wrapper`, file systems of their own for that; `/etc`
stays writable. Docker has `live-restore` set: without it a dockerd that dies takes its containers along.

That every single change of the programs that put files in place and take them back may be the last one is
shown without a host, by `tests/unit/deploys/test_way_back.py`.
"""


def line(text: str) -> str:
    """A text that fits into a cell."""
    return " ".join(text.split()).replace("|", "/")
