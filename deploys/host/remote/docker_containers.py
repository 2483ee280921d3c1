"""Containers by `docker run`, and the images that they are made of."""

from __future__ import annotations

import os
import time
from typing import Any

from deploys.host.remote.prelude import Fault
from deploys.host.remote.processes import (
    CLEAN_UP_SECONDS,
    POLL_SECONDS,
    Clock,
    kill_processes_of,
    outcome,
    run,
)
from deploys.host.remote.smoke_image import archive, make_nodes, remove_tree

REMOVAL_TRIES = 5


def asked_docker(argv: list[str], seconds: float, *, stdin: bytes | None = None) -> str:
    """What a docker command printed; a Fault with docker's own words where it failed."""
    done = run(["docker", *argv], seconds, stdin=stdin)
    if done.timed_out:
        raise Fault(f"docker {argv[0]} took longer than {seconds:.0f} s")
    if done.code != 0:
        raise Fault(f"docker {argv[0]} failed: {done.err.strip() or done.out.strip()}")
    return done.out


def images_of(task: dict[str, Any], clock: Clock) -> list[str]:
    """The images that this program has made."""
    form = ["--format", "{{.Repository}}:{{.Tag}}"]
    return asked_docker(["images", *form, task["repository"]], clock.limit(task["seconds_each"])).split()


def own_images(task: dict[str, Any], root: str, tag: str, clock: Clock) -> tuple[str, str]:
    """(image, the same with the asking variable in its ENV), made from `root` unless they are there."""
    plain = f"{task['repository']}:{tag}"
    changes: dict[str, list[str]] = {plain: [], f"{plain}-asking": ["-c", f"ENV {task['image_env']}"]}
    there = images_of(task, clock)
    for image in changes.keys() - there:
        command = ["import", *changes[image], "-", image]
        asked_docker(command, clock.limit(task["seconds_each"]), stdin=archive(root))
    return plain, f"{plain}-asking"


def users_image(task: dict[str, Any], clock: Clock) -> tuple[str, str]:
    """(the image of the operator, its copy with the asking variable in ENV); pulled where it is missing."""
    image = task["use_image"]
    inspect = ["image", "inspect", "--format", "{{.Id}}", image]
    if run(["docker", *inspect], clock.limit(task["seconds_each"])).code != 0:
        asked_docker(["pull", "--quiet", image], clock.limit(clock.seconds))
    identity = asked_docker(inspect, clock.limit(task["seconds_each"])).strip().rpartition(":")[2]
    asking = f"{task['repository']}:{identity[:16]}-asking"
    if asking not in images_of(task, clock):
        create = ["create", "--label", task["label"], image, "sh"]
        container = asked_docker(create, clock.limit(task["seconds_each"])).strip()
        try:
            commit = ["commit", "-c", f"ENV {task['image_env']}", container, asking]
            asked_docker(commit, clock.limit(task["seconds_each"]))
        finally:
            remove_containers(f"id={container}")
    return image, asking


def images_for(task: dict[str, Any], root: str, tag: str, clock: Clock) -> tuple[str, str]:
    """(image, the same with the asking variable in its ENV); those of earlier versions are removed."""
    images = own_images(task, root, tag, clock) if task["use_image"] is None else users_image(task, clock)
    for image in set(images_of(task, clock)) - set(images):
        run(["docker", "rmi", image], CLEAN_UP_SECONDS)
    return images


def through_docker(
    task: dict[str, Any], what: dict[str, Any], image: str, name: str, clock: Clock
) -> dict[str, Any]:
    """One container by `docker run`."""
    argv = ["docker", "run", "--rm", "--name", name, "--label", task["label"], "--network=none"]
    # An image of this name that is not on the host must never be looked for in a public registry.
    argv += ["--pull=never", f"--runtime={what['runtime']}", "--entrypoint", "sh"]
    for variable in what["env"]:
        argv += ["-e", variable]
    directory = os.path.join(task["dir"], "runs", name)
    if what["nodes"] is not None:
        make_nodes(f"{directory}/nodes")
        argv += ["-v", f"{directory}/nodes:{what['nodes']}"]
    done = left = None
    try:
        done = run([*argv, image, "-c", task["script"]], clock.limit(task["seconds_each"]))
    finally:
        # The container outlives a client that was killed, and a failed start can leave one that was created.
        if done is None or done.code != 0:
            left = remove_containers(f"name=^/{name}$")
        left = remove_tree(directory) or left
    return {**outcome(done), "left_behind": left}


def remove_containers(which: str) -> str | None:
    """Remove containers of Docker's by a filter of `docker ps`; why one may still be there, or None.

    Processes first: where a runtime hangs, Docker waits for it, in `docker rm -f` and `docker inspect` too.
    """
    for _ in range(REMOVAL_TRIES):
        found = run(["docker", "ps", "-aq", "--no-trunc", "--filter", which], CLEAN_UP_SECONDS)
        if found.code != 0:
            return f"containers with {which} may be left, docker ps failed: {found.err.strip()}"
        identities = found.out.split()
        if not identities:
            return None
        for identity in identities:
            kill_processes_of(identity)
        run(["docker", "rm", "-f", *identities], CLEAN_UP_SECONDS)
        time.sleep(POLL_SECONDS)
    return f"{len(identities)} containers with {which} are left, docker rm -f had no effect"
