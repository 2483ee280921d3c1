"""Files that decide what a root program does: opened without following links, and only if no other may write.

Every question is asked of an open descriptor, never of a name: between a look at a name and its use the name
may come to mean another file.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import stat_result

# <linux/stat.h>; the module `stat` is one import more than the create path affords.
_S_IFMT = 0o170000
_S_IFREG = 0o100000
_S_IFDIR = 0o040000
_OTHERS_MAY_WRITE = 0o022

_OPEN_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# Without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
_OPEN_FILE = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC

_CHUNK = 1 << 20


class UntrustedFileError(Exception):
    """A file or directory that must not be read: `str` says what is wrong with which, `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def open_directory(path: str) -> int:
    """A descriptor of the directory `path`: no link itself, and nobody but its owner may write in it.

    Parents may be links: /var/run is one on most hosts, and they are the caller's own.

    Raises:
        FileNotFoundError: there is none.
        UntrustedFileError: it is a link, no directory, another user's, or writable by others.
    """
    try:
        # A slash at the end would make the kernel follow a link after all.
        fd = posix.open(path.rstrip("/") or "/", _OPEN_DIRECTORY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UntrustedFileError(
            f"{path} cannot be opened as a directory: {error.strerror}",
            "It has to be a directory, not a symbolic link.",
        ) from None
    try:
        _check_owner_and_mode(path, posix.fstat(fd))
    except BaseException:
        posix.close(fd)
        raise
    return fd


def read(directory: int, name: str, path: str, max_bytes: int) -> tuple[bytes, stat_result]:
    """The bytes of the file `name` in `directory`, read once, and its status when it was read.

    Args:
        directory: descriptor from `open_directory`.
        name: one path component.
        path: how messages call the file.
        max_bytes: more than that is refused.

    Raises:
        FileNotFoundError: there is none.
        UntrustedFileError: it is not a plain file with one name, of root or our own, that no other may write.
    """
    try:
        fd = posix.open(name, _OPEN_FILE, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UntrustedFileError(
            f"{path} cannot be opened: {error.strerror}", "It has to be a regular file, not a symbolic link."
        ) from None
    try:
        status = posix.fstat(fd)
        if not is_regular(status):
            raise UntrustedFileError(f"{path} is not a regular file", "Put a regular file there.")
        _check_owner_and_mode(path, status)
        if status.st_nlink != 1:
            raise UntrustedFileError(
                f"{path} has {status.st_nlink} hard links",
                "Whoever holds another name of it may write it: copy it.",
            )
        if status.st_size > max_bytes:
            raise UntrustedFileError(
                f"{path} has {status.st_size} bytes, more than {max_bytes}",
                "No real one comes near that size.",
            )
        data = read_all(fd, max_bytes)
        if len(data) > max_bytes:
            raise UntrustedFileError(
                f"{path} grew past {max_bytes} bytes while it was read", "Nothing may write it now."
            )
        return data, status
    finally:
        posix.close(fd)


def is_regular(status: stat_result) -> bool:
    """Whether it is a regular file."""
    return status.st_mode & _S_IFMT == _S_IFREG


def is_directory(status: stat_result) -> bool:
    """Whether it is a directory."""
    return status.st_mode & _S_IFMT == _S_IFDIR


def read_all(fd: int, max_bytes: int | None = None) -> bytes:
    """What can be read from `fd`; it ends behind `max_bytes`, as a file may grow while it is read."""
    chunks: list[bytes] = []
    total = 0
    while True:
        chunk = posix.read(fd, _CHUNK)
        chunks.append(chunk)
        total += len(chunk)
        if not chunk or (max_bytes is not None and total > max_bytes):
            return b"".join(chunks)


def _check_owner_and_mode(path: str, status: stat_result) -> None:
    if status.st_uid not in (0, posix.geteuid()):
        raise UntrustedFileError(
            f"{path} belongs to user {status.st_uid}",
            "It has to belong to root: chown root it, if you trust what it says.",
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise UntrustedFileError(
            f"{path} has mode {status.st_mode & 0o7777:04o}, so that others than its owner may write it",
            f"chmod go-w {path}, if you trust what it says.",
        )
