"""gVisor releases as they are downloaded: gvisor.tar.bz2 with its .sha512, made of the real runsc.

Of the tarball's other programs only runsc can be built from the Go module: gvisor-bin/ is there and empty,
and runsc then uses the copies that are embedded in it (with a warning in its log). containerd-shim-runsc-v1
is left out.
"""

import hashlib
import shutil
from pathlib import Path

from .cache import Cache, Part
from .commands import output_of, run_logged
from .debian import download_packages, unpack_package
from .errors import LabError
from .golang import GoProgram, go_part
from .versions import GVISOR_MODULE, GvisorRelease

ARCHITECTURE = "x86_64"
TARBALL = "gvisor.tar.bz2"


def gvisor_release(release: GvisorRelease) -> Part:
    """gvisor.tar.bz2 and gvisor.tar.bz2.sha512 of one release."""
    name = f"gvisor-release-{release.date}"
    runsc = _runsc(release)

    def build(cache: Cache, into: Path) -> None:
        tree = into / "tree"
        (tree / "gvisor-bin").mkdir(parents=True)
        shutil.copy2(cache.path(runsc) / "runsc", tree / "runsc")
        tarball = into / TARBALL
        # bzip2 -1: a fifth of the time of -9, and a tenth larger.
        argv = [
            "tar",
            "--create",
            "--owner=0",
            "--group=0",
            "--use-compress-program=bzip2 -1",
            f"--file={tarball}",
            f"--directory={tree}",
        ]
        run_logged(
            [*argv, "runsc", "gvisor-bin"], log=cache.log(name), what=f"packing {TARBALL} of {release.date}"
        )
        shutil.rmtree(tree)
        digest = hashlib.sha512(tarball.read_bytes()).hexdigest()
        (into / f"{TARBALL}.sha512").write_text(f"{digest}  {TARBALL}\n")

    return Part(name, "runsc gvisor-bin/ bzip2 -1", build, (runsc,))


def _runsc(release: GvisorRelease) -> Part:
    if release.module_version:
        return go_part(
            f"runsc-{release.date}", GoProgram((f"{GVISOR_MODULE}/runsc",), release.module_version)
        )
    if release.debian_suite:
        return _runsc_of_debian(release.date, release.debian_suite)
    raise LabError(f"gVisor release {release.date} names no source in tests/lab/versions.py: give it one")


def _runsc_of_debian(date: str, suite: str) -> Part:
    """Debian's package `runsc`, from this machine's Debian archive."""
    name = f"runsc-{date}"

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(name)
        (package,) = download_packages(("runsc",), suite, into, log)
        version = output_of(
            ["dpkg-deb", "--field", str(package), "Version"], what=f"reading {package.name}"
        ).strip()
        if date not in version:
            raise LabError(
                f"Debian's {suite} has runsc {version} now, not {date}: change tests/lab/versions.py"
            )
        unpack_package(package, into / "package", log)
        shutil.move(into / "package/usr/bin/runsc", into / "runsc")
        shutil.rmtree(into / "package")

    return Part(name, suite, build)


def sha512_of(release_directory: Path) -> str:
    """What a release's .sha512 file says."""
    return (release_directory / f"{TARBALL}.sha512").read_text().split()[0]
