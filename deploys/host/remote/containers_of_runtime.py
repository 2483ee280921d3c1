"""Which running containers were started by a Docker runtime.

Task: `{"runtime": name}`. Answer: `{"containers": [name]}`.
"""

from __future__ import annotations

import json
from typing import Any

from deploys.host.remote.prelude import run


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Ask Docker; `docker ps` has no filter for it."""
    status, ids, err = run(["docker", "ps", "--quiet", "--no-trunc"], 60)
    if status != 0:
        return {"error": f"'docker ps' failed: {err.strip()}. Start Docker, and run again."}
    if not ids.split():
        return {"containers": []}
    template = "{{.HostConfig.Runtime}} {{.Name}}"
    # A container may be gone by now, and Docker fails for all when one is; what it could say counts.
    _, out, _ = run(["docker", "inspect", "--format", template, *ids.split()], 60)
    rows = [line.split(" ", 1) for line in out.splitlines() if " " in line]
    return {"containers": [name.lstrip("/") for runtime, name in rows if runtime == task["runtime"]]}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
