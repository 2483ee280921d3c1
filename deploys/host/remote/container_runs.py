"""Start the verification containers of a host and tell what they printed. Nothing is judged here.

Runs on the host with its own Python 3.8 or later. `deploys.model.verification` makes the task and reads the
answer; both are described there. Each container, and the program as a whole, has a time limit. What is
started here is killed and removed here, and what a killed run left behind is removed by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from typing import IO, Any, Iterator, NamedTuple, NoReturn

from deploys.host.remote.prelude import SEARCH_PATH, Fault, digest, environment

OUTPUT_LIMIT = 65536
ERROR_LIMIT = 4096
CLEAN_UP_SECONDS = 10
POLL_SECONDS = 0.02
REMOVAL_TRIES = 5
MAX_LINKS = 40
DEBUG_LOGS = "debug"


class Stopped(Exception):  # noqa: N818 - an order, not a fault
    """A signal told the program to end. Not a Fault: after some of those it goes on."""


class Finished(NamedTuple):
    """How a program ended: `code` is None where it could not be run, or where its time was over."""

    code: int | None
    out: str
    err: str
    timed_out: bool = False


class Clock:
    """The time left to the whole program."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def limit(self, seconds: float) -> float:
        """As many seconds as a step may take: its own limit, or what is left."""
        return max(0.0, min(seconds, self.end - time.monotonic()))


def tail(data: bytes | None, limit: int) -> str:
    """The end of what a program printed: errors come last."""
    return (data or b"")[-limit:].decode("utf-8", "replace")


def run(
    argv: list[str],
    seconds: float,
    *,
    stdin: bytes | None = None,
    files: tuple[IO[bytes], IO[bytes]] | None = None,
    extra: dict[str, str] | None = None,
) -> Finished:
    """Run a program in a session of its own, and kill that session when the time is over.

    Args:
        argv: the program and its arguments.
        seconds: the time limit.
        stdin: what it reads; nothing by default.
        files: (stdout, stderr) as open files, for a runtime that hands them on to its container: to wait for
            the end of a pipe would be to wait for the container.
        extra: variables on top of the usual ones.
    """
    out, err = files or (subprocess.PIPE, subprocess.PIPE)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=out,
            stderr=err,
            env={**environment(), **(extra or {})},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return Finished(None, "", f"{argv[0]}: {error.strerror}")
    timed_out = False
    try:
        printed, complained = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_session(process)
        printed, complained = process.communicate()
        timed_out = True
    except BaseException:
        kill_session(process)
        process.wait()
        raise
    code = None if timed_out else process.returncode
    return Finished(code, tail(printed, OUTPUT_LIMIT), tail(complained, ERROR_LIMIT), timed_out)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


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


