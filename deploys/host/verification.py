"""The verification of one host: one round trip, its judgement, and what pyinfra is told of it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.facts import get_fact
from typing_extensions import override

from deploys.host import snapshot
from deploys.host.remote_program import ProgramAnswer, shell_line, stdin_for
from deploys.host.reporting import report
from deploys.model import paths
from deploys.model.checks import Check, HostResult, State, Subject
from deploys.model.metrics import FILE, metrics
from deploys.model.report import remedies, sentence, summary
from deploys.model.verification.answers import KERNEL_LOG, Answer
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


class FilesPut(Surroundings):
    """Files that are put in place without a part of a plan, as they are nothing that a site run converges."""

    program = "put_files"


_SECONDS = 60
SURROUNDINGS = {
    "units": ["docker", "containerd"],
    "words": [r"NVRM:", r"\bXid\b"],
    "kernel_log": KERNEL_LOG,
}


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
    # Some are to be refused: that they were is no reason.
    did_not_start = any(
        outcome.code not in (0, None) or outcome.timed_out for outcome in answer.runs.values()
    )
    if result.verdict is State.PASSED or not did_not_start:
        return result
    # One round trip more, where a container did not start or end: who else has said something of it?
    wanted = {**SURROUNDINGS, "seconds": time.monotonic() - began + 1}
    told = _ask(Surroundings, _SECONDS, stdin_for(Surroundings.program, wanted)).get("said")
    return judge(host.name, what, answer, told if isinstance(told, dict) else {})


def _ask(program: type[ProgramAnswer], seconds: int, stdin: str) -> dict[str, Any]:
    # Not host.get_fact: there, a connection that breaks now on the last host left is an exception in the
    # midst of this function, and the host's result is lost (pyinfra 3.10, api/state.py, fail_hosts).
    found: dict[str, Any] = get_fact(
        state, host, program, kwargs={"seconds": seconds, "_stdin": stdin}, apply_failed_hosts=False
    )
    return found


def _with_metrics(run: HostRun, result: HostResult) -> HostResult:
    """The result, which the host has as metrics now, where that is wanted; a check more where it has not."""
    directory = run.settings.metrics_dir
    if directory is None or not result.checks:
        return result
    path = f"{directory.rstrip('/')}/{FILE}"
    file = {"path": path, "text": metrics(result, datetime.now(UTC)), "mode": 0o644, "original": False}
    wanted = {"directories": [], "files": [file], "links": [], "compile": [], "remove": [], "backup": None}
    error = _ask(FilesPut, _SECONDS, stdin_for(FilesPut.program, wanted, lock=paths.LOCK)).get("error")
    if error is None:
        return result
    missed = Check(
        "host.metrics",
        Subject.HOST,
        "the metrics of this verification",
        State.FAILED,
        expected=path,
        why=f"{path} was not written: {error}",
        next=f"Set metrics_dir to a directory of the host that can be written, not {directory}.",
        cause="the metrics could not be written",
    )
    return replace(result, checks=(*result.checks, missed))


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
    result = _with_metrics(run, _result(run))
    progress = report().add(result)
    host.log(f"verified, {progress}")
    if result.verdict is State.PASSED:
        host.noop(summary(result))
        return
    yield FunctionCommand(_say_and_fail, (result,), {})
