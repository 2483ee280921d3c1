"""The file system of the verification's containers: made of the host's own files, and kept by its content."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
from typing import Any, Iterator

from deploys.host.remote.prelude import SEARCH_PATH, Fault, digest
from deploys.host.remote.processes import CLEAN_UP_SECONDS, run

MAX_LINKS = 40


def with_links(path: str, entries: dict[str, tuple[str, str]]) -> None:
    """Add a host's file to `entries` with every directory and link on its way.

    So the copy has the host's own layout, whether `/lib64` is a link into `/usr` (Debian 12, RHEL) or a
    directory, and `sh` a link to dash or bash. A loader looks for libraries only where it was built to look.
    """
    here = "/"
    todo = path.split("/")
    links = 0
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        if os.path.islink(step):
            links += 1
            if links > MAX_LINKS:
                raise Fault(f"{path}: too many levels of links")
            target = os.readlink(step)
            entries[step] = ("link", target)
            todo = target.split("/") + todo
            here = "/" if target.startswith("/") else here
        elif os.path.isdir(step):
            entries[step] = ("directory", "")
            here = step
        else:
            entries[step] = ("file", step)


def loaded_by(program: str) -> list[str]:
    """The loader and the libraries of a program, as `ldd` finds them."""
    found = run(["ldd", program], CLEAN_UP_SECONDS)
    return re.findall(r"(?:=>|^)\s*(/\S+) \(0x", found.out, re.MULTILINE)


# Not os, which is in Python's own program from 3.11 on: its file tells where the library lies.
PYTHON_ASKED = """
import sys
for name in sys.argv[1:]: __import__(name)
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""


def python_files(python: dict[str, Any]) -> list[str]:
    """The host's Python with what it needs for these modules; none where it has not got one of them."""
    asked = run([python["path"], "-IS", "-c", PYTHON_ASKED, *python["modules"]], CLEAN_UP_SECONDS)
    if asked.code != 0:
        return []
    modules = [path for path in asked.out.splitlines() if path.startswith("/")]
    programs = [python["path"], *(path for path in modules if path.endswith(".so"))]
    return [*programs, *modules, *(path for program in programs for path in loaded_by(program))]


def programs_of(task: dict[str, Any]) -> Iterator[str]:
    """The programs, what they are linked with, and what other programs of NVIDIA's are linked with."""
    for name in task["programs"]:
        program = shutil.which(name, path=SEARCH_PATH)
        if program is None:
            raise Fault(f"the program {name} is not on this host; the verification containers need it")
        libraries = loaded_by(program)
        yield from (program, *libraries)
        # No program here asks for these, so ldd does not name them; nvidia-smi and libcuda do.
        for directory in {os.path.dirname(path) for path in libraries if "/libc.so" in path}:
            for library in task["libraries"]:
                if os.path.exists(os.path.join(directory, library)):
                    yield os.path.join(directory, library)


def host_entries(task: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What the containers' file system holds: destination to (kind, content)."""
    entries: dict[str, tuple[str, str]] = {}
    for path in programs_of(task):
        with_links(path, entries)
    for path in python_files(task["python"]) if "python" in task else []:
        with_links(path, entries)
    for path in filter(os.path.islink, task["links"]):
        with_links(path, entries)
    for directory in task["directories"]:
        entries.setdefault(directory, ("directory", ""))
    for path, content in task["files"].items():
        entries[path] = ("text", content)
    return entries


def content_hash(entries: dict[str, tuple[str, str]]) -> str:
    """The name of a file system: the same files in the same places have the same."""
    sha = hashlib.sha256()
    for path, (kind, content) in sorted(entries.items()):
        data = content.encode()
        if kind == "file":
            data = digest(content).encode()
        sha.update(json.dumps([path, kind, len(data)]).encode() + data)
    return sha.hexdigest()[:16]


def build_root(entries: dict[str, tuple[str, str]], root: str) -> None:
    """Make the file system beside its place and move it there, so that a half-made one is never used."""
    partial = tempfile.mkdtemp(prefix="partial-", dir=os.path.dirname(root))
    for path, (kind, content) in sorted(entries.items()):
        place = partial + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if kind == "directory":
            os.makedirs(place, exist_ok=True)
        elif kind == "link":
            os.symlink(content, place)
        elif kind == "file":
            shutil.copy(content, place)
        else:
            with open(place, "w") as file:
                file.write(content)
    os.rename(partial, root)


def second_of(root: str, place: str) -> None:
    """The same file system at another place, to which hooks add links and a loader cache.

    Its files are the very same, as a copy of all of them for each container would cost more than the
    container.
    """
    shutil.copytree(root, place, symlinks=True, copy_function=os.link)


def archive(root: str) -> bytes:
    """A tar archive of a file system."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        if member.isdir():
            member.mode = 0o755
        return member

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(root, arcname=".", filter=plain)
    return stream.getvalue()


def make_nodes(directory: str) -> None:
    """Device nodes as NVIDIA's in /dev, for a volume out of which none of them must open."""
    os.makedirs(directory)
    for path in glob.glob("/dev/nvidia*"):
        status = os.lstat(path)
        if stat.S_ISCHR(status.st_mode):
            os.mknod(f"{directory}/{os.path.basename(path)}", stat.S_IFCHR | 0o666, status.st_rdev)


def mounts_below(directory: str) -> list[str]:
    """Mount points in a directory, the innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split()[4] for line in file]
    return sorted((point for point in points if point.startswith(directory + "/")), reverse=True)


def remove_tree(directory: str) -> str | None:
    """Remove a directory; why it is still there, or None.

    A runtime killed at the wrong moment can leave the host's own libraries bind-mounted in it. To delete
    through such a mount is to delete them, so a directory that has a mount in it is left alone.
    """
    for point in mounts_below(directory):
        run(["umount", "-l", point], CLEAN_UP_SECONDS)
    left = mounts_below(directory)
    if left:
        return f"{left[0]} is still mounted, so {directory} was not removed"
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{directory} could not be removed: {error}"
    return None


def remove_old_roots(task: dict[str, Any], root: str) -> None:
    """Remove file systems of earlier versions, and half-made ones."""
    for name in os.listdir(task["dir"]):
        path = os.path.join(task["dir"], name)
        if path != root and name.startswith(("rootfs-", "partial-")):
            remove_tree(path)
