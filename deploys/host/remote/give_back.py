"""Give files back to the host that a run had put in the place of its own, and take away those of ours.

Task: `{"files": [{"path", "text": text | null, "was_there"}], "emptied": [directory], "backup": directory}`.
Answer: `{}`.

What is given back is not ours any more, and no copy of it is kept. Then the directories `emptied` go where
nothing is left in them.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from deploys.host.remote.prelude import kept_path, restore


def main(task: dict[str, Any]) -> dict[str, Any]:
    """The copy goes last: a run that is killed before that does the same once more."""
    try:
        for file in task["files"]:
            restore(file["path"], task["backup"], was_there=file["was_there"], text=file["text"])
            with contextlib.suppress(FileNotFoundError):
                os.unlink(kept_path(task["backup"], file["path"]))
        for path in task["emptied"]:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    except OSError as error:
        return {"error": f"{error.filename}: {error.strerror}. Repair the file system, and run again."}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
