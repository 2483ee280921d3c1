"""Specs and judgements for the wrapper's unit tests: the captured ones, changed by hand."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import parse_settings
from tests.driver_tree import CAPTURED_HOST, write_driver_tree
from tests.specs.captured_specs import FOLDER

if TYPE_CHECKING:
    from nvproxy_wrapper.judge.decision import Decision
    from nvproxy_wrapper.judge.host_view import Gpu

CSV = "1.17.8_csv_visible-1"
CSV_ALL = "1.20.0_csv_visible-all"
JIT = "1.20.0_jit-cdi_visible-1"
CDI = "1.20.0_cdi_visible-1"
LEGACY = "1.20.0_legacy_visible-1"
PLAIN = "1.20.0_csv_no-gpu"

NO_DRIVER = ProcDriverView("/nonexistent")


class _ReadOnce(ProcDriverView):
    """The host of the captured specs, whose driver's directory was read once."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            super().__init__(str(write_driver_tree(Path(folder) / "proc", CAPTURED_HOST)))
            self._gpus = super().gpus()

    def gpus(self) -> list[Gpu]:
        return list(self._gpus)


CAPTURED_VIEW = _ReadOnce()


def captured(name: str) -> dict[str, Any]:
    """A captured spec, to be changed."""
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def asking(spec: dict[str, Any], *values: str) -> dict[str, Any]:
    """The spec with these NVIDIA_VISIBLE_DEVICES entries, in order, and no other."""
    changed = copy.deepcopy(spec)
    env = [entry for entry in changed["process"]["env"] if not entry.startswith("NVIDIA_VISIBLE_DEVICES=")]
    changed["process"]["env"] = env + [f"NVIDIA_VISIBLE_DEVICES={value}" for value in values]
    return changed


def asked_by_mounts(spec: dict[str, Any], *ids: str) -> dict[str, Any]:
    """The spec, changed, with the mounts by which an orchestrator asks for these GPUs."""
    spec["mounts"] += [
        {
            "destination": f"/var/run/nvidia-container-devices/{name}",
            "source": "/dev/null",
            "options": ["rbind"],
        }
        for name in ids
    ]
    return spec


def judge(
    spec: dict[str, Any],
    host: ProcDriverView = CAPTURED_VIEW,
    kept: dict[str, Any] | None = None,
    **settings: Any,
) -> Decision:
    """The decision about a spec under these settings, beside the one that the engine wrote, if kept."""
    return decide(spec, parse_settings(json.dumps(settings).encode(), "settings"), host, kept=kept)


def as_engine_wrote_it(name: str) -> dict[str, Any]:
    """The spec that the engine wrote, where the toolkit made the captured one of it: told by its name."""
    toolkit, _, request = name.split("_")
    spec = captured(f"{toolkit}_csv_no-gpu")
    value = request.partition("-")[2].replace("+", ",")
    return asking(spec, *([] if value == "gpu" else [value]))


def hook(path: str, *arguments: str) -> dict[str, Any]:
    """A hook as the toolkit writes it."""
    return {"path": path, "args": [path.rpartition("/")[2], *arguments], "env": ["NVIDIA_CTK_DEBUG=false"]}


def closed(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mounts with nodev on every bind that had it not, as Docker's own three have not."""

    def with_nodev(mount: dict[str, Any]) -> dict[str, Any]:
        options = mount.get("options") or []
        is_bind = {"bind", "rbind"} & {mount.get("type"), *options}
        return {**mount, "options": [*options, "nodev"]} if is_bind and "nodev" not in options else mount

    return list(map(with_nodev, mounts))


def node(path: str, major: int = 195, minor: int = 0, **more: Any) -> dict[str, Any]:
    """A device node."""
    return {"path": path, "type": "c", "major": major, "minor": minor, **more}


def rules_of(decision: Decision) -> set[str]:
    """The rules that did something."""
    return {action.rule for action in decision.actions}
