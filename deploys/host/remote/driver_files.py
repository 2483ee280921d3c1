"""Where the driver's files really lie on a host, whichever way its packages have put them there.

Debian keeps them in nvidia/current behind two links each, Red Hat in /usr/lib64 or /usr/lib64/nvidia; the
driver of an image-based system, or of NVIDIA's operator, lies where no linker looks. Standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from typing import Any

from deploys.host.remote.prelude import run

ELF_64_BIT, ELF_32_BIT = b"\x7fELF\x02", b"\x7fELF\x01"
PROGRAMS = ("/usr/bin/nvidia-smi",)
LINKER_CONFIG = ("/etc/ld.so.conf", "/etc/ld.so.conf.d/*.conf")
# A driver that no linker knows: of a container (NVIDIA's operator), of image-based systems, of a runfile with
# a prefix.
ROOTS = (
    "",
    "/run/nvidia/driver",
    "/var/lib/nvidia",
    "/home/kubernetes/bin/nvidia",
    "/opt/*",
    "/usr/local/nvidia",
    "/usr/lib/nvidia*",
)
FOLDERS = (
    "",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib64/nvidia",
    "/usr/lib/*-linux-gnu",
    "/usr/lib/*-linux-gnu/nvidia/current",
    "/*/lib",
    "/*/lib64",
)
_KNOWN = re.compile(
    r"=> (/\S*/lib(?:cuda|cudadebugger|nvcuvid|nvidia-[\w-]+|(?:EGL|GLX)_nvidia)\.so\S*)", re.ASCII
)
_VERSION = r"\d+\.\d+(?:\.\d+)?"
_LINKS = 16


def driver_files(listing: str, version: str | None) -> dict[str, Any]:
    """The driver's user-space files.

    Args:
        listing: what `ldconfig -p` prints.
        version: the loaded kernel driver's; None where none is loaded.

    Returns:
        What `deploys.model.snapshot.Driver` holds of files.
    """
    known = [path for path in _KNOWN.findall(listing) if os.path.exists(path)]
    folders = {folder for path in known for folder in _folders_on_the_way(path)}
    found = _libraries(folders, version)
    by_linker = any(_is_libcuda(path) for path in found)
    if not by_linker and version is not None:
        folders |= _other_folders(version)
        found = _libraries(folders, version)
    wide = [path for path in found if _begins_with(path, ELF_64_BIT)]
    narrow = [path for path in found if _begins_with(path, ELF_32_BIT)]
    programs = [path for path in PROGRAMS if os.path.isfile(path)]
    linked = [path for path in programs if os.path.islink(path)]
    return {
        "libraries": wide,
        "links": [*_links(folders, wide), *linked],
        "libraries_32": narrow,
        "links_32": _links(folders, narrow),
        "programs": sorted({os.path.realpath(path) for path in programs}),
        "by_linker": by_linker,
        "other_libraries": _of_another_version(known, version),
        "installed": _installed(),
    }


def _folders_on_the_way(path: str) -> list[str]:
    """The directories of a name, of every link that it leads to, and of the file at the end: real paths."""
    found = []
    for _ in range(_LINKS):
        found.append(os.path.realpath(os.path.dirname(path)))
        if not os.path.islink(path):
            break
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return found


def _libraries(folders: set[str], version: str | None) -> list[str]:
    if version is None:
        return []
    names = (name for folder in folders for name in glob.glob(f"{glob.escape(folder)}/lib*.so.{version}"))
    return sorted({os.path.realpath(name) for name in names if os.path.isfile(name)})


def _links(folders: set[str], libraries: list[str]) -> list[str]:
    """Names with a number by which programs load them, also one that has the whole version for its number."""
    names = (name for folder in folders for name in glob.glob(f"{glob.escape(folder)}/lib*.so.[0-9]*"))
    return sorted(name for name in names if os.path.islink(name) and os.path.realpath(name) in libraries)


def _is_libcuda(path: str) -> bool:
    return os.path.basename(path).startswith("libcuda.so.") and _begins_with(path, ELF_64_BIT)


def _other_folders(version: str) -> set[str]:
    """Where libcuda of this version lies past the linker's cache."""
    places = {place for root in ROOTS for folder in FOLDERS for place in glob.glob(root + folder)}
    places |= _configured_folders()
    return {os.path.realpath(place) for place in places if _is_libcuda(f"{place}/libcuda.so.{version}")}


def _configured_folders() -> set[str]:
    """What the linker's configuration names: its cache may be older."""
    found: set[str] = set()
    for path in (path for pattern in LINKER_CONFIG for path in glob.glob(pattern)):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found |= {line.strip() for line in file if line.startswith("/")}
    return found


def _of_another_version(known: list[str], version: str | None) -> list[str]:
    """What the linker finds as NVML, or libcuda where there is none, of a version that is not loaded.

    NVML first, and no libcuda beside the right one: CUDA's packages for compatibility bring a newer libcuda,
    and no NVML.
    """
    for name in ("libnvidia-ml", "libcuda"):
        files = {os.path.realpath(path) for path in known if os.path.basename(path).startswith(f"{name}.so")}
        others = {path for path in files if re.search(rf"\.so\.{_VERSION}$", path)}
        others -= {path for path in files if path.endswith(f".so.{version}")}
        if files:
            return [] if name == "libcuda" and len(others) < len(files) else sorted(others)
    return []


def _installed() -> dict[str, str]:
    """The versions of kernel modules that are installed, loaded or not, by where that was read.

    In an image that is being built there is another kernel's module, or only its source.
    """
    found = {}
    kernels = sorted(glob.glob("/lib/modules/*/"))
    for argv in (["modinfo", "-F", "version", "nvidia"], *(_modinfo(kernel) for kernel in kernels)):
        status, out, _ = run(argv)
        if status == 0 and re.fullmatch(_VERSION, out.strip()):
            found[" ".join(argv)] = out.strip()
            break
    for path in sorted(glob.glob("/usr/src/nvidia-*")):
        match = re.search(rf"-({_VERSION})$", path)
        if match is not None and not found:
            found[path] = match.group(1)
    return found


def _modinfo(kernel: str) -> list[str]:
    return ["modinfo", "-k", os.path.basename(kernel.rstrip("/")), "-F", "version", "nvidia"]


def _begins_with(path: str, head: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False
