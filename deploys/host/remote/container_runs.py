"""Start the verification containers of a host and tell what they printed. Nothing is judged here.

Runs on the host with its own Python 3.8 or later. `deploys.model.verification` makes the task and reads the
answer; both are described there. Each container, and the program as a whole, has a time limit. What is
started here is killed and removed here, and what a killed run left behind is removed by the next one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

from deploys.host.remote.bundle_containers import remove_bundle, through_bundle
from deploys.host.remote.docker_containers import images_for, remove_containers, through_docker
from deploys.host.remote.prelude import SEARCH_PATH, Fault
from deploys.host.remote.processes import Clock, Stopped, not_run, outcome, run
from deploys.host.remote.smoke_image import (
    build_root,
    content_hash,
    host_entries,
    remove_old_roots,
    remove_tree,
)
from deploys.host.remote.snapshot_probe import main as look_at_host


def remove_leftovers(task: dict[str, Any]) -> None:
    """Remove all that runs of this program have started and left, this one's or one's that was killed."""
    if shutil.which("docker", path=SEARCH_PATH) is not None:
        remove_containers(f"label={task['label']}")
    for name in os.listdir(os.path.join(task["dir"], "runs")):
        remove_bundle(task, name)
    for directory in filter(None, {what["loader"] for what in task["runs"]}):
        remove_tree(directory)
    # runsc keeps a network namespace mounted here, long after its last container.
    remove_tree(task["state_dir"])


def containers(task: dict[str, Any], clock: Clock, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """The outcome of every container, by the id of its run."""
    entries = host_entries(task)
    tag = content_hash(entries)
    root = os.path.join(task["dir"], f"rootfs-{tag}")
    if not os.path.isdir(root):
        build_root(entries, root)
    remove_old_roots(task, root)
    images, no_image = ("", ""), None
    if any(what["start"] == "docker" for what in task["runs"]):
        try:
            images = images_for(task, root, tag, clock)
        except Fault as fault:
            no_image = str(fault)

    def container(number: int, what: dict[str, Any]) -> dict[str, Any]:
        # As wide as any: no name begins another.
        name = f"nvproxy-verify-{os.getpid()}-{number:03}"
        begin = time.monotonic()
        if clock.limit(task["seconds_each"]) == 0:
            result = not_run(f"the {clock.seconds:.0f} s for the whole verification were over")
        elif what["start"] != "docker":
            result = through_bundle(task, what, root, name, clock)
        elif no_image is not None:
            result = not_run(no_image)
        else:
            result = through_docker(task, what, images[what["asking_image"]], name, clock)
        return {**result, "seconds": round(time.monotonic() - begin, 2)}

    outcomes = pool.map(container, range(len(task["runs"])), task["runs"])
    return {what["id"]: outcome for what, outcome in zip(task["runs"], outcomes)}


def command(task: dict[str, Any], what: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """The outcome of one of the task's commands."""
    begin = time.monotonic()
    stdin = what.get("stdin")
    done = run(
        what["argv"], clock.limit(task["seconds_each"]), stdin=None if stdin is None else stdin.encode()
    )
    return {**outcome(done), "seconds": round(time.monotonic() - begin, 2)}


def look(task: dict[str, Any]) -> dict[str, Any]:
    """The host as it is now, or why it cannot be told."""
    try:
        return {"look": look_at_host(task["look"])}
    except Exception as error:  # noqa: BLE001 - whatever it is, the containers tell what they can
        return {"no_look": f"the look at the host failed: {type(error).__name__}: {error}"}


def why_closed(path: str) -> str:
    """The name of the error with which a device node does not open; empty where it does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def stop(number: int, _frame: Any) -> NoReturn:
    """Turn a signal into an exception, so that every `finally` on the way out removes what was made."""
    raise Stopped(signal.Signals(number).name)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Run the task's commands and containers; a fault is told under `error`."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    clock = Clock(task["seconds_all"])
    answer: dict[str, Any] = {"error": None, "marks": [], "commands": {}, "runs": {}}
    try:
        os.makedirs(os.path.join(task["dir"], "runs"), exist_ok=True)
        remove_leftovers(task)
        for directory in filter(None, {what["loader"] for what in task["runs"]}):
            os.makedirs(directory)
        answer["marks"] = [path for path in task["marks"] if os.path.exists(path)]
        answer["opens"] = why_closed(task["opens"])
        # More sandboxes than processors only wait for each other, each with its own limit of time running.
        with ThreadPoolExecutor(min(task["workers"], len(os.sched_getaffinity(0)))) as pool:
            try:
                # Before any container: the wrapper makes device nodes that are missing.
                seen = pool.submit(look, task) if "look" in task else None
                asked = {
                    name: pool.submit(command, task, what, clock) for name, what in task["commands"].items()
                }
                answer.update(seen.result() if seen else {})
                answer["commands"] = {name: one.result() for name, one in asked.items()}
                answer["runs"] = containers(task, clock, pool)
            except BaseException:
                clock.stop()
                raise
        remove_leftovers(task)
    except (Fault, Stopped, OSError) as fault:
        answer["error"] = f"the verification could not go on: {fault or type(fault).__name__}"
        remove_leftovers(task)
    return answer


if __name__ == "__main__":
    print(json.dumps(main(INPUT)))  # type: ignore[name-defined]  # noqa: F821 - set by the sender
