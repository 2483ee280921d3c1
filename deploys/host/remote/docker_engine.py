"""Give Docker its configuration: checked first, reloaded, read back, and put back where it was not taken.

Task: `{"path", "file": {"text", "encoding", "original"} | null, "load", "load_old": {"text", "encoding"},
"seen", "backup", "runtime", "runtime_path", "daemon", "can_validate"}`. Answer: `{}`.
A `file` of null means to load again what is there, a `text` of null to have no file; `load` is what dockerd
is given in its place, and `load_old` in that of the file that is there, as a reload keeps the runtimes that
are loaded where a file names none; `seen` is the sha256 of the file that the texts were made from, null for
none; a `runtime_path` of null means that the runtime must be gone; a `daemon` of null means that Docker is
gone, and nothing checks or loads the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import Any, NamedTuple

from deploys.host.remote.prelude import Fault, content_of, keep, replace_file, run

RELOAD_SECONDS = 20


class State(NamedTuple):
    """What the file holds (None: it is not there), what dockerd is given, whose it is, the runtime's path."""

    content: bytes | None
    load: bytes
    mode: int
    owner: tuple[int, int]
    runtime_path: str | None


def loaded_runtimes() -> dict[str, Any] | None:
    """The runtimes that the daemon has loaded now, by name; None where it does not answer."""
    status, out, _ = run(["docker", "info", "--format", "{{json .Runtimes}}"], 15)
    try:
        runtimes = json.loads(out) if status == 0 else None
    except ValueError:
        return None
    return runtimes if isinstance(runtimes, dict) else None


def path_of(runtimes: dict[str, Any], name: str) -> str | None:
    """What one runtime leads to, a path or a type; None where the daemon has none by that name."""
    entry = runtimes.get(name)
    return (entry.get("path") or entry.get("runtimeType") or "") if isinstance(entry, dict) else None


def validate(daemon: str, path: str) -> None:
    """Ask dockerd whether it would take a file."""
    status, out, err = run([daemon, "--validate", "--config-file", path], 30)
    if status != 0:
        raise Fault(
            f"dockerd would refuse the new configuration: {(err or out).strip()}. Nothing was changed"
        )


def reload(name: str, path: str | None, verb: str) -> None:
    """Have the daemon read its file, and wait until its runtime is as it should be.

    Raises:
        Fault: it is not.
    """
    status, _, err = run(["systemctl", verb, "docker"], 60)
    if status != 0:
        raise Fault(f"'systemctl {verb} docker' failed: {err.strip()}")
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


def put(path: str, content: bytes | None, state: State) -> None:
    """Make the file be this content, or be absent; one that is so already is not touched."""
    if content == content_of(path):
        return
    if content is None:
        os.unlink(path)
        return
    replace_file(path, content, state.mode)
    os.chown(path, *state.owner)


def settle(task: dict[str, Any], state: State, verb: str = "reload") -> None:
    """Have a configuration loaded, and the file hold it to the letter, loaded or not.

    Reloaded, never restarted: running containers must survive. What the file holds in the end is not loaded
    once more. That would change nothing that is meant, and where there is no file at all, dockerd 29 would
    take its own default runtime for the one of its command line.

    Raises:
        Fault: it was not taken.
    """
    path = task["path"]
    try:
        if task["daemon"] is not None:
            put(path, state.load, state)
            reload(task["runtime"], state.runtime_path, verb)
    finally:
        put(path, state.content, state)


def state_of(task: dict[str, Any]) -> State:
    """How it is now; a file that is not there would be root's."""
    path = task["path"]
    loaded = None if task["daemon"] is None else path_of(loaded_runtimes() or {}, task["runtime"])
    content, load = content_of(path), encoded(task["load_old"])
    if content is None:
        return State(None, load, 0o644, (0, 0), loaded)
    status = os.stat(path)
    return State(content, load, status.st_mode & 0o777, (status.st_uid, status.st_gid), loaded)


def encoded(text: dict[str, str]) -> bytes:
    """A text of the task as a file holds it; its byte order mark, if any, is its first character."""
    return text["text"].encode(text["encoding"])


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Validate, write, reload, read back; on any fault the old file is back and loaded."""
    path, file = task["path"], task["file"]
    old = None
    try:
        there = state_of(task)
        check_seen(path, there.content, task["seen"])
        wanted = there._replace(runtime_path=task["runtime_path"], load=encoded(task["load"]))
        if file is not None:
            wanted = wanted._replace(content=None if file["text"] is None else encoded(file))
        if task["can_validate"]:
            candidate = path + ".nvproxy-fleet.candidate"
            try:
                # dockerd reads it as root; the real one may hold registry secrets.
                replace_file(candidate, wanted.load, 0o600)
                validate(task["daemon"], candidate)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(candidate)
        if file is not None:
            keep(path, task["backup"], original=file["original"])
            old = there
        settle(task, wanted)
    # Whatever it is, a configuration that nobody has checked must not stay.
    except Exception as fault:  # noqa: BLE001
        said = str(fault) if isinstance(fault, Fault) else f"{type(fault).__name__}: {fault}"
        return {"error": f"{said}." if old is None else undo(task, old, said)}
    return {}


def check_seen(path: str, old: bytes | None, seen: str | None) -> None:
    """The file must still be the one that the new text was made from.

    Raises:
        Fault: somebody has changed it meanwhile, and would lose that.
    """
    if seen != (None if old is None else hashlib.sha256(old).hexdigest()):
        raise Fault(f"{path} was changed by somebody else while this run went on. Run again")


def undo(task: dict[str, Any], old: State, said: str) -> str:
    """Put the old file back and load it; the sentence for the operator says whether that worked."""
    path = task["path"]
    try:
        # A dockerd that died of the new file is started with the old one.
        settle(task, old, "reload-or-restart")
    except OSError as fault:
        return f"{said}. The old {path} could not be put back: {fault}. It has to be repaired by hand, now."
    except Fault as fault:
        return f"{said}. The old {path} is back, but not loaded: {fault}. See 'journalctl -u docker'."
    if task["daemon"] is None:
        return f"{said}. The old {path} is back."
    return f"{said}. The old {path} is back and loaded; see 'journalctl -u docker'."


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
