"""Put aside what a run is about to change, and set up who goes back where the run does not end.

Task: `{"directory", "paths": [path], "made": [directory], "strays": [path], "staging": path,
"packages": bool, "engine": {...} | null, "unit": path, "wanted": path, "unit_text": text, "script": text,
"stdin": text}`.
Answer: `{}`.
The directory then holds `record.json` (read by `go_back`), the copies, and `go-back.sh`, which is `go_back`
as this host's systemd starts it: now, to watch over the run's connection, and at the next boot.
A directory that is there is that of a run which nobody took back: what it has kept is the last whole state,
and stays; only what it does not know is added to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from typing import Any

from deploys.host.remote.prelude import Fault, boot, connection, replace_file, run, switch_link

RECORD = "record.json"


def kept(path: str, home: str, name: str) -> dict[str, Any]:
    """What is at a path: nothing, a link, or a file whose content is in `<home>/<name>` now."""
    if os.path.islink(path):
        return {"path": path, "kind": "link", "target": os.readlink(path)}
    if not os.path.isfile(path):
        return {"path": path, "kind": "absent", "parent": missing_parent(path)}
    status = os.stat(path)
    with open(path, "rb") as file:
        # Closed to others whatever its own mode: it may be a secret.
        replace_file(os.path.join(home, name), file.read(), 0o600)
    owner = [status.st_uid, status.st_gid]
    return {"path": path, "kind": "file", "copy": name, "mode": stat.S_IMODE(status.st_mode), "owner": owner}


def missing_parent(path: str) -> str | None:
    """The uppermost directory of a path that is not there yet."""
    missing = None
    while not os.path.isdir(path := os.path.dirname(path)):
        missing = path
    return missing


def earlier(directory: str) -> dict[str, Any] | None:
    """The record of a run that nobody took back; None where there is none, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(directory, RECORD), encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) else None
    return None


def keep(task: dict[str, Any]) -> None:
    """Write the directory, whole or not at all, and then the unit for a reboot."""
    directory, old = task["directory"], earlier(task["directory"])
    home = directory if old is not None else directory + ".nvproxy-fleet.new"
    known = [] if old is None else old["kept"]
    made = [path for path in task["made"] if not os.path.isdir(path)]
    new = [path for path in task["paths"] if path not in {entry["path"] for entry in known}]
    os.makedirs(home, mode=0o700, exist_ok=True)
    entries = [kept(path, home, str(at)) for at, path in enumerate(new, len(known))]
    engine = None if old is None else old["engine"]
    if engine is None and task["engine"] is not None:
        engine = {**task["engine"], "kept": kept(task["engine"]["path"], home, "engine")}
    same = ("staging", "packages", "unit", "wanted")
    record = {
        **{name: task[name] for name in same},
        "boot": boot(),
        "connection": connection(),
        "kept": [*known, *entries],
        "engine": engine,
        "strays": [*task["strays"], *([] if old is None else old["strays"])],
        "made": [*made, *([] if old is None else old["made"])],
    }
    replace_file(os.path.join(home, "go-back.sh"), task["script"].encode(), 0o600)
    replace_file(os.path.join(home, "stdin.json"), task["stdin"].encode(), 0o600)
    replace_file(os.path.join(home, RECORD), json.dumps(record).encode(), 0o600)
    if old is None:
        shutil.rmtree(directory, ignore_errors=True)
        os.rename(home, directory)
    replace_file(task["unit"], task["unit_text"].encode(), 0o644)
    switch_link(task["wanted"], task["unit"])


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Before anything is changed: a run that cannot be taken back does not begin."""
    directory = task["directory"]
    shutil.rmtree(directory + ".nvproxy-fleet.new", ignore_errors=True)
    try:
        keep(task)
    except OSError as error:
        raise Fault(f"{directory} cannot be written: {error}. Free space below it, and run again.") from None
    unit = f"nvproxy-fleet-watch-{connection().replace(' ', '-')}"
    script = os.path.join(directory, "go-back.sh")
    status, _, err = run(["systemd-run", "--quiet", "--collect", f"--unit={unit}", "/bin/sh", script], 30)
    if status != 0:
        raise Fault(
            f"nobody watches over this run: systemd-run says {err.strip()!r}. Repair that, run again."
        )
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
