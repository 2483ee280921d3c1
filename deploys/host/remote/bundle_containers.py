"""Containers by the NVIDIA runtime called by hand: a bundle, and no engine."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import time
from typing import Any, Iterator

from deploys.host.remote.prelude import SEARCH_PATH
from deploys.host.remote.processes import (
    CLEAN_UP_SECONDS,
    ERROR_LIMIT,
    OUTPUT_LIMIT,
    POLL_SECONDS,
    Clock,
    Finished,
    kill_processes_of,
    not_run,
    outcome,
    read_end,
    run,
)
from deploys.host.remote.smoke_image import make_nodes, remove_tree, second_of

DEBUG_LOGS = "debug"

# Hides paths in the mount namespace of what it becomes; the marker says that it could.
HIDE = """
marker=$1; shift
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mount -t tmpfs tmpfs "$1"; else mount --bind /dev/null "$1"; fi || exit
    shift
done
shift
: >"$marker" && exec "$@"
"""


def spec(task: dict[str, Any], what: dict[str, Any], bundle: str) -> dict[str, Any]:
    """The OCI spec of a bundle: no network, no device but what the runtime adds, and of capabilities mknod.

    Without that one it would be no wonder that no node can be made. Under runc there is none.
    """
    env = list(what["env"])
    if what["loader"] is not None:
        env += ["LD_DEBUG=statistics", f"LD_DEBUG_OUTPUT={what['loader']}/{os.path.basename(bundle)}"]
    capabilities = [] if what["needs"] else ["CAP_MKNOD"]
    mounts = (("/proc", "proc", ["nosuid", "noexec", "nodev"]), ("/dev", "tmpfs", ["nosuid", "mode=755"]))
    volume = []
    if what["nodes"] is not None:
        place = {"destination": what["nodes"], "type": "bind", "source": f"{bundle}/nodes"}
        volume = [{**place, "options": ["rbind", "rprivate"]}]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", task["script"]],
            "env": [f"PATH={SEARCH_PATH}", *env],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        },
        "root": {"path": "rootfs"},
        "hostname": "verify",
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options}
            for place, kind, options in mounts
        ]
        + volume,
        **({"annotations": what["annotations"]} if what["annotations"] else {}),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def through_bundle(
    task: dict[str, Any], what: dict[str, Any], root: str, name: str, clock: Clock
) -> dict[str, Any]:
    """One container by the NVIDIA runtime: by create and start, as an engine would call it, or by run.

    `run` alone would not do: the shim hands that on without a look at the spec (nvidia-container-toolkit
    v1.20.0, runtime_factory.go).
    """
    if what["needs"] and shutil.which(what["needs"], path=SEARCH_PATH) is None:
        return not_run(f"{what['needs']} is not on this host", missing=what["needs"])
    bundle = bundle_path(task, name)
    left = process = None
    try:
        write_bundle(task, what, root, bundle)
        seconds = clock.limit(task["seconds_each"])
        if what["start"] == "run":
            done = run_at_once(task, bundle, name, seconds)
        else:
            done, process = created_and_started(task, what, bundle, name, clock)
        said = {} if done.code == 0 else last_words(f"{bundle}/{DEBUG_LOGS}")
        is_hidden = not what["hides"] or os.path.exists(f"{bundle}/hidden")
        loaded = None if what["loader"] is None else glob.glob(f"{glob.escape(what['loader'])}/{name}.*")
    finally:
        left = remove_bundle(task, name)
    if not is_hidden:
        return {**not_run(f"{what['hides'][0]} could not be hidden: {done.err}"), "left_behind": left}
    more = {"left_behind": left, "process": process, "loaded": loaded, **({"said": said} if said else {})}
    return {**outcome(done), **more}


def bundle_path(task: dict[str, Any], name: str) -> str:
    """Where a container's bundle lies while it is there."""
    return os.path.join(task["dir"], "runs", name)


def write_bundle(task: dict[str, Any], what: dict[str, Any], root: str, bundle: str) -> None:
    """The spec, a file system and, where the run has one, its own configuration for the NVIDIA runtime."""
    os.makedirs(bundle)
    # One for each container: the hooks of the NVIDIA runtime write links and a loader cache into it.
    second_of(root, f"{bundle}/rootfs")
    if what["nodes"] is not None:
        make_nodes(f"{bundle}/nodes")
    if what["config"] is not None:
        os.makedirs(f"{bundle}/nvidia-container-runtime")
        with open(f"{bundle}/nvidia-container-runtime/config.toml", "w") as file:
            file.write(what["config"])
    if what["entry"] is not None:
        with open(f"{bundle}/entry", "w") as file:
            file.write(what["entry"].replace("BUNDLE", bundle))
        os.chmod(f"{bundle}/entry", 0o755)  # noqa: S103 - a program that root alone may write
    # The wrapper reads it and no other: the entry keeps a copy that is younger than its own process.
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(spec(task, what, bundle), file)