def host_entries(task: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What the containers' file system holds: destination to (kind, content)."""
    entries: dict[str, tuple[str, str]] = {}
    for name in task["programs"]:
        program = shutil.which(name, path=SEARCH_PATH)
        if program is None:
            raise Fault(f"the program {name} is not on this host; the verification containers need it")
        libraries = loaded_by(program)
        for path in [program, *libraries]:
            with_links(path, entries)
        # No program here asks for these, so ldd does not name them; nvidia-smi and libcuda do.
        for directory in {os.path.dirname(path) for path in libraries if "/libc.so" in path}:
            for library in task["libraries"]:
                if os.path.exists(os.path.join(directory, library)):
                    with_links(os.path.join(directory, library), entries)
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


def asked_docker(argv: list[str], seconds: float, *, stdin: bytes | None = None) -> str:
    """What a docker command printed; a Fault with docker's own words where it failed."""
    done = run(["docker", *argv], seconds, stdin=stdin)
    if done.timed_out:
        raise Fault(f"docker {argv[0]} took longer than {seconds:.0f} s")
    if done.code != 0:
        raise Fault(f"docker {argv[0]} failed: {done.err.strip() or done.out.strip()}")
    return done.out


def images_of(task: dict[str, Any], clock: Clock) -> list[str]:
    """The images that this program has made."""
    form = ["--format", "{{.Repository}}:{{.Tag}}"]
    return asked_docker(["images", *form, task["repository"]], clock.limit(task["seconds_each"])).split()


def own_images(task: dict[str, Any], root: str, tag: str, clock: Clock) -> tuple[str, str]:
    """(image, the same with the asking variable in its ENV), made from `root` unless they are there."""
    plain = f"{task['repository']}:{tag}"
    changes: dict[str, list[str]] = {plain: [], f"{plain}-asking": ["-c", f"ENV {task['image_env']}"]}
    there = images_of(task, clock)
    for image in changes.keys() - there:
        command = ["import", *changes[image], "-", image]
        asked_docker(command, clock.limit(task["seconds_each"]), stdin=archive(root))
    return plain, f"{plain}-asking"


def users_image(task: dict[str, Any], clock: Clock) -> tuple[str, str]:
    """(the image of the operator, its copy with the asking variable in ENV); pulled where it is missing."""
    image = task["use_image"]
    inspect = ["image", "inspect", "--format", "{{.Id}}", image]
    if run(["docker", *inspect], clock.limit(task["seconds_each"])).code != 0:
        asked_docker(["pull", "--quiet", image], clock.limit(clock.seconds))
    identity = asked_docker(inspect, clock.limit(task["seconds_each"])).strip().rpartition(":")[2]
    asking = f"{task['repository']}:{identity[:16]}-asking"
    if asking not in images_of(task, clock):
        create = ["create", "--label", task["label"], image, "sh"]
        container = asked_docker(create, clock.limit(task["seconds_each"])).strip()
        try:
            commit = ["commit", "-c", f"ENV {task['image_env']}", container, asking]
            asked_docker(commit, clock.limit(task["seconds_each"]))
        finally:
            remove_containers(f"id={container}")
    return image, asking


def images_for(task: dict[str, Any], root: str, tag: str, clock: Clock) -> tuple[str, str]:
    """(image, the same with the asking variable in its ENV); those of earlier versions are removed."""
    images = own_images(task, root, tag, clock) if task["use_image"] is None else users_image(task, clock)
    for image in set(images_of(task, clock)) - set(images):
        run(["docker", "rmi", image], CLEAN_UP_SECONDS)
    return images


def remove_old_roots(task: dict[str, Any], root: str) -> None:
    """Remove file systems of earlier versions, and half-made ones."""
    for name in os.listdir(task["dir"]):
        path = os.path.join(task["dir"], name)
        if path != root and name.startswith(("rootfs-", "partial-")):
            remove_tree(path)


def outcome(done: Finished) -> dict[str, Any]:
    """What is told about a command or a container."""
    no_start = done.code is None and not done.timed_out
    return {
        **done._asdict(),
        "not_run": done.err if no_start else None,
        "missing": None,
        "left_behind": None,
        "seconds": 0.0,
    }


def not_run(why: str, missing: str | None = None) -> dict[str, Any]:
    """What is told about a container that was not even tried."""
    return {**outcome(Finished(None, "", why)), "missing": missing}


def through_docker(
    task: dict[str, Any], what: dict[str, Any], image: str, name: str, clock: Clock
) -> dict[str, Any]:
    """One container by `docker run`."""
    argv = ["docker", "run", "--rm", "--name", name, "--label", task["label"], "--network=none"]
    # An image of this name that is not on the host must never be looked for in a public registry.
    argv += ["--pull=never", f"--runtime={what['runtime']}", "--entrypoint", "sh"]
    for variable in what["env"]:
        argv += ["-e", variable]
    done = left = None
    try:
        done = run([*argv, image, "-c", task["script"]], clock.limit(task["seconds_each"]))
    finally:
        # The container outlives a client that was killed, and a failed start can leave one that was created.
        if done is None or done.code != 0:
            left = remove_containers(f"name=^/{name}$")
    return {**outcome(done), "left_behind": left}


def remove_containers(which: str) -> str | None:
    """Remove containers of Docker's by a filter of `docker ps`; why one may still be there, or None.

    Processes first: where a runtime hangs, Docker waits for it, in `docker rm -f` and `docker inspect` too.
    """
    for _ in range(REMOVAL_TRIES):
        found = run(["docker", "ps", "-aq", "--no-trunc", "--filter", which], CLEAN_UP_SECONDS)
        if found.code != 0:
            return f"containers with {which} may be left, docker ps failed: {found.err.strip()}"
        identities = found.out.split()
        if not identities:
            return None
        for identity in identities:
            kill_processes_of(identity)
        run(["docker", "rm", "-f", *identities], CLEAN_UP_SECONDS)
        time.sleep(POLL_SECONDS)
    return f"{len(identities)} containers with {which} are left, docker rm -f had no effect"


def kill_processes_of(container: str) -> None:
    """Kill the runtime that works on a container, with its children, and the container's own processes.

    Not containerd's shim, which has the id among its arguments as well: it tidies up.
    """
    processes = {pid: process(pid) for pid in filter(str.isdigit, os.listdir("/proc"))}
    doomed = {
        pid
        for pid, (_, arguments) in processes.items()
        if container in arguments and "containerd-shim" not in arguments
    }
    while True:
        children = {pid for pid, (parent, _) in processes.items() if parent in doomed} - doomed
        if not children:
            break
        doomed |= children
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def process(pid: str) -> tuple[str, str]:
    """(id of its parent, arguments in one line) of a process; both empty where it is gone."""
    fields = read_end(f"/proc/{pid}/stat", ERROR_LIMIT).rpartition(")")[2].split()
    return fields[1] if fields else "", read_end(f"/proc/{pid}/cmdline", OUTPUT_LIMIT)


def spec(task: dict[str, Any], env: list[str]) -> dict[str, Any]:
    """The OCI spec of a bundle: no capability, no network, no device but what the runtime adds."""
    mounts = (("/proc", "proc", ["nosuid", "noexec", "nodev"]), ("/dev", "tmpfs", ["nosuid", "mode=755"]))
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", task["script"]],
            "env": [f"PATH={SEARCH_PATH}", *env],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "verify",
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options}
            for place, kind, options in mounts
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def through_bundle(
    task: dict[str, Any], what: dict[str, Any], root: str, name: str, clock: Clock
) -> dict[str, Any]:
    """One container by `nvidia-container-runtime create` and `start`, as an engine would call it.

    Not by `run`: the shim hands that on without a look at the spec (nvidia-container-toolkit v1.20.0,
    runtime_factory.go).
    """
    if what["needs"] and shutil.which(what["needs"], path=SEARCH_PATH) is None:
        return not_run(f"{what['needs']} is not on this host", missing=what["needs"])
    bundle = bundle_path(task, name)
    left = None
    try:
        write_bundle(task, what, root, bundle)
        done = created_and_started(task, bundle, name, clock.limit(task["seconds_each"]))
        said = {} if done.code == 0 else last_words(f"{bundle}/{DEBUG_LOGS}")
    finally:
        left = remove_bundle(task, name)
    return {**outcome(done), "left_behind": left, **({"said": said} if said else {})}


