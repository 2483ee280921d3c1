"""`python -m tests.gpu OUT.tar.gz`: pack what the machine with a GPU needs, at most 64 MiB of it.

The project itself, runsc and the toolkit's programs as the lab has built them, and the wheels that the
deploys import, for the Pythons that such machines have. There: `tar xf OUT.tar.gz`, and then
`python3 nvproxy-gpu/run.py EVIDENCE`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.lab import Lab
from tests.lab.gvisor import gvisor_release
from tests.lab.toolkit import toolkit_packages
from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 64 * 1024 * 1024
PYTHONS = ("3.11", "3.12", "3.13")
WHEELS = ("pydantic", "jinja2", "toml")
PARTS = ("deploys", "nvproxy_wrapper", "templates")


def main() -> int:
    """Pack; the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "nvproxy-gpu"
        for part in PARTS:
            shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(Path(__file__).with_name("on_machine.py"), home / "run.py")
        programs(home / "bin", Path(directory))
        wheels(home / "wheels")
        with tarfile.open(out, "w:gz", compresslevel=3) as archive:
            archive.add(home, arcname="nvproxy-gpu")
    size = out.stat().st_size
    print(f"{out}: {size / 1024 / 1024:.1f} MiB")
    return 0 if size <= LIMIT else 1


def programs(into: Path, work: Path) -> None:
    """The programs, runsc and the toolkit's, of the versions that the lab has by default."""
    into.mkdir()
    lab = Lab.open()
    release = max((one for one in GVISOR_RELEASES if one.by_default), key=lambda one: one.date)
    toolkit = [one for one in TOOLKIT_VERSIONS if one.by_default][-1]
    with tarfile.open(lab.path(gvisor_release(release)) / "gvisor.tar.bz2") as archive:
        archive.extract("runsc", into, filter="fully_trusted")
    for package in lab.path(toolkit_packages(toolkit)).glob("nvidia-container-toolkit*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, work / "toolkit"], check=True)
    for program in (work / "toolkit/usr/bin").iterdir():
        shutil.copy2(program, into)
    (into / "versions").write_text(f"{release.date} {toolkit.version}-1\n")


def wheels(into: Path) -> None:
    """What the deploys' model imports, for each Python; `run.py` takes those of its own."""
    for version in PYTHONS:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        argv += ["--only-binary=:all:", "--platform=manylinux2014_x86_64", f"--python-version={version}"]
        subprocess.run([*argv, "--dest", into / version, *WHEELS], check=True)


if __name__ == "__main__":
    sys.exit(main())
