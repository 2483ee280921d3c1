"""Load the driver's kernel modules and make missing device nodes.

Task: `{"modules": [name], "nodes": [path]}`. Answer: `{}`.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any

from deploys.host.remote.prelude import run


def is_node(path: str) -> bool:
    """Whether a character device is there; `docker run -v` may have left a directory by that name."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def main(task: dict[str, Any]) -> dict[str, Any]:
    """nvidia-modprobe comes with the driver; it makes nodes with the numbers that the driver itself names."""
    said = []
    for module in task["modules"]:
        status, _, err = run(["modprobe", module], 120)
        if status != 0:
            said.append(err.strip() or f"modprobe {module} failed")
    commands = [["nvidia-modprobe", "-u", "-c", "0"]]
    for node in task["nodes"]:
        minor = re.fullmatch(r"/dev/nvidia(\d+)", node)
        if minor:
            commands.append(["nvidia-modprobe", "-c", minor.group(1)])
    for command in commands:
        status, _, err = run(command, 60)
        if status != 0:
            said.append(err.strip() or f"{' '.join(command)} failed")
    missing = [node for node in task["nodes"] if not is_node(node)]
    if missing:
        because = "; ".join(said) or "no reason given"
        return {
            "error": f"{', '.join(missing)}: no character device, and could not be made ({because}). "
            "Install the driver's kernel modules and nvidia-modprobe, and run again."
        }
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
