"""One cause is told once, where it is; what only hangs on it is skipped, and says on what. Pure.

A host whose driver is broken would else say so once for each container that was tried there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deploys.model.checks import Severity, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.checks import Check

_OPEN = (State.FAILED, State.UNKNOWN)
_RANKS = list(Severity)


def told_once(checks: Sequence[Check]) -> tuple[Check, ...]:
    """These checks, in their order, with every cause at one of them: the one needed, or the first with it.

    A breach is skipped for no less than another: that a container is not in gVisor, or sees what it was not
    given, has to be read whatever else is wrong. And nothing that passed is skipped.
    """
    by_id = {check.id: check for check in checks}
    told: dict[str, Check] = {}
    # By id: the check itself where it is open, or that on which it hangs.
    roots: dict[str, Check] = {}

    def tell(check: Check) -> None:
        if check.id in told:
            return
        told[check.id] = check  # before what it needs, so that a circle ends
        for name in check.needs:
            if name in by_id:
                tell(by_id[name])
        root = None if check.state not in _OPEN else _root(check, roots)
        told[check.id] = check if root is None else _skipped(check, root)
        if check.state in _OPEN:
            roots[check.id] = root or check

    for check in checks:
        tell(check)
    return tuple(told[check.id] for check in checks)


def _root(check: Check, roots: dict[str, Check]) -> Check | None:
    # What could not be told is no reason why something else has failed.
    fitting = [root for root in roots.values() if root.state in (State.FAILED, check.state)]
    # Nor is what matters less.
    fitting = [root for root in fitting if _RANKS.index(root.severity) >= _RANKS.index(check.severity)]
    same = [root for root in fitting if check.cause and root.cause == check.cause]
    needed = [roots[name] for name in check.needs if name in roots]
    return next((root for root in [*needed, *same] if root in fitting), None)


def _skipped(check: Check, root: Check) -> Check:
    return replace(
        check,
        state=State.SKIPPED,
        why=f"because of {root.id}; by itself: {check.why}",
        next="",
        because=root.id,
    )
