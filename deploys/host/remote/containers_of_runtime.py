"""Which running containers were started by these Docker runtimes.

Task: `{"runtimes": [name]}`. Answer: `{"containers": [name]}`.
"""

from __future__ import annotations

import json
from typing import Any

from deploys.host.remote.prelude import running_containers


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Ask Docker; where it cannot tell, nobody may take that for none."""
    found = running_containers()
    if found is None:
        return {
            "error": "Docker does not tell which containers are running. See to 'docker ps', and run again."
        }
    return {"containers": [name for runtime in task["runtimes"] for name in found.get(runtime, [])]}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
