"""The layers of the containers, from the control under runc to what must not happen.

A container's own check is about its start and its devices. What all containers of a way in show, as gVisor's
kernel log, is one check of that way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.checks import Severity, State, Subject
from deploys.model.diagnosis import diagnose
from deploys.model.layouts import TOOLKIT_CONFIGS
from deploys.model.sight import LIBRARIES
from deploys.model.verification import catalogue
from deploys.model.verification.answers import KERNEL_LOG
from deploys.model.verification.catalogue import of
from deploys.model.verification.verdicts import (
    NOTHING_TOLD,
    PASSED,
    Verdict,
    breach,
    check_of,
    failed,
    skipped,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploys.model.checks import Check
    from deploys.model.sight import Printed
    from deploys.model.verification.answers import Answer, Outcome
    from deploys.model.verification.catalogue import Kind
    from deploys.model.verification.questions import ContainerRun, Verification

_WAYS = (Subject.DOCKER, Subject.BUNDLE)
_NEGATIVE = {kind.id for kind in catalogue.NEGATIVE}
_NO_DEVICE = "cuInit 100"


@dataclass(frozen=True)
class Heard:
    """A container that came to its end, and what it printed."""

    run: ContainerRun
    outcome: Outcome
    printed: Printed


@dataclass(frozen=True)
class Containers:
    """All that is known of a host's containers.

    Attributes:
        printed: what each printed, by the id of its run.
        is_stand_in: whether the host's driver is the lab's.
        said: what engine and kernel said meanwhile, by where; maybe of other containers.
    """

    what: Verification
    answer: Answer
    printed: dict[str, Printed]
    is_stand_in: bool
    said: Mapping[str, str]

    def outcome(self, run: ContainerRun) -> Outcome | None:
        """How a container ended; None where the host told nothing."""
        return self.answer.runs.get(run.id)

    def heard(self, way: Subject) -> list[Heard]:
        """The containers of a way in that came to their end."""
        found = []
        for run in self.requests(way):
            outcome, printed = self.outcome(run), self.printed.get(run.id)
            if outcome is not None and outcome.code == 0 and printed is not None and printed.complete:
                found.append(Heard(run, outcome, printed))
        return found

    def requests(self, way: Subject) -> list[ContainerRun]:
        """The containers that were started as people start theirs."""
        return [run for run in self.what.runs if run.subject is way and run.kind.id not in _NEGATIVE]

    def errors(self, run: ContainerRun) -> tuple[str, ...]:
        """What was said about a run, and about the bundle that asked for the same.

        Docker shows the last error of the runtimes' log, often a mere consequence; of a bundle all are known.
        """
        same = [
            other.id
            for other in self.what.runs
            if other.subject is Subject.BUNDLE and other.env == run.env and other.kind.id not in _NEGATIVE
        ]
        ids = [run.id, *same] if run.subject is Subject.DOCKER else [run.id]
        told = "\n".join(self.answer.runs[name].told for name in ids if name in self.answer.runs)
        # Not the journal: what it has may be of another container, which failed for another reason.
        return (told, self.said.get(KERNEL_LOG, ""))

    @property
    def proves_gvisor(self) -> bool:
        """Where a container under runc shows gVisor too, the host itself is in gVisor: nothing is proven."""
        return not any(
            self.printed[run.id].sight.gvisor
            for run in self.what.runs
            if run.subject is Subject.CONTROL and run.id in self.printed
        )


def container_checks(containers: Containers) -> list[Check]:
    """The checks of every container, and of every way in."""
    checks = [_container(containers, run) for run in containers.what.runs]
    for way in _WAYS:
        heard = containers.heard(way)
        checks.append(_sandbox(containers, way, heard))
        for kind, judge in _OF_ALL:
            checks.append(_of_all(containers, of(kind, way), heard, judge))
    if any(run.loader for run in containers.what.runs):
        checks.append(_loader(containers))
    return checks


# One container.


def _container(containers: Containers, run: ContainerRun) -> Check:
    outcome, printed = containers.outcome(run), containers.printed.get(run.id)
    if outcome is None or printed is None:
        return check_of(run.kind, unknown(NOTHING_TOLD), expected=run.expected)
    verdict = _not_run(outcome)
    if verdict is None:
        judge = _started if run.refused else _shown
        verdict = judge(containers, run, outcome, printed)
    if outcome.left_behind is not None:
        reasons = [reason for reason in (verdict.why, outcome.left_behind) if reason]
        verdict = replace(verdict, state=State.FAILED, why="; ".join(reasons), cause="")
    return check_of(
        run.kind,
        verdict,
        printed.sight if printed.complete else None,
        "no start" if run.refused else run.expected,
        output=outcome.told.strip(),
        seconds=outcome.seconds,
    )


def _shown(containers: Containers, run: ContainerRun, outcome: Outcome, printed: Printed) -> Verdict:
    return (
        not_ended(outcome, printed, containers.errors(run))
        or _nobody_makes_nodes(containers, run, printed)
        or _wrong_devices(run, printed)
        or (_outside(run, printed) if run.kind.id in _NEGATIVE else None)
        or PASSED
    )


def _nobody_makes_nodes(containers: Containers, run: ContainerRun, printed: Printed) -> Verdict | None:
    """In mode legacy nvidia-container-cli gives the nodes, and the lab's only records how it was called."""
    if run.id == "bundle.mode-legacy" and containers.is_stand_in and not printed.sight.devices:
        return skipped("nvidia-container-cli is the lab's stand-in, which makes no device node")
    return None


