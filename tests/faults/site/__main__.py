"""`python -m tests.faults.site`: one fault after another, and the page about them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.site import on_host
from tests.faults.site.faults import FULL, Fault
from tests.faults.site.report import markdown
from tests.faults.site.state import SURVIVORS
from tests.faults.site.walk import TROUBLES, Outcome, Point, Walk, Way, points
from tests.lab import HostDefinition, Lab, LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "faults.md"
REPORT = ROOT / "reports" / "faults.json"
HOST = HostDefinition("faults")
AT_ANY_POINT = (Fault.KILLED, Fault.CUT, Fault.CONTROLLER, Fault.REBOOT, Fault.DEAD, Fault.BESIDE)
SITECUSTOMIZE = "/usr/lib/python3.11/sitecustomize.py"


def ways(mirror: dict) -> dict[str, Way]:
    """What is changed to and fro: settings, Docker's runtime, the release of gVisor, the toolkit."""
    releases, toolkits = mirror["gvisor_releases"], mirror["toolkit_versions"]
    one, other = min(releases), max(releases)
    base = {"toolkit_mode": "csv"}

    def release(date: str) -> dict:
        return {**base, "gvisor_release": date, "gvisor_sha512": releases[date]}

    return {
        "settings": Way("settings", base, {"toolkit_mode": "auto", "runsc_args": ["--directfs=false"]}),
        "runtime": Way("runtime", base, {**base, "runtime_name": "nvidia-gvisor"}),
        "gvisor": Way("gvisor", release(other), release(one)),
        "toolkit": Way(
            "toolkit", {**base, "toolkit_version": toolkits[-1]}, {**base, "toolkit_version": toolkits[0]}
        ),
    }


def chosen(way: Way, programs: Sequence[tuple[str, int]]) -> Iterator[tuple[Fault, Point | None]]:
    """The faults of a way: each kind that may come anywhere at a point of its own, in turn; then the rest.

    Every point has a fault, and every fault of `AT_ANY_POINT` goes through all programs.
    """
    for at, point in enumerate(points(way, programs)):
        yield AT_ANY_POINT[at % len(AT_ANY_POINT)], point
    named = {name: (index, changes) for index, (name, changes) in enumerate(programs)}
    if way.name == "gvisor":
        yield from ((fault, None) for fault in TROUBLES)
    if way.name == "toolkit":
        yield from ((fault, None) for fault in TROUBLES if fault is not Fault.SLOW)
        index, changes = named["install_packages"]
        yield Fault.LOCKED, Point(way, index, "install_packages", 0, changes)
    if way.name == "runtime":
        index, changes = named["docker_engine"]
        for change in range(changes + 1):
            yield (
                Fault.REFUSED if change % 2 else Fault.STOPPED,
                Point(way, index, "docker_engine", change, changes),
            )


def disk_full(way: Way, programs: Sequence[tuple[str, int]]) -> Iterator[tuple[Fault, Point]]:
    """The disk fills up at the beginning and in the midst of each program that writes."""
    for point in points(way, programs):
        if point.change < point.of or point.of == 0:
            yield Fault.DISK, point


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every fault ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.site", description=__doc__)
    parser.add_argument("ways", nargs="*", metavar="WAY", help="settings, runtime, gvisor, toolkit (all)")
    parser.add_argument("--minutes", type=float, default=60, help="no new fault after so many (60)")
    parser.add_argument("--every", type=int, default=1, help="of the faults, only every n-th (1)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    lab = Lab.open()
    try:
        walk = prepared(lab)
        found = ways(walk.mirror)
        for name in options.ways or found:
            for outcome in walked(walk, found[name], options.every, began + 60 * options.minutes):
                outcomes.append(outcome)
                said = "" if outcome.good else f" WRONG: {outcome}"
                print(
                    f"[{time.monotonic() - began:4.0f} s] {outcome.fault}; {outcome.where}: {outcome.state}"
                    f" ({outcome.seconds:.0f} s){said}",
                    flush=True,
                )
    except LabError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    finally:
        write(outcomes, (time.monotonic() - began) / 60, whole=not options.ways)
        lab.down([HOST.name])
    return 0 if all(outcome.good for outcome in outcomes) else 1


def write(outcomes: Sequence[Outcome], minutes: float, *, whole: bool) -> None:
    """The report, and the page."""
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n", encoding="utf-8")
    if whole and outcomes:
        setting = f"a host of the lab with Debian's Docker, {os.cpu_count()} processors"
        text = markdown(outcomes, f"{datetime.now(UTC):%Y-%m-%d}", minutes, setting)
        DOCUMENT.write_text(text, encoding="utf-8")


def walked(walk: Walk, way: Way, every: int, end: float) -> Iterator[Outcome]:
    """All faults of a way."""
    if time.monotonic() > end:
        return
    walk.good(way.one)
    programs = walk.programs(way.other)
    faults = [*chosen(way, programs)][::every]
    for fault, point in faults:
        if time.monotonic() > end:
            break
        yield tried(walk, fault, point, way)
    small_disks(walk)
    for fault, point in [*disk_full(way, programs)][::every]:
        if time.monotonic() > end:
            break
        yield tried(walk, fault, point, way)
    one_disk(walk)


def tried(walk: Walk, fault: Fault, point: Point | None, way: Way) -> Outcome:
    """One fault. Where the harness itself comes to an end with it, that is its outcome, and it goes on."""
    try:
        return walk.faulty(fault, point, way)
    except (LabError, RuntimeError, subprocess.TimeoutExpired) as error:
        outcome = Outcome(fault, str(point), "not told", engine=False, running="not told", half=(),
                          converges="not tried", remark=str(error)[-300:])  # fmt: skip
        walk.good(way.one)
        return outcome


def small_disks(walk: Walk) -> None:
    """File systems of their own that can be filled up without filling this machine's disk."""
    for place in FULL:
        walk.host.run(
            f"cp -a {place} /tmp/aside && mount -t tmpfs -o size=700m,mode=755 tmpfs {place} && "
            f"cp -a /tmp/aside/. {place}/ && rm -rf /tmp/aside"
        )


def one_disk(walk: Walk) -> None:
    """The disk as it was when the small ones came: what a next run mends."""
    for place in FULL:
        walk.host.run(["umount", "--lazy", place])


def prepared(lab: Lab) -> Walk:
    """A converged host, two containers on it, and what stops a run."""
    (host,) = lab.up([HOST])
    mirror = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["mirror"]
    served = lab._mirror_server.link
    walk = Walk(host, HOST, mirror, served, lab.network.mirror_address)
    host.run("mkdir -p /etc/docker && cat >/etc/docker/daemon.json", stdin='{"live-restore": true}\n')
    host.run("systemctl reload docker")
    walk.good(ways(mirror)["settings"].one)
    image = host.run("docker images --format '{{.Repository}}:{{.Tag}}' nvproxy-fleet/verify").stdout.split()[
        0
    ]
    for name in SURVIVORS:
        runtime = "nvidia" if name.endswith("runsc") else "runc"
        host.run(f"docker run -d -i --name {name} --network=none --runtime={runtime} {image} cat")
    host.run(f"rm -f {SITECUSTOMIZE} && cat >{SITECUSTOMIZE}", stdin=Path(on_host.__file__).read_text())
    return walk


if __name__ == "__main__":
    sys.exit(main())
