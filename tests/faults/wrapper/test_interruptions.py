"""The wrapper killed before each of its system calls, each of them failing, full disks: nothing half done.

strace does it from outside: it kills the process, or lets the call fail, when it is about to make its n-th
call of a name. The product has no switch for tests.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nvproxy_wrapper.host import preparation
from nvproxy_wrapper.judge.decision import Refusal
from tests.installed_wrapper import CAPTURED, InstalledWrapper, copy_of_the_package

CSV = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()

_CALL = re.compile(r"^(\d+) +(?:\S+ )?(\w+)\((.*)")


@pytest.fixture
def wrapper(tmp_path):
    # A copy that nobody edits meanwhile: the calls of an import are counted too.
    return InstalledWrapper(tmp_path, package=copy_of_the_package(tmp_path / "package"))


def create(wrapper, bundle, **options):
    return wrapper.call("create", "--bundle", str(bundle), "abc", **options)


def rewritten(wrapper) -> bytes:
    """The spec as an undisturbed call leaves it."""
    bundle = wrapper.bundle("undisturbed", CSV)
    assert create(wrapper, bundle).status == 0
    return (bundle / "config.json").read_bytes()


def strace(wrapper, *options):
    """A prefix for a call. --seccomp-bpf is faster, but strace 6.1 injects no signals with it."""
    return ["strace", "-f", "-qq", "-o", str(wrapper.home / "trace"), *options]


def steps(wrapper) -> list[tuple[str, int]]:
    """Each call from opening the bundle to starting runsc: its name, and its number among its like."""
    bundle = wrapper.bundle("traced", CSV)
    assert create(wrapper, bundle, prefix=strace(wrapper)).status == 0
    calls = [
        match.groups()
        for match in map(_CALL.match, (wrapper.home / "trace").read_text().splitlines())
        if match
    ]
    begin = next(
        n
        for n, (_, name, rest) in enumerate(calls)
        if name == "openat" and str(bundle) in rest and "O_DIRECTORY" in rest
    )
    end = next(
        n
        for n, (_, name, rest) in enumerate(calls)
        if name == "execve" and rest.startswith(f'"{wrapper.runsc}"')
    )
    process = calls[begin][0]
    # strace counts from the program that it starts itself, without the start of that one.
    seen = {"execve": -1}
    found = []
    for n, (pid, name, _) in enumerate(calls[: end + 1]):
        if pid == process:
            seen[name] = seen.get(name, 0) + 1
            if n >= begin:
                found.append((name, seen[name]))
    return found


def one_by_one(wrapper):
    """A new bundle for each step, with the strace option that names the step."""
    for number, (name, count) in enumerate(steps(wrapper)):
        bundle = wrapper.bundle(f"step{number}", CSV)
        yield (
            f"{name} number {count}",
            bundle,
            lambda what, n=name, c=count: (
                f"--trace={n}",
                f"--inject={n}:{what}:when={c}",
            ),
        )
        shutil.rmtree(bundle)


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal():
    """A shell without job control ignores SIGINT for what it starts in the background, and `nohup` SIGHUP."""
    numbers = [signal.SIGINT, signal.SIGHUP, signal.SIGTERM]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def test_a_kill_before_any_step_leaves_the_old_spec_or_the_new_one_and_the_next_call_cleans_up(wrapper):
    new = rewritten(wrapper)
    old_ones = new_ones = leftovers = 0
    for step, bundle, inject in one_by_one(wrapper):
        call = create(wrapper, bundle, prefix=strace(wrapper, *inject("signal=KILL")))
        assert call.runsc is None, step
        found = (bundle / "config.json").read_bytes()
        assert found in (CSV, new), step
        old_ones += found == CSV
        new_ones += found == new
        left = {path.name for path in bundle.iterdir()} - {"config.json"}
        assert all(name.startswith(".config.json.nvproxy-") for name in left), step
        leftovers += bool(left)

        again = create(wrapper, bundle)
        assert (again.status, again.runsc.spec) == (0, new), step
        if found == CSV:
            assert [path.name for path in bundle.iterdir()] == ["config.json"], step
    # Kills in all three stretches: before the temporary file, with it, and after the rename.
    assert old_ones > leftovers > 0
    assert new_ones > 0
    print(f"killed before {old_ones + new_ones} steps: {old_ones} old specs, {new_ones} new ones")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_before_any_step_ends_it_silently_and_the_bundle_is_whole(wrapper, name):
    new = rewritten(wrapper)
    old_ones = new_ones = 0
    for step, bundle, inject in one_by_one(wrapper):
        if name != "INT" and step.split()[0] not in ("fsync", "renameat", "execve"):
            # Python has handlers for SIGINT alone; of the others these steps tell enough.
            continue
        call = create(wrapper, bundle, prefix=strace(wrapper, *inject(f"signal={name}")))
        # strace ends itself by the signal that ended what it started; `unshare` became strace.
        assert call.status == -signal.Signals[f"SIG{name}"], step
        assert (call.runsc, call.stdout, call.stderr, call.errors) == (None, "", "", []), step
        found = (bundle / "config.json").read_bytes()
        assert found in (CSV, new), step
        old_ones += found == CSV
        new_ones += found == new
        again = create(wrapper, bundle)
        assert (again.status, again.runsc.spec) == (0, new), step
        if found == CSV:
            assert [path.name for path in bundle.iterdir()] == ["config.json"], step
    assert old_ones
    assert new_ones
    print(f"SIG{name} before {old_ones + new_ones} steps: {old_ones} old specs, {new_ones} new ones")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_that_is_ignored_stays_so_for_runsc(wrapper, name):
    bundle = wrapper.bundle("b", CSV)
    ignoring = ["/bin/sh", "-c", f"trap '' {name}; exec \"$@\"", "sh"]
    call = create(wrapper, bundle, prefix=ignoring)
    number = signal.Signals[f"SIG{name}"]
    assert call.status == 0
    assert call.runsc.ignored_signals & (1 << (number - 1))
    assert not create(wrapper, bundle).runsc.ignored_signals & (1 << (number - 1))


def test_a_fault_after_the_rewrite_puts_the_bundle_back_or_says_that_it_could_not(wrapper):
    """What cannot be put back is not said to be as it was."""
    wrapper.runsc.write_bytes(b"\0not a program")
    bundle = wrapper.bundle("b", CSV)
    assert "cannot be executed" in create(wrapper, bundle).stderr
    assert (bundle / "config.json").read_bytes() == CSV
    # The second rename is the one that puts it back.
    call = create(
        wrapper, bundle, prefix=strace(wrapper, "--trace=renameat", "--inject=renameat:error=EIO:when=2")
    )
    assert (call.status, call.runsc) == (1, None)
    assert "could not be put back: " in call.errors[-1]
    assert "as it was" not in call.errors[-1]
    assert (bundle / "config.json").read_bytes() != CSV


@pytest.mark.parametrize("error", ["EIO", "EINTR"])
def test_a_step_that_fails_ends_in_the_new_spec_under_runsc_or_in_a_refusal_with_the_old_one(wrapper, error):
    new = rewritten(wrapper)
    refused = started = 0
    for step, bundle, inject in one_by_one(wrapper):
        call = create(wrapper, bundle, prefix=strace(wrapper, "--seccomp-bpf", *inject(f"error={error}")))
        left = sorted(path.name for path in bundle.iterdir())
        if call.runsc is not None:
            assert call.status == 0, step
            assert call.runsc.spec == new, step
            started += 1
        else:
            assert call.status != 0, step
            assert (bundle / "config.json").read_bytes() == CSV, step
            refused += 1
        # One that cannot be removed because just that fails stays, under its recognisable name.
        assert left == ["config.json"] or "unlink" in step, step
    assert refused
    assert started
    print(f"{error} at {refused + started} steps: {refused} refused, {started} started")


class SmallDisk:
    """A tmpfs with so much room that is mounted at `path`."""

    def __init__(self, path, size):
        self.path = path
        path.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"mode=755,size={size}", "small", str(path)], check=True
        )

    def fill(self, leave):
        """Fill it but for `leave` bytes, a multiple of 4096."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass
            filler.truncate(filler.tell() - leave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.mark.parametrize("room", [0, 4096, 8192])
def test_a_disk_that_is_full_under_the_bundle_is_a_refusal_that_leaves_it(wrapper, room):
    with SmallDisk(wrapper.home / "disk", "128k") as disk:
        bundle = wrapper.bundle("disk/b", CSV)
        disk.fill(leave=room)
        call = create(wrapper, bundle)
        assert call.status == 1
        assert call.runsc is None
        assert "No space left on device" in call.errors[-1]
        assert (bundle / "config.json").read_bytes() == CSV
        assert [path.name for path in bundle.iterdir()] == ["config.json"]
        (disk.path / "filler").unlink()
        assert create(wrapper, bundle).status == 0


def test_a_disk_that_is_full_under_the_decision_log_stops_no_container(wrapper):
    with SmallDisk(wrapper.home / "disk", "16k") as disk:
        wrapper.write_settings(audit_log=str(disk.path / "decisions.jsonl"))
        disk.fill(leave=0)
        call = create(wrapper, wrapper.bundle("b", CSV))
        assert call.status == 0
        assert call.runsc is not None
        assert "No space left on device" in call.warnings[0]


def test_a_disk_that_is_full_under_the_runtimes_log_leaves_the_sentence_on_the_error_stream(wrapper):
    with SmallDisk(wrapper.home / "disk", "16k") as disk:
        disk.fill(leave=0)
        bundle = wrapper.bundle("b", CSV)
        call = wrapper.call_exactly(
            "--log", str(disk.path / "log.json"), "create", "--bundle", str(bundle), "abc", nodes=False
        )
        assert call.status == 1
        assert "devices.exist" in call.stderr


def wait_for_end(pid):
    """Until a process that was killed is gone, or a zombie; it may have to be scheduled for that first."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for _ in range(3000):
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
            time.sleep(0.01)
        pytest.fail(f"process {pid} was not killed")


def test_host_preparation_that_hangs_is_killed_with_its_children_and_refused(wrapper, monkeypatch):
    monkeypatch.setattr(preparation, "TIMEOUT_SECONDS", 1)
    pids = wrapper.home / "pids"
    hanging = ["/bin/sh", "-c", f"sleep 300 & echo $$ $! >{pids}; wait"]
    with pytest.raises(Refusal, match="took more than 1 s"):
        preparation.run([hanging, ["/bin/sh", "-c", "never reached"]])
    for pid in pids.read_text().split():
        wait_for_end(int(pid))


def test_a_daemon_that_host_preparation_leaves_behind_is_not_waited_for(wrapper):
    pid = wrapper.home / "pid"
    assert preparation.run([["/bin/sh", "-c", f"sleep 60 & echo $! >{pid}; echo warned >&2; exit 4"]]) == [
        f"/bin/sh -c sleep 60 & echo $! >{pid}; echo warned >&2; exit 4: exit status 4, warned"
    ]
    os.kill(int(pid.read_text()), signal.SIGTERM)


def test_calls_at_once_leave_whole_lines_in_the_decision_log(wrapper):
    bundles = [wrapper.bundle(f"b{number}", CSV) for number in range(12)]
    processes = [
        subprocess.Popen(
            [str(wrapper.launcher), "create", "--bundle", str(bundle), bundle.name], stderr=subprocess.DEVNULL
        )
        for bundle in bundles
    ]
    for process in processes:
        process.wait(timeout=60)
    assert {line["id"] for line in wrapper.decisions()} == {bundle.name for bundle in bundles}
    assert all(json.dumps(line) for line in wrapper.decisions())
