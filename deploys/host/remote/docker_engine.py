"""Give Docker its configuration: checked first, reloaded, read back, and put back where it was not taken.

Task: `{"path", "text", "seen", "original", "backup", "runtime", "runtime_path", "daemon", "can_validate"}`.
Answer: `{}`. A text of null means to reload only, "" to have no file; `seen` is the sha256 of the file that
the text was made from, null for none; a runtime_path of null means that the runtime must be gone; a daemon
of null means that Docker is gone, and nothing checks or loads the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import Any

from deploys.host.remote.prelude import Fault, keep, replace_file, run

RELOAD_SECONDS = 20


def loaded_runtimes() -> dict[str, Any] | None:
    """The runtimes that the daemon has loaded now, by name; None where it does not answer."""
    status, out, _ = run(["docker", "info", "--format", "{{json .Runtimes}}"], 15)
    try:
        runtimes = json.loads(out) if status == 0 else None
    except ValueError:
        return None
    return runtimes if isinstance(runtimes, dict) else None


def path_of(runtimes: dict[str, Any], name: str) -> str | None:
    """The path of one runtime; None where the daemon has none by that name."""
    entry = runtimes.get(name)
    return str(entry.get("path")) if isinstance(entry, dict) else None


def validate(daemon: str, path: str) -> None:
    """Ask dockerd whether it would take a file."""
    status, out, err = run([daemon, "--validate", "--config-file", path], 30)
    if status != 0:
        raise Fault(
            f"dockerd would refuse the new configuration: {(err or out).strip()}. Nothing was changed"
        )


def reload(name: str, path: str | None) -> None:
    """Reload, never restart: running containers must survive. Then wait until the daemon has it."""
    status, _, err = run(["systemctl", "reload", "docker"], 60)
    if status != 0:
        raise Fault(f"'systemctl reload docker' failed: {err.strip()}")
    end = time.monotonic() + RELOAD_SECONDS
    while True:
        runtimes = loaded_runtimes()
        if runtimes is not None and path_of(runtimes, name) == path:
            return
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    if runtimes is None:
        raise Fault("dockerd was reloaded, and does not answer any more")
    raise Fault(
        f"dockerd was reloaded, but its runtime {name!r} is {path_of(runtimes, name)!r}, not {path!r}"
    )


def put(path: str, content: bytes | None, mode: int, owner: tuple[int, int]) -> None:
    """Make the file be this content, or be absent."""
    if content is None:
        if os.path.exists(path):
            os.unlink(path)
        return
    replace_file(path, content, mode)
    os.chown(path, *owner)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Validate, write, reload, read back; on any fault the old file is back and loaded."""
    path, text = task["path"], task["text"]
    old: bytes | None = None
    mode, owner = 0o644, (0, 0)
    written = False
    try:
        if os.path.exists(path):
            status = os.stat(path)
            mode, owner = status.st_mode & 0o777, (status.st_uid, status.st_gid)
            with open(path, "rb") as file:
                old = file.read()
        if text is not None:
            check_seen(path, old, task["seen"])
        new = old if text is None else text.encode() or None
        if new is not None and task["can_validate"]:
            candidate = path + ".nvproxy-fleet.candidate"
            try:
                # dockerd reads it as root; the real one may hold registry secrets.
                replace_file(candidate, new, 0o600)
                validate(task["daemon"], candidate)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(candidate)
        if new != old:
            keep(path, task["backup"], original=task["original"])
            written = True
            put(path, new, mode, owner)
        if task["daemon"] is not None:
            reload(task["runtime"], task["runtime_path"])
    # Whatever it is, a configuration that nobody has checked must not stay.
    except Exception as fault:  # noqa: BLE001
        said = str(fault) if isinstance(fault, Fault) else f"{type(fault).__name__}: {fault}"
        return {"error": undo(task, old, mode, owner, said) if written else f"{said}."}
    return {}


def check_seen(path: str, old: bytes | None, seen: str | None) -> None:
    """The file must still be the one that the new text was made from.

    Raises:
        Fault: somebody has changed it meanwhile, and would lose that.
    """
    if seen != (None if old is None else hashlib.sha256(old).hexdigest()):
        raise Fault(f"{path} was changed by somebody else while this run went on. Run again")


def undo(task: dict[str, Any], old: bytes | None, mode: int, owner: tuple[int, int], said: str) -> str:
    """Put the old file back and load it; the sentence for the operator says whether that worked."""
    path = task["path"]
    try:
        put(path, old, mode, owner)
        if task["daemon"] is None:
            return f"{said}. The old {path} is back."
        status, _, err = run(["systemctl", "reload", "docker"], 60)
    except OSError as fault:
        return f"{said}. The old {path} could not be put back: {fault}. It has to be repaired by hand, now."
    if status != 0:
        return f"{said}. The old {path} is back, but dockerd did not reload it: {err.strip()}."
    return f"{said}. The old {path} is back and loaded; see 'journalctl -u docker'."


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
