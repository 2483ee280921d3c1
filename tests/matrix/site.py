"""A lab host, prepared as the deploys prepare one: toolkit, gVisor, wrapper, CSV files."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploys.host import snapshot
from deploys.host.remote_program import answer, shell_line, stdin_for
from deploys.host.sources import wrapper_package
from deploys.model import device_specs, paths, wrapper_files
from deploys.model.applied import RuntimeProbe
from deploys.model.rendering import render
from deploys.model.settings import Settings, ToolkitMode
from deploys.model.snapshot import HostSnapshot
from deploys.model.versions import TOOLKIT_PACKAGES
from tests.matrix import containers_on_host
from tests.matrix.cells import RUNSC_ARGS

if TYPE_CHECKING:
    from tests.lab import Host, HostDefinition
    from tests.lab.versions import GvisorRelease, ToolkitVersion
    from tests.matrix.cells import Cell

ONE_LINE = "/usr/local/bin/one-line-wrapper"
HOME = "/opt/nvproxy-matrix"
PROGRAM = f"{HOME}/containers_on_host.py"
_REMOTE = Path(__file__).parents[2] / "deploys" / "host" / "remote"
# Where nvidia-cdi-refresh has it, which comes with 1.18.0. It wins over /etc/cdi, and an older toolkit does
# not know all hooks of one that a newer has left there: the hook ends with status 3, so the container fails.
_CDI_SPECIFICATION = "/var/run/cdi/nvidia.yaml"
_DEBUG_ARGS = ("--debug", "--debug-log=/var/log/nvproxy-matrix/")


@dataclass(frozen=True)
class Site:
    """A lab host, and the mirror that it is prepared from.

    Attributes:
        mirror: what the lab's inventory.json says about it.
        debug: whether runsc writes its debug logs, to `/var/log/nvproxy-matrix` on the host.
    """

    host: Host
    machine: HostDefinition
    mirror: dict[str, Any]
    debug: bool

    def settings(self, cell: Cell) -> Settings:
        """As an inventory would say them, but for the mode: there it is csv or auto."""
        return Settings(
            gvisor_url=self.mirror["gvisor_url"],
            gvisor_release=cell.release.date,
            gvisor_sha512=self.mirror["gvisor_releases"][cell.release.date],
            toolkit_repository_url=self.mirror["toolkit_repository_url"],
            toolkit_key=self.mirror["toolkit_key"],
            toolkit_version=cell.toolkit.package_version,
            toolkit_mode=ToolkitMode.CSV,
            driver_version=self.machine.driver_version,
            runsc_args=RUNSC_ARGS.get(cell.release.date, ()) + (_DEBUG_ARGS if self.debug else ()),
        )

    def files(self, cell: Cell, probe: RuntimeProbe) -> dict[str, tuple[str, int]]:
        """What stands around the shim, text and mode by path: the wrapper's files, the one line."""
        settings = self.settings(cell)
        of_wrapper = json.loads(wrapper_files.wrapper_settings(settings, probe))
        of_wrapper["toolkit_mode"] = cell.configured_mode
        words = shlex.join([paths.RUNSC, "--nvproxy", *settings.runsc_flags])
        return {
            paths.ENTRY: (wrapper_files.entry(), 0o755),
            paths.LAUNCHER: (wrapper_files.launcher(settings), 0o755),
            paths.WRAPPER_SETTINGS: (json.dumps(of_wrapper, indent=2) + "\n", 0o644),
            ONE_LINE: (f'#!/bin/bash\nexec {words} "$@"\n', 0o755),
        }

    def snapshot(self) -> HostSnapshot:
        """The host as the deploys see it."""
        task = {**snapshot.TASK, "trees": []}
        done = self.host.run(shell_line("snapshot_probe", 60), stdin=stdin_for("snapshot_probe", task))
        return HostSnapshot.model_validate(answer(done.stdout.splitlines()))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file on the host."""
        quoted = shlex.quote(path)
        line = f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode:o} {quoted}"
        self.host.run(line, stdin=text)

    def install_wrapper(self) -> None:
        """The package, the link to it, the admin command; and the program that starts the containers."""
        package = wrapper_package()
        directory = f"{paths.WRAPPER_DIR}/{package.directory_name}"
        for name, text in package.files.items():
            self.write(f"{directory}/{name}", text)
        compiler = f"{directory}/nvproxy_wrapper/admin/byte_code.py"
        self.host.run(f"ln -sfn {directory} {paths.WRAPPER_CURRENT} && python3 -I {compiler}")
        self.write(paths.ADMIN_COMMAND, wrapper_files.admin_command(), 0o755)
        for path in _REMOTE.glob("*.py"):
            self.write(f"{HOME}/deploys/host/remote/{path.name}", path.read_text(encoding="utf-8"))
        self.write(PROGRAM, Path(containers_on_host.__file__).read_text(encoding="utf-8"))

    def install_release(self, release: GvisorRelease) -> RuntimeProbe:
        """Unpack a release from the mirror; what its runsc can do, by the wrapper's own probe."""
        directory = f"{paths.GVISOR_DIR}/{release.date}"
        architecture, sha512 = next(iter(self.mirror["gvisor_releases"][release.date].items()))
        url = f"{self.mirror['gvisor_url']}/{release.date}/{architecture}/gvisor.tar.bz2"
        self.host.run(
            f"[ ! -x {directory}/runsc ] || exit 0\n"
            f"set -e; mkdir -p {directory}; cd {directory}\n"
            f"curl -fsS -o gvisor.tar.bz2 {url}; echo {sha512} gvisor.tar.bz2 | sha512sum -c --quiet\n"
            "tar -xjf gvisor.tar.bz2; rm gvisor.tar.bz2"
        )
        probe = self.host.run([paths.ADMIN_COMMAND, "probe", f"{directory}/runsc", "--format", "json"])
        return RuntimeProbe.model_validate_json(probe.stdout)

    def install_toolkit(self, toolkit: ToolkitVersion) -> None:
        """The four packages by apt, the deploys' CSV files, and this version's own CDI specification."""
        url = self.mirror["toolkit_repository_url"]
        source = render("nvidia-container-toolkit.list.j2", key=paths.APT_KEYRING, url=url)
        self.write(paths.APT_KEYRING, Path(self.mirror["toolkit_key"]).read_text(encoding="ascii"))
        self.write(paths.APT_SOURCE, source)
        packages = " ".join(f"{name}={toolkit.package_version}" for name in TOOLKIT_PACKAGES)
        self.host.run(
            "set -e; export DEBIAN_FRONTEND=noninteractive\n"
            f"apt-get -q update -o Dir::Etc::SourceParts=- -o Dir::Etc::SourceList={paths.APT_SOURCE}\n"
            f"apt-get -qy install --allow-downgrades -o Dpkg::Options::=--force-confnew {packages}",
            timeout=180,
        )
        looks = self.snapshot()
        self.write(paths.DEVICES_CSV, device_specs.devices_csv(looks))
        self.write(paths.DRIVERS_CSV, device_specs.drivers_csv(looks))
        self.host.run(["nvidia-ctk", "cdi", "generate", f"--output={_CDI_SPECIFICATION}"])
