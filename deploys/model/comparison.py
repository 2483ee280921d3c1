"""What is other than in the run before, per host and check. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model.checks import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploys.model.checks import HostResult

WHOLE_HOST = "verification"
"""The id under which a host without checks is remembered: it was not verified, which is `unknown`."""


@dataclass(frozen=True)
class Difference:
    """One check that ended in another way than before.

    Attributes:
        host: the host's name.
        check: the check's id.
        before: how it ended then; None where it was not there.
        now: how it has ended; None where it is not there any more.
    """

    host: str
    check: str
    before: State | None
    now: State | None

    def __str__(self) -> str:
        return f"{self.host}: {self.check} was {self.before or 'not there'}, is {self.now or 'not there'}"


def states(result: HostResult) -> dict[str, State]:
    """The state of each check by its id, as a history keeps them."""
    return {check.id: check.state for check in result.checks} or {WHOLE_HOST: State.UNKNOWN}


def differences(
    before: Mapping[str, Mapping[str, State]], results: Sequence[HostResult]
) -> tuple[Difference, ...]:
    """What changed on the hosts that were there before; a host that is new has no before.

    A host that could be verified in one of the two runs only differs by `WHOLE_HOST` and its checks.
    """
    return tuple(
        Difference(result.host, name, then.get(name), now.get(name))
        for result in results
        if (then := before.get(result.host)) is not None
        for now in (states(result),)
        for name in dict.fromkeys([*now, *then])
        if then.get(name) != now.get(name)
    )
