"""The walk: a run from one good state of a host to another, one fault in it, and what became of the host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploys.model import paths
from tests.e2e.site import LAB_INVENTORY, PYINFRA, ROOT, data
from tests.faults.site import on_host
from tests.faults.site.faults import DO, FULL, Fault, Halted
from tests.faults.site.mirror import Trouble, ill_mirror
from tests.faults.site.state import SURVIVORS, State, differences, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab import HostDefinition
    from tests.lab.container import Container

SECONDS = 240
SETTLES = 40
TROUBLES = {
    Fault.GONE: Trouble.GONE,
    Fault.SLOW: Trouble.SLOW,
    Fault.CUT_SHORT: Trouble.CUT_SHORT,
    Fault.CONTENT: Trouble.OTHER_CONTENT,
}


@dataclass(frozen=True)
class Way:
    """Two good states that the host goes to and fro between, by what its inventory says in each."""

    name: str
    one: dict[str, Any]
    other: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """Where a run is stopped: in the n-th program that it sends, before its change; `of` such it makes."""

    way: Way
    program: int
    name: str
    change: int
    of: int

    def __str__(self) -> str:
        return f"{self.way.name}: {self.program}. {self.name}, change {self.change} of {self.of}"


@dataclass(frozen=True)
class Outcome:
    """What a fault has done."""

    fault: Fault
    where: str
    state: str
    engine: bool
    running: str
    half: tuple[str, ...]
    converges: str
    remark: str = ""
    seconds: float = 0

    @property
    def good(self) -> bool:
        """Whether all of it is as it must be."""
        return (
            self.state in ("old", "new")
            and self.engine
            and self.running == "yes"
            and not self.half
            and self.converges == "yes"
            and "was not refused" not in self.remark
        )


@dataclass
class Walk:
    """One host, and its good states."""

    host: Container
    definition: HostDefinition
    mirror: dict[str, Any]
    root: Path
    address: str
    at: dict[str, Any] = field(default_factory=dict)
    state: State | None = None

    def start(self, wanted: dict[str, Any], *more: str) -> subprocess.Popen[str]:
        """Start a site run towards a state."""
        argv = [str(PYINFRA), "-y", str(LAB_INVENTORY), "deploys/site.py", "--limit", self.host.name]
        return subprocess.Popen(
            [*argv, *data(**wanted), *more],
            cwd=ROOT,
            env={**os.environ, "PYINFRA_PROGRESS": "off", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def converge(self, wanted: dict[str, Any]) -> str:
        """A run with nothing in its way; what it said where it failed."""
        self.point(None)
        process = self.start(wanted)
        said = ended(process)
        return "" if process.returncode == 0 else said

    def good(self, wanted: dict[str, Any]) -> State:
        """The state that a good run leaves, and that a second one leaves alone."""
        for _ in range(2):
            said = self.converge(wanted)
            if said:
                raise RuntimeError(f"a run without a fault failed: {said[-3000:]}")
        self.at, self.state = wanted, look(self.host)
        return self.state

    def point(self, point: Point | None) -> None:
        """Where the next run is to be stopped, if at all."""
        home = on_host.HOME
        text = json.dumps({"program": point.program, "change": point.change}) if point else ""
        write = f"printf %s '{text}' >{home}/point" if point else ":"
        self.host.run(f"mkdir -p {home} && rm -f {home}/* && {write}")

    def programs(self, wanted: dict[str, Any]) -> list[tuple[str, int]]:
        """What a run sends, and how many changes each of them makes."""
        said = self.converge(wanted)
        if said:
            raise RuntimeError(f"a run without a fault failed: {said[-3000:]}")
        self.at, self.state = wanted, look(self.host)
        log = self.host.run(["cat", f"{on_host.HOME}/log"]).stdout.split("\n")
        return [(line.split()[1], int(line.split()[2])) for line in log if line.startswith("end ")]

    def inside(self, name: str) -> Path:
        """A file of `/run` in the host, as this machine sees it."""
        leader = self.host._leader()
        return Path(f"/proc/{leader}/root{on_host.HOME}/{name}")

    def halted(self, process: subprocess.Popen[str], wanted: dict[str, Any]) -> Halted | None:
        """Wait until the run stands still; None where it ended before."""
        hit = self.inside("hit")
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end:
            if hit.exists():
                return Halted(
                    self.host, self.definition, process, int(hit.read_text()), lambda: self.second(wanted)
                )
            time.sleep(0.05)
        return None

    def second(self, wanted: dict[str, Any]) -> tuple[int, str]:
        """Another run beside the one that stands still. Its programs are behind the point."""
        process = self.start(wanted)
        said = ended(process)
        return process.returncode, said

    def faulty(self, fault: Fault, point: Point | None, way: Way) -> Outcome:
        """One fault: the run, the state after it, and the next run."""
        began = time.monotonic()
        wanted = way.other if self.at == way.one else way.one
        old = self.state
        assert old is not None
        remark, said = self.suffer(fault, point, wanted)
        here = self.settled()
        self.heal(fault)
        running = self.alive(here, old, fault)
        remark = remark or ("it went back and said so" if "went back" in said else "")
        failed = self.converge(wanted)
        new = look(self.host)
        state = "old" if here.config == old.config else "new" if here.config == new.config else "neither"
        if state == "neither":
            remark = f"other than old: {', '.join(differences(here, old))}; {said[-300:]}"
        if here.packages not in (old.packages, new.packages):
            remark += f"; packages: {here.packages}"
        self.at, self.state = wanted, new
        ended = failed[-400:] or ("yes" if not new.half else f"it left {new.half}")
        where = str(point) if point is not None else f"{way.name}: fetching"
        half = tuple(path for path in here.half if not path.startswith(paths.STAGING_DIR))
        return Outcome(
            fault, where, state, here.loaded is not None, running, half, ended, remark,
            time.monotonic() - began,
        )  # fmt: skip

    def suffer(self, fault: Fault, point: Point | None, wanted: dict[str, Any]) -> tuple[str, str]:
        """The run with its fault: a remark, and what it said."""
        if fault in TROUBLES:
            with ill_mirror(self.root, self.address, TROUBLES[fault]) as url:
                self.point(None)
                ill = {**wanted, "gvisor_url": self.mirror["gvisor_url"].replace(url_of(self.mirror), url)}
                if "toolkit_version" in wanted:
                    there = self.mirror["toolkit_repository_url"]
                    ill = {**wanted, "toolkit_repository_url": there.replace(url_of(self.mirror), url)}
                said = ended(self.start(ill))
                return "", said
        self.point(point)
        process = self.start(wanted)
        halted = self.halted(process, wanted)
        if halted is None:
            said = ended(process)
            return "the run did not come there", said
        remark = DO[fault](halted)
        if fault is not Fault.REBOOT:
            self.host.run(["touch", f"{on_host.HOME}/go"])
        said = ended(process)
        return remark, said

    def settled(self) -> State:
        """The state once nobody works on the host any more: a watch may have to go back first."""
        for _ in range(SETTLES):
            still = f"[ ! -e {paths.WAY_BACK} ] && docker info >/dev/null 2>&1"
            if self.host.run(still, check=False).returncode == 0:
                break
            time.sleep(0.5)
        return look(self.host)

    def heal(self, fault: Fault) -> None:
        """What an administrator would do before the next run, and no more."""
        if fault is Fault.DISK:
            for place in FULL:
                self.host.run(f"rm -f {place}/filler {place}/filler2")

    def alive(self, here: State, old: State, fault: Fault) -> str:
        """Whether the containers are the same processes; after a reboot new ones are started."""
        if fault is Fault.REBOOT:
            self.host.run(f"docker start {' '.join(SURVIVORS)}")
            return "yes"
        gone = [name for name in SURVIVORS if here.running[name] != old.running[name]]
        return "yes" if not gone else f"no: {', '.join(gone)}"


def ended(process: subprocess.Popen[str]) -> str:
    """What a run said, once it has ended.

    Raises:
        TimeoutExpired: it does not end, and was killed.
    """
    try:
        said, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return said


def url_of(mirror: dict[str, Any]) -> str:
    """The mirror's own address, without a path."""
    return "/".join(str(mirror["gvisor_url"]).split("/")[:3])


def points(way: Way, programs: Sequence[tuple[str, int]]) -> Iterator[Point]:
    """Three points of each program that changes something: before its first change, half way, behind all."""
    for at, (name, changes) in enumerate(programs):
        if name in ("snapshot_probe", "container_runs"):
            continue
        for change in sorted({0, changes // 2, changes}):
            yield Point(way, at, name, change, changes)
