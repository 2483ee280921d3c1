"""Asks Go's module proxy, by the ordinary client and this machine's own settings for it."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING

from tests.lab import LabError
from tests.lab.commands import output_of

if TYPE_CHECKING:
    from tests.upstream.components import Component


def offered(component: Component) -> list[str]:
    """The versions of a component that the proxy offers; of a branch, the newest commit's alone.

    Raises:
        LabError: it cannot be asked, or offers nothing.
    """
    if component.queries:
        return [_newest_of_branch(component)]
    versions = _go_list("-versions", component.module).get("Versions")
    if not versions:
        raise LabError(f"the module proxy offers no version of {component.module}")
    return versions


def _newest_of_branch(component: Component) -> str:
    refusals = []
    for query in component.queries:
        try:
            return str(_go_list(f"{component.module}@{query}")["Version"])
        except LabError as error:
            refusals.append(str(error))
    raise LabError("; ".join(refusals))


def _go_list(*arguments: str) -> dict:
    # In an empty directory: a go.mod there, or above it, would have its say.
    with tempfile.TemporaryDirectory() as directory:
        argv = ["env", f"--chdir={directory}", "go", "list", "-m", "-json", *arguments]
        return json.loads(output_of(argv, what=f"asking the module proxy for {arguments[-1]}"))
