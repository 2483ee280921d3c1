"""The mirror: what stands at NVIDIA's and gVisor's download addresses, as an air-gapped user has it.

libnvidia-container/gpgkey
libnvidia-container/stable/deb/nvidia-container-toolkit.list
libnvidia-container/stable/deb/amd64/{Packages{,.gz},Release{,.gpg},InRelease,*.deb}    flat, signed
gvisor/releases/release/<date>/x86_64/gvisor.tar.bz2{,.sha512}
"""

import gzip
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache, Part
from .commands import output_of, run_logged
from .errors import LabError
from .gvisor import ARCHITECTURE, TARBALL, gvisor_release, sha512_of
from .network import Network
from .toolkit import package_names, toolkit_packages
from .trees import remove_tree
from .versions import GVISOR_RELEASES, TOOLKIT_VERSIONS, GvisorRelease, ToolkitVersion

PORT = 80
TOOLKIT_REPOSITORY = "libnvidia-container/stable"
TOOLKIT_KEY = "libnvidia-container/gpgkey"
PUBLIC_KEY = "key.asc"
GVISOR = "gvisor/releases/release"
_DEBS = f"{TOOLKIT_REPOSITORY}/deb/amd64"
_OFFICIAL_TOOLKIT = "https://nvidia.github.io"
_OFFICIAL_GVISOR = "https://storage.googleapis.com"
_START_SECONDS = 10
# This file is the recipe. Read once: a lab that runs while it is edited keeps to one key.
_RECIPE = Path(__file__).read_text()


@dataclass(frozen=True)
class MirrorContents:
    """What a mirror holds. `official`: downloaded rather than built here."""

    toolkits: tuple[ToolkitVersion, ...]
    releases: tuple[GvisorRelease, ...]
    official: bool = False


def signing_key() -> Part:
    """A key of the lab's own, made once: home/ is a GNUPGHOME, PUBLIC_KEY the public half."""

    def build(cache: Cache, into: Path) -> None:
        home = into / "home"
        home.mkdir(mode=0o700)
        env = {"GNUPGHOME": str(home)}
        make = ["gpg", "--batch", "--pinentry-mode=loopback", "--passphrase=", "--quick-generate-key"]
        run_logged(
            [*make, "nvproxy-fleet lab mirror", "rsa3072", "sign", "never"],
            log=cache.log("signing-key"),
            what="gpg",
            env=env,
        )
        export = ["gpg", "--batch", "--armor", "--output", str(into / PUBLIC_KEY), "--export"]
        run_logged(export, log=cache.log("signing-key"), what="gpg", env=env)
        # The agent would hold the directory open and keep on running.
        run_logged(
            ["gpgconf", "--homedir", str(home), "--kill", "all"], log=cache.log("signing-key"), what="gpgconf"
        )

    return Part("signing-key", "rsa3072 sign never", build)


def mirror(contents: MirrorContents) -> Part:
    """The whole tree."""
    key = signing_key()
    packages = () if contents.official else tuple(toolkit_packages(toolkit) for toolkit in contents.toolkits)
    releases = () if contents.official else tuple(gvisor_release(release) for release in contents.releases)

    def build(cache: Cache, into: Path) -> None:
        debs = into / _DEBS
        debs.mkdir(parents=True)
        places = {release: into / GVISOR / release.date / ARCHITECTURE for release in contents.releases}
        for place in places.values():
            place.mkdir(parents=True)
        if contents.official:
            _download_all(contents, debs, places)
        else:
            for part in packages:
                _link_files(cache.path(part), debs)
            for part, place in zip(releases, places.values(), strict=True):
                _link_files(cache.path(part), place)
        _sign_repository(cache, debs, cache.path(key))
        (into / TOOLKIT_KEY).write_bytes((cache.path(key) / PUBLIC_KEY).read_bytes())
        # As NVIDIA's file reads; $(ARCH) is for apt to fill in.
        line = f"deb {_OFFICIAL_TOOLKIT}/{TOOLKIT_REPOSITORY}/deb/$(ARCH) /\n"
        (debs.parent / "nvidia-container-toolkit.list").write_text(line)
        for directory in (into, *(path for path in into.rglob("*") if path.is_dir())):
            directory.chmod(0o755)

    definition = f"{contents}{_RECIPE}"
    return Part("mirror", definition, build, (key, *packages, *releases))


def _link_files(source: Path, target: Path) -> None:
    for file in source.iterdir():
        os.link(file, target / file.name)