def _started(_containers: Containers, _run: ContainerRun, outcome: Outcome, printed: Printed) -> Verdict:
    """What is to be refused, and was not: the container ran, by whatever runtime."""
    if outcome.timed_out:
        return unknown(f"stopped after {outcome.seconds:.0f} s without an end")
    if outcome.code == 0 or printed.complete:
        where = "in gVisor" if printed.sight.gvisor else "on the host's own kernel"
        cause = "containers start without the wrapper"
        return breach(f"a container started without the wrapper, {where}", "", cause)
    return PASSED


def _not_run(outcome: Outcome) -> Verdict | None:
    if outcome.not_run is None:
        return None
    if outcome.missing is not None:
        return skipped(outcome.not_run)
    found = diagnose(outcome.not_run)
    return unknown(f"not started: {outcome.not_run}", found.remedy, found.cause or outcome.not_run)


def not_ended(outcome: Outcome, printed: Printed, errors: Sequence[str]) -> Verdict | None:
    """Why a container did not come to its end; None where it did."""
    found = diagnose(*errors)
    if outcome.timed_out:
        late = f"stopped after {outcome.seconds:.0f} s without an end"
        return replace(failed(late, found.remedy, found.cause or late), link=found.link)
    if outcome.code == 0 and printed.complete:
        return None
    last = (outcome.err.strip().splitlines() or ["nothing was said about it"])[-1]
    why = found.cause or f"did not start (status {outcome.code}): {last}"
    return replace(failed(why, found.remedy, why), link=found.link)


def _wrong_devices(run: ContainerRun, printed: Printed) -> Verdict | None:
    """What a container sees that it must not, or does not see that it must."""
    if run.expected is None:
        why = "the driver does not tell the minor and the UUID of each GPU"
        return unknown(why, f"Look into {paths.PROC_DRIVER}/gpus/*/information on the host.", why)
    seen, expected = printed.sight, run.expected
    is_control = run.subject is Subject.CONTROL
    # Under runc the toolkit adds nodes that gVisor could not serve; only the GPUs have to be right there.
    counted = [path for path in seen.devices if not is_control or is_gpu(path)]
    extra = sorted(set(counted) - set(expected.devices))
    missing = sorted(set(expected.devices) - set(seen.devices))
    lacks = f"{', '.join(missing)} is missing" if missing else ""
    if extra:
        why = f"it sees {', '.join(extra)}, which it was not given"
        verdict = failed(
            "; ".join(filter(None, [why, lacks])), cause="containers see what they were not given"
        )
        is_breach = not is_control and any(map(is_gpu, extra))
        remedy = f"The wrapper did not narrow the devices: see the last lines of {paths.DECISION_LOG}."
        verdict = verdict if is_control else replace(verdict, next=remedy)
        return replace(verdict, severity=Severity.BREACH) if is_breach else verdict
    if missing:
        return failed(lacks, cause="device nodes are missing in containers")
    return _control_lacks(run, printed) if is_control else None


