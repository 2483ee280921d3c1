"""Single packages of any Debian suite: downloaded with an apt of its own, unpacked, installed nowhere."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from .commands import output_of, run_logged
from .errors import LabError
from .machine import debian_mirror

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def download_packages(
    names: Sequence[str], suite: str, into: Path, log: Path, components: Sequence[str] = ("main",)
) -> list[Path]:
    """These packages, without what they depend on, as .deb files in `into`."""
    apt = into / "apt"
    for directory in ("lists/partial", "archives/partial", "etc"):
        (apt / directory).mkdir(parents=True)
    source = f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} {' '.join(components)}\n"
    (apt / "sources.list").write_text(source)
    options = [
        f"-oDir::Etc::SourceList={apt}/sources.list",
        f"-oDir::Etc::SourceParts={apt}/etc",
        f"-oDir::State::Lists={apt}/lists",
        f"-oDir::Cache::Archives={apt}/archives",
        f"-oDir::Cache::pkgcache={apt}/pkgcache.bin",
        f"-oDir::Cache::srcpkgcache={apt}/srcpkgcache.bin",
        "-oAPT::Sandbox::User=root",
        # By default a mirror that does not answer is only a warning.
        "-oAPT::Update::Error-Mode=any",
    ]
    run_logged(["apt-get", *options, "update", "-qq"], log=log, what=f"reading Debian's {suite}")
    known = output_of(["apt-cache", *options, "madison", *names], what=f"looking into Debian's {suite}")
    if missing := sorted(set(names) - {line.split()[0] for line in known.splitlines()}):
        raise LabError(
            f"Debian's {suite} has no {' and no '.join(missing)}: change the suite or the version in "
            "tests/lab/versions.py, or the list of packages"
        )
    run_logged(
        ["apt-get", *options, "download", "-qq", *(f"{name}/{suite}" for name in names)],
        log=log,
        what=f"downloading {' '.join(names)} of {suite}",
        cwd=into,
    )
    shutil.rmtree(apt)
    return sorted(into.glob("*.deb"))


def unpack_package(package: Path, into: Path, log: Path) -> None:
    """Its files below `into`; the .deb goes."""
    run_logged(["dpkg-deb", "--extract", str(package), str(into)], log=log, what=f"unpacking {package.name}")
    package.unlink()
