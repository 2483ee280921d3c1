"""Whose running containers a run would take away what they are stopped and entered by. Pure.

NVIDIA's shim reads its `config.toml` on every call, and knows of no container what it was started by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import own_runtimes, paths
from deploys.model.applied import Applied
from deploys.model.layout_change import is_ours
from deploys.model.layouts import Layout
from deploys.model.plan import Refusal
from deploys.model.toolkit_config import runtimes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot, Program

# All of them read the same config.toml (nvidia-container-toolkit v1.20.0, cmd/nvidia-container-runtime*; the
# last two are of 1.9 to 1.11, and what the GPU operator's toolkit container puts behind a script).
_SHIM_NAMES = {
    paths.SHIM.rsplit("/", 1)[-1] + mode for mode in ("", ".cdi", ".legacy", "-experimental", ".real")
}
# It leads to the shim, with a configuration that it names.
_ENTRY_NAMES = {paths.ENTRY.rsplit("/", 1)[-1]}
DEDICATED_INSTEAD = f'or set layout = "{Layout.DEDICATED}", which leaves them and their runtimes alone'


@dataclass(frozen=True)
class Obstacle:
    """Runtimes whose running containers stand against a run, with the sentence for them and what to do."""

    runtimes: tuple[str, ...]
    what: str
    remedy: str

    def refusal(self, containers: Iterable[str]) -> Refusal | None:
        """The refusal where such containers run."""
        names = ", ".join(sorted(containers))
        return Refusal(f"{self.what}: {names}", self.remedy) if names else None


def obstacles(settings: Settings, snapshot: HostSnapshot) -> tuple[Obstacle, ...]:
    """What may stand against a run, up to the writing of `config.toml`."""
    found = (
        Obstacle(
            pulled_into_gvisor(settings, snapshot),
            f"these containers run behind {paths.SHIM} without gVisor, and could not be stopped or entered "
            "any more once it starts runsc",
            f"Stop them, run again, and start them anew; {DEDICATED_INSTEAD}."
            if settings.layout is Layout.SHARED
            else "Stop them, run again, and start them anew.",
        ),
        Obstacle(
            _pulled_out_of_gvisor(settings, snapshot),
            f"these containers run in gVisor behind {paths.SHIM} itself, and could not be stopped or entered "
            f"any more once {paths.TOOLKIT_CONFIG} is the host's own again",
            "Stop them, run again, and start them anew.",
        ),
        Obstacle(
            _given_back(settings, snapshot),
            "these containers run in gVisor by a runtime whose name is to be the host's own again, and would "
            "run without gVisor when they are next started",
            f"Stop them, run again, and start them anew with --runtime={settings.runtime_name}.",
        ),
    )
    return tuple(obstacle for obstacle in found if obstacle.runtimes)


def refusals_of_containers(settings: Settings, snapshot: HostSnapshot) -> tuple[Refusal, ...]:
    """Those of them that a look has found running."""
    engine, against = snapshot.engine, obstacles(settings, snapshot)
    if not against or not engine.running:
        return ()
    if engine.containers is None:
        what = "Docker does not tell which containers are running"
        return (Refusal(what, "See to 'docker ps', and run again."),)
    containers = engine.containers
    found = (
        obstacle.refusal(name for runtime in obstacle.runtimes for name in containers.get(runtime, ()))
        for obstacle in against
    )
    return tuple(refusal for refusal in found if refusal is not None)


def pulled_into_gvisor(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """Runtimes behind the shim that run something else up to now, and gVisor from then on.

    Nobody but us writes the file that the entry names in the layout `dedicated`: one that is spoilt is put
    right, as until then nothing of it can be stopped or entered either.
    """
    if _leads_to_gvisor(snapshot, paths.TOOLKIT_CONFIG):
        return ()
    by_entry = _behind(snapshot, entry=True) if _config_of_entry(snapshot) == paths.TOOLKIT_CONFIG else ()
    itself = _behind(snapshot, entry=False) if settings.layout is Layout.SHARED else ()
    return (*by_entry, *itself)


def _pulled_out_of_gvisor(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    """Runtimes that go to the shim itself while its configuration is ours, and is to be the host's again."""
    if settings.layout is Layout.SHARED or not is_ours(snapshot, paths.TOOLKIT_CONFIG):
        return ()
    return _behind(snapshot, entry=False) if _leads_to_gvisor(snapshot, paths.TOOLKIT_CONFIG) else ()


def _given_back(settings: Settings, snapshot: HostSnapshot) -> tuple[str, ...]:
    theirs = own_runtimes.of_the_host(snapshot)
    return tuple(name for name in own_runtimes.former(settings, snapshot) if name in theirs)


def _config_of_entry(snapshot: HostSnapshot) -> str:
    """The configuration that the entry names; as it was left, where a run died half way."""
    text = snapshot.text_of(paths.ENTRY)
    named = (layout.toolkit_config for layout in Layout if f"'{layout.toolkit_config}'" in text)
    return next(named, Applied.read(snapshot).layout.toolkit_config)


def _leads_to_gvisor(snapshot: HostSnapshot, config: str) -> bool:
    # Without the file the shim has its defaults: runc.
    return runtimes_of(snapshot.text_of(config)) == (paths.LAUNCHER,)


def _behind(snapshot: HostSnapshot, *, entry: bool) -> tuple[str, ...]:
    """Docker's runtimes that lead to the shim, by our entry or by another way."""
    engine = snapshot.engine
    words = {name: engine.binaries.get(name, path) for name, path in engine.runtimes.items()}
    by_entry = {name for name, word in words.items() if _leads_to(_ENTRY_NAMES, word, engine.programs, set())}
    if entry:
        return tuple(sorted(by_entry))
    return tuple(
        name
        for name, word in words.items()
        if name not in by_entry and _leads_to(_SHIM_NAMES, word, engine.programs, set())
    )


def _leads_to(names: set[str], word: str, programs: Mapping[str, Program], seen: set[str]) -> bool:
    """Whether a command has one of the names, or is a link or script that names one of them in the end.

    A script that names the shim may give it another configuration file, and would be no hindrance then. To
    tell that takes a shell, and to take it for a hindrance only asks for containers to be stopped.
    """
    if word.rsplit("/", 1)[-1] in names:
        return True
    program = programs.get(word)
    if program is None or word in seen:
        return False
    seen.add(word)
    if program.path.rsplit("/", 1)[-1] in names:
        return True
    said = re.sub(r"(?m)^\s*#.*", "", program.script or "")
    return any(_leads_to(names, other, programs, seen) for other in re.findall(r"[\w./+-]+", said))
