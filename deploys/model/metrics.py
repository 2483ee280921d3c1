"""The results of one host as metrics, for node_exporter's textfile collector on the host itself. Pure.

The form is Prometheus' text format 0.0.4. A host that is not verified any more keeps its last file, so that
an alert has to look at the time in it too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from deploys.model.checks import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from deploys.model.checks import HostResult

FILE = "nvproxy_fleet.prom"
_PREFIX = "nvproxy_fleet_"


def metrics(result: HostResult, finished: datetime) -> str:
    """The text of the file.

    Args:
        result: of the host.
        finished: when its verification ended.
    """
    counts = Counter(check.state for check in result.checks)
    lines = [
        *_family(
            "verified",
            "1 where every required check of the last verification passed, else 0.",
            [({}, float(result.verdict is State.PASSED))],
        ),
        *_family(
            "checks",
            "Checks of the last verification by how they ended.",
            [({"state": state}, counts[state]) for state in State],
        ),
        *_family(
            "check_state",
            "1 for the state in which a check of the last verification ended, 0 for the others.",
            [
                ({"check": check.id, "subject": check.subject, "state": state}, float(check.state is state))
                for check in result.checks
                for state in State
            ],
        ),
        *_family(
            "check_duration_seconds",
            "How long a check of the last verification took.",
            [({"check": check.id}, check.seconds) for check in result.checks],
        ),
        *_family("info", "What was verified, by the names of the settings.", [(result.versions, 1)]),
        *_family(
            "last_verified_timestamp_seconds",
            "When the last verification ended, in seconds since 1970.",
            [({}, round(finished.timestamp()))],
        ),
    ]
    return "\n".join(lines) + "\n"


def _family(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} gauge"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(str(said))}"' for label, said in labels.items())
        lines.append(f"{_PREFIX}{name}{{{inside}}} {value}" if inside else f"{_PREFIX}{name} {value}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
