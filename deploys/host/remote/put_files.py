"""Put files and links in place, each whole or not at all, and keep what was there before.

Task: `{"directories": [{"path", "mode"}], "files": [{"path", "text", "mode", "original"}],
"links": [{"path", "target"}], "compile": [directory], "remove": [path], "backup": directory | null}`.
Answer: `{}`.

What was there before the first run is kept below `<backup>/original` and never written again; what later
changes have replaced is below `<backup>/replaced`, under its name and the time.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from deploys.host.remote.prelude import keep, replace_file, run, switch_link

COMPILER = "nvproxy_wrapper/admin/byte_code.py"


def remove_others(directory: str, wanted: set[str]) -> None:
    """Make a directory hold the wanted files and no other; byte-code of a file that is gone could be run."""
    for place, names, files in os.walk(directory):
        for name in files:
            path = os.path.join(place, name)
            if path not in wanted:
                os.unlink(path)
        names[:] = [name for name in names if not os.path.islink(os.path.join(place, name))]


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Files first, then byte-code, then the links that make them live."""
    try:
        for directory in task["directories"]:
            os.makedirs(directory["path"], exist_ok=True)
            os.chmod(directory["path"], directory["mode"])
        for file in task["files"]:
            if task["backup"] is not None:
                keep(file["path"], task["backup"], original=file["original"])
            replace_file(file["path"], file["text"].encode(), file["mode"])
        for directory in task["compile"]:
            remove_others(directory, {file["path"] for file in task["files"]})
            program = os.path.join(directory, COMPILER)
            status, _, err = run([sys.executable, "-I", program], 60)
            if status != 0:
                return {"error": f"{program} could not compile the wrapper: {err.strip()[-500:] or status}."}
        for link in task["links"]:
            switch_link(link["path"], link["target"])
        for path in task["remove"]:
            shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        return {"error": f"{error.filename}: {error.strerror}. Repair the file system, and run again."}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
