"""The verification of one host: one round trip, its judgement, and what pyinfra is told of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.facts import get_fact
from typing_extensions import override

from deploys.host import snapshot
from deploys.host.remote_program import ProgramAnswer, shell_line, stdin_for
from deploys.host.reporting import report
from deploys.model import paths
from deploys.model.checks import HostResult, State
from deploys.model.report import remedies, sentence, summary
from deploys.model.verification.answers import Answer
from deploys.model.verification.judgement import judge
from deploys.model.verification.questions import seconds_for_all, task, verification

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api import Host
    from pyinfra.api import State as PyinfraState

    from deploys.host.run import HostRun


class ContainerRuns(ProgramAnswer):
    """What the containers of a verification printed; read by `Answer`."""

    program = "container_runs"

    @override
    def command(self, seconds: int) -> str:  # type: ignore[override] # a fact's command takes what it is asked with
        """Run it for so many seconds, and some more: it removes what it has started."""
        return shell_line(self.program, seconds + 60)


class Surroundings(ProgramAnswer):
    """What engine and kernel have said meanwhile."""

    program = "surroundings"

    @override
    def command(self, seconds: int) -> str:  # type: ignore[override] # as above
        """Run it for so many seconds."""
        return shell_line(self.program, seconds)


_SECONDS = 60
UNITS = ["docker", "containerd"]
KERNEL_WORDS = [r"NVRM:", r"\bXid\b"]


def _result(run: HostRun) -> HostResult:
    if run.looked is None:
        return HostResult(host.name, why=" ".join(str(refusal) for refusal in run.plan.refusals))
    what = verification(run.settings, run.looked)
    sent = {**task(what), "look": snapshot.task(run.settings, run.sources)}
    began = time.monotonic()
    found = _ask(
        ContainerRuns,
        seconds_for_all(what),
        stdin_for(ContainerRuns.program, sent, lock=paths.LOCK),
    )
    answer = Answer.read(found)
    result = judge(host.name, what, answer)
    if not any(outcome.code not in (0, None) or outcome.timed_out for outcome in answer.runs.values()):
        return result
    # One round trip more, where a container did not start or end: who else has said something of it?
    wanted = {"seconds": time.monotonic() - began + 1, "units": UNITS, "words": KERNEL_WORDS}
    told = _ask(Surroundings, _SECONDS, stdin_for(Surroundings.program, wanted)).get("said")
    return judge(host.name, what, answer, told if isinstance(told, dict) else {})


def _ask(program: type[ProgramAnswer], seconds: int, stdin: str) -> dict[str, Any]:
    # Not host.get_fact: there, a connection that breaks now on the last host left is an exception in the
    # midst of this function, and the host's result is lost (pyinfra 3.10, api/state.py, fail_hosts).
    found: dict[str, Any] = get_fact(
        state, host, program, kwargs={"seconds": seconds, "_stdin": stdin}, apply_failed_hosts=False
    )
    return found


def _say_and_fail(state: PyinfraState, host: Host, result: HostResult) -> bool:  # noqa: ARG001 - for pyinfra
    for check in result.checks:
        if check.state in (State.FAILED, State.UNKNOWN):
            host.log_styled(sentence(check), fg="red")
    for step in remedies(result):
        host.log(f"-> {step}")
    host.log_styled(summary(result), fg="red")
    return False


@operation()
def verified(run: HostRun) -> Generator[FunctionCommand, None, None]:
    """No change where everything passed; fails this host alone, with the reasons, where not.

    Nothing is started on a host while pyinfra only finds out what it would do.
    """
    if not state.is_executing:
        return
    result = _result(run)
    report().add(result)
    if result.verdict is State.PASSED:
        host.noop(summary(result))
        return
    yield FunctionCommand(_say_and_fail, (result,), {})
