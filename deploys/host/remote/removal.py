"""Put a host back as it was: packages, files, directories.

Task: `{"held": [name], "packages": [name], "files": [path], "links": [path], "directories": [path],
"parents": [path], "backup": directory}`. Answer: `{}`.
Packages named are purged; a file that was there before the first run comes back, any other is deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import Any

from deploys.host.remote.prelude import replace_file, run


def restore(path: str, backup: str) -> None:
    """The file as it was before the first run, or no file."""
    kept = os.path.join(backup, "original", path.strip("/").replace("/", "%"))
    if os.path.isfile(kept):
        with open(kept, "rb") as file:
            replace_file(path, file.read(), os.stat(kept).st_mode & 0o7777)
    elif os.path.lexists(path):
        os.unlink(path)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Packages first: their own removal scripts may look at the files."""
    run(["apt-mark", "unhold", *task["held"]], 60)
    if task["packages"]:
        status, out, err = run(
            ["apt-get", "purge", "--yes", "-o", "DPkg::Lock::Timeout=300", *task["packages"]], 600
        )
        if status != 0:
            words = " ".join((err.strip() or out.strip()).splitlines()[-3:])
            return {"error": f"apt-get purge failed: {words}. Repair the package database, and run again."}
    try:
        for path in task["files"]:
            restore(path, task["backup"])
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
