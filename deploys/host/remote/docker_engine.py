"""Give Docker its configuration: checked first, reloaded, read back, and put back where it was not taken.

Task: `{"path", "text" (null: reload only), "ours", "backup", "runtime", "runtime_path" (null: it must be
gone), "daemon", "can_validate"}`. Answer: `{}`.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from deploys.host.remote.prelude import Fault, replace_file, run

RELOAD_SECONDS = 20


def loaded_runtime(name: str) -> str | None:
    """The path of a runtime as the daemon has it loaded now; None where it does not answer or has none."""
    status, out, _ = run(["docker", "info", "--format", "{{json .Runtimes}}"], 15)
    try:
        runtimes = json.loads(out) if status == 0 else {}
    except ValueError:
        runtimes = {}
    path = runtimes.get(name, {}).get("path")
    return path if isinstance(path, str) else None


def validate(daemon: str, path: str) -> None:
    """Ask dockerd whether it would take a file."""
    status, out, err = run([daemon, "--validate", "--config-file", path], 30)
    if status != 0:
        raise Fault(
            f"dockerd would refuse the new configuration: {(err or out).strip()}. Nothing was changed."
        )


def reload(name: str, path: str | None) -> None:
    """Reload, never restart: running containers must survive. Then wait until the daemon has it."""
    status, _, err = run(["systemctl", "reload", "docker"], 60)
    if status != 0:
        raise Fault(f"'systemctl reload docker' failed: {err.strip()}")
    end = time.monotonic() + RELOAD_SECONDS
    while loaded_runtime(name) != path:
        if time.monotonic() > end:
            raise Fault(
                f"dockerd was reloaded, but its runtime {name!r} is {loaded_runtime(name)!r}, not {path!r}"
            )
        time.sleep(0.2)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Validate, write, reload, read back; on any fault the old file is back and loaded."""
    path, text = task["path"], task["text"]
    old = None
    written = False
    try:
        if text is not None:
            candidate = path + ".nvproxy-fleet.candidate"
            replace_file(candidate, text.encode(), 0o644)
            try:
                if task["can_validate"]:
                    validate(task["daemon"], candidate)
                if os.path.exists(path):
                    with open(path, "rb") as file:
                        old = file.read()
                    mode = os.stat(path).st_mode & 0o777
                    name = path.strip("/").replace("/", "%")
                    kept = os.path.join(task["backup"], "previous" if task["ours"] else "original", name)
                    if task["ours"] or not os.path.exists(kept):
                        replace_file(kept, old, 0o600)
                else:
                    mode = 0o644
            finally:
                os.unlink(candidate)
            replace_file(path, text.encode(), mode)
            written = True
        reload(task["runtime"], task["runtime_path"])
    except (Fault, OSError) as fault:
        if not written:
            return {"error": str(fault)}
        if old is None:
            os.unlink(path)
        else:
            replace_file(path, old, mode)
        run(["systemctl", "reload", "docker"], 60)
        return {"error": f"{fault}. The old {path} is back and loaded; see 'journalctl -u docker'."}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
