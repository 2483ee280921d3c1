"""From what a host answered to the checks of a report. Pure.

What could not be told is `unknown`, whatever the reason: a container that was not started, an answer that
never came, a kernel log that cannot be read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deploys.model import sight
from deploys.model.causes import told_once
from deploys.model.checks import HostResult, Layer
from deploys.model.verification import catalogue
from deploys.model.verification.container_checks import Containers, container_checks
from deploys.model.verification.host_checks import host_checks
from deploys.model.verification.questions import STAND_IN_MARK
from deploys.model.verification.verdicts import check_of, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.checks import Check
    from deploys.model.verification.answers import Answer
    from deploys.model.verification.questions import Verification


def judge(host: str, what: Verification, answer: Answer, said: Mapping[str, str] | None = None) -> HostResult:
    """The result of a host out of its answer.

    Args:
        host: its name.
        what: what it was asked.
        answer: what it has answered.
        said: what its engine and its kernel said meanwhile, by where; maybe of other containers.
    """
    said = said or {}
    if answer.error is not None and not answer.commands:
        return HostResult(host, versions(what), why=answer.error)
    kernel = what.snapshot.os.kernel
    printed = {name: sight.read(outcome.out, kernel) for name, outcome in answer.runs.items()}
    stand_ins = _stand_ins(answer)
    containers = Containers(what, answer, printed, is_stand_in=bool(stand_ins), said=said)
    checks = told_once(
        [*host_checks(what, answer), *_cut_short(answer), *container_checks(containers), *what.skipped]
    )
    order = list(Layer)
    return HostResult(
        host=host,
        versions=versions(what),
        stand_ins=stand_ins,
        checks=tuple(sorted(checks, key=lambda check: order.index(check.layer))),
        said=said,
    )


def _cut_short(answer: Answer) -> tuple[Check, ...]:
    """A check of its own for an answer that is not complete: what is missing may be just the removal."""
    if answer.error is None:
        return ()
    kind = catalogue.BY_ID["host.verification"]
    return (replace(check_of(kind, unknown(answer.error), expected="it ends"), next=""),)


def versions(what: Verification) -> dict[str, str]:
    """What is verified on a host, by the names of the settings where there is one."""
    settings, snapshot = what.settings, what.snapshot
    return {
        "gvisor_release": settings.gvisor_release,
        "toolkit_version": settings.toolkit_version,
        "toolkit_mode": settings.toolkit_mode.value,
        "runtime_name": settings.runtime_name,
        "driver": snapshot.driver.version or "none",
        "docker": snapshot.engine.version or "none",
        "os": snapshot.os.name,
    }


def _stand_ins(answer: Answer) -> tuple[str, ...]:
    help_text = answer.commands.get("smi_help")
    first_line = help_text.out.partition("\n")[0].strip() if help_text is not None else ""
    found = []
    if STAND_IN_MARK in answer.marks:
        found.append(
            f"GPUs, kernel driver and NVML of this host are the lab's stand-ins ({STAND_IN_MARK} is there)"
        )
    if "stand-in" in first_line.lower():
        found.append(f"nvidia-smi says: {first_line}")
    return tuple(found)
