"""Run a command of the project on a bare machine: a fresh Debian that has only what the README names.

A forgotten installation shows there, and never on a machine where people work. HEAD of this checkout is
cloned into the fresh system, and the command runs there in mount and pid namespaces of its own: what it
mounts and starts ends with it, however it ends. Kernel, network and cgroups are this machine's.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests import machine_packages
from tests.lab import Lab, LabError
from tests.lab.cache import Cache, Part
from tests.lab.commands import DIE_WITH_US, output_of, run_logged
from tests.lab.machine import check_go, check_namespaces, debian_mirror
from tests.lab.network import Network
from tests.lab.progress import Progress
from tests.lab.trees import remove_tree
from tests.lab.versions import HOST_SUITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_CACHE = Path("/var/cache/nvproxy-fleet-bare")
DEFAULT_COMMAND = ("make", "test")
INTERRUPTED = 130

# What the README asks for and Debian has; Go is this machine's.
SYSTEM_PACKAGES = ("make", "python3")
HOME = "/root"
WORKPLACE = f"{HOME}/nvproxy-fleet"
GO = "/usr/local/go"
# What comes along of this machine: how it reaches Debian's archive, PyPI and Go's module proxy (variables,
# the files that they name and `FILES`, apt's settings of these names), and what a command may be told.
VARIABLES = (
    *(f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")),
    *(f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL", "NO")),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *(
        "PIP_CERT",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_EXTRA_INDEX_URL",
        "PIP_INDEX_URL",
        "PIP_PROXY",
        "PIP_TRUSTED_HOST",
    ),
    *("CI", "LAB_PARTS", "NVPROXY_LAB_DEBIAN_MIRROR", "TERM"),
)
GO_VARIABLES = ("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE")
FILES = ("/etc/hosts", "/etc/pip.conf", "/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = "/usr/local/share/ca-certificates"
APT_SETTINGS = ("http", "https", "Check-Date", "Check-Valid-Until", "ForceIPv4", "ForceIPv6", "Retries")

# pivot_root and not chroot: from within a chroot the kernel lets nobody make a user namespace, and runsc
# needs one. Process 1 is bash and not the command: it gets every orphan, and make would never reap one.
# Descriptor 9 is the run's lock: process 1 holds it until the last process of the namespace has gone. The
# command does not get it.
_INSIDE = """
set -eu
root=$1 lock=$2 workplace=$3
shift 3
exec 9<&"$lock" {lock}<&-
trap 'echo "bare machine: the fresh system cannot be mounted here: run this on a machine of its own" >&2' EXIT
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 run "$root/run"
while [ "$1" != -- ]; do
    mount --bind --options "$1" "$2" "$root$3"
    shift 3
done
shift
cd "$root"
mkdir .machine
pivot_root . .machine
umount --lazy /.machine
rmdir /.machine
cd "$workplace"
trap - EXIT
set +e
"$@" 9<&-
exit $?
"""


@dataclass(frozen=True)
class Kept:
    """A directory of the fresh system whose content outlives a run.

    Attributes:
        directory: where it lies on this machine.
        place: where it lies in the fresh system.
        what: what it is, and why nothing old in it can mislead a run.
    """

    directory: Path
    place: str
    what: str


def kept(cache: Path) -> tuple[Kept, ...]:
    """Everything that is kept, but for the fresh system itself."""
    lab = _lab_of(cache)
    return (
        Kept(lab, str(lab), "the lab's parts and Go's caches, each by what it is made of; no host stays"),
        Kept(
            cache / "pip",
            f"{HOME}/.cache/pip",
            "what pip fetched; it is held against the hashes in requirements/",
        ),
        Kept(
            cache / "apt", "/var/cache/apt/archives", "what apt fetched; it is held against the signed index"
        ),
    )


def fresh_system(release: str, mirror: str) -> Part:
    """Debian's smallest system and `SYSTEM_PACKAGES`, with no package in apt's cache.

    Args:
        release: the suite's InRelease, so that an archive that has moved on gives another system.
        mirror: the archive.
    """
    name = "bare-system"

    def build(cache: Cache, into: Path) -> None:
        argv = ["debootstrap", "--variant=minbase", f"--include={','.join(SYSTEM_PACKAGES)}"]
        run_logged(
            [*argv, HOST_SUITE, str(into), mirror], log=cache.log(name), what=f"debootstrap of {HOST_SUITE}"
        )
        for package in (into / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        into.chmod(0o755)

    return Part(name, f"{HOST_SUITE} {SYSTEM_PACKAGES} {hashlib.sha256(release.encode()).hexdigest()}", build)


def carried_variables(environment: Mapping[str, str], go_environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the command gets: what reaches the registries, and what a login has."""
    return {
        **{name: environment[name] for name in VARIABLES if name in environment},
        **{name: go_environment[name] for name in GO_VARIABLES if go_environment.get(name)},
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "PATH": f"{GO}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "USER": "root",
    }


