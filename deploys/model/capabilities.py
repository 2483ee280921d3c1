"""Whether a host can have the driver capabilities that its settings allow: runsc is asked, and the driver.

One name that runsc does not take, and it starts no container with a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.plan import Refusal
from nvproxy_wrapper.judge.capabilities import OF_THE_HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploys.model.settings import Settings
    from deploys.model.snapshot import Driver


def not_taken(settings: Settings, answers: Mapping[str, bool]) -> Refusal | None:
    """Why the runsc of these settings would refuse what they allow; None where it would not.

    Args:
        settings: the host's.
        answers: names that this runsc was asked about, and whether it takes them; empty where it has no flag
            to be told them by, and so none to fail at.
    """
    names = [name for name in settings.allowed_capabilities if answers.get(name) is False]
    if not names:
        return None
    taken = ", ".join(name for name, is_taken in answers.items() if is_taken)
    return Refusal(
        f"allowed_capabilities has {', '.join(names)}, which the runsc of gVisor {settings.gvisor_release}"
        f" does not take; of those that it was asked about it takes {taken or 'none'}",
        "Take it out of allowed_capabilities, or set gvisor_release to one that takes it.",
    )


def not_there(settings: Settings, driver: Driver) -> Refusal | None:
    """Why the sentry would fail at what these settings allow on this host; None: nothing is known to fail."""
    if (
        OF_THE_HOST not in settings.allowed_capabilities
        or driver.capabilities is None
        or OF_THE_HOST in driver.capabilities
    ):
        return None
    return Refusal(
        f"allowed_capabilities has {OF_THE_HOST}, which this host's driver {driver.version} does not have:"
        f" {paths.PROC_DRIVER}/capabilities/{OF_THE_HOST} is not there, and gVisor would start no container"
        " with a GPU",
        "Take it out of allowed_capabilities, or install a driver that has it.",
    )
