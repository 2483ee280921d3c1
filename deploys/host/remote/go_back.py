"""Go back to what `keep_way_back` has put aside; or, once a run has come to its end, throw that away.

Task: `{"directory", "do": "back" | "watch" | "forget", "lock": path}`.
Answer: `{"back": bool, "left": [sentence]}`; `left` says what could not be put back, and why.
"watch" is how the host's own systemd starts it: it waits until the run's connection is gone. At the next boot
that is at once, and then nothing of Docker is waited for, which starts after it and with the old file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import time
from typing import Any, Callable

from deploys.host.remote.docker_engine import (
    State,
    content_of,
    encoded,
    loaded_runtimes,
    path_of,
    put,
    settle,
)
from deploys.host.remote.keep_way_back import earlier
from deploys.host.remote.prelude import (
    Fault,
    boot,
    finish_packages,
    identity,
    replace_file,
    switch_link,
    take_turn,
)

WATCH_SECONDS = 0.5
AGAIN_SECONDS = 15
TRIES = 40
ASIDE = ".nvproxy-fleet.old"
STRAYS = (".nvproxy-fleet.new", ".nvproxy-fleet.candidate", ".nvproxy-fleet.candidate.nvproxy-fleet.new")


def put_back(entry: dict[str, Any], home: str) -> None:
    """Make a path be what it was; one that is so already is not touched."""
    path = entry["path"]
    if entry["kind"] == "link":
        if not os.path.islink(path) or os.readlink(path) != entry["target"]:
            switch_link(path, entry["target"])
    elif entry["kind"] == "file":
        with open(os.path.join(home, entry["copy"]), "rb") as file:
            content = file.read()
        if not is_as_kept(path, content, entry):
            replace_file(path, content, entry["mode"])
            os.chown(path, *entry["owner"])
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def is_as_kept(path: str, content: bytes, entry: dict[str, Any]) -> bool:
    """Whether a file has the content, the mode and the owner that it had."""
    if os.path.islink(path) or not os.path.isfile(path) or content_of(path) != content:
        return False
    status = os.stat(path)
    as_it_is = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    return as_it_is == (*entry["owner"], entry["mode"])


def remove_empty(top: str | None) -> None:
    """Remove a directory that the run has made, unless something lies in it."""
    if top is not None:
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def engine_back(engine: dict[str, Any], home: str, same_boot: bool) -> None:
    """Docker's file as it was, and what dockerd has loaded.

    Raises:
        Fault: dockerd does not take it, or the file is somebody else's by now.
    """
    entry, path = engine["kept"], engine["path"]
    old = content_of(os.path.join(home, entry["copy"])) if entry["kind"] == "file" else None
    there = content_of(path)
    if there is not None and there != old and hashlib.sha256(there).hexdigest() not in engine["ours"]:
        raise Fault(f"{path} was changed by somebody else since, and stays as it is")
    mode, owner = entry.get("mode", 0o644), tuple(entry.get("owner", (0, 0)))
    state = State(old, encoded(engine["load"]), mode, owner, engine["runtime_path"])
    loaded = loaded_runtimes() if same_boot else None
    is_loaded = loaded is not None and path_of(loaded, engine["runtime"]) == engine["runtime_path"]
    if not same_boot or (there == old and is_loaded):
        put(path, old, state)
        return
    # A dockerd that died of the new file is started with the old one.
    settle(engine, state, "reload-or-restart")


def sweep(directory: str) -> None:
    """Remove what killed programs have left half written in our own directory."""
    for place, names, files in os.walk(directory):
        for name in [name for name in files if name.endswith(STRAYS)]:
            os.unlink(os.path.join(place, name))
        for name in [name for name in names if name.endswith((*STRAYS, ASIDE))]:
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)


def remove_strays(record: dict[str, Any]) -> None:
    """What a killed program has left beside its files, and directories that it was at."""
    for path in [entry["path"] for entry in record["kept"]] + record["strays"]:
        for stray in [path + ending for ending in STRAYS]:
            if os.path.isdir(stray) and not os.path.islink(stray):
                shutil.rmtree(stray, ignore_errors=True)
            elif os.path.lexists(stray):
                os.unlink(stray)
    for path in record["strays"]:
        aside = path + ASIDE
        if os.path.isdir(aside):
            if os.path.isdir(path):
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.rename(aside, path)
    for path in record["made"]:
        shutil.rmtree(path, ignore_errors=True)


def failure(step: Callable[..., None], *arguments: Any) -> list[str]:
    """Why a step failed; nothing where it did not."""
    try:
        step(*arguments)
    except (OSError, Fault) as fault:
        return [str(fault)]
    return []


def back(record: dict[str, Any], home: str) -> list[str]:
    """Put everything back, the last written first; what fails is told, and the rest goes on."""
    left: list[str] = []
    same_boot = record["boot"] == boot()
    # It holds most of the space that a full disk lacks.
    shutil.rmtree(record["staging"], ignore_errors=True)
    if record["packages"] and same_boot:
        # Its scripts write files that are put back here.
        finish_packages()
    if record["engine"] is not None:
        left += failure(engine_back, record["engine"], home, same_boot)
    for entry in reversed(record["kept"]):
        left += failure(put_back, entry, home)
    left += failure(remove_strays, record)
    if not left:
        for entry in record["kept"]:
            remove_empty(entry.get("parent"))
        forget(record, home)
        sweep(os.path.dirname(home))
    return left


def forget(record: dict[str, Any], home: str) -> None:
    """There is no way back from here on: the state that is there is whole."""
    for path in (record["wanted"], record["unit"]):
        for name in (path, path + ".nvproxy-fleet.new"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    aside = home + ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    # In one step: a directory that is half gone must not be taken for a way back.
    os.rename(home, aside)
    shutil.rmtree(aside, ignore_errors=True)


def is_over(record: dict[str, Any]) -> bool:
    """Whether the connection of a record's run is gone."""
    holder = record["connection"]
    return bool(record["boot"] != boot() or identity(holder.split()[0]) != holder)


def watch(task: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of the run's connection; what is there then is taken back, as often as it takes."""
    left: list[str] = []
    for _ in range(TRIES):
        while (record := earlier(task["directory"])) is not None and not is_over(record):
            time.sleep(WATCH_SECONDS)
        if record is None:
            return {"back": False, "left": []}
        # The run's last program may still be at work, or another run have come.
        with contextlib.suppress(Fault):
            turn = take_turn(task["lock"])
            record = earlier(task["directory"])
            if record is None:
                return {"back": False, "left": []}
            if is_over(record):
                left = back(record, task["directory"])
                if not left:
                    return {"back": True, "left": []}
            os.close(turn)
        time.sleep(AGAIN_SECONDS)
    return {"back": True, "left": left}


def main(task: dict[str, Any]) -> dict[str, Any]:
    """One of three; without a directory there is nothing to do."""
    if task["do"] == "watch":
        return watch(task)
    record = earlier(task["directory"])
    if record is None:
        sweep(os.path.dirname(task["directory"]))
        return {"back": False, "left": []}
    if task["do"] == "back":
        return {"back": True, "left": back(record, task["directory"])}
    forget(record, task["directory"])
    return {"back": False, "left": []}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