def carried_files(variables: Mapping[str, str]) -> list[Path]:
    """This machine's files that come along, each to its own place: of `FILES`, or named by a variable."""
    named = [value for name, value in variables.items() if name in VARIABLES and value.startswith("/")]
    return [path for path in map(Path, sorted({*FILES, *named})) if path.is_file()]


def apt_settings(dump: str) -> str:
    """Of `apt-config dump` the lines on how the archive is reached."""
    prefixes = tuple(f"Acquire::{name}{end}" for name in APT_SETTINGS for end in (" ", "::"))
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(prefixes))


def run(command: Sequence[str], cache: Path, *, from_nothing: bool) -> int:
    """Run a command on a bare machine; its exit status.

    Raises:
        LabError, PackagesError: it cannot be run here.
    """
    if os.geteuid() != 0:
        raise LabError("a system and namespaces are made, which takes root: run this as root (sudo)")
    goroot = _goroot()
    check_namespaces()
    with _turn(cache), Progress() as progress:
        if names := machine_packages.missing([machine_packages.Use.BARE]):
            progress.say(f"installing {' '.join(names)} on this machine")
            machine_packages.install(names, cache / "log" / "packages.log")
        _clear(cache)
        (cache / "runs").mkdir(exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=cache / "runs"))
        try:
            system = _system(Cache(directory if from_nothing else cache), progress)
            variables = _furnish(directory / "root", system, cache)
            how = "from nothing" if from_nothing else f"with what earlier runs kept in {cache}"
            progress.say(f"'{shlex.join(command)}' runs on a bare Debian {HOST_SUITE}, {how}")
            status = _run_inside(directory, goroot, () if from_nothing else kept(cache), command, variables)
            progress.say(f"'{shlex.join(command)}' ended with status {status}")
        finally:
            _clear(cache)
    return status


def _goroot() -> Path:
    """The directory of this machine's Go."""
    check_go()
    goroot = Path(output_of(["go", "env", "GOROOT"], what="asking for Go's directory").strip())
    if (goroot / "src").is_symlink():
        raise LabError(
            f"Go's directory {goroot} has links to other directories, as a distribution's has, and the bare "
            "machine gets only this one: unpack Go from https://go.dev/dl/ in /usr/local and put "
            "/usr/local/go/bin first in PATH"
        )
    return goroot


def _system(cache: Cache, progress: Progress) -> Path:
    """The fresh system, made where it is not there; older ones go."""
    mirror = debian_mirror()
    address = f"{mirror}/dists/{HOST_SUITE}/InRelease"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            release = answer.read().decode()
    except OSError as error:
        raise LabError(f"{address} cannot be read ({error}): see that this machine reaches it") from error
    part = fresh_system(release, mirror)
    cache.build([part], progress)
    for system in cache.path(part).parent.glob(f"{part.name}-*"):
        if system != cache.path(part):
            remove_tree(system)
    return cache.path(part)


