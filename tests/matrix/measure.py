"""Measure cells, behind the wrapper and behind the one line, in lab hosts prepared for each."""

from __future__ import annotations

import fcntl
import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from deploys.model import paths, sight
from deploys.model.rendering import render
from tests.lab import Host, HostDefinition, Lab, LabError
from tests.matrix.cells import Behind, Cell
from tests.matrix.judgement import Measured, Measurement, Seen, faults
from tests.matrix.site import HOME, ONE_LINE, PROGRAM, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deploys.model.applied import RuntimeProbe
    from tests.lab.versions import GvisorRelease, ToolkitVersion

# Two: the machine of the lab may have no more cores, and a container is start-up and little else.
WORKERS = 2
SECONDS_FOR_A_TOOLKIT = 900
# As Docker writes it for `--gpus` (moby, daemon/nvidia_linux.go).
GPUS_OPTION_HOOK = {
    "path": "/usr/bin/nvidia-container-runtime-hook",
    "args": ["nvidia-container-runtime-hook", "prestart"],
}
# Configurations of their own, for the shim that is called by hand. The entry leads to the host's.
_LAUNCHERS = {Behind.ONE_LINE: ONE_LINE, Behind.BY_HAND: paths.LAUNCHER}


@dataclass(frozen=True)
class Run:
    """One container to start."""

    cell: Cell
    behind: Behind

    @property
    def id(self) -> str:
        return f"{self.cell.id} {self.behind}"


def measure(
    wanted: Sequence[Cell], say: Callable[[Measured], None] = lambda _: None, *, debug: bool = False
) -> Measurement:
    """Measure cells. It brings their hosts up, and leaves them up.

    Args:
        wanted: the cells, those that do not exist too: their shim is asked, once for all releases.
        say: called with each measured cell at once.
        debug: whether runsc writes its debug logs.
    """
    found: list[Measured] = []
    probes: dict[GvisorRelease, RuntimeProbe] = {}
    kernel = ""
    lab = Lab.open()
    with _alone(lab):
        for machine in dict.fromkeys(cell.machine for cell in wanted):
            mine = [cell for cell in wanted if cell.machine == machine]
            releases = list(dict.fromkeys(cell.release for cell in wanted))
            toolkits = list(dict.fromkeys(cell.toolkit for cell in wanted))
            site = site_on(lab, machine, releases, toolkits, debug=debug)
            for release in dict.fromkeys(cell.release for cell in mine):
                probes[release] = site.install_release(release)
            kernel = site.snapshot().os.kernel
            for toolkit, of_toolkit in groupby(mine, lambda cell: cell.toolkit):
                site.install_toolkit(toolkit)
                for result in _measured(site, of_toolkit, probes, kernel):
                    found.append(result)
                    say(result)
    return Measurement(tuple(found), probes, kernel)


@contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    """One run at a time: a second would change the toolkit and the runsc under the first one's containers."""
    lab.cache.state.mkdir(parents=True, exist_ok=True)
    with (lab.cache.state / "matrix.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another run of the matrix is at work in this lab: wait for its end") from None
        yield


def site_on(
    lab: Lab,
    machine: HostDefinition,
    releases: Sequence[GvisorRelease],
    toolkits: Sequence[ToolkitVersion],
    *,
    debug: bool = False,
) -> Site:
    """A host that is up, with the wrapper on it, and a mirror that has these versions."""
    (host,) = lab.up([machine], releases=releases, toolkits=toolkits)
    mirror = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["mirror"]
    site = Site(host, machine, mirror, debug)
    site.install_wrapper()
    return site


def _measured(
    site: Site, wanted: Iterable[Cell], probes: Mapping[GvisorRelease, RuntimeProbe], kernel: str
) -> Iterator[Measured]:
    """The cells of the toolkit that is installed, one by one as they are measured."""
    runs = {run.id: run for run in _runs(wanted)}
    for line in answers(site.host, sight.SCRIPT, _groups(site, runs.values(), probes)):
        run = runs[line["id"]]
        seen = Seen.of_answer(line, kernel)
        yield Measured(run.cell, run.behind, seen, faults(run.cell, seen))


def _runs(wanted: Iterable[Cell]) -> Iterator[Run]:
    """The runs of the cells of one toolkit."""
    asked_shim = set()
    for cell in wanted:
        if cell.absence is None:
            yield from (Run(cell, behind) for behind in cell.ways)
        elif (cell.mode, cell.request) not in asked_shim:
            asked_shim.add((cell.mode, cell.request))
            yield Run(cell, Behind.WRAPPER)


def _groups(
    site: Site, runs: Iterable[Run], probes: Mapping[GvisorRelease, RuntimeProbe]
) -> Iterator[dict[str, Any]]:
    """What `containers_on_host` needs: the runs that have the runsc and the wrapper's settings in common."""
    for (release, _), group in groupby(runs, lambda run: (run.cell.release, run.cell.mode)):
        mine = list(group)
        host_config = config(mine[0].cell.configured_mode, paths.LAUNCHER)
        yield {
            "files": {
                **site.files(mine[0].cell, probes[release]),
                paths.TOOLKIT_CONFIG: (host_config, 0o644),
            },
            "links": {paths.GVISOR_CURRENT: f"{paths.GVISOR_DIR}/{release.date}"},
            "runs": [
                {
                    "id": run.id,
                    "env": [f"NVIDIA_VISIBLE_DEVICES={value}" for value in run.cell.request.values],
                    "hooks": [GPUS_OPTION_HOOK] if run.cell.request.by_gpus_option else [],
                    "program": paths.ENTRY if run.behind is Behind.WRAPPER else paths.SHIM,
                    "config": None
                    if run.behind is Behind.WRAPPER
                    else config(run.cell.configured_mode, _LAUNCHERS[run.behind]),
                }
                for run in mine
            ],
        }


def config(mode: str, launcher: str) -> str:
    """The shim's config.toml, by the template of the deploys; `launcher` is its only low-level runtime."""
    return render(
        "config.toml.j2",
        settings_hint="a cell of the matrix",
        mode=mode,
        launcher=launcher,
        csv_dir=paths.CSV_DIR,
    )


def answers(host: Host, script: str, groups: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What `containers_on_host` prints, line by line as it comes; `script` runs in each container."""
    task = {
        "rootfs": {
            "programs": ["sh", "ls", "cat", "dmesg"],
            "libraries": ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"],
            "links": ["/bin", "/sbin", "/lib", "/lib64"],
            "directories": ["/dev", "/etc", "/proc", "/sys", "/tmp"],
            "files": {},
        },
        "script": script,
        "end_line": sight.END_LINE,
        "workers": WORKERS,
        "groups": list(groups),
    }
    # The limit is kept inside the host: to kill nsenter would leave the program running there.
    limit = ["timeout", "--kill-after=20", str(SECONDS_FOR_A_TOOLKIT)]
    argv = host.enter([*limit, "env", f"PYTHONPATH={HOME}", "python3", "-B", PROGRAM])
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)
    finally:
        # Without a reader the program ends at its next line, and removes its containers on its way out.
        process.stdout.close()
        status = process.wait()
    if status:
        raise LabError(f"{host.name}: {PROGRAM} ended with status {status} before all cells were measured")
