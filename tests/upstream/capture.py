"""Specs as the real shim of a toolkit leaves them: every mode, every request, on a lab host."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploys.model import paths
from deploys.model.sight import END_LINE
from nvproxy_wrapper.judge.settings import TOOLKIT_MODES
from tests.lab import Engine, HostDefinition
from tests.matrix.measure import answers, config
from tests.upstream.facts import Difference, Fact, Kind, differences_by_request, of_spec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.versions import ToolkitVersion
    from tests.matrix.site import Site

HOST = HostDefinition("upstream", gpus=8, engine=Engine.NONE)
_RUNTIME = "/usr/local/bin/print-spec"
# In the place of runsc: of `create` it prints the spec, of `start` and `delete` nothing.
_PRINTS_THE_SPEC = f"""\
#!/bin/sh
for word; do
    [ "$before" != --bundle ] || {{ cat "$word/config.json" && echo && echo "{END_LINE}"; }}
    before=$word
done
"""


@dataclass(frozen=True)
class Captured:
    """What became of one container's spec.

    Attributes:
        mode: of nvidia-container-runtime.
        request: its name among REQUESTS.
        spec: as the low-level runtime gets it; None where the shim refused.
        error: why it refused, else "".
    """

    mode: str
    request: str
    spec: dict[str, Any] | None
    error: str

    @property
    def facts(self) -> tuple[Fact, ...]:
        return (Fact(Kind.REFUSAL, self.error),) if self.spec is None else of_spec(self.spec)


def _visible(value: str, *more: str) -> tuple[str, ...]:
    return (f"NVIDIA_VISIBLE_DEVICES={value}", *more)


# The environment of each; those that tests/specs/captured has too, by the same names.
REQUESTS = {
    "no-gpu": (),
    "visible-void": _visible("void"),
    "visible-none": _visible("none"),
    "visible-0": _visible("0"),
    "visible-1": _visible("1"),
    "visible-0+2": _visible("0,2"),
    "visible-uuid1": _visible(HOST.pretend_gpus[1].uuid),
    "visible-all": _visible("all"),
    "caps-all": _visible("all", "NVIDIA_DRIVER_CAPABILITIES=all"),
    "cuda-image": _visible(
        "all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "NVIDIA_REQUIRE_CUDA=cuda>=12.0",
        "CUDA_VERSION=12.0.1",
    ),
    "memory-limit": _visible("1", "NVIDIA_GPU_MEMORY_LIMIT=1073741824"),
    # As Docker writes it for `--gpus device=0` where the image says all.
    "image-first": _visible("all", *_visible("0")),
}


def captured(site: Site, toolkit: ToolkitVersion) -> tuple[Captured, ...]:
    """Install a toolkit on a host, and let its shim make every spec."""
    site.install_toolkit(toolkit)
    runs = [
        {
            "id": f"{mode} {request}",
            "program": paths.SHIM,
            "config": config(mode, _RUNTIME),
            "env": environment,
            "hooks": [],
        }
        for mode in TOOLKIT_MODES
        for request, environment in REQUESTS.items()
    ]
    group = {"files": {_RUNTIME: (_PRINTS_THE_SPEC, 0o755)}, "links": {}, "runs": runs}
    return tuple(_captured(line) for line in answers(site.host, "true", [group]))


def keep(specs: tuple[Captured, ...], toolkit: ToolkitVersion, directory: Path) -> None:
    """Write them as tests/specs/captured has them."""
    directory.mkdir(parents=True, exist_ok=True)
    for one in specs:
        if one.spec is not None:
            file = directory / f"{toolkit.version}_{one.mode}_{one.request}.json"
            file.write_text(json.dumps(one.spec), encoding="utf-8")


def changes(
    old: tuple[Captured, ...], new: tuple[Captured, ...]
) -> dict[str, dict[Difference, tuple[str, ...]]]:
    """How the specs of two toolkits differ: by mode, with the requests."""
    facts = [{(one.mode, one.request): one.facts for one in specs} for specs in (old, new)]
    before, after = (
        {mode: {request: of[mode, request] for request in REQUESTS} for mode in TOOLKIT_MODES} for of in facts
    )
    return {mode: differences_by_request(before[mode], after[mode]) for mode in TOOLKIT_MODES}


def _captured(line: dict[str, Any]) -> Captured:
    """From a line of `containers_on_host.py`, without what is another in each run."""
    mode, request = line["id"].split()
    out, error = (re.sub(r"nvproxy-matrix-\d+-\d+", "captured", line[key]) for key in ("out", "error"))
    text, end, _ = out.rpartition(END_LINE)
    if not end:
        # The first line: those below say the same with the time before it.
        return Captured(mode, request, None, error.partition("\n")[0] or "it printed nothing")
    return Captured(mode, request, json.loads(text), "")
