"""From what was found about one question to its check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model.checks import Check, Severity, State
from deploys.model.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.sight import Sight
    from deploys.model.verification.answers import Outcome
    from deploys.model.verification.catalogue import Kind

NOTHING_TOLD = "the host told nothing about it"


@dataclass(frozen=True)
class Verdict:
    """The answer to one question; `next` and `cause` are the kind's remedy and `why` where they are empty."""

    state: State
    why: str = ""
    next: str = ""
    cause: str = ""
    severity: Severity | None = None
    link: str = ""


PASSED = Verdict(State.PASSED)


def failed(why: str, remedy: str = "", cause: str = "") -> Verdict:
    """It is not as it has to be."""
    return Verdict(State.FAILED, why, remedy, cause)


def breach(why: str, remedy: str, cause: str) -> Verdict:
    """Somebody's code is, or could be, where it must not be."""
    return Verdict(State.FAILED, why, remedy, cause, Severity.BREACH)


def unknown(why: str, remedy: str = "", cause: str = "") -> Verdict:
    """It could not be told."""
    return Verdict(State.UNKNOWN, why, remedy, cause)


def skipped(why: str) -> Verdict:
    """This host need not be asked."""
    return Verdict(State.SKIPPED, why)


def check_of(  # noqa: PLR0913 - what a check is made of
    kind: Kind,
    verdict: Verdict,
    seen: Sight | str | None = None,
    expected: Sight | str | None = None,
    *,
    needs: Sequence[str] = (),
    output: str = "",
    seconds: float = 0.0,
) -> Check:
    """The check of a kind; `needs` are more than the kind's own."""
    is_open = verdict.state in (State.FAILED, State.UNKNOWN)
    return Check(
        kind.id,
        kind.subject,
        kind.title,
        verdict.state,
        seen=seen,
        expected=expected,
        why=verdict.why,
        next=(verdict.next or kind.remedy) if is_open else "",
        cause=(verdict.cause or verdict.why) if is_open else "",
        severity=verdict.severity or kind.severity,
        layer=kind.layer,
        needs=(*kind.needs, *needs),
        output=output,
        link=verdict.link,
        seconds=seconds,
    )


def no_answer(outcome: Outcome | None, statuses: Sequence[int] = (0,)) -> Verdict | None:
    """Why a command tells nothing, or None where it does."""
    if outcome is None:
        return unknown(NOTHING_TOLD)
    if outcome.code in statuses:
        return None
    late = f"no answer within {outcome.seconds:.0f} s" if outcome.timed_out else None
    reason = late or outcome.not_run or outcome.err.strip() or f"exit status {outcome.code}"
    found = diagnose(reason)
    return unknown(found.cause or reason, found.remedy)
