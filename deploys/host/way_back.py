"""A run that fails on a host goes back there by itself, to the last state that was whole.

Whatever makes an operation fail, pyinfra calls `operation_host_error` and goes on with the other hosts (3.10,
api/operations.py): there the host is told to go back. Where it cannot be told, as the connection or this
process is gone, its own systemd does the same (`remote/keep_way_back.py`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pyinfra import host, state
from pyinfra.api import operation
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.state import BaseStateCallback
from typing_extensions import override

from deploys.host.remote_program import RemoteProgram, printable, shell_line, stdin_for
from deploys.model import paths, way_back
from deploys.model.rendering import render
from deploys.model.way_back import Open

if TYPE_CHECKING:
    from collections.abc import Generator

    from pyinfra.api import Host, State

    from deploys.host.run import HostRun

_SCRIPT = f"{paths.WAY_BACK_DIR}/go-back.sh"
_STDIN = f"{paths.WAY_BACK_DIR}/stdin.json"
# The watch lasts as long as a run does; it ends with the record.
_WATCH_SECONDS = 86400
_GONE = (
    "This host could not be told to go back, as its connection is gone. It does so by itself, to how it was "
    "before this run ('journalctl -u \"nvproxy-fleet-*\"' there tells of it). Run again."
)


def _program(do: str) -> RemoteProgram:
    task = {"directory": paths.WAY_BACK_DIR, "do": do, "lock": paths.LOCK}
    return RemoteProgram("go_back", task, seconds=900)


def _keep(run: HostRun) -> RemoteProgram:
    watching = {"directory": paths.WAY_BACK_DIR, "do": "watch", "lock": paths.LOCK}
    task = {
        **way_back.task(run.plan, run.snapshot),
        "unit_text": render("nvproxy-fleet-way-back.service.j2", record=paths.WAY_BACK, script=_SCRIPT),
        "script": f"{shell_line('go_back', _WATCH_SECONDS)} <{_STDIN}\n",
        "stdin": stdin_for("go_back", watching),
    }
    return RemoteProgram("keep_way_back", task, seconds=120)


@operation()
def way_back_kept(run: HostRun) -> Generator[RemoteProgram, None, None]:
    """Put aside what is about to be changed, where there is a whole state to go back to."""
    found = way_back.opening(run.settings, run.snapshot, run.plan) if run.looked is not None else Open.NOT
    if found is Open.NOT:
        host.noop("nothing will be changed, or what is there is not whole and no state to go back to")
        return
    _Watch.runs[host.name] = run
    _watch()
    run.way_back = found
    yield _keep(run)


@operation()
def way_back_forgotten(run: HostRun) -> Generator[RemoteProgram, None, None]:
    """The new state is whole, and the old one is let go of."""
    if run.looked is None or way_back.opening(run.settings, run.snapshot, run.plan) is Open.NOT:
        host.noop("nothing was put aside")
        return
    yield _program("forget")
    run.way_back = Open.NOT


class _Watch(BaseStateCallback):
    runs: ClassVar[dict[str, HostRun]] = {}

    @staticmethod
    @override
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        run = _Watch.runs.get(host.name)
        if run is None or run.way_back is Open.NOT:
            return
        # A first run has nothing before it that would serve anybody better than what it has installed.
        do = "forget" if run.recorded and run.way_back is Open.FIRST else "back"
        run.way_back = Open.NOT
        given = state.get_op_data_for_host(host, op_hash).global_arguments
        arguments: Any = {key: given[key] for key in CONNECTOR_ARGUMENT_KEYS if key in given}  # type: ignore[literal-required]
        command = _program(do)
        try:
            answered, _ = command.execute(state, host, arguments)
        # An exception here would stop the whole fleet.
        except Exception:  # noqa: BLE001
            answered = False
        for sentence in _told(command.result) if answered else [_GONE]:
            host.log_styled(printable(sentence), fg="red")


def _told(answer: Any) -> list[str]:
    left = answer.get("left") or []
    if left:
        why = "; ".join(left)
        return [
            f"This host could not go back to how it was before this run: {why}. Repair that, and run again."
        ]
    if answer.get("back"):
        return [
            "This host went back to how it was before this run. Repair what is said above, and run again."
        ]
    return []


@cache
def _watch() -> None:
    """Once for all hosts: pyinfra runs the deploy files once for each."""
    state.add_callback_handler(_Watch())
