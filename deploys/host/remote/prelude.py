"""What the programs that run on a host share. Standard library of Python 3.8 only."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Fault(Exception):  # noqa: N818 - it carries the sentence for the operator
    """Something that stops this host: what, where, and what to do, as one text."""


def environment() -> dict[str, str]:
    """The environment of every program: messages in English, a fixed PATH, the host's proxies."""
    proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    return {
        "PATH": SEARCH_PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        **proxies,
    }


def run(argv: list[str], seconds: float = 20) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of a program; status None where it could not be run or took too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "", str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def digest(path: str) -> str:
    """The sha256 of a file's content."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def tree_digest(root: str) -> str:
    """One sha256 over the names, modes and contents of a directory's files, byte-compiled ones left out."""
    lines = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name != "__pycache__"]
        for path in (os.path.join(directory, name) for name in files):
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            content = os.readlink(path) if os.path.islink(path) else digest(path)
            lines.append(tree_line(os.path.relpath(path, root), mode, content))
    return tree_digest_of(lines)


def tree_line(name: str, mode: int, content: str) -> str:
    """A file's part in a tree's digest; `content` is its sha256, or a link's target."""
    return f"{name} {mode:o} {content}\n"


def tree_digest_of(lines: list[str]) -> str:
    """The digest of a tree out of its files' lines, in any order."""
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Put a file in place whole: written beside, synced, renamed. A kill leaves the old one and a stray."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    beside = path + ".nvproxy-fleet.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), 0, 0)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_directory(os.path.dirname(path))


def switch_link(path: str, target: str) -> None:
    """Make a symbolic link point elsewhere in one step: there is no moment at which it is missing."""
    beside = path + ".nvproxy-fleet.new"
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(target, beside)
    os.replace(beside, path)
    sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Make renames in a directory outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