def _sign_repository(cache: Cache, debs: Path, key: Path) -> None:
    packages = output_of(
        ["sh", "-c", 'cd "$1" && apt-ftparchive packages .', "sh", str(debs)], what="apt-ftparchive packages"
    )
    (debs / "Packages").write_text(packages)
    (debs / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    about = {"Origin": "nvproxy-fleet lab", "Label": "nvproxy-fleet lab", "Architectures": "amd64"}
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in about.items()]
    release = output_of(
        ["sh", "-c", 'cd "$1" && shift && apt-ftparchive "$@" release .', "sh", str(debs), *options],
        what="apt-ftparchive release",
    )
    (debs / "Release").write_text(release)
    gpg = ["gpg", "--batch", "--yes", "--homedir", str(key / "home")]
    for arguments in (
        ["--armor", "--detach-sign", "--output", str(debs / "Release.gpg")],
        ["--clearsign", "--output", str(debs / "InRelease")],
    ):
        run_logged(
            [*gpg, *arguments, str(debs / "Release")], log=cache.log("mirror"), what="signing the repository"
        )
    run_logged(
        ["gpgconf", "--homedir", str(key / "home"), "--kill", "all"], log=cache.log("mirror"), what="gpgconf"
    )


def _download_all(contents: MirrorContents, debs: Path, places: dict[GvisorRelease, Path]) -> None:
    for toolkit in contents.toolkits:
        for package in package_names():
            file = f"{package}_{toolkit.package_version}_amd64.deb"
            _download(f"{_OFFICIAL_TOOLKIT}/{_DEBS}/{file}", debs / file)
    for release, place in places.items():
        for file in (TARBALL, f"{TARBALL}.sha512"):
            _download(f"{_OFFICIAL_GVISOR}/{GVISOR}/{release.date}/{ARCHITECTURE}/{file}", place / file)


def _download(address: str, target: Path) -> None:
    try:
        urllib.request.urlretrieve(address, target)
    except (OSError, urllib.error.URLError) as error:
        raise LabError(
            f"{address} cannot be downloaded ({error}): LAB_PARTS=official needs the official addresses; "
            "without it, the lab builds its parts from source"
        ) from error


@dataclass(frozen=True)
class MirrorServer:
    """The web server on the lab's own address. It serves a link, so that another tree needs no restart."""

    cache: Cache
    network: Network

    @property
    def link(self) -> Path:
        return self.cache.state / "mirror"

    @property
    def url(self) -> str:
        return f"http://{self.network.mirror_address}"

    def serve(self, tree: Path) -> None:
        """Point the link at a tree, and start the server where it does not run."""
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(tree)
        fresh.replace(self.link)
        for other in tree.parent.glob(
            "mirror-*"
        ):  # each combination of versions is a tree of its own, made in a second
            if other != tree:
                remove_tree(other)
        if self._answers():
            return
        self._end()
        log = self.cache.log("mirror-server")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            server = subprocess.Popen(
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the mirror does not answer at {self.url}; its output is in {log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server. The tree stays; which one is served is forgotten."""
        self._end()
        self.link.unlink(missing_ok=True)

    def _end(self) -> None:
        wanted = [argument.encode() for argument in self._argv()[1:]]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")[1:] == wanted:
                    os.kill(int(process.name), signal.SIGTERM)
            except OSError:
                continue

    def served(self) -> MirrorContents:
        """What the tree that is served holds of versions.py's; read from the tree itself."""
        dates = {place.name for place in (self.link / GVISOR).glob("*")}
        debs = {deb.name for deb in (self.link / _DEBS).glob("*.deb")}
        return MirrorContents(
            tuple(
                toolkit for toolkit in TOOLKIT_VERSIONS if any(toolkit.package_version in deb for deb in debs)
            ),
            tuple(release for release in GVISOR_RELEASES if release.date in dates),
        )

    def description(self) -> dict[str, object]:
        """For an inventory: addresses, the key's file, what is there."""
        dates = sorted(place.name for place in (self.link / GVISOR).glob("*"))
        versions = {deb.name.split("_")[1] for deb in (self.link / _DEBS).glob("*.deb")}
        return {
            "gvisor_url": f"{self.url}/{GVISOR}",
            "toolkit_repository_url": f"{self.url}/{TOOLKIT_REPOSITORY}",
            "toolkit_key": str(self.cache.path(signing_key()) / PUBLIC_KEY),
            "gvisor_releases": {
                date: {ARCHITECTURE: sha512_of(self.link / GVISOR / date / ARCHITECTURE)} for date in dates
            },
            "toolkit_versions": sorted(versions),
        }

    def _argv(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "http.server",
            str(PORT),
            "--bind",
            self.network.mirror_address,
            "--directory",
            str(self.link),
        ]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/{TOOLKIT_KEY}", timeout=2):
                return True
        except OSError:
            return False
