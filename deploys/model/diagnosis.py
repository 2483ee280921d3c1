"""Why a container did not start: what was said, by the table of known failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nvproxy_wrapper.judge import known_failures


@dataclass(frozen=True)
class Diagnosis:
    """Why something failed, and what to do.

    Attributes:
        cause: a sentence; empty where the text is not a known one.
        remedy: a sentence; empty where the cause says what to do itself.
        link: where the failure is known from; may be empty.
    """

    cause: str
    remedy: str
    link: str = ""


_UNKNOWN = Diagnosis("", "See the output in the JSON report.")


def diagnose(*texts: str) -> Diagnosis:
    """What is behind an error.

    Args:
        texts: all that was said, the surest first: what may be about another container stands last.
    """
    found = known_failures.find(*texts)
    return Diagnosis(found.cause, found.remedy, found.link) if found.id else _UNKNOWN
