"""Install the packages that `stage` has downloaded, at their pinned versions, and hold them there.

Task: `{"packages": [name], "version": text, "archives": directory, "source_path": path}`. Answer: `{}`.
"""

from __future__ import annotations

import json
from typing import Any

from deploys.host.remote.prelude import Fault, run

INSTALL = [
    "--yes",
    "--no-install-recommends",
    "--allow-downgrades",
    "--allow-change-held-packages",
    *("-o", "DPkg::Lock::Timeout=300"),
    *("-o", "Dpkg::Options::=--force-confold"),
]


def apt(argv: list[str], seconds: float, doing: str) -> None:
    """Run apt-get; its last words are the fault's."""
    status, out, err = run(argv, seconds)
    if status != 0:
        words = " ".join((err.strip() or out.strip()).splitlines()[-3:])
        raise Fault(
            f"{doing} failed: {words}. Repair the package database (apt-get -f install), and run again."
        )


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Only our own repository is refreshed: somebody else's broken one must not stop this host."""
    pins = [f"{name}={task['version']}" for name in task["packages"]]
    refresh = [
        *("-o", f"Dir::Etc::SourceList={task['source_path']}"),
        *("-o", "Dir::Etc::SourceParts=-"),
        *("-o", "APT::Get::List-Cleanup=0"),
        *("-o", "APT::Update::Error-Mode=any"),
    ]
    archives = ["-o", f"Dir::Cache::archives={task['archives']}"]
    try:
        apt(["apt-get", "update", *refresh], 300, "reading the repository's index")
        apt(["apt-get", "install", *INSTALL, *archives, *pins], 900, f"installing {', '.join(pins)}")
        # An unattended upgrade of one of the four breaks the set, and takes a version that nobody has
        # verified here.
        apt(["apt-mark", "hold", *task["packages"]], 60, "holding the packages at their version")
    except Fault as fault:
        return {"error": str(fault)}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