def bundle_path(task: dict[str, Any], name: str) -> str:
    """Where a container's bundle lies while it is there."""
    return os.path.join(task["dir"], "runs", name)


def write_bundle(task: dict[str, Any], what: dict[str, Any], root: str, bundle: str) -> None:
    """The spec, a file system and, where the run has one, its own configuration for the NVIDIA runtime."""
    os.makedirs(bundle)
    # A copy for each container: the hooks of the NVIDIA runtime write links and a loader cache into it.
    shutil.copytree(root, f"{bundle}/rootfs", symlinks=True)
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(spec(task, what["env"]), file)
    if what["config"] is not None:
        os.makedirs(f"{bundle}/nvidia-container-runtime")
        with open(f"{bundle}/nvidia-container-runtime/config.toml", "w") as file:
            file.write(what["config"])


def shim(task: dict[str, Any], name: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """A call of the NVIDIA runtime for a container, and the variables that go with it.

    The configuration in the bundle, if there is one, rules all calls of a container: with another, `delete`
    would go to another low-level runtime than `create` did. The entry sets one itself, and takes no other.
    """
    bundle = bundle_path(task, name)
    own_config = os.path.exists(f"{bundle}/nvidia-container-runtime/config.toml")
    program = task["shim"] if own_config else task["runtime"]
    argv = [program, "--root", task["state_dir"], "--log", f"{bundle}/log.json", "--log-format", "json"]
    return [*argv, *words, name], {"XDG_CONFIG_HOME": bundle} if own_config else {}


def created_and_started(task: dict[str, Any], bundle: str, name: str, seconds: float) -> Finished:
    """Create and start a bundle's container, and wait until it has said all it has to say."""
    end = time.monotonic() + seconds
    create, extra = shim(task, name, "create", "--bundle", bundle, "--pid-file", f"{bundle}/pid")
    if not extra:
        # Not for a run with a configuration of its own: that leads to runc, which has no such flag.
        create[1:1] = [f"--debug-log={bundle}/{DEBUG_LOGS}/%COMMAND%.log"]
        os.makedirs(f"{bundle}/{DEBUG_LOGS}")
    with open(f"{bundle}/out", "wb") as out, open(f"{bundle}/err", "wb") as err:
        done = run(create, seconds, files=(out, err), extra=extra)
    if done.code == 0:
        start, extra = shim(task, name, "start")
        done = run(start, max(0.0, end - time.monotonic()), extra=extra)
    timed_out = done.timed_out or (done.code == 0 and not wait_for_end(bundle, task["end_line"], end))
    errors = [done.err, read_end(f"{bundle}/err", ERROR_LIMIT), *logged_errors(f"{bundle}/log.json")]
    distinct = dict.fromkeys(error.strip() for error in errors if error.strip())
    out_text = read_end(f"{bundle}/out", OUTPUT_LIMIT)
    return Finished(done.code, out_text, "\n".join(distinct)[-ERROR_LIMIT:], timed_out)


def wait_for_end(bundle: str, end_line: str, end: float) -> bool:
    """Whether a container came to its last line, or ended, in time.

    Not by the runtime's `wait`: with older runsc it may return early or hang.
    """
    pid = read_end(f"{bundle}/pid", ERROR_LIMIT).strip()
    while time.monotonic() < end:
        alive = os.path.exists(f"/proc/{pid}")
        if end_line in read_end(f"{bundle}/out", OUTPUT_LIMIT).splitlines() or not alive:
            return True
        time.sleep(POLL_SECONDS)
    return False


def read_end(path: str, limit: int) -> str:
    """The end of a file, or nothing where there is none."""
    try:
        with open(path, "rb") as file:
            return tail(file.read(), limit)
    except OSError:
        return ""


def logged_errors(path: str) -> Iterator[str]:
    """Every error that the runtimes wrote to their log: the last one is often only a consequence ("EOF")."""
    decoder = json.JSONDecoder()
    rest = read_end(path, OUTPUT_LIMIT).strip()
    while rest:
        try:
            entry, used = decoder.raw_decode(rest)
        except ValueError:
            return
        rest = rest[used:].strip()
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            yield str(entry.get("msg", ""))


def last_words(directory: str) -> dict[str, str]:
    """What each of runsc's processes said of trouble in this start alone, by the name of its debug log.

    Without --debug that is warnings and above (gVisor 20260905, runsc/cli/main.go); the lines that it ends
    with have no prefix of a log's.
    """
    said = {}
    for name in sorted(os.listdir(directory)):
        lines = read_end(f"{directory}/{name}", OUTPUT_LIMIT).splitlines()
        wanted = [line for line in lines if not re.match(r"[DIW]\d{4} ", line)]
        if wanted:
            said[f"runsc's debug log {name}"] = "\n".join(wanted)[:ERROR_LIMIT]
    return said


def remove_bundle(task: dict[str, Any], name: str) -> str | None:
    """Remove a container made from a bundle, its processes and its files; what is left of it, or None."""
    delete, extra = shim(task, name, "delete", "--force")
    run(delete, CLEAN_UP_SECONDS, extra=extra)
    # A runtime that was killed before it had written its state knows nothing to delete.
    kill_processes_of(name)
    return remove_tree(bundle_path(task, name))


def remove_leftovers(task: dict[str, Any]) -> None:
    """Remove all that runs of this program have started and left, this one's or one's that was killed."""
    if shutil.which("docker", path=SEARCH_PATH) is not None:
        remove_containers(f"label={task['label']}")
    for name in os.listdir(os.path.join(task["dir"], "runs")):
        remove_bundle(task, name)
    # runsc keeps a network namespace mounted here, long after its last container.
    remove_tree(task["state_dir"])


def containers(task: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """The outcome of every container, by the id of its run."""
    entries = host_entries(task)
    tag = content_hash(entries)
    root = os.path.join(task["dir"], f"rootfs-{tag}")
    if not os.path.isdir(root):
        build_root(entries, root)
    remove_old_roots(task, root)
    images, no_image = ("", ""), None
    if any(what["through"] == "docker" for what in task["runs"]):
        try:
            images = images_for(task, root, tag, clock)
        except Fault as fault:
            no_image = str(fault)
    outcomes = {}
    for number, what in enumerate(task["runs"]):
        name = f"nvproxy-verify-{os.getpid()}-{number}"
        begin = time.monotonic()
        if clock.limit(task["seconds_each"]) == 0:
            result = not_run(f"the {clock.seconds:.0f} s for the whole verification were over")
        elif what["through"] == "bundle":
            result = through_bundle(task, what, root, name, clock)
        elif no_image is not None:
            result = not_run(no_image)
        else:
            result = through_docker(task, what, images[what["asking_image"]], name, clock)
        outcomes[what["id"]] = {**result, "seconds": round(time.monotonic() - begin, 2)}
    return outcomes


def stop(number: int, _frame: Any) -> NoReturn:
    """Turn a signal into an exception, so that every `finally` on the way out removes what was made."""
    raise Stopped(signal.Signals(number).name)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Run the task's commands and containers; a fault is told under `error`."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    clock = Clock(task["seconds_all"])
    answer: dict[str, Any] = {"error": None, "marks": [], "commands": {}, "runs": {}}
    try:
        os.makedirs(os.path.join(task["dir"], "runs"), exist_ok=True)
        remove_leftovers(task)
        answer["marks"] = [path for path in task["marks"] if os.path.exists(path)]
        for name, argv in task["commands"].items():
            answer["commands"][name] = outcome(run(argv, clock.limit(task["seconds_each"])))
        try:
            answer["runs"] = containers(task, clock)
        finally:
            remove_leftovers(task)
    except (Fault, Stopped, OSError) as fault:
        answer["error"] = f"the verification could not go on: {fault or type(fault).__name__}"
    return answer


if __name__ == "__main__":
    print(json.dumps(main(INPUT)))  # type: ignore[name-defined]  # noqa: F821 - set by the sender
