"""From what a host answered to the checks of a report. Pure.

What could not be told is `unknown`, whatever the reason: a container that was not started, an answer that
never came, a kernel log that cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from deploys.model import paths, sight
from deploys.model.causes import told_once
from deploys.model.checks import Check, HostResult, Severity, State, Subject
from deploys.model.diagnosis import diagnose
from deploys.model.drivers import unsupported
from deploys.model.layouts import TOOLKIT_CONFIGS
from deploys.model.verification.questions import STAND_IN_MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.sight import Printed, Sight
    from deploys.model.verification.questions import ContainerRun, Verification


class Outcome(BaseModel):
    """How a command or a container ended on the host, as `host/remote/container_runs.py` tells it.

    Attributes:
        code: exit status; None where it could not be run or was stopped.
        out: the end of its output.
        err: the end of its error output, and for a bundle all errors in the runtimes' log.
        timed_out: it was stopped, as its time was over.
        not_run: why it was not run.
        missing: the program that this host lacks for it, where that is the reason.
        left_behind: what could not be removed of it.
        seconds: how long it took.
        said: what the logs of this start alone hold beside it, by where.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: int | None
    out: str
    err: str
    timed_out: bool
    not_run: str | None
    missing: str | None
    left_behind: str | None
    seconds: float
    said: Mapping[str, str] = {}

    @property
    def told(self) -> str:
        """All that was said of it."""
        return "\n".join([self.err, *self.said.values()])


