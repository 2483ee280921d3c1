"""What a host answers to a verification, as `host/remote/container_runs.py` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from deploys.model.snapshot import HostSnapshot

KERNEL_LOG = "the kernel's log"


class Outcome(BaseModel):
    """How a command or a container ended on the host.

    Attributes:
        code: exit status; None where it could not be run or was stopped.
        out: the end of its output.
        err: the end of its error output, and for a bundle all errors in the runtimes' log.
        timed_out: it was stopped, as its time was over.
        not_run: why it was not run.
        missing: the program that this host lacks for it, where that is the reason.
        left_behind: what could not be removed of it.
        process: the program of a bundle's container as the host sees it; None where nobody has looked.
        loaded: files that the dynamic loader has left on the host; None where nobody has looked.
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
    process: str | None = None
    loaded: tuple[str, ...] | None = None
    seconds: float
    said: Mapping[str, str] = {}

    @property
    def told(self) -> str:
        """All that was said of it."""
        return "\n".join([self.err, *self.said.values()])


class Answer(BaseModel):
    """All that a host answered.

    Attributes:
        error: the sentence that says why it is not complete.
        look: the host as it is now, which a site run has changed since it looked first.
        no_look: why there is none.
        opens: the name of the error with which the driver's control node does not open on the host itself,
            empty where it opens; None where nobody has tried.
        marks: those of the paths that were asked for which are there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str | None
    look: HostSnapshot | None = None
    no_look: str = "nobody has looked"
    opens: str | None = None
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
