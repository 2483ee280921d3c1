"""Prepare a lab host for each toolkit and each runsc as the deploys would, and measure the cells there."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from deploys.host import snapshot
from deploys.host.remote_program import answer, shell_line, stdin_for
from deploys.host.sources import wrapper_package
from deploys.model import device_specs, paths, plan, sight
from deploys.model.applied import RuntimeProbe
from deploys.model.rendering import render
from deploys.model.settings import Settings, ToolkitMode
from deploys.model.snapshot import HostSnapshot
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.lab import Host, Lab, LabError
from tests.lab.versions import DRIVER_VERSION, GvisorRelease, ToolkitVersion
from tests.matrix import containers_on_host
from tests.matrix.cells import MACHINE, Behind, Cell, Mode
from tests.matrix.judgement import Seen, faults

REMOTE = Path(__file__).parents[2] / "deploys" / "host" / "remote"
HOME = "/opt/nvproxy-matrix"
ONE_LINE = "/usr/local/bin/one-line-wrapper"
CDI_SPECIFICATION = "/etc/cdi/nvidia.yaml"
# Two: the machine of the lab may have no more cores, and a container is start-up and little else.
WORKERS = 2
SECONDS_FOR_A_TOOLKIT = 900
# As Docker writes it for `--gpus` (moby, daemon/nvidia_linux.go).
GPUS_OPTION_HOOK = {
    "path": "/usr/bin/nvidia-container-runtime-hook",
    "args": ["nvidia-container-runtime-hook", "prestart"],
}


@dataclass(frozen=True)
class Measured:
    """One cell behind one thing, and what is wrong there."""

    cell: Cell
    behind: Behind
    seen: Seen
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """A lab host that is being prepared, and the mirror that it is prepared from."""

    host: Host
    mirror: dict[str, Any]
    runsc_args: tuple[str, ...]

    def settings(self, toolkit: ToolkitVersion, release: GvisorRelease, mode: ToolkitMode) -> Settings:
        """As an inventory for this host would say it."""
        return Settings(
            gvisor_url=self.mirror["gvisor_url"],
            gvisor_release=release.date,
            gvisor_sha512=self.mirror["gvisor_releases"][release.date],
            toolkit_repository_url=self.mirror["toolkit_repository_url"],
            toolkit_key=self.mirror["toolkit_key"],
            toolkit_version=toolkit.package_version,
            toolkit_mode=mode,
            driver_version=DRIVER_VERSION,
            runsc_args=self.runsc_args,
        )

    def snapshot(self) -> HostSnapshot:
        """The host as the deploys see it."""
        task = {**snapshot._TASK, "trees": []}
        done = self.host.run(shell_line("snapshot_probe", 60), input=stdin_for("snapshot_probe", task))
        return HostSnapshot.model_validate(answer(done.stdout.splitlines()))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file on the host."""
        quoted = shlex.quote(path)
        self.host.run(f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode:o} {quoted}", input=text)

    def install_wrapper(self) -> None:
        """The package, the link to it, the admin command; and the program that starts the containers."""
        package = wrapper_package()
        directory = f"{paths.WRAPPER_DIR}/{package.directory_name}"
        for name, text in package.files.items():
            self.write(f"{directory}/{name}", text)
        self.host.run(f"ln -sfn {directory} {paths.WRAPPER_CURRENT} && python3 -m compileall -q {directory}")
        self.write(paths.ADMIN_COMMAND, plan.admin_command(), 0o755)
        for path in REMOTE.glob("*.py"):
            self.write(f"{HOME}/deploys/host/remote/{path.name}", path.read_text(encoding="utf-8"))
        program = Path(containers_on_host.__file__)
        self.write(f"{HOME}/{program.name}", program.read_text(encoding="utf-8"))

    def install_release(self, release: GvisorRelease) -> RuntimeProbe:
        """Unpack a release from the mirror; what its runsc can do, by the wrapper's own probe."""
        directory = f"{paths.GVISOR_DIR}/{release.date}"
        architecture, sha512 = next(iter(self.mirror["gvisor_releases"][release.date].items()))
        url = f"{self.mirror['gvisor_url']}/{release.date}/{architecture}/gvisor.tar.bz2"
        self.host.run(
            f"[ -x {directory}/runsc ] || {{ mkdir -p {directory} && cd {directory} && curl -fsS -o gvisor.tar.bz2 {url} && "
            f"echo {sha512} gvisor.tar.bz2 | sha512sum -c --quiet && tar -xjf gvisor.tar.bz2 && rm gvisor.tar.bz2; }}"
        )
        probe = self.host.run([paths.ADMIN_COMMAND, "probe", f"{directory}/runsc", "--format", "json"])
        return RuntimeProbe.model_validate_json(probe.stdout)

    def install_toolkit(self, toolkit: ToolkitVersion) -> None:
        """The four packages by apt, the CSV files of the deploys, and this version's own CDI specification."""
        source = render(
            "nvidia-container-toolkit.list.j2", key=paths.APT_KEYRING, url=self.mirror["toolkit_repository_url"]
        )
        self.write(paths.APT_KEYRING, Path(self.mirror["toolkit_key"]).read_text(encoding="ascii"))
        self.write(paths.APT_SOURCE, source)
        packages = " ".join(f"{name}={toolkit.package_version}" for name in TOOLKIT_PACKAGES)
        self.host.run(
            "export DEBIAN_FRONTEND=noninteractive\n"
            f"apt-get -q update -o Dir::Etc::SourceParts=- -o Dir::Etc::SourceList={paths.APT_SOURCE}\n"
            f"apt-get -qy install --allow-downgrades --no-install-recommends -o Dpkg::Options::=--force-confnew {packages}",
            timeout=180,
        )
        looks = self.snapshot()
        self.write(paths.DEVICES_CSV, device_specs.devices_csv(looks))
        self.write(paths.DRIVERS_CSV, device_specs.drivers_csv(looks))
        self.host.run(["nvidia-ctk", "cdi", "generate", f"--output={CDI_SPECIFICATION}"])


