"""Load the driver's kernel modules and make its device nodes, by the program that does so at every boot.

Task: `{"program": path}`. Answer: `{}`.
"""

from __future__ import annotations

import json
from typing import Any

from deploys.host.remote.prelude import run

SECONDS = 240


def main(task: dict[str, Any]) -> dict[str, Any]:
    """The program's own words are the sentence for the operator."""
    status, _, err = run([task["program"]], SECONDS)
    return {} if status == 0 else {"error": err.strip() or f"{task['program']} failed and says nothing."}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
