"""Programs that run on a host: sent on stdin in one SSH exec, answered with one JSON object.

The programs lie in `remote/`, need nothing but the host's own Python 3.8, and are neither installed nor left
there.
A command line would not do: it is one argument to the host's shell, which the kernel limits to 128 KiB.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api import FactBase, StringCommand
from typing_extensions import override

from deploys.model import paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyinfra.api import Host, State
    from pyinfra.api.arguments import ConnectorArguments

NO_PYTHON = {
    "error": f"{paths.PYTHON} is not there or older than 3.8. The wrapper and these checks need it: "
    "install the package python3 (not python3-minimal, which has no json)."
}

# stdin is one JSON object. What a program imports gets the name that it has here, so that it imports it alike
# in both places.
_PACKAGE = "deploys.host.remote"
_SHARED = "prelude"
_IMPORT = re.compile(rf"^from {re.escape(_PACKAGE)}\.(\w+) import ", re.MULTILINE)
_BOOTSTRAP = """
import json, os, signal, sys, types
sent = json.load(sys.stdin)
names = sent["package"].split(".")
for count in range(1, len(names) + 1):
    name = ".".join(names[:count])
    sys.modules[name] = types.ModuleType(name)
def stop(number, frame):
    raise prelude["Fault"](sys.argv[1] + " was stopped, or took more than its time. Run again.")
try:
    for short, source in sent["modules"]:
        name = sent["package"] + "." + short
        sys.modules[name] = types.ModuleType(name)
        exec(compile(source, short, "exec"), sys.modules[name].__dict__)
    prelude = sys.modules[sent["package"] + ".prelude"].__dict__
    signal.signal(signal.SIGTERM, stop)
    os.umask(0o022)
    if sent["lock"]:
        prelude["take_turn"](sent["lock"])
    exec(compile(sent["program"], sys.argv[1], "exec"), {"__name__": "__main__", "INPUT": sent["task"]})
except Exception as error:
    fault = error if type(error).__name__ == "Fault" else "%s failed: %s: %s" % (
        sys.argv[1], type(error).__name__, error)
    print(json.dumps({"error": str(fault)}))
"""


@cache
def _source(program: str) -> str:
    return (Path(__file__).parent / "remote" / f"{program}.py").read_text(encoding="utf-8")


@cache
def _imported(program: str) -> tuple[str, ...]:
    """The modules of `remote/` that a program needs, each behind those that it needs itself."""
    found: dict[str, None] = {_SHARED: None}
    for name in _IMPORT.findall(_source(program)):
        found |= dict.fromkeys((*_imported(name), name))
    found.pop(program, None)
    return tuple(found)


def shell_line(program: str, seconds: int) -> str:
    """The command that runs a program; it and what it started are killed when the time is over.

    Args:
        program: the name of a file in `remote/`, without its ending.
        seconds: the time limit. pyinfra's own `_timeout` would leave the program running on the host.
    """
    return (
        f"if {paths.PYTHON} -I -c 'import json, sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then "
        f"timeout -k 30 {seconds} {paths.PYTHON} -I -c {shlex.quote(_BOOTSTRAP)} {program}; "
        f"else cat >/dev/null; echo {shlex.quote(json.dumps(NO_PYTHON))}; fi"
    )


def stdin_for(program: str, task: Mapping[str, Any], lock: str | None = None) -> str:
    """What `shell_line` reads: one JSON object of the task, the program and the modules that it imports.

    Args:
        program: as for `shell_line`.
        task: what the program's `main` is given.
        lock: for a program that changes the host, the lock file that says whose turn it is.
    """
    sent = {
        "task": task,
        "lock": lock,
        "program": _source(program),
        "modules": [(name, _source(name)) for name in _imported(program)],
        "package": _PACKAGE,
    }
    return json.dumps(sent)


def answer(output: list[str]) -> dict[str, Any]:
    """The JSON object that a program printed; anything else becomes an `error` in the same shape."""
    text = "\n".join(output).strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    return {
        "error": f"the host gave no answer, it was stopped or died: {text[-500:] or 'it printed nothing'}"
    }


class ProgramAnswer(FactBase[dict[str, Any]]):
    """A fact that is a program's answer as it came, `error` and all; the task is given as `_stdin`.

    It never raises: an exception in a fact stops the whole fleet (pyinfra 3.10, api/facts.py).
    """

    program: str
    seconds: int

    @override
    def command(self) -> str:
        return shell_line(self.program, self.seconds)

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        return answer(output)

    @staticmethod
    @override
    def default() -> dict[str, Any]:
        return answer([])


def printable(text: str) -> str:
    """A host's words for the operator's terminal: its control characters could make that lie."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


class JsonCommand(StringCommand):
    """A pyinfra command that prints one JSON object and keeps it in `result`.

    An answer whose member `error_key` is set fails the operation on this host alone, with that sentence and
    no trace. A fact in its place would go on with a default (pyinfra 3.10, api/facts.py), an exception would
    stop the whole fleet.
    """

    error_key = "error"
    result: Mapping[str, Any] = {}

    @override
    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> Any:
        status, output = super().execute(state, host, connector_arguments)
        self.result = answer(output.stdout_lines)
        error = self.result.get("error") or self.result.get(self.error_key)
        if error is None and status:
            return True, output
        said = output.stderr.strip()[-500:]
        host.log_styled(printable(f"{error or 'the command failed'}{': ' + said if said else ''}"), fg="red")
        # Nothing of the output: pyinfra prints a failed command's output, and the sentence has just been
        # said.
        return False, type(output)([])


class RemoteProgram(JsonCommand):
    """A pyinfra command that runs a program out of `remote/` which changes the host."""

    def __init__(self, program: str, task: Mapping[str, Any], seconds: int) -> None:
        super().__init__(shell_line(program, seconds), _stdin=stdin_for(program, task, lock=paths.LOCK))