def _control_lacks(run: ContainerRun, printed: Printed) -> Verdict | None:
    """Under runc all is one check: what fails there is not gVisor's."""
    if run.expected is None:
        return None
    lacking = [name for name in run.expected.libraries if name not in printed.sight.libraries]
    reasons = [f"{' and '.join(lacking)} cannot be loaded by name"] if lacking else []
    if sorted(printed.sight.gpus) != sorted(run.expected.gpus):
        reasons.append(f"nvidia-smi -L lists {len(printed.sight.gpus)} GPUs, not {len(run.expected.gpus)}")
    complaints = [*reasons, *printed.complaints]
    cause = "GPU containers do not work under runc either"
    return failed("; ".join(complaints), cause=cause) if reasons else None


def is_gpu(path: str) -> bool:
    """Whether it is a GPU's node: what gives access to memory and computing."""
    return re.fullmatch(r"/dev/nvidia\d+", path) is not None


def _outside(run: ContainerRun, printed: Printed) -> Verdict | None:
    if run.expected is None or not run.expected.gvisor or printed.sight.gvisor is not False:
        return None
    return _not_in_gvisor([run.id], "runs on the host's own kernel")


def _not_in_gvisor(ids: Sequence[str], how: str) -> Verdict:
    remedy = (
        "Let nobody's code run on this host until this is repaired: "
        f"'runtimes' in {TOOLKIT_CONFIGS} must name {paths.LAUNCHER} and nothing else. Run site.py."
    )
    return breach(f"{', '.join(ids)}: {how}, not in gVisor", remedy, "containers are not in gVisor")


# All containers of a way in.


def _sandbox(containers: Containers, way: Subject, heard: Sequence[Heard]) -> Check:
    kind = of(catalogue.SANDBOX, way)
    plain = next((run for run in containers.requests(way) if run.id == f"{way}.nothing"), None)
    outcome = containers.outcome(plain) if plain is not None else None
    verdict = None
    if plain is None or outcome is None:
        verdict = unknown(NOTHING_TOLD)
    else:
        verdict = _not_run(outcome) or not_ended(
            outcome, containers.printed[plain.id], containers.errors(plain)
        )
    verdict = _kernels(containers, heard) or verdict or PASSED
    return check_of(kind, verdict, f"gVisor in {len(heard)} containers", "gVisor in every container")


def _kernels(containers: Containers, heard: Sequence[Heard]) -> Verdict | None:
    outside = [one.run.id for one in heard if one.printed.sight.gvisor is False]
    if outside:
        return _not_in_gvisor(outside, "on the host's own kernel")
    foreign = [
        one
        for one in heard
        if one.outcome.process is not None and not one.outcome.process.startswith(f"{paths.GVISOR_DIR}/")
    ]
    if foreign:
        ids = [one.run.id for one in foreign]
        return _not_in_gvisor(ids, f"its process on the host is {foreign[0].outcome.process}")
    if heard and not containers.proves_gvisor:
        return unknown("a container under runc has gVisor's kernel log too: nothing is proven")
    if any(one.printed.sight.gvisor is None for one in heard):
        return unknown("a kernel log cannot be read, so gVisor is not proven", "Use an image with dmesg.")
    return None


def _of_all(
    containers: Containers,
    kind: Kind,
    heard: Sequence[Heard],
    judge: Callable[[Containers, Sequence[Heard]], Verdict],
) -> Check:
    way = kind.subject
    runs = [run for run in containers.requests(way) if kind.id.endswith(".opens") or run.asks_for_gpus]
    needs = [run.id for run in runs]
    mine = [one for one in heard if one.run in runs and one.run.expected is not None]
    if not runs:
        return check_of(kind, skipped("there is no GPU on this host"))
    if not mine:
        return check_of(kind, unknown("no container of those that show it came to its end"), needs=needs)
    seen = f"in {len(mine)} containers"
    return check_of(kind, judge(containers, mine), seen, f"in {len(runs)} containers")


