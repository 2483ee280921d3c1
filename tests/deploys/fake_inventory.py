"""An inventory of hosts that are not there: pyinfra's `@fake` connector, told by a scenario what they answer.

The scenario is a JSON file named by NVPROXY_FAKE_SCENARIO: `{"log": path, "hosts": {name: {"data": {},
"answers": {program: answer}}}}`. An answer is the object that a program prints; `{"exit": 1, "said": text}`
is a command that fails. Every command is written to the log, a JSON object a line: host, program, task, lock.

pyinfra's own `fake_responses` do not do: they see the command line, while a program's task comes on stdin.
"""

import json
import os
import re
from pathlib import Path

from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

_SCENARIO = json.loads(Path(os.environ["NVPROXY_FAKE_SCENARIO"]).read_text(encoding="utf-8"))


def _run_shell_command(self, command, print_output=False, print_input=False, **arguments):
    line = command if isinstance(command, str) else command.get_raw_value()
    # A program of ours ends with its name, in front of the answer for a host without Python.
    ours = re.search(r" (\w+); else cat ", line)
    program = ours.group(1) if ours else line
    sent = json.loads(arguments.get("_stdin") or "{}")
    entry = {"host": self.host.name, "program": program, "task": sent.get("task"), "lock": sent.get("lock")}
    with Path(_SCENARIO["log"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")
    answers = _SCENARIO["hosts"][self.host.name.removeprefix("@fake/")]["answers"]
    answer = next((answer for name, answer in answers.items() if name in program), {})
    failed = "exit" in answer
    lines = [OutputLine("stderr", answer["said"])] if failed else [OutputLine("stdout", json.dumps(answer))]
    return not failed, CommandOutput(lines)


FakeConnector.run_shell_command = _run_shell_command

hosts = [
    (f"@fake/{name}", {"fake_delay": 0, "fake_delay_jitter": 0, **host["data"]})
    for name, host in _SCENARIO["hosts"].items()
]