class Answer(BaseModel):
    """All that a host answered; `error` is the sentence that says why it is not complete."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str | None
    marks: tuple[str, ...] = ()
    commands: Mapping[str, Outcome] = {}
    runs: Mapping[str, Outcome] = {}

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Answer:
        """The answer out of JSON; one of another shape is an error as well."""
        try:
            return cls.model_validate(found)
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return cls(error=f"the host's answer has {first['input']!r} at {where}: {first['msg']}")


_NOTHING_TOLD = "the host told nothing about it"


@dataclass(frozen=True)
class _Verdict:
    state: State
    why: str = ""
    next: str = ""
    cause: str = ""
    severity: Severity = Severity.FAULT
    link: str = ""


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
    # Where a container under runc shows gVisor too, the host itself is in gVisor: nothing is proven.
    proof = not any(
        printed[run.id].sight.gvisor
        for run in what.runs
        if run.subject is Subject.CONTROL and run.id in printed
    )
    checks = [
        _engine(what, answer),
        _chain(answer),
        _driver(what, answer),
        *_cut_short(answer),
        *(
            _container(
                run,
                answer,
                printed.get(run.id),
                proof=proof,
                errors=(_all_errors(what, answer, run), *said.values()),
            )
            for run in what.runs
        ),
        *what.skipped,
    ]
    order = list(Subject)
    return HostResult(
        host=host,
        versions=versions(what),
        stand_ins=_stand_ins(answer),
        checks=told_once(sorted(checks, key=lambda check: order.index(check.subject))),
        said=said,
    )


def _cut_short(answer: Answer) -> tuple[Check, ...]:
    """A check of its own for an answer that is not complete: what is missing may be just the removal."""
    if answer.error is None:
        return ()
    asked = "the verification"
    return (
        Check("host.verification", Subject.HOST, asked, State.UNKNOWN, expected="it ends", why=answer.error),
    )


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


def _all_errors(what: Verification, answer: Answer, run: ContainerRun) -> str:
    """What was said about a run, and about the bundle that asked for the same.

    Docker shows the last error of the runtimes' log, often a mere consequence; of a bundle all are known.
    """
    same = [other.id for other in what.runs if other.subject is Subject.BUNDLE and other.env == run.env]
    ids = [run.id, *same] if run.subject is Subject.DOCKER else [run.id]
    return "\n".join(answer.runs[name].told for name in ids if name in answer.runs)


def _container(
    run: ContainerRun, answer: Answer, printed: Printed | None, *, proof: bool, errors: Sequence[str]
) -> Check:
    outcome = answer.runs.get(run.id)
    if outcome is None or printed is None:
        return Check(run.id, run.subject, run.asked, State.UNKNOWN, None, run.expected, _NOTHING_TOLD)
    verdict = (
        _not_run(outcome)
        or _not_ended(outcome, printed, errors)
        or _wrong(run, printed)
        or _not_told(run, printed.sight, proof=proof)
        or _Verdict(State.PASSED)
    )
    if outcome.left_behind is not None:
        reasons = [reason for reason in (verdict.why, outcome.left_behind) if reason]
        verdict = replace(verdict, state=State.FAILED, why="; ".join(reasons), cause="")
    return Check(
        run.id,
        run.subject,
        run.asked,
        verdict.state,
        seen=printed.sight if printed.complete else None,
        expected=run.expected,
        why=verdict.why,
        next=verdict.next,
        cause=verdict.cause,
        severity=verdict.severity,
        output=outcome.told.strip(),
        link=verdict.link,
        seconds=outcome.seconds,
    )


def _not_run(outcome: Outcome) -> _Verdict | None:
    if outcome.not_run is None:
        return None
    if outcome.missing is not None:
        return _Verdict(State.SKIPPED, outcome.not_run)
    found = diagnose(outcome.not_run)
    cause = found.cause or outcome.not_run
    return _Verdict(State.UNKNOWN, f"not started: {outcome.not_run}", found.remedy, cause)


def _not_ended(outcome: Outcome, printed: Printed, errors: Sequence[str]) -> _Verdict | None:
    found = diagnose(*errors)
    if outcome.timed_out:
        late = f"stopped after {outcome.seconds:.0f} s without an end"
        return _Verdict(State.FAILED, late, found.remedy, found.cause or late, link=found.link)
    if outcome.code == 0 and printed.complete:
        return None
    last = (outcome.err.strip().splitlines() or ["nothing was said about it"])[-1]
    why = found.cause or f"did not start (status {outcome.code}): {last}"
    return _Verdict(State.FAILED, why, found.remedy, why, link=found.link)


def _wrong(run: ContainerRun, printed: Printed) -> _Verdict | None:
    """What a container shows that it must not, or does not show that it must."""
    if run.expected is None:
        return None
    seen, expected = printed.sight, run.expected
    outside = bool(expected.gvisor) and seen.gvisor is False
    # Under runc the toolkit adds nodes that gVisor could not serve; only the GPUs have to be right there.
    counted = [path for path in seen.devices if run.subject is not Subject.CONTROL or _is_gpu(path)]
    extra = sorted(set(counted) - set(expected.devices))
    wrong = {}
    if outside:
        wrong["it runs on the host's own kernel, not in gVisor"] = "containers are not in gVisor"
    if extra:
        wrong[f"it sees {', '.join(extra)}, which it was not given"] = (
            "containers see what they were not given"
        )
    is_breach = run.subject is not Subject.CONTROL and (outside or any(map(_is_gpu, extra)))
    lacking = _lacking(seen, expected)
    if not wrong and not lacking:
        return None
    complaints = printed.complaints if lacking and expected.gpus else ()
    return _Verdict(
        State.FAILED,
        "; ".join([*wrong, *lacking, *complaints]),
        _remedy(run, outside=outside, extra=extra),
        next(iter([*wrong.values(), *lacking.values()])),
        Severity.BREACH if is_breach else Severity.FAULT,
    )


def _lacking(seen: Sight, expected: Sight) -> dict[str, str]:
    """What a container lacks, each with its cause: words that are the same whichever GPUs it asked for."""
    reasons = {}
    missing = sorted(set(expected.devices) - set(seen.devices))
    if missing:
        reasons[f"{', '.join(missing)} is missing"] = "device nodes are missing in containers"
    other = "nvidia-smi in containers lists other GPUs than were asked for"
    if len(seen.gpus) != len(expected.gpus):
        reasons[f"nvidia-smi -L lists {len(seen.gpus)} GPUs, not {len(expected.gpus)}"] = other
    elif sorted(seen.gpus) != sorted(expected.gpus):
        reasons[f"nvidia-smi -L lists {', '.join(seen.gpus)}, not {', '.join(expected.gpus)}"] = other
    unloadable = [name for name in expected.libraries if name not in seen.libraries]
    if unloadable:
        reasons[f"{' and '.join(unloadable)} cannot be loaded by name"] = (
            "the driver's libraries cannot be loaded by name in containers"
        )
    return reasons


def _remedy(run: ContainerRun, *, outside: bool, extra: Sequence[str]) -> str:
    if run.subject is Subject.CONTROL:
        return (
            "The NVIDIA runtime does not work with runc either: look at the driver and the toolkit first "
            "('nvidia-smi' on the host, 'nvidia-container-runtime' in its log)."
        )
    if outside:
        return (
            "Let nobody's code run on this host until this is repaired: "
            f"'runtimes' in {TOOLKIT_CONFIGS} must name {paths.LAUNCHER} and nothing else. Run site.py."
        )
    if extra:
        return f"The wrapper did not narrow the devices: see the last lines of {paths.DECISION_LOG}."
    return (
        "Where the control under runc fails too, it is the driver or the toolkit; "
        f"else see what the wrapper did in the last lines of {paths.DECISION_LOG}."
    )


def _not_told(run: ContainerRun, seen: Sight, *, proof: bool) -> _Verdict | None:
    if run.expected is None:
        return _Verdict(
            State.UNKNOWN,
            "the driver does not tell the minor and the UUID of each GPU",
            f"Look into {paths.PROC_DRIVER}/gpus/*/information on the host.",
            "the driver does not tell the minor and the UUID of each GPU",
        )
    if not run.expected.gvisor:
        return None
    if not proof:
        why = "a container under runc has gVisor's kernel log too: nothing is proven"
        return _Verdict(State.UNKNOWN, why, cause=why)
    if seen.gvisor is None:
        why = "its kernel log cannot be read, so gVisor is not proven"
        return _Verdict(State.UNKNOWN, why, "Use an image with dmesg.", why)
    return None


def _is_gpu(path: str) -> bool:
    return re.fullmatch(r"/dev/nvidia\d+", path) is not None


def _engine(what: Verification, answer: Answer) -> Check:
    name = what.settings.runtime_name
    expected = f"{name}: {paths.ENTRY}"
    outcome = answer.commands.get("engine")
    seen, verdict = None, _no_answer(outcome)
    if outcome is not None and verdict is None:
        try:
            entry = json.loads(outcome.out).get(name) or {}
            seen = f"{name}: {entry.get('path') or entry.get('runtimeType') or 'not loaded'}"
        except (ValueError, AttributeError, RecursionError):
            verdict = _Verdict(State.UNKNOWN, f"docker info gave no JSON object: {outcome.out[:200]!r}")
    if seen is not None and seen != expected:
        verdict = _Verdict(
            State.FAILED,
            f"Docker's loaded runtimes have {seen}",
            f"Run site.py; it sees to {paths.DAEMON_JSON} and reloads Docker.",
        )
    return _host_check("host.engine", "what Docker has loaded", verdict, seen, expected)


class _Finding(BaseModel):
    subject: str
    answer: str
    what: str
    remedy: str


class _Findings(BaseModel):
    """What `nvproxy-wrapper check --format json` prints."""

    findings: tuple[_Finding, ...]


def _chain(answer: Answer) -> Check:
    outcome = answer.commands.get("chain")
    verdict, seen = _no_answer(outcome, statuses=(0, 1, 2)), None
    if outcome is not None and verdict is None:
        try:
            found = _Findings.model_validate_json(outcome.out).findings
        except ValidationError:
            said = (outcome.err or outcome.out).strip()[-200:]
            verdict = _Verdict(State.UNKNOWN, f"'nvproxy-wrapper check' did not answer: {said!r}")
        else:
            seen = f"{sum(finding.answer == 'yes' for finding in found)} of {len(found)} sound"
            open_ones = [finding for finding in found if finding.answer != "yes"]
            why = "; ".join(f"{finding.subject}: {finding.what}" for finding in open_ones)
            remedies = dict.fromkeys(finding.remedy for finding in open_ones)
            state = {0: State.PASSED, 1: State.FAILED}.get(outcome.code or 0, State.UNKNOWN)
            verdict = _Verdict(state, why, " ".join(remedies))
    return _host_check("host.chain", "what is installed", verdict, seen, "all of it sound")


def _driver(what: Verification, answer: Answer) -> Check:
    settings, version = what.settings, what.snapshot.driver.version
    outcome = answer.commands.get("drivers")
    verdict = _no_answer(outcome)
    if version is None:
        verdict = _Verdict(
            State.FAILED, "no NVIDIA driver is loaded", "Install the NVIDIA driver, or 'modprobe nvidia'."
        )
    elif outcome is not None and verdict is None:
        try:
            refusal = unsupported(settings, version, outcome.out.split())
        except ValueError as fault:
            verdict = _Verdict(State.UNKNOWN, f"runsc's list of drivers was not understood: {fault}")
        else:
            verdict = None if refusal is None else _Verdict(State.FAILED, refusal.what, refusal.remedy)
    expected = f"one that gVisor {settings.gvisor_release} supports"
    return _host_check("host.driver", "the NVIDIA driver", verdict, version, expected)


def _no_answer(outcome: Outcome | None, statuses: Sequence[int] = (0,)) -> _Verdict | None:
    """Why a command tells nothing, or None where it does."""
    if outcome is None:
        return _Verdict(State.UNKNOWN, _NOTHING_TOLD)
    if outcome.code in statuses:
        return None
    late = f"no answer within {outcome.seconds:.0f} s" if outcome.timed_out else None
    reason = late or outcome.not_run or outcome.err.strip() or f"exit status {outcome.code}"
    found = diagnose(reason)
    return _Verdict(State.UNKNOWN, reason, found.remedy, found.cause or reason)


def _host_check(name: str, asked: str, verdict: _Verdict | None, seen: str | None, expected: str) -> Check:
    told = verdict or _Verdict(State.PASSED)
    cause = told.cause or told.why
    return Check(name, Subject.HOST, asked, told.state, seen, expected, told.why, told.next, cause)
