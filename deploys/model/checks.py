"""What a verification finds out about a host: checks, each with its question, answer and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.sight import Sight


class State(StrEnum):
    """The answer of a check, or of all of a host's.

    `unknown`: it could not be told. `skipped`: this host need not be asked, for a reason. Neither is
    ever `passed`.
    """

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Subject(StrEnum):
    """What a check is about; a report has them in this order."""

    HOST = "host"
    CONTROL = "control"
    DOCKER = "docker"
    BUNDLE = "bundle"


class Layer(StrEnum):
    """What a check is about, from the ground up: one tells little where those before it do not hold."""

    HOST = "host"
    TOOLKIT = "toolkit"
    GVISOR = "gvisor"
    WRAPPER = "wrapper"
    ENGINE = "engine"
    CONTROL = "control"
    SANDBOX = "sandbox"
    DEVICES = "devices"
    LIBRARIES = "libraries"
    NVIDIA_SMI = "nvidia-smi"
    CUDA = "cuda"
    NEGATIVE = "negative"


class Severity(StrEnum):
    """How bad it is where a check fails.

    `advisory`: worth to be known, and no reason to say that the host has failed. `fault`: the host has
    failed.
    `breach`: somebody's code is or could be where it must not be. It is told whatever else is wrong.
    """

    ADVISORY = "advisory"
    FAULT = "fault"
    BREACH = "breach"


@dataclass(frozen=True)
class Check:
    """One question to a host and its answer.

    Attributes:
        id: unique on the host, as in `docker.gpu-1`.
        subject: what it is about.
        asked: the question, in words.
        state: the answer.
        seen: what was found: a Sight for a container, a sentence otherwise.
        expected: what should have been found, in the same shape.
        why: what is wrong, or why there is no answer; empty where it passed.
        next: what to do about it; may be empty where `why` says it already.
        cause: what is wrong, in words that are the same for every container and host that fail by it.
        because: the id of the check on which this one hangs, where it is skipped for that.
        severity: how bad it is.
        layer: what it is about.
        needs: the ids of the checks without which this one tells nothing of its own, the nearest to the
            ground first.
        output: the end of the error output of what was run, and of the logs of that run.
        link: where the failure is known from; empty where it is not, or where nothing failed.
        seconds: how long it took.
    """

    id: str
    subject: Subject
    asked: str
    state: State
    seen: Sight | str | None = None
    expected: Sight | str | None = None
    why: str = ""
    next: str = ""
    cause: str = ""
    because: str = ""
    severity: Severity = Severity.FAULT
    layer: Layer = Layer.HOST
    needs: tuple[str, ...] = ()
    output: str = ""
    link: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class HostResult:
    """All that is known of a host after a verification.

    Attributes:
        host: its name in the inventory.
        versions: what was verified there, by the names of the settings.
        stand_ins: sentences about the parts of this host that are not real.
        checks: by layer.
        why: why there are no checks, where there are none.
        said: where a container did not start, what engine and kernel said meanwhile: where, and the text.
    """

    host: str
    versions: Mapping[str, str] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    why: str = ""
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> State:
        """`passed` only where something passed, and all the rest did too or was skipped for a reason."""
        states = {check.state for check in self.checks if check.severity is not Severity.ADVISORY}
        if State.FAILED in states:
            return State.FAILED
        if State.UNKNOWN in states or State.PASSED not in states:
            return State.UNKNOWN
        return State.PASSED
