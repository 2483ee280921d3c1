"""What the programs that run on a host share. Standard library of Python 3.8 only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import time
from typing import Iterator

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


LOCK_SECONDS = 10
# So many replaced texts of a file are kept.
KEPT = 10
DPKG_SECONDS = 600
DPKG = "/var/lib/dpkg"


class Fault(Exception):  # noqa: N818 - it carries the sentence for the operator
    """Something that stops this host: what, where, and what to do, as one text."""


def environment() -> dict[str, str]:
    """The environment of every program: messages in English, a fixed PATH, the host's proxies."""
    proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    # needrestart, on Ubuntu, would restart services of its own choice after an installation.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    # Root may have told its docker command to talk to another host.
    here = {"DOCKER_CONTEXT": "default"}
    return {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", **here, **quiet, **proxies}


def run(argv: list[str], seconds: float = 20) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of a program; status None where it could not be run or took too long."""
    try:
        # A session of its own, so that what it has started goes with it when its time is over: a package's
        # installation script that went on alone would be in the way of the next run.
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
    except OSError as error:
        return None, "", str(error)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, "", f"{argv[0]} took more than {seconds:.0f} s and was stopped"
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def running_containers() -> dict[str, list[str]] | None:
    """Names of Docker's running containers by runtime; None where it cannot be told.

    `docker ps` has no filter for the runtime. A container that ends between the two calls makes `docker
    inspect` fail as a whole, so it is asked once more.
    """
    template = "{{.HostConfig.Runtime}} {{.Name}}"
    for _ in range(2):
        status, ids, _ = run(["docker", "ps", "--quiet", "--no-trunc"], 30)
        if status != 0:
            return None
        if not ids.split():
            return {}
        status, out, _ = run(["docker", "inspect", "--format", template, *ids.split()], 30)
        if status == 0:
            found: dict[str, list[str]] = {}
            for line in out.splitlines():
                runtime, _, name = line.partition(" ")
                found.setdefault(runtime, []).append(name.lstrip("/"))
            return found
    return None


def take_turn(path: str) -> int:
    """One run at a time changes a host. The turn lasts as long as the run's connection, and ends with it.

    A lock that a process holds would end with each program, one with a time limit would lock the next run out
    after a fault. So the lock file names the process that serves the connection, by its id and start time.

    Returns:
        The descriptor that holds the lock until this program ends, or closes it.

    Raises:
        Fault: another connection that is still there has the turn.
    """
    mine = connection()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        wait_for_lock(descriptor)
        refuse_if_held(os.read(descriptor, 100).decode().strip(), mine)
    except Fault:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, mine.encode(), 0)
    # The descriptor stays open, and the lock with it, until this program ends: a connection may break while
    # one of its programs still works.
    return descriptor


def refuse_if_held(holder: str, mine: str) -> None:
    """Whose turn it is, as the lock file says it, must be ours, or that of a connection which is gone.

    Raises:
        Fault: it is another's.
    """
    pid = holder.partition(" ")[0]
    if holder and holder != mine and holder == identity(pid):
        raise Fault(
            f"another run is changing this host (its connection is process {pid}). "
            "Wait until it has ended, and run again."
        )


def wait_for_lock(descriptor: int) -> None:
    """Take the lock that a program of another connection may hold.

    Raises:
        Fault: it is still held after `LOCK_SECONDS`.
    """
    end = time.monotonic() + LOCK_SECONDS
    while not is_locked(descriptor):
        if time.monotonic() > end:
            raise Fault(
                "a program of another run is still changing this host. Wait until it has ended, run again."
            )
        time.sleep(0.2)


def is_locked(descriptor: int) -> bool:
    """Try to take a lock; whether it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def connection() -> str:
    """The process that serves this connection, below sshd's listener: one and the same for a whole run."""
    chain = [str(os.getpid())]
    while (parent := parent_of(chain[-1])) not in {"0", "1"}:
        chain.append(parent)
    return identity(chain[-2] if len(chain) > 1 else chain[-1])


def boot() -> str:
    """What this boot of the host is told by: a process id and a start time may come again after another."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def parent_of(pid: str) -> str:
    """The process id of a process's parent; 0 where it is gone."""
    fields = identity_fields(pid)
    return fields[1] if fields else "0"


def identity(pid: str) -> str:
    """A process by its id and start time, as an id alone may come to mean another; "" where it is gone."""
    fields = identity_fields(pid)
    return f"{pid} {fields[19]}" if fields else ""


def identity_fields(pid: str) -> list[str]:
    """The fields of `/proc/<pid>/stat` behind the name, which may hold anything; none where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


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


def is_dpkg_interrupted() -> bool:
    """Whether a dpkg was killed in its midst: apt then does nothing until that is finished."""
    try:
        return any(name.isdigit() for name in os.listdir(f"{DPKG}/updates"))
    except OSError:
        return False


def finish_packages() -> None:
    """Wait for a dpkg that is at work, and configure what one that was killed has left."""
    if not os.path.exists(f"{DPKG}/lock-frontend"):
        return
    end = time.monotonic() + DPKG_SECONDS
    with open(f"{DPKG}/lock-frontend", "rb+") as file:
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.5)
    run(["dpkg", "--force-confold", "--configure", "-a"], DPKG_SECONDS)


def decoded(content: bytes) -> tuple[str, str]:
    """A text and its encoding, told by a byte order mark as dockerd tells it; the mark stays in the text.

    (moby 23.0, daemon/config/config.go, by golang.org/x/text's BOMOverride.)

    Raises:
        UnicodeDecodeError: it is no text.
    """
    marks = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
    encoding = marks.get(content[:2], "utf-8")
    return content.decode(encoding), encoding


def kept_path(backup: str, path: str) -> str:
    """Where the copy of a file as it was before the first run is."""
    return os.path.join(backup, "original", kept_name(path))


def kept_name(path: str) -> str:
    """What copies of a file are called in `original`, and in `replaced` with the time behind it."""
    return path.strip("/").replace("/", "%")


def keep(path: str, backup: str, *, original: bool) -> None:
    """Copy a file that is about to be replaced; an original is copied once and never again.

    Any other goes to `replaced`, under its name and the time, as `etc%x.conf.20261125T204616.123456Z`. Of
    each file the last `KEPT` texts that differ are there.
    """
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        content = file.read()
    mode = stat.S_IMODE(os.stat(path).st_mode)
    # Closed to others whatever its own mode: what is kept may be a secret.
    os.makedirs(backup, mode=0o700, exist_ok=True)
    if original and not os.path.exists(kept_path(backup, path)):
        replace_file(kept_path(backup, path), content, mode)
        return
    directory, name = os.path.join(backup, "replaced"), kept_name(path)
    copies = copies_of(directory, name)
    now, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    date = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    replace_file(os.path.join(directory, f"{name}.{date}.{microseconds:06}Z"), content, mode)
    same = [copy for copy in copies if content_of(copy) == content]
    others = [copy for copy in copies if copy not in same]
    # Only now: there is a copy at every moment.
    for copy in [*same, *others[: max(0, len(others) + 1 - KEPT)]]:
        os.unlink(copy)


def copies_of(directory: str, name: str) -> list[str]:
    """The copies of a file in `replaced`, the oldest first."""
    time_behind = re.compile(re.escape(name) + r"\.\d{8}T\d{6}\.\d{6}Z").fullmatch
    try:
        return sorted(os.path.join(directory, found) for found in os.listdir(directory) if time_behind(found))
    except FileNotFoundError:
        return []


def content_of(path: str) -> bytes | None:
    """What is in a file; None where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def restore(path: str, backup: str, *, was_there: bool, text: str | None = None) -> None:
    """The file as it was before the first run, or no file; one that no run has come to replace stays.

    With a `text` it holds that, in the mode that it had.
    """
    kept = kept_path(backup, path)
    if text is not None:
        modes = [os.stat(name).st_mode & 0o7777 for name in (kept, path) if os.path.isfile(name)]
        replace_file(path, text.encode(), modes[0] if modes else 0o644)
    elif os.path.isfile(kept):
        with open(kept, "rb") as file:
            replace_file(path, file.read(), os.stat(kept).st_mode & 0o7777)
    elif os.path.lexists(path) and not was_there:
        os.unlink(path)


@contextlib.contextmanager
def left_alone(path: str, copy: str, *, set_aside: bool) -> Iterator[None]:
    """Whatever happens meanwhile, the file is to the letter what it was, or not there where it was not.

    A kill leaves `copy`, and the next time that is what the file was.

    Args:
        path: the file that others write meanwhile.
        copy: where it is kept while they do.
        set_aside: whether the file is not to be there meanwhile.
    """
    if not os.path.isfile(copy):
        was: dict[str, object] = {"content": None, "mode": 0o644, "owner": 0, "group": 0}
        if os.path.isfile(path):
            status = os.stat(path)
            with open(path, "rb") as file:
                # A letter for each byte, as JSON has no bytes.
                was["content"] = file.read().decode("latin-1")
            was.update(mode=stat.S_IMODE(status.st_mode), owner=status.st_uid, group=status.st_gid)
        replace_file(copy, json.dumps(was).encode(), 0o600)
    directory = os.path.dirname(path)
    directory_was_there = os.path.isdir(directory)
    try:
        if set_aside and os.path.isfile(path):
            os.unlink(path)
        yield
    finally:
        with open(copy, encoding="utf-8") as kept:
            was = json.load(kept)
        content = None if was["content"] is None else str(was["content"]).encode("latin-1")
        if content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            if not directory_was_there:
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        elif not is_content(path, content):
            replace_file(path, content, int(str(was["mode"])))
            os.chown(path, int(str(was["owner"])), int(str(was["group"])))
        os.unlink(copy)


def is_content(path: str, content: bytes) -> bool:
    """Whether a file is there and holds just this."""
    try:
        with open(path, "rb") as file:
            return file.read() == content
    except OSError:
        return False


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Put a file in place whole: written beside, synced, renamed. A kill leaves the old one and a stray."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    beside = path + ".nvproxy-fleet.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchown(file.fileno(), 0, 0)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        # A full disk: what is half written would only take more of it.
        os.unlink(beside)
        raise
    sync(os.path.dirname(path))


def switch_link(path: str, target: str) -> None:
    """Make a symbolic link point elsewhere in one step: there is no moment at which it is missing."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    beside = path + ".nvproxy-fleet.new"
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(target, beside)
    os.replace(beside, path)
    sync(os.path.dirname(path))


def sync_tree(root: str) -> None:
    """Make a directory and all in it outlast a power cut; sync(2) would wait for every file system."""
    for directory, _, files in os.walk(root):
        for name in files:
            sync(os.path.join(directory, name))
        sync(directory)


def sync(path: str) -> None:
    """Make the content of a file, or the names in a directory, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
