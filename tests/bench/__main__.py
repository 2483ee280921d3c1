"""What the wrapper costs: each kind of call, in turns, in one run, beside what it takes the place of.

    python -m tests.bench [ROUNDS]

docs/benchmarks.md is made of it. Root is needed: the run has a /dev of its own with NVIDIA's nodes in it, and
a tmpfs, which is what bundles lie on (/run). runsc is /bin/true, and so is NVIDIA's runtime. Times are this
machine's; ratios and instruction counts are what carries over.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nvproxy_wrapper.host.kept_spec import NAME as KEPT
from tests.installed_wrapper import (
    CAPTURED,
    PYTHON,
    ROOT,
    InstalledWrapper,
    copy_of_the_package,
    in_a_private_dev,
)

REPORT = ROOT / "docs/benchmarks.md"
ROUNDS = 200
INSIDE = "--inside"
GLOBAL_FLAGS = [
    "--root",
    "/run/docker/runtime-runc/moby",
    "--log",
    "/nonexistent/log.json",
    "--log-format",
    "json",
]

TRUE = "/bin/true, in the place of runsc"
BASH = "bash one-liner, `state`"
BASH_CREATE = "bash one-liner, `create`"
ENTRY_STATE = "entry, `state`"
ENTRY_CREATE = "entry, `create`, 17 KB spec"
STATE = "launcher, `state`"
PLAIN = "launcher, `create` without GPU"
FLOOR = "`python3 -IS -c pass`"
GPU = "launcher, `create` with GPU, 17 KB spec"
WRAPPER = "of which Python, 17 KB spec"
CHAIN = "entry and launcher, `create` with GPU, 17 KB spec"
GPU_1MB = "launcher, `create` with GPU, 1 MB spec"


@dataclass(frozen=True)
class Call:
    """One kind of call: its command, and the spec that each round puts into its bundle, where it has one."""

    command: list[str]
    spec: bytes = b""
    bundle: Path | None = None

    def run(self) -> float:
        """Seconds from the start of the process to its end."""
        if self.bundle is not None:
            (self.bundle / "config.json").write_bytes(self.spec)
            # As in a bundle that an engine has just made.
            (self.bundle / KEPT).unlink(missing_ok=True)
        start = time.perf_counter()
        process = os.posix_spawn(self.command[0], self.command, os.environ)
        _, status = os.waitpid(process, 0)
        seconds = time.perf_counter() - start
        if status != 0:
            sys.exit(f"{' '.join(self.command)[:200]} ended with status {status}")
        return seconds


@dataclass(frozen=True)
class Budget:
    """What `subject` may take: `factor` times what `base` takes, and `extra` milliseconds."""

    subject: str
    base: str
    factor: float
    extra: float = 0.0

    def row(self, measured: dict[str, list[float]]) -> list[str]:
        middle = {name: statistics.median(times) for name, times in measured.items()}
        least = {name: min(times) for name, times in measured.items()}
        limit = f"{self.factor:g} times {self.base}" if not self.extra else f"{self.base} + {self.extra:g} ms"
        shown = [self._shown(values) for values in (middle, least)]
        held = ["held" if self._holds(values) else "**missed**" for values in (middle, least)]
        return [self.subject, limit, f"{shown[0]}, {held[0]}", f"{shown[1]}, {held[1]}"]

    def _holds(self, values: dict[str, float]) -> bool:
        return values[self.subject] <= self.factor * values[self.base] + self.extra / 1000

    def _shown(self, values: dict[str, float]) -> str:
        if self.extra:
            return f"+ {(values[self.subject] - values[self.base]) * 1000:.1f} ms"
        return f"{values[self.subject] / values[self.base]:.2f} times"


BUDGETS = (
    Budget(ENTRY_STATE, BASH, 1.0),
    Budget(ENTRY_CREATE, BASH_CREATE, 1.0, 1.0),
    Budget(STATE, BASH, 1.0),
    Budget(PLAIN, BASH_CREATE, 2.0),
    Budget(WRAPPER, FLOOR, 1.0, 3.0),
    Budget(GPU, FLOOR, 1.0, 3.0),
)


def main() -> None:
    """Measure inside a mount namespace of this run's own, and write the report."""
    arguments = sys.argv[1:]
    if arguments[:1] == [INSIDE]:
        inside(Path(arguments[1]), int(arguments[2]))
        return
    if os.geteuid() != 0:
        sys.exit("tests.bench needs root: it gives the run a /dev of its own with NVIDIA's nodes in it.")
    rounds = int(arguments[0]) if arguments else ROUNDS
    with tempfile.TemporaryDirectory(prefix="nvproxy-bench-") as home:
        again = [sys.executable, "-m", "tests.bench", INSIDE, home, str(rounds)]
        subprocess.run(in_a_private_dev(again), cwd=ROOT, check=True)