def _furnish(root: Path, system: Path, cache: Path) -> dict[str, str]:
    """Copy the system to `root`, with the checkout and the way to the registries; the command's variables."""
    log = cache / "log" / "furnishing.log"
    copy = ["cp", "--archive", "--reflink=auto", str(system), str(root)]
    run_logged(copy, log=log, what="copying the fresh system")
    # No hard links: through them, root inside could change this repository.
    clone = ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), f"{root}{WORKPLACE}"]
    run_logged(clone, log=log, what="cloning this checkout")
    if changed := output_of(["git", "-C", str(CHECKOUT), "status", "--short"], what="git status"):
        print(f"bare machine: HEAD is what runs, without these changes:\n{changed}", end="", file=sys.stderr)

    go_variables = json.loads(
        output_of(["go", "env", "-json", *GO_VARIABLES], what="asking for Go's settings")
    )
    variables = carried_variables(os.environ, go_variables)
    for file in carried_files(variables):
        place = Path(f"{root}{file}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    if Path(CERTIFICATES).is_dir():
        shutil.copytree(CERTIFICATES, f"{root}{CERTIFICATES}", dirs_exist_ok=True)
    settings = apt_settings(output_of(["apt-config", "dump"], what="reading apt's settings"))
    (root / "etc/apt/apt.conf.d/90registries").write_text(settings)
    return {**variables, "NVPROXY_LAB_CACHE": str(_lab_of(cache))}


def _run_inside(
    directory: Path, goroot: Path, keep: Sequence[Kept], command: Sequence[str], variables: dict[str, str]
) -> int:
    root = directory / "root"
    binds = []
    for options, source, place in (("ro", goroot, GO), *(("rw", one.directory, one.place) for one in keep)):
        source.mkdir(exist_ok=True)
        Path(f"{root}{place}").mkdir(parents=True, exist_ok=True)
        binds += [options, str(source), place]
    with _locked(directory) as lock:
        process = subprocess.Popen(
            [
                *DIE_WITH_US,
                *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--"),
                *("bash", "-c", _INSIDE, "bare-machine", str(root), str(lock), WORKPLACE),
                *(*binds, "--", *command),
            ],
            env=variables,
            pass_fds=[lock],
        )
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def _clear(cache: Path) -> None:
    """Remove what runs have left: their systems, and their labs' traces on this machine. The turn is ours."""
    for directory in (cache / "runs").glob("*"):
        # Of a run that was killed, the last processes may just be dying.
        with _locked(directory):
            _end_lab(Path(f"{directory}/root{_lab_of(cache)}"), cache)
            remove_tree(directory)
    _end_lab(_lab_of(cache), cache)


def _end_lab(directory: Path, cache: Path) -> None:
    """Remove bridge, cgroups and hosts of a lab whose processes ended with their namespace."""
    state = Cache(directory).state
    if state.exists():
        Lab(Cache(directory), Network.of_cache(_lab_of(cache))).down()
        remove_tree(state)


def _lab_of(cache: Path) -> Path:
    """The lab's cache, by the same path inside and outside.

    The lab's addresses and names on this machine are made of that path: so they collide neither with those of
    this machine's own lab, nor with those of a bare machine that has another cache.
    """
    return cache / "lab"


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    """Wait for the lock on a run's directory; its descriptor, with which another process keeps the lock."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _turn(cache: Path) -> Iterator[None]:
    """One bare machine at a time with one cache."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"bare machine: another one runs with the cache {cache}; waiting for its end. "
                "NVPROXY_BARE_CACHE=DIRECTORY gives this one a cache of its own.",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser(cache: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.bare_machine",
        description=__doc__,
        epilog="\n".join(
            [
                "kept between runs, and not used with --from-nothing:",
                f"  {cache}/parts: the fresh system, until the archive's index changes",
                *(f"  {one.directory}: {one.what}" for one in kept(cache)),
                "NVPROXY_BARE_CACHE names another place; removing the directory is safe when nothing runs.",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--from-nothing", action="store_true", help="use nothing that earlier runs kept, keep nothing"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help=f"({shlex.join(DEFAULT_COMMAND)})"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status, or 1 where it could not be run."""
    cache = Path(os.environ.get("NVPROXY_BARE_CACHE") or DEFAULT_CACHE).absolute()
    options = _parser(cache).parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return run(options.command or DEFAULT_COMMAND, cache, from_nothing=options.from_nothing)
    except (LabError, machine_packages.PackagesError) as error:
        print(f"bare machine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bare machine: interrupted", file=sys.stderr)
        return INTERRUPTED


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
