"""A lab host with a runsc, the launcher and the validation programs on it; and one of them run there."""

from __future__ import annotations

import shlex
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import paths
from tests.lab import Engine, HostDefinition
from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS
from tests.matrix.cells import ALL, Cell, Mode
from tests.matrix.measure import site_on
from tests.validation import suite
from tests.validation.tap import Output

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Host, Lab

HOST = HostDefinition("validation", gpus=2, engine=Engine.NONE)
HOME = "/opt/oci-validation"
SECONDS = 60
"""For one program. A runtime that does not know what a program waits for lets it wait for ever."""

_RUNSC = f"{paths.GVISOR_CURRENT}/runsc"
# A program that failed leaves its container behind, and its cgroup, which the next of that name would find.
_CLEAN = (
    f"for id in $({_RUNSC} list -quiet); do {_RUNSC} delete --force $id; done >/dev/null 2>&1;"
    " rm -rf /tmp/ocitest*"
)

# A name that is none of OCI's: what reads the spec leaves it alone.
_THROUGH_PYTHON = f"""\
#!/bin/sh
for argument; do
    [ "$previous" != --bundle ] || sed -i '1s/{{/{{"nvidia":1,/' "$argument/config.json"
    previous=$argument
done
exec {paths.LAUNCHER} "$@"
"""


@dataclass(frozen=True)
class Bench:
    """The host, and the two runtimes on it.

    Attributes:
        programs: what the suite has.
        runsc, launcher: their paths there.
        through_python: the launcher behind a script that puts a trace of NVIDIA into every spec, so that
            Python judges it.
    """

    host: Host
    programs: list[str]
    runsc: str = _RUNSC
    launcher: str = paths.LAUNCHER
    through_python: str = f"{paths.LAUNCHER}-through-python"

    def run(self, program: str, runtime: str) -> Output:
        """One program with one runtime."""
        line = (
            f"cd {HOME} && RUNTIME={shlex.quote(runtime)} timeout --signal=KILL {SECONDS} ./{program} 2>&1;"
            f" status=$?; {_CLEAN}; exit $status"
        )
        begin = time.monotonic()
        done = self.host.run(line, timeout=2 * SECONDS, check=False)
        seconds = round(time.monotonic() - begin, 1)
        return Output(done.stdout, None if done.returncode == 128 + 9 else done.returncode, seconds)


def bench(lab: Lab) -> Bench:
    """Bring the host up, with the newest default runsc, and all on it that is wanted."""
    part = lab.path(suite.programs())
    release = [one for one in GVISOR_RELEASES if one.by_default][-1]
    toolkit = [one for one in TOOLKIT_VERSIONS if one.by_default][-1]
    site = site_on(lab, HOST, [release], [toolkit])
    probe = site.install_release(release)
    site.host.run(["ln", "-sfn", f"{paths.GVISOR_DIR}/{release.date}", paths.GVISOR_CURRENT])
    for path, (text, mode) in site.files(Cell(Mode.CSV, toolkit, release, ALL), probe).items():
        site.write(path, text, mode)
    site.write(Bench.through_python, _THROUGH_PYTHON, 0o755)
    _copy(part, site.host)
    return Bench(site.host, suite.names(part))


def _copy(part: Path, host: Host) -> None:
    shutil.copytree(part, f"{host.root}{HOME}", dirs_exist_ok=True)
