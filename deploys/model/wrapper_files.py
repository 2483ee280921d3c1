"""The texts of the wrapper's own files: what stands before the NVIDIA runtime, and between it and runsc."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploys.model.applied import RuntimeProbe
    from deploys.model.settings import Settings


def entry(config_home: str = paths.TOOLKIT_CONFIG_HOME, *, engine: str = "docker") -> str:
    """`/usr/local/bin/nvproxy-container-runtime`.

    Args:
        config_home: the directory in which the shim finds nvidia-container-runtime/config.toml.
        engine: who calls it, in one word.
    """
    return render("nvproxy-entry.sh.j2", engine=engine, shim=paths.SHIM, config_home=config_home)


def launcher(settings: Settings) -> str:
    """`/usr/local/bin/nvproxy-runsc`."""
    return render(
        "nvproxy-runsc.sh.j2",
        runsc=paths.RUNSC,
        runsc_args=list(settings.runsc_flags),
        python=paths.PYTHON,
        wrapper_dir=paths.WRAPPER_CURRENT,
        settings_path=paths.WRAPPER_SETTINGS,
    )


def admin_command() -> str:
    """`/usr/local/bin/nvproxy-wrapper`."""
    return render("nvproxy-wrapper.sh.j2", python=paths.PYTHON, wrapper_dir=paths.WRAPPER_CURRENT)


def wrapper_settings(settings: Settings, probe: RuntimeProbe, swarm_resources: Sequence[str] = ()) -> str:
    """`/etc/nvproxy-wrapper/settings.json`: all that the wrapper needs to know at create time."""
    content = {
        "runsc": paths.RUNSC,
        "runsc_args": list(settings.runsc_flags),
        "hooks_run": probe.hooks_run,
        "runsc_flags": list(probe.flags),
        # Sorted, as the record of a run is: a second run must not find another order.
        "runsc_capabilities": sorted(name for name, taken in (probe.capabilities or {}).items() if taken),
        "toolkit_mode": settings.toolkit_mode.value,
        "toolkit_version": settings.toolkit.upstream,
        "swarm_resources": list(swarm_resources),
        "trusted_hooks": list(settings.trusted_hooks),
        "trusted_ldconfig": list(settings.trusted_ldconfig),
        "allowed_capabilities": list(settings.allowed_capabilities),
        "host_prep": [list(command) for command in settings.host_prep],
        "allow_user_annotations": settings.allow_user_annotations,
        "drop_update_ldcache": settings.drop_update_ldcache,
        "proc_driver": paths.PROC_DRIVER,
        "audit_log": paths.DECISION_LOG,
    }
    return json.dumps(content, indent=2) + "\n"
