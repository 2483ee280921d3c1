"""Move a staged release of gVisor to its place.

Task: `{"staged": directory, "directory": path}`. Answer: `{"tree": digest}`.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from typing import Any

from deploys.host.remote.prelude import sync, sync_tree, tree_digest

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(one: str, other: str) -> bool:
    """Let two directories change their places in one step; False where the file system has no such thing."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):  # glibc 2.28
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Copy beside, sync, rename: the directory is there whole or not at all."""
    directory, staged = task["directory"], task["staged"]
    beside, aside = directory + ".nvproxy-fleet.new", directory + ".nvproxy-fleet.old"
    try:
        for stale in (beside, aside):
            shutil.rmtree(stale, ignore_errors=True)
        os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
        if os.path.isdir(directory) and tree_digest(directory) == tree_digest(staged):
            # It may be the current one: then there must be no moment at which it is not there.
            shutil.rmtree(staged, ignore_errors=True)
            return {"tree": tree_digest(directory)}
        # Staging may lie on another file system, where a rename cannot reach.
        shutil.copytree(staged, beside)
        sync_tree(beside)
        if os.path.isdir(directory) and exchange(beside, directory):
            os.rename(beside, aside)
        else:
            if os.path.isdir(directory):
                os.rename(directory, aside)
            os.rename(beside, directory)
        sync(os.path.dirname(directory))
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(staged, ignore_errors=True)
    except (OSError, shutil.Error) as error:
        return {"error": f"{directory} cannot be written: {error}. Free space below it, and run again."}
    return {"tree": tree_digest(directory)}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
