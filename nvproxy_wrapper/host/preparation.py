"""Host preparation: the commands that load the driver's modules and make its nodes, run where one is missing.

The only part of a container's creation that imports `subprocess`, which is why it is imported itself only
then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.host_view import PROGRAM_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_SECONDS = 30
"""For all commands of one container together. containerd allows a create two minutes."""

_KILL_SECONDS = 2
_MAX_SHOWN = 300


def run(commands: Sequence[Sequence[str]]) -> list[str]:
    """Run `commands`, each an absolute path and its arguments, in order and each in a session of its own.

    A command that fails does not stop those behind it: modprobe fails for a driver that is built in, and the
    nodes may be there all the same. What counts is what is there afterwards.

    Returns:
        Half a sentence for each command that failed.

    Raises:
        Refusal: the time was up; what was running then is killed.
    """
    failures = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    for command in commands:
        shown = " ".join(command)
        # A file for what it says, not a pipe: a daemon that it starts would keep a pipe open, and us waiting.
        with open(os.memfd_create("stderr"), "w+b", buffering=0) as said:
            try:
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={"PATH": ":".join(PROGRAM_PATH)},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                failures.append(f"{shown}: {error.strerror}")
                continue
            try:
                status = process.wait(timeout=max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(process)
                raise Refusal(
                    "devices.exist",
                    f"host preparation took more than {TIMEOUT_SECONDS} s and was killed in `{shown}`",
                    "Run that command by hand and see where it hangs.",
                ) from None
            if status:
                said.seek(0)
                words = said.read(_MAX_SHOWN).decode("utf-8", "replace").strip()
                failures.append(f"{shown}: exit status {status}" + (f", {words}" if words else ""))
    return failures


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    try:
        # modprobe may sit in the kernel, where no signal reaches it; its end is not worth the container's
        # wait.
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        pass
