"""Put a host back as it was: packages, files, directories.

Task: `{"held": [name], "packages": [name], "files": [path], "links": [path], "directories": [path],
"parents": [path], "before": [path], "rewritten": [{"path", "text", "mode"}], "backup": directory}`.
Answer: `{}`.
Packages named are purged; a file that was there before the first run comes back, any other is deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import Any

from deploys.host.remote.prelude import Fault, replace_file, restore, run


def purge(packages: list[str]) -> None:
    """Purge packages, and no other: what depends on them is the operator's.

    Raises:
        Fault: something else would go with them, or apt fails.
    """
    argv = ["apt-get", "purge", "--yes", "-o", "DPkg::Lock::Timeout=300", *packages]
    _, plan, _ = run([*argv, "--simulate"], 120)
    gone = {line.split()[1] for line in plan.splitlines() if line.startswith(("Remv ", "Purg "))}
    if gone - set(packages):
        others = ", ".join(sorted(gone - set(packages)))
        raise Fault(
            f"removing {', '.join(packages)} would remove {others} too. Remove these first, run again."
        )
    status, out, err = run(argv, 600)
    if status != 0:
        words = " ".join((err.strip() or out.strip()).splitlines()[-3:])
        raise Fault(f"apt-get purge failed: {words}. Repair the package database, and run again.")


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Packages first: their own removal scripts may look at the files."""
    if task["held"]:
        run(["apt-mark", "unhold", *task["held"]], 60)
    if task["packages"]:
        purge(task["packages"])
    try:
        for path in task["files"]:
            restore(path, task["backup"], was_there=path in task["before"])
        for file in task["rewritten"]:
            # With the mode that it had; what is kept may be what the packages had made of it by then.
            there = os.path.isfile(file["path"])
            mode = os.stat(file["path"]).st_mode & 0o7777 if there else file["mode"]
            replace_file(file["path"], file["text"].encode(), mode)
        for path in task["links"]:
            if os.path.islink(path):
                os.unlink(path)
        for path in task["directories"]:
            shutil.rmtree(path, ignore_errors=True)
        for path in task["parents"]:
            # Somebody else's release may lie beside ours; then the directory stays.
            with contextlib.suppress(OSError):
                os.rmdir(path)
    except OSError as error:
        return {"error": f"{error.filename}: {error.strerror}. Repair that, and run again."}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
