"""Install the packages that `stage` has downloaded, at their pinned versions, and hold them there.

Task: `{"packages": [name], "version": text, "apt": the staging directory of apt, "left_alone": path,
"kept": path, "set_aside": bool}`. Answer: `{}`.

The packages' own installation script writes `config.toml` anew (nvidia-container-toolkit-base.postinst,
`nvidia-ctk config --in-place`): without comments, in another order, and up to 1.19 without what says the
default. It is `left_alone`: to the letter what it was, or not there, also where the installation fails. Where
one was cut off before that, it is what was `kept` then; with no packages that is all that is done.
"""

from __future__ import annotations

import json
from typing import Any

from deploys.host.remote.prelude import Fault, left_alone, run

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


def install(task: dict[str, Any], pins: list[str], staged: list[str]) -> None:
    """Install and hold the packages.

    Raises:
        Fault: APT fails, with its last words.
    """
    apt(["apt-get", "install", *INSTALL, *staged, *pins], 900, f"installing {', '.join(pins)}")
    # An unattended upgrade of one of the four breaks the set, and takes a version that nobody has verified
    # here.
    apt(["apt-mark", "hold", *task["packages"]], 60, "holding the packages at their version")


def main(task: dict[str, Any]) -> dict[str, Any]:
    """With the lists and packages that were staged: nothing comes over the network any more."""
    pins = [f"{name}={task['version']}" for name in task["packages"]]
    staged = [
        *("-o", f"Dir::State::Lists={task['apt']}/lists"),
        *("-o", f"Dir::Etc::SourceParts={task['apt']}/parts"),
        *("-o", f"Dir::Cache::archives={task['apt']}/archives"),
    ]
    try:
        with left_alone(task["left_alone"], task["kept"], set_aside=task["set_aside"]):
            if pins:
                install(task, pins, staged)
    except (Fault, OSError) as fault:
        return {"error": str(fault)}
    return {}


if __name__ == "__main__":
    print(json.dumps(main(globals()["INPUT"])))