def shim(task: dict[str, Any], name: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """A call of the NVIDIA runtime for a container, and the variables that go with it.

    The configuration in the bundle, if there is one, rules all calls of a container: with another, `delete`
    would go to another low-level runtime than `create` did. The entry sets one itself, and takes no other.
    """
    bundle = bundle_path(task, name)
    own_config = os.path.exists(f"{bundle}/nvidia-container-runtime/config.toml")
    own_entry = f"{bundle}/entry"
    program = own_entry if os.path.exists(own_entry) else task["shim"] if own_config else task["runtime"]
    argv = [program, "--root", task["state_dir"], "--log", f"{bundle}/log.json", "--log-format", "json"]
    return [*argv, *words, name], {"XDG_CONFIG_HOME": bundle} if own_config else {}


def run_at_once(task: dict[str, Any], bundle: str, name: str, seconds: float) -> Finished:
    """Create and start a bundle's container by one call, which ends with it."""
    argv, extra = shim(task, name, "run", "--bundle", bundle)
    with open(f"{bundle}/out", "wb") as out, open(f"{bundle}/err", "wb") as err:
        return told(bundle, run(argv, seconds, files=(out, err), extra=extra))


def created_and_started(
    task: dict[str, Any], what: dict[str, Any], bundle: str, name: str, clock: Clock
) -> tuple[Finished, str | None]:
    """Create and start a bundle's container, and wait until it has said all it has to say.

    Returns:
        How it ended, and the program of its process as the host sees it.
    """
    seconds = clock.limit(task["seconds_each"])
    end = time.monotonic() + seconds
    create, extra = shim(task, name, "create", "--bundle", bundle, "--pid-file", f"{bundle}/pid")
    if what["needs"] is None:
        # Not for the control: that leads to runc, which has no such flag.
        create[1:1] = [f"--debug-log={bundle}/{DEBUG_LOGS}/%COMMAND%.log"]
        os.makedirs(f"{bundle}/{DEBUG_LOGS}")
    if what["hides"]:
        hidden = [path for pattern in what["hides"] for path in glob.glob(pattern)]
        namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE, "sh"]
        create = [*namespace, f"{bundle}/hidden", *hidden, "--", *create]
    process = None
    with open(f"{bundle}/out", "wb") as out, open(f"{bundle}/err", "wb") as err:
        done = run(create, seconds, files=(out, err), extra=extra)
    if done.code == 0:
        process = program_of(read_end(f"{bundle}/pid", ERROR_LIMIT).strip())
        start, extra = shim(task, name, "start")
        done = run(start, max(0.0, end - time.monotonic()), extra=extra)
    timed_out = done.timed_out or (done.code == 0 and not wait_for_end(bundle, task["end_line"], end, clock))
    return told(bundle, done._replace(timed_out=timed_out)), process


def program_of(pid: str) -> str | None:
    """The file that a process runs; None where it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def told(bundle: str, done: Finished) -> Finished:
    """How a call of the runtime ended, with all that was said in the bundle's files."""
    errors = [done.err, read_end(f"{bundle}/err", ERROR_LIMIT), *logged_errors(f"{bundle}/log.json")]
    distinct = dict.fromkeys(error.strip() for error in errors if error.strip())
    out_text = read_end(f"{bundle}/out", OUTPUT_LIMIT)
    return done._replace(out=out_text, err="\n".join(distinct)[-ERROR_LIMIT:])


def wait_for_end(bundle: str, end_line: str, end: float, clock: Clock | None = None) -> bool:
    """Whether a container came to its last line, or ended, in time.

    Not by the runtime's `wait`: with older runsc it may return early or hang.
    """
    pid = read_end(f"{bundle}/pid", ERROR_LIMIT).strip()
    while time.monotonic() < end and (clock is None or clock.end):
        alive = os.path.exists(f"/proc/{pid}")
        if end_line in read_end(f"{bundle}/out", OUTPUT_LIMIT).splitlines() or not alive:
            return True
        time.sleep(POLL_SECONDS)
    return False


def logged_errors(path: str) -> Iterator[str]:
    """Every error that the runtimes wrote to their log: the last one is often only a consequence ("EOF")."""
    decoder = json.JSONDecoder()
    rest = read_end(path, OUTPUT_LIMIT).strip()
    while rest:
        try:
            entry, used = decoder.raw_decode(rest)
        except ValueError:
            return
        rest = rest[used:].strip()
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            yield str(entry.get("msg", ""))


def last_words(directory: str) -> dict[str, str]:
    """What each of runsc's processes said of trouble in this start alone, by the name of its debug log.

    Errors and what they end with: warnings are said by sound ones too (gVisor 20260905, runsc/cli/main.go). A
    line without a log's prefix goes on with the one before it, as a trace does.
    """
    said = {}
    for name in sorted(os.listdir(directory)):
        kept, wanted = [], True
        for line in read_end(f"{directory}/{name}", OUTPUT_LIMIT).splitlines():
            prefix = re.match(r"([A-Z])\d{4} ", line)
            wanted = wanted if prefix is None else prefix.group(1) in "EF" or "FATAL ERROR" in line
            kept += [line] if wanted else []
        if kept:
            said[f"runsc's debug log {name}"] = "\n".join(kept)[:ERROR_LIMIT]
    return said


def remove_bundle(task: dict[str, Any], name: str) -> str | None:
    """Remove a container made from a bundle, its processes and its files; what is left of it, or None."""
    delete, extra = shim(task, name, "delete", "--force")
    run(delete, CLEAN_UP_SECONDS, extra=extra)
    # A runtime that was killed before it had written its state knows nothing to delete.
    kill_processes_of(name)
    return remove_tree(bundle_path(task, name))