def inside(home: Path, rounds: int) -> None:
    """Mount the tmpfs, install, measure, report."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "bench", str(home)], check=True)
    (home / "package").mkdir()
    (home / "host").mkdir()
    wrapper = InstalledWrapper(home / "host", package=copy_of_the_package(home / "package"))
    wrapper.runsc.unlink()
    wrapper.runsc.symlink_to("/bin/true")
    (wrapper.home / "shim").unlink()
    (wrapper.home / "shim").symlink_to("/bin/true")
    calls = prepare(wrapper)
    measured: dict[str, list[float]] = {name: [] for name in calls}
    # What else runs on the machine would be most of what is measured.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    for number in range(rounds):
        for name, call in calls.items():
            measured[name].append(call.run())
        if number % 50 == 49:
            print(f"{number + 1} of {rounds} rounds", flush=True)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    text = report(measured, instructions(calls, wrapper, home), rounds)
    REPORT.write_text(text)
    print(text)


def prepare(wrapper: InstalledWrapper) -> dict[str, Call]:
    """Every kind of call, in the order in which they take turns."""
    captured = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()
    plain = padded((CAPTURED / "1.20.0_csv_no-gpu.json").read_bytes(), 17_000).replace(b"nvidia", b"device")
    plain = plain.replace(b"NVIDIA", b"DEVICE")
    specs = {"gpu": padded(captured, 17_000), "big": padded(captured, 1_000_000), "plain": plain}
    bundles = {name: wrapper.bundle(name, spec) for name, spec in specs.items()}

    def create(program: list[str], name: str) -> Call:
        command = [*program, *GLOBAL_FLAGS, "create", "--bundle", str(bundles[name]), "abc"]
        return Call(command, specs[name], bundles[name])

    one_liner = wrapper.home / "one-liner"
    one_liner.write_text('#!/bin/bash\nexec /bin/true --nvproxy "$@"\n')
    one_liner.chmod(0o755)
    chain = wrapper.home / "chain"
    chain.write_text(wrapper.entry.read_text().replace(str(wrapper.home / "shim"), str(wrapper.launcher)))
    chain.chmod(0o755)
    launcher, entry = [str(wrapper.launcher)], [str(wrapper.entry)]
    return {
        FLOOR: Call([PYTHON, "-IS", "-c", "pass"]),
        TRUE: Call([str(wrapper.runsc)]),
        BASH: Call([str(one_liner), *GLOBAL_FLAGS, "state", "abc"]),
        ENTRY_STATE: Call([*entry, *GLOBAL_FLAGS, "state", "abc"]),
        STATE: Call([*launcher, *GLOBAL_FLAGS, "state", "abc"]),
        BASH_CREATE: create([str(one_liner)], "plain"),
        ENTRY_CREATE: create(entry, "gpu"),
        PLAIN: create(launcher, "plain"),
        GPU: create(launcher, "gpu"),
        WRAPPER: create([PYTHON, "-IS", "-c", python_program(wrapper), ""], "gpu"),
        CHAIN: create([str(chain)], "gpu"),
        GPU_1MB: create(launcher, "big"),
    }


def padded(spec: bytes, size: int) -> bytes:
    """The spec with as many environment variables more as make it about `size` bytes."""
    value = json.loads(spec)
    count = max(0, size - len(spec)) // 63
    value["process"]["env"] += [f"SERVICE_{number:06}={'x' * 46}" for number in range(count)]
    return json.dumps(value, separators=(",", ":")).encode()


def python_program(wrapper: InstalledWrapper) -> str:
    """The program that the launcher hands to Python."""
    return wrapper.launcher.read_text().split(" -IS -c '", 1)[1].rsplit('\' "$log"', 1)[0]


def instructions(calls: dict[str, Call], wrapper: InstalledWrapper, home: Path) -> dict[str, int]:
    """Instructions in user space up to the start of runsc (callgrind)."""
    counted = {
        BASH: [["/bin/bash", *calls[BASH].command]],
        ENTRY_STATE: [["/bin/sh", *calls[ENTRY_STATE].command]],
        ENTRY_CREATE: [
            ["/bin/sh", *calls[ENTRY_CREATE].command],
            ["/bin/cat", f"{calls[ENTRY_CREATE].bundle}/config.json"],
        ],
        STATE: [["/bin/sh", *calls[STATE].command]],
        PLAIN: [["/bin/sh", *calls[PLAIN].command], grep_of(wrapper, calls[PLAIN])],
        FLOOR: [calls[FLOOR].command],
        WRAPPER: [calls[WRAPPER].command],
    }
    found = {}
    for name, commands in counted.items():
        call = calls[name]
        if call.bundle is not None:
            (call.bundle / "config.json").write_bytes(call.spec)
            (call.bundle / KEPT).unlink(missing_ok=True)
        found[name] = sum(count(command, home) for command in commands)
    return found


def grep_of(wrapper: InstalledWrapper, call: Call) -> list[str]:
    """The grep that the launcher runs on the spec of `call`."""
    command = wrapper.launcher.read_text().partition("LC_ALL=C ")[2].partition(' "$spec"')[0]
    return [*shlex.split(command.replace("\\\n", "")), f"{call.bundle}/config.json"]


def count(command: list[str], home: Path) -> int:
    """What callgrind counts in one process until it ends or becomes another program."""
    out = home / "callgrind"
    out.mkdir()
    process = subprocess.Popen(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}/%p", "--dump-before=execve", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    process.wait()
    # A child that the process forks has files of its own; those are not of this process.
    texts = [path.read_text() for path in out.glob(f"{process.pid}*")]
    shutil.rmtree(out)
    return sum(
        int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("totals:")
    )


def report(measured: dict[str, list[float]], counted: dict[str, int], rounds: int) -> str:
    """docs/benchmarks.md."""
    times = [
        [name, *(f"{value * 1000:.2f}" for value in (statistics.median(times), min(times)))]
        for name, times in measured.items()
    ]
    counts = [[name, f"{value / 1e6:.2f}"] for name, value in counted.items()]
    python = subprocess.run([PYTHON, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    machine = (
        f"{cpu()}, {os.cpu_count()} cores, Linux {platform.release()}, {python}, /bin/sh is "
        f"{Path('/bin/sh').resolve().name}; load average at the end {os.getloadavg()[0]:.1f}"
    )
    method = (
        f"Written by `make bench` (tests/bench). Each kind of call took its turn in {rounds} rounds of"
        " one run, with /bin/true in the place of runsc and of NVIDIA's runtime, the bundle on a tmpfs, as"
        " /run is, and the calls scheduled before everything else (SCHED_FIFO)."
    )
    budgets = [budget.row(measured) for budget in BUDGETS]
    parts = [
        "# What the wrapper costs",
        f"{method} Machine: {machine}.",
        "## Budgets",
        table(["call", "budget", "by medians", "by minima"], budgets),
        "On a busy machine medians tell of the machine; minima and instructions are what to compare.",
        f"Every call but {FLOOR} ends in /bin/true, whose own time is in it.",
        "## Times, in milliseconds",
        table(["call", "median", "minimum"], times),
        "## Instructions in user space until runsc starts, in millions (callgrind)",
        table(["call", "instructions"], counts),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


if __name__ == "__main__":
    main()