def _opens(containers: Containers, heard: Sequence[Heard]) -> Verdict:
    tried = [one for one in heard if one.printed.opens is not None]
    if not tried:
        return skipped("there is no python3 in the containers that could try")
    for one in tried:
        extra = sorted(set(one.printed.opens or ()) - set(_devices(one)))
        if extra:
            why = f"in {one.run.id}, {', '.join(extra)} opens, which it was not given"
            return breach(why, "", "containers can open what they were not given")
    if containers.answer.opens is None:
        return unknown("nobody has tried whether the driver's nodes open on the host")
    if containers.answer.opens:
        reason = f"the driver's nodes do not open on the host either ({containers.answer.opens})"
        return skipped(reason) if containers.is_stand_in else unknown(reason)
    for one in tried:
        missing = sorted(set(_devices(one)) - set(one.printed.opens or ()))
        if missing:
            why = f"in {one.run.id}, {', '.join(missing)} does not open ({'; '.join(one.printed.closed)})"
            return failed(why, cause="device nodes do not open in containers")
    return PASSED


def _devices(one: Heard) -> tuple[str, ...]:
    return () if one.run.expected is None else one.run.expected.devices


def _libraries(_containers: Containers, heard: Sequence[Heard]) -> Verdict:
    for one in heard:
        lacking = [name for name in LIBRARIES if name not in one.printed.sight.libraries]
        if lacking:
            said = [line for line in one.printed.complaints if not line.startswith("nvidia-smi")]
            why = "; ".join([f"in {one.run.id}, {' and '.join(lacking)} cannot be loaded by name", *said])
            return failed(why, cause="the driver's libraries cannot be loaded by name in containers")
    return PASSED


def _smi(_containers: Containers, heard: Sequence[Heard]) -> Verdict:
    for one in heard:
        expected = () if one.run.expected is None else one.run.expected.gpus
        seen = one.printed.sight.gpus
        if sorted(seen) == sorted(expected):
            continue
        listed = f"{len(seen)} GPUs, not {len(expected)}"
        if len(seen) == len(expected):
            listed = f"{', '.join(seen)}, not {', '.join(expected)}"
        said = [line for line in one.printed.complaints if line.startswith("nvidia-smi")]
        why = "; ".join([f"in {one.run.id}, nvidia-smi -L lists {listed}", *said])
        return failed(why, cause="nvidia-smi in containers lists other GPUs than were asked for")
    return PASSED


def _cuda(containers: Containers, heard: Sequence[Heard]) -> Verdict:
    tried = [one for one in heard if one.printed.cuda is not None]
    if not tried:
        return skipped("there is no python3 in the containers that could try")
    for one in tried:
        cuda = one.printed.cuda
        expected = () if one.run.expected is None else one.run.expected.gpus
        if cuda is None:
            continue
        if cuda.failure.startswith(_NO_DEVICE) and containers.is_stand_in:
            return skipped("libcuda is the lab's stand-in, which computes nothing")
        if cuda.failure or not cuda.done:
            return failed(
                f"in {one.run.id}: {cuda.failure or 'it ended in the midst'}", cause="CUDA does not work"
            )
        if sorted(cuda.gpus) != sorted(expected) or cuda.computed != cuda.gpus:
            why = f"in {one.run.id}, CUDA has {', '.join(cuda.gpus) or 'no GPU'}, not {', '.join(expected)}"
            return failed(why, cause="CUDA has other GPUs than were asked for")
    return PASSED


_OF_ALL: tuple[tuple[Kind, Callable[[Containers, Sequence[Heard]], Verdict]], ...] = (
    (catalogue.OPENS, _opens),
    (catalogue.LIBRARIES, _libraries),
    (catalogue.NVIDIA_SMI, _smi),
    (catalogue.CUDA, _cuda),
)


def _loader(containers: Containers) -> Check:
    runs = [run for run in containers.what.runs if run.loader]
    outcomes = [outcome for run in runs if (outcome := containers.outcome(run)) is not None]
    left = [path for outcome in outcomes for path in outcome.loaded or ()]
    if left:
        cause = "the environment of a container reaches programs that run as root on the host"
        verdict = breach(f"{cause}: {', '.join(left)}", "", cause)
    elif any(outcome.code == 0 and outcome.loaded is not None for outcome in outcomes):
        verdict = PASSED
    else:
        verdict = unknown("the container that would have told did not start")
    needs = [run.id for run in runs]
    return check_of(catalogue.LOADER, verdict, None, "no trace on the host", needs=needs)
