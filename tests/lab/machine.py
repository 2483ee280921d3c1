"""What the lab needs of the machine it runs on, asked before anything is done."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from .commands import output_of
from .errors import LabError
from .versions import HOST_SUITE

# The newest toolkit of versions.py needs it, by the go.mod of its module.
GO_NEEDED = (1, 26)
# Images 2 GB, parts 0.6 GB, Go's module and build caches 6 GB, two hosts with images, a machine's disk.
FREE_BYTES_NEEDED = 16 << 30


def check(cache_directory: Path) -> None:
    """Raise `LabError` with a sentence when the lab cannot run here. Changes nothing."""
    if os.geteuid() != 0:
        raise LabError("the lab boots hosts in namespaces and needs root: run it as root (sudo)")
    if platform.machine() != "x86_64":
        raise LabError(
            f"this machine is {platform.machine()}: the lab builds x86_64 hosts; run it on such a machine"
        )
    release = os_release()
    if not {"debian", "ubuntu"} & {release.get("ID", ""), *release.get("ID_LIKE", "").split()}:
        raise LabError(
            f"this system is {release.get('ID', 'unknown')} (/etc/os-release): the lab takes its packages "
            "from Debian or Ubuntu; run it on one of them"
        )
    check_go()
    check_namespaces()
    place = cache_directory
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < FREE_BYTES_NEEDED and not (cache_directory / "parts").exists():
        raise LabError(
            f"{place} has {free >> 30} GiB free and the lab needs {FREE_BYTES_NEEDED >> 30}: make room, or "
            "point NVPROXY_LAB_CACHE at a larger disk"
        )


def os_release() -> dict[str, str]:
    """/etc/os-release as a mapping."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def check_go() -> None:
    """Raise `LabError` with a sentence where Go is missing or too old."""
    wanted = ".".join(map(str, GO_NEEDED))
    remedy = (
        f"get Go {wanted} or newer from https://go.dev/dl/, unpack it in /usr/local and put "
        "/usr/local/go/bin in PATH"
    )
    go = shutil.which("go")
    if go is None:
        raise LabError(
            f"no go in PATH: the lab builds NVIDIA's, gVisor's and Docker's programs from source; {remedy}"
        )
    said = output_of([go, "version"], what="asking for Go's version").strip()
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < GO_NEEDED:
        raise LabError(f"{go} is too old ({said}): {remedy}")


def check_namespaces() -> None:
    """Raise `LabError` with a sentence where no namespaces can be made."""
    argv = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(
            f"namespaces cannot be made here (unshare: {done.stderr.strip()}): run this on a machine or in a "
            "virtual machine of its own, not in an unprivileged container"
        )


def debian_mirror() -> str:
    """The Debian archive to build hosts from: $NVPROXY_LAB_DEBIAN_MIRROR, or the one this machine uses."""
    if mirror := os.environ.get("NVPROXY_LAB_DEBIAN_MIRROR"):
        return mirror
    if os_release().get("ID") == "debian":
        site = _debian_site()
        if site is None:
            # Whose a source is stands in the lists that apt fetches, and a fresh machine has none yet.
            output_of(
                ["apt-get", "-qq", "update"], what="fetching the lists of this machine's package sources"
            )
            site = _debian_site()
        if site is not None:
            return site
    raise LabError(
        f"this machine's apt sources name no Debian archive to build {HOST_SUITE} hosts from: set "
        "NVPROXY_LAB_DEBIAN_MIRROR to the address of one (it has dists/ and pool/ below it)"
    )


def _debian_site() -> str | None:
    """The address of the first package source that is Debian's own."""
    said = output_of(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(SITE) $(ORIGIN) $(LABEL) $(RELEASE)",
            "Created-By: Packages",
        ],
        what="reading this machine's package sources",
    )
    for line in said.splitlines():
        site, *rest = line.split()
        if rest[:2] == ["Debian", "Debian"]:
            return site
    return None
