"""What a host's engine and kernel have said of late, for a container that did not start.

Task: `{"seconds": how far back, "units": [unit of systemd], "words": [regular expression for kernel lines],
"kernel_log": what that is called}`.
Answer: `{"said": {where it was said: text}}`; what cannot be read is told in its place.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from deploys.host.remote.prelude import run

# The end of each: causes come late, and a journal may hold megabytes of them.
TEXT_LIMIT = 16384
LINES = 200
SECONDS = 15


def journal(units: list[str], seconds: float) -> str:
    """What these units have said in the last seconds."""
    argv = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--lines={LINES}"]
    argv += [f"--since=@{time.time() - seconds:.0f}", *(f"--unit={unit}" for unit in units)]
    status, out, err = run(argv, SECONDS)
    return out if status == 0 else f"cannot be read: {err.strip() or status}"


def kernel_log(words: list[str], seconds: float) -> str:
    """The kernel's lines of the last seconds that have one of these words."""
    status, out, err = run(["dmesg"], SECONDS)
    if status != 0:
        return f"cannot be read: {err.strip() or status}"
    since = time.clock_gettime(time.CLOCK_BOOTTIME) - seconds
    wanted = re.compile("|".join(words))
    kept = []
    for line in filter(wanted.search, out.splitlines()):
        stamp = re.match(r"\[ *(\d+\.\d+)\]", line)
        if stamp is None or float(stamp.group(1)) >= since:
            kept.append(line)
    return "\n".join(kept[-LINES:])


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Look into the journal and the kernel's log; what is empty is left out."""
    said = {
        f"the journal of {' and '.join(task['units'])}": journal(task["units"], task["seconds"]),
        task["kernel_log"]: kernel_log(task["words"], task["seconds"]),
    }
    return {"said": {where: text[-TEXT_LIMIT:].strip() for where, text in said.items() if text.strip()}}


if __name__ == "__main__":
    print(json.dumps(main(INPUT)))  # type: ignore[name-defined]  # noqa: F821 - set by the sender
