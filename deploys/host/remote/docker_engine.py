"""Give Docker its configuration: checked first, reloaded, read back, and put back where it was not taken.

Task: `{"path", "file": {"text", "original"} | null, "seen", "backup", "runtime", "runtime_path", "daemon",
"can_validate"}`. Answer: `{}`. A `file` of null means to load again what is there, a `text` of null to have
no file; `seen` is the sha256 of the file that the text was made from, null for none; a `runtime_path` of null
means that the runtime must be gone; a `daemon` of null means that Docker is gone, and nothing checks or loads
the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import Any, NamedTuple

from deploys.host.remote.prelude import Fault, keep, replace_file, run

RELOAD_SECONDS = 20


class State(NamedTuple):
    """What the file holds (None: it is not there), whose it is, and what dockerd's runtime leads to."""

    content: bytes | None
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


def content_of(path: str) -> bytes | None:
    """What is in a file; None where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def put(path: str, content: bytes | None, state: State) -> None:
    """Make the file be this content, or be absent; one that is so already is not touched."""
    if content == content_of(path):
        return
    if content is None:
        os.unlink(path)
        return
    replace_file(path, content, state.mode)
    os.chown(path, *state.owner)


def loadable(content: bytes | None) -> bytes:
    """The same configuration in a form that says which runtimes there are, be it none.

    A reload of a file without `runtimes`, or of none, keeps those that are loaded (moby 20.10 to 29,
    daemon/reload_unix.go asks whether the value is set). A `null` does not do in place of the empty object:
    Docker 20.10 dies of it.
    """
    text = (content or b"").strip() or b"{}"
    config = json.loads(text)
    if content is not None and "runtimes" in config:
        return content
    return text.replace(b"{", b'{"runtimes": {}' + (b", " if config else b""), 1)


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
            put(path, loadable(state.content), state)
            reload(task["runtime"], state.runtime_path, verb)
    finally:
        put(path, state.content, state)


def state_of(task: dict[str, Any]) -> State:
    """How it is now; a file that is not there would be root's."""
    path = task["path"]
    loaded = None if task["daemon"] is None else path_of(loaded_runtimes() or {}, task["runtime"])
    content = content_of(path)
    if content is None:
        return State(None, 0o644, (0, 0), loaded)
    status = os.stat(path)
    return State(content, status.st_mode & 0o777, (status.st_uid, status.st_gid), loaded)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Validate, write, reload, read back; on any fault the old file is back and loaded."""
    path, file = task["path"], task["file"]
    old = None
    try:
        there = state_of(task)
        wanted = there._replace(runtime_path=task["runtime_path"])
        if file is not None:
            check_seen(path, there.content, task["seen"])
            wanted = wanted._replace(content=None if file["text"] is None else file["text"].encode())
        if task["can_validate"]:
            candidate = path + ".nvproxy-fleet.candidate"
            try:
                # dockerd reads it as root; the real one may hold registry secrets.
                replace_file(candidate, loadable(wanted.content), 0o600)
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
