"""Which running containers were started by a Docker runtime.

Task: `{"runtime": name}`. Answer: `{"containers": [name]}`.
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
    return {"containers": found.get(task["runtime"], [])}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
