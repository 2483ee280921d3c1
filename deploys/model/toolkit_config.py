"""`config.toml` of nvidia-container-runtime: rendered, and read back to be sure of what it says.

The shim ignores keys and tables that it does not know (go-toml v1, not strict), so a slip of the pen means
its defaults: runc.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.rendering import render

if TYPE_CHECKING:
    from deploys.model.settings import ToolkitMode

_RUNTIME = "nvidia-container-runtime"
_WHO_MAY_ASK = {
    "accept-nvidia-visible-devices-envvar-when-unprivileged": True,
    "accept-nvidia-visible-devices-as-volume-mounts": False,
}
"""Keys that say who may ask for GPUs and how, with the toolkit's defaults (v1.20.0, api/config/v1)."""


def config_toml(mode: ToolkitMode) -> str:
    """The file's text: the wrapper is the only runtime."""
    text = render(
        "config.toml.j2",
        settings_hint="change toolkit_mode in the inventory, not this file",
        mode=mode.value,
        launcher=paths.LAUNCHER,
        csv_dir=paths.CSV_DIR,
    )
    if runtimes_of(text) != (paths.LAUNCHER,) or tomllib.loads(text)[_RUNTIME]["mode"] != mode.value:
        raise AssertionError(f"templates/config.toml.j2 does not say what it must: {text}")
    return text


def runtimes_of(text: str) -> tuple[str, ...] | None:
    """The low-level runtimes that a `config.toml` names, in order; None where it cannot be told.

    Absent means the toolkit's own default, runc and crun (nvidia-container-toolkit v1.20.0, api/config/v1).
    """
    try:
        runtimes = tomllib.loads(text).get(_RUNTIME, {}).get("runtimes", ["runc", "crun"])
    except (tomllib.TOMLDecodeError, AttributeError):
        return None
    return (
        tuple(runtimes) if isinstance(runtimes, list) and all(isinstance(r, str) for r in runtimes) else None
    )


def rules_of_its_own(text: str) -> tuple[str, ...]:
    """The lines of a `config.toml` that let others ask for GPUs than NVIDIA's defaults, and ours, do.

    Raises:
        tomllib.TOMLDecodeError: it is none; then `runtimes_of` says None.
    """
    found = tomllib.loads(text)
    differing = {
        key: found[key] for key, default in _WHO_MAY_ASK.items() if found.get(key, default) != default
    }
    return tuple(f"{key} = {str(value).lower()}" for key, value in differing.items())