def measure(
    wanted: Sequence[Cell], say: Callable[[Measured], None] = lambda _: None, *, debug: bool = False
) -> list[Measured]:
    """Measure cells, behind the wrapper and behind the one line. It brings the host up, and leaves it up.

    Args:
        wanted: the cells, those that do not exist too: their shim is asked, once for all releases.
        say: called with each measured cell at once.
        debug: whether runsc writes its debug logs, to `/var/log/nvproxy-matrix` on the host.
    """
    site = _site(wanted, debug=debug)
    site.install_wrapper()
    probes = {release: site.install_release(release) for release in dict.fromkeys(cell.release for cell in wanted)}
    found = []
    for toolkit, of_toolkit in groupby(wanted, lambda cell: cell.toolkit):
        site.install_toolkit(toolkit)
        runs = dict(_runs(list(of_toolkit)))
        kernel = site.snapshot().os.kernel
        for line in _answers(site.host, [_group(site, runs, key, probes) for key in _group_keys(runs)]):
            cell, behind = runs[line["id"]]
            seen = Seen.of_answer(line, kernel)
            found.append(Measured(cell, behind, seen, faults(cell, seen)))
            say(found[-1])
    return found


def _site(wanted: Sequence[Cell], *, debug: bool) -> Site:
    lab = Lab.open()
    releases = list(dict.fromkeys(cell.release for cell in wanted))
    toolkits = list(dict.fromkeys(cell.toolkit for cell in wanted))
    (host,) = lab.up([MACHINE], releases=releases, toolkits=toolkits)
    mirror = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["mirror"]
    args = ("--debug", "--debug-log=/var/log/nvproxy-matrix/%ID%/") if debug else ()
    return Site(host, mirror, args)


def _runs(wanted: Sequence[Cell]) -> Iterator[tuple[str, tuple[Cell, Behind]]]:
    """The runs of cells, each with an id of its own."""
    asked_shim = set()
    for cell in wanted:
        if cell.absence is None:
            for behind in Behind:
                yield f"{cell.id} {behind}", (cell, behind)
        elif (cell.mode, cell.request) not in asked_shim:
            asked_shim.add((cell.mode, cell.request))
            yield f"{cell.id} {Behind.WRAPPER}", (cell, Behind.WRAPPER)


def _group_keys(runs: dict[str, tuple[Cell, Behind]]) -> list[tuple[GvisorRelease, Mode]]:
    return list(dict.fromkeys((cell.release, cell.mode) for cell, _ in runs.values()))


def _group(
    site: Site,
    runs: dict[str, tuple[Cell, Behind]],
    key: tuple[GvisorRelease, Mode],
    probes: dict[GvisorRelease, RuntimeProbe],
) -> dict[str, Any]:
    """What `containers_on_host` needs for the runs of a release and a mode."""
    release, mode = key
    mine = {name: run for name, run in runs.items() if (run[0].release, run[0].mode) == key}
    toolkit = next(iter(mine.values()))[0].toolkit
    settings = site.settings(toolkit, release, ToolkitMode.CSV)
    wrapper_settings = json.loads(plan.wrapper_settings(settings, probes[release])) | {"toolkit_mode": mode.value}
    words = [paths.RUNSC, "--nvproxy", *settings.runsc_flags]
    return {
        "files": {
            paths.LAUNCHER: (plan.launcher(settings), 0o755),
            paths.WRAPPER_SETTINGS: (json.dumps(wrapper_settings, indent=2) + "\n", 0o644),
            ONE_LINE: (f'#!/bin/bash\nexec {shlex.join(words)} "$@"\n', 0o755),
        },
        "links": {paths.GVISOR_CURRENT: f"{paths.GVISOR_DIR}/{release.date}"},
        "runs": [
            {
                "id": name,
                "env": [f"NVIDIA_VISIBLE_DEVICES={value}" for value in cell.request.values],
                "hooks": [GPUS_OPTION_HOOK] if cell.request.by_gpus_option else [],
                "config": _config(mode, behind),
            }
            for name, (cell, behind) in mine.items()
        ],
    }


def _config(mode: Mode, behind: Behind) -> str:
    return render(
        "config.toml.j2",
        settings_hint="a cell of the matrix",
        mode=mode.value,
        launcher=paths.LAUNCHER if behind is Behind.WRAPPER else ONE_LINE,
        csv_dir=paths.CSV_DIR,
    )


def _answers(host: Host, groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What `containers_on_host` prints, line by line as it comes."""
    task = {
        "rootfs": {
            "programs": ["sh", "ls", "cat", "dmesg"],
            "libraries": ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"],
            "directories": ["/dev", "/etc", "/proc", "/sys", "/tmp"],
            "files": {},
        },
        "script": sight.SCRIPT,
        "end_line": sight.END_LINE,
        "workers": WORKERS,
        "groups": groups,
    }
    program = Path(containers_on_host.__file__).name
    # The limit is kept inside the host: to kill nsenter from here would leave the program running there.
    limit = ["timeout", "--kill-after=20", str(SECONDS_FOR_A_TOOLKIT), "env", f"PYTHONPATH={HOME}"]
    argv = host.enter([*limit, "python3", "-B", f"{HOME}/{program}"])
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)
    finally:
        process.stdin.close()
        status = process.wait()
    if status:
        raise LabError(f"{host.name}: {program} ended with status {status}, before all cells were measured")
