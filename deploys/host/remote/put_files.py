"""Put files and links in place, each whole or not at all, and keep what was there before.

Task: `{"files": [{"path", "text", "mode", "keep"}], "links": [{"path", "target"}], "compile": [directory],
"remove": [path], "backup": directory}`. Answer: `{}`.

What was there before the first run is kept below `<backup>/original` and never written again; what the last
change replaced is below `<backup>/previous`.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
from typing import Any

from deploys.host.remote.prelude import replace_file, switch_link


def keep(path: str, backup: str, ours: bool) -> None:
    """Copy a file that is about to be replaced."""
    if not os.path.isfile(path):
        return
    kept = [os.path.join(backup, "previous")] if ours else [os.path.join(backup, "original")]
    for directory in kept:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        copy = os.path.join(directory, path.strip("/").replace("/", "%"))
        if ours or not os.path.exists(copy):
            shutil.copy2(path, copy)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Files first, then byte-code, then the links that make them live."""
    try:
        for file in task["files"]:
            if file["keep"] is not None:
                keep(file["path"], task["backup"], file["keep"])
            replace_file(file["path"], file["text"].encode(), file["mode"])
        for directory in task["compile"]:
            # unchecked-hash would trust stale byte-code; timestamps are right, as the directory is written
            # once.
            compileall.compile_dir(directory, quiet=2)
        for link in task["links"]:
            switch_link(link["path"], link["target"])
        for path in task["remove"]:
            shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        return {"error": f"{error.filename}: {error.strerror}. Repair the file system, and run again."}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
