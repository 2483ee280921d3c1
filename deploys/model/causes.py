"""One cause is told once, where it is; what only hangs on it is skipped, and says on what. Pure.

A host whose driver is broken would else say so once for each container that was tried there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deploys.model.checks import Severity, State, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.checks import Check

_OPEN = (State.FAILED, State.UNKNOWN)

# What a container needs, the nearest to the ground first. One that asks for nothing needs no driver, and runs
# where the toolkit does not work.
_GROUND = ("host.driver", "control.all")
_CHAIN = ("host.chain",)
_ENGINE = ("host.engine",)


def told_once(checks: Sequence[Check]) -> tuple[Check, ...]:
    """These checks, in their order (what others need comes first), with every cause at one of them.

    Never skipped is a breach: that a container is not in gVisor, or sees what it was not given, has to be
    read whatever else is wrong. And nothing that passed.
    """
    told: list[Check] = []
    # By id: the check itself where it is open, or that on which it hangs.
    roots: dict[str, Check] = {}
    for check in checks:
        root = None if check.state not in _OPEN else _root(check, roots)
        told.append(check if root is None else _skipped(check, root))
        if check.state in _OPEN:
            roots[check.id] = root or check
    return tuple(told)


def _root(check: Check, roots: dict[str, Check]) -> Check | None:
    # What could not be told is no reason why something else has failed.
    fitting = [root for root in roots.values() if root.state in (State.FAILED, check.state)]
    same = [root for root in fitting if check.cause and root.cause == check.cause]
    if check.severity is Severity.BREACH:
        return next((root for root in same if root.severity is Severity.BREACH), None)
    needed = [roots[name] for name in _needs(check) if name in roots]
    return next((root for root in [*needed, *same] if root in fitting), None)


def _needs(check: Check) -> tuple[str, ...]:
    """The ids of the checks without which this one tells nothing of its own."""
    if check.subject is Subject.HOST:
        return ()
    if check.subject is Subject.CONTROL:
        return _GROUND[:1]
    engine = _ENGINE if check.subject is Subject.DOCKER else ()
    asks_for_a_gpu = not check.id.endswith(".nothing")
    return (*engine, *(_GROUND if asks_for_a_gpu else ()), *_CHAIN)


def _skipped(check: Check, root: Check) -> Check:
    return replace(
        check,
        state=State.SKIPPED,
        why=f"because of {root.id}; by itself: {check.why}",
        next="",
        because=root.id,
    )
