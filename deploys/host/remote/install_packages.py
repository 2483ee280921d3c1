"""Install the packages that `stage` has downloaded, at their pinned versions, and hold them there.

Task: `{"packages": [name], "version": text, "apt": the staging directory of apt}`. Answer: `{}`.
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
    "--no-remove",
    "--no-download",
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
    """With the lists and packages that were staged: nothing comes over the network any more."""
    pins = [f"{name}={task['version']}" for name in task["packages"]]
    staged = [
        *("-o", f"Dir::State::Lists={task['apt']}/lists"),
        *("-o", f"Dir::Etc::SourceParts={task['apt']}/parts"),
        *("-o", f"Dir::Cache::archives={task['apt']}/archives"),
    ]
    try:
        apt(["apt-get", "install", *INSTALL, *staged, *pins], 900, f"installing {', '.join(pins)}")
        # An unattended upgrade of one of the four breaks the set, and takes a version that nobody has
        # verified here.
        apt(["apt-mark", "hold", *task["packages"]], 60, "holding the packages at their version")
    except Fault as fault:
        return {"error": str(fault)}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
