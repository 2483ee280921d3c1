"""An OCI bundle's config.json: read once, and replaced in one step or not at all.

Everything goes through the descriptor of the bundle's directory. Nothing under the container's root file
system is ever opened, and no path out of the spec either.
"""

from __future__ import annotations

import posix

from nvproxy_wrapper.host import trusted_file
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.strict_json import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import stat_result

_NAME = "config.json"
_TEMPORARY_PREFIX = ".config.json.nvproxy-"
_TEMPORARY_FLAGS = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_READ_ANYWAY = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
# ENOENT, ENXIO (a socket), EACCES, ENOTDIR, ENAMETOOLONG, ELOOP: that does not change from one reader to the
# next. `errno` is one import more.
_RUNSC_FAILS_TOO = (2, 6, 13, 20, 36, 40)

_TRACES = (b"nvidia", b"dev.gvisor", b"io.kubernetes.cri")
_ESCAPED = tuple(rb"\u00" + digits for digits in (b"2e", b"4", b"5", b"6", b"7"))


def has_trace(data: bytes) -> bool:
    r"""Whether a spec could be anything to the wrapper: the launcher's `grep`, letter by letter.

    NVIDIA's devices, hooks, variables and mounts all carry its name; gVisor's annotations and those of pods
    carry theirs. JSON may spell any letter as \u00XX, so an escape of a letter or a dot counts too. Go's own
    encoder escapes only <, > and & (3c, 3e, 26), which `sh -c 'a && b'` has; those do not.
    """
    lowered = data.lower()
    return any(trace in lowered for trace in _TRACES) or (
        rb"\u00" in lowered and any(escape in lowered for escape in _ESCAPED)
    )


class Bundle:
    """The spec of one bundle, open for reading and replacing.

    Attributes:
        path: as it was given.
        directory: descriptor of it.
        where: how messages call its config.json.
        data: the file's bytes, read once.
        fault: why it must not be replaced, nor a GPU given for what it says: it may be written by others, is
            a link, or is not what it should be. None where it is sound.

    A fault matters where the wrapper writes, as root, or answers for what is in the file. A plain container
    is runsc's business with a fault as without one. runsc reads config.json again, and it may be another by
    then; but who can write it, or turn a link in its path, has hooks of his choice run as root on the host,
    and needs no GPU for that.
    """

    def __init__(self, path: str) -> None:
        """Open the bundle `path` and read its config.json.

        Raises:
            FileNotFoundError: runsc finds no config.json to read.
            Refusal: it has a fault, and cannot be read as runsc would read it.
        """
        self.path = path
        self.where = path.rstrip("/") + "/" + _NAME
        self.fault: Refusal | None = None
        self._replaced = False
        try:
            _check_path(path)
            self.directory = trusted_file.open_directory(path)
            self.data, self._status = trusted_file.read(self.directory, _NAME, self.where, MAX_BYTES)
        except trusted_file.UntrustedFileError as error:
            self.fault = Refusal("bundle.file", str(error), error.remedy)
            found = _as_runsc_reads(path)
            if found is None:
                raise self.fault from None
            self.data = found

    def replace(self, data: bytes) -> None:
        """Put `data` in the place of what was read, with its owner and mode: all of it, or nothing changes.

        A kill leaves at worst a temporary file behind, which the next call on the same bundle removes.

        Raises:
            Refusal: it could not be written, or the file is no longer the one that was read.
        """
        temporary = _TEMPORARY_PREFIX + posix.urandom(8).hex()
        try:
            self._remove_leftovers()
            fd = posix.open(temporary, _TEMPORARY_FLAGS, 0o600, dir_fd=self.directory)
            try:
                status = self._write(fd, data)
                self._check_unchanged()
                # The last step that can fail: a refusal after it would leave the new spec behind.
                posix.rename(temporary, _NAME, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            except BaseException:
                _unlink(temporary, self.directory)
                raise
        except OSError as error:
            raise Refusal(
                "bundle.file",
                f"{self.where} could not be replaced: {error.strerror}",
                "It is as it was. Look at the file system that holds it: space, quota, read-only.",
            ) from None
        self._status = status
        self._replaced = True
        try:
            posix.fsync(self.directory)
        except OSError:
            # The new file is whole and in its place; only a power cut could undo the rename, and no container
            # outlives one.
            pass

    def put_back(self) -> None:
        """Put back what was read, where `replace` has replaced it: the container does not start after all.

        Raises:
            Refusal: that could not be done.
        """
        if not self._replaced:
            return
        try:
            self.replace(self.data)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bundle is not as it was
            what = error.message if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            raise Refusal(
                "bundle.file",
                f"{self.where} was rewritten for a container that did not start, and could not be put back:"
                f" {what}",
                "Remove the container and create it again: its engine writes a new bundle.",
            ) from None

    def _write(self, fd: int, data: bytes) -> stat_result:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[posix.write(fd, rest) :]
            # The owner before the mode: chown clears set-id bits.
            posix.fchown(fd, self._status.st_uid, self._status.st_gid)
            posix.fchmod(fd, self._status.st_mode & 0o7777)
            posix.fsync(fd)
            return posix.fstat(fd)
        finally:
            posix.close(fd)

    def _check_unchanged(self) -> None:
        there_now = posix.stat(_NAME, dir_fd=self.directory, follow_symlinks=False)
        if _identity(there_now) != _identity(self._status):
            raise Refusal(
                "bundle.file",
                f"{self.where} was changed by somebody else after it was read",
                "Find out who writes into this bundle; the container's engine does not.",
            )

    def _remove_leftovers(self) -> None:
        for name in posix.listdir(self.directory):
            if name.startswith(_TEMPORARY_PREFIX):
                _unlink(name, self.directory)


def _check_path(path: str) -> None:
    """No `..` may follow a name, which may be a link.

    runsc takes both away by their text (Go's filepath.Join), the kernel follows the link first.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if any(part == ".." and before != ".." for before, part in zip(parts, parts[1:])):
        raise trusted_file.UntrustedFileError(
            f"the bundle {path} has .. behind a name", "Give the path without that."
        )


def _as_runsc_reads(path: str) -> bytes | None:
    """config.json in the bundle `path`, by way of links and whoever it belongs to.

    None where that is no file, as a FIFO would give it to one reader only, or where runsc may see more.

    Raises:
        FileNotFoundError: runsc does not get to it either, and says why.
    """
    import os  # noqa: PLC0415 - few come here

    try:
        fd = posix.open(os.path.normpath(f"{path or '.'}/{_NAME}"), _READ_ANYWAY)
    except OSError as error:
        if error.errno in _RUNSC_FAILS_TOO:
            raise FileNotFoundError from None
        return None
    try:
        status = posix.fstat(fd)
        if trusted_file.is_directory(status):
            raise FileNotFoundError
        return trusted_file.read_all(fd) if trusted_file.is_regular(status) else None
    finally:
        posix.close(fd)


def _identity(status: stat_result) -> tuple[int, int, int, int]:
    # Not ctime: a rename sets it, and then the file that was just put there would not be recognised.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unlink(name: str, directory: int) -> None:
    try:
        posix.unlink(name, dir_fd=directory)
    except OSError:
        pass
