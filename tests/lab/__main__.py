"""`python -m tests.lab`: bring the lab up and down, and get into its hosts."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from .definition import DEFAULT_HOSTS, Engine, HostDefinition, Machine
from .errors import LabError
from .lab import Lab
from .versions import (
    DRIVER_VERSION,
    GVISOR_RELEASES,
    HOST_SUITE,
    SUITES,
    TOOLKIT_VERSIONS,
    GvisorRelease,
    ToolkitVersion,
)

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _COMMANDS[options.command](Lab.open(), options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the next `up` goes on from here", file=sys.stderr)
        return INTERRUPTED


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser(
        "up", help="build what is missing, boot hosts (gpu-a and gpu-b unless named), serve the mirror"
    )
    up.add_argument("names", nargs="*", metavar="NAME")
    up.add_argument(
        "--gpus", type=int, default=2, help="pretend GPUs of a host other than gpu-a and gpu-b (2)"
    )
    up.add_argument(
        "--engine", choices=list(Engine), default=Engine.DEBIAN, help="its container engine (debian)"
    )
    up.add_argument(
        "--machine",
        choices=list(Machine),
        default=Machine.CONTAINER,
        help="what the hosts are made of: container shares this machine's kernel, vm has its own (container)",
    )
    up.add_argument("--suite", choices=SUITES, default=HOST_SUITE, help=f"its Debian, of a vm ({HOST_SUITE})")
    up.add_argument("--driver-version", default=DRIVER_VERSION, help=f"its pretend driver ({DRIVER_VERSION})")
    up.add_argument("--user", choices=["root", "fleet"], default="root", help="who logs in (root)")
    up.add_argument("--no-gpu", action="store_true", help="nothing of NVIDIA's on it")
    up.add_argument(
        "--newest-only", action="store_true", help="of the default versions build only the newest (quicker)"
    )
    _add_versions(up)

    parts = commands.add_parser("parts", help="only build; more versions extend the mirror")
    parts.add_argument("--all", action="store_true", help="every version that tests/lab/versions.py knows")
    _add_versions(parts)

    down = commands.add_parser(
        "down", help="stop and remove hosts (all of the lab unless named); what was built stays"
    )
    down.add_argument("names", nargs="*", metavar="NAME")
    commands.add_parser("status", help="which hosts are up, and where")

    ssh = commands.add_parser("ssh", help="log in as the host's user")
    ssh.add_argument("name", metavar="NAME")
    ssh.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    execute = commands.add_parser("exec", help="run a program as root, without ssh")
    execute.add_argument("name", metavar="NAME")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    return parser


def _add_versions(parser: argparse.ArgumentParser) -> None:
    dates = [release.date for release in GVISOR_RELEASES]
    versions = [toolkit.version for toolkit in TOOLKIT_VERSIONS]
    parser.add_argument(
        "--releases", nargs="+", choices=dates, default=[], metavar="DATE", help=f"of {' '.join(dates)}"
    )
    parser.add_argument(
        "--toolkits",
        nargs="+",
        choices=versions,
        default=[],
        metavar="VERSION",
        help=f"of {' '.join(versions)}",
    )


def _up(lab: Lab, options: argparse.Namespace) -> int:
    known = {definition.name: definition for definition in DEFAULT_HOSTS}
    machine = Machine(options.machine)
    definitions = [
        known.get(name)
        or HostDefinition(
            name,
            options.gpus,
            Engine(options.engine),
            options.driver_version,
            gpu=not options.no_gpu,
            user=options.user,
        )
        for name in options.names or known
    ]
    definitions = [replace(one, machine=machine, suite=options.suite) for one in definitions]
    lab.up(
        definitions,
        releases=_releases(options.releases),
        toolkits=_toolkits(options.toolkits),
        newest_only=options.newest_only,
    )
    return 0


def _parts(lab: Lab, options: argparse.Namespace) -> int:
    if options.all:
        lab.build_parts(GVISOR_RELEASES, TOOLKIT_VERSIONS)
    else:
        lab.build_parts(_releases(options.releases), _toolkits(options.toolkits))
    return 0


def _releases(dates: Sequence[str]) -> list[GvisorRelease]:
    return [release for release in GVISOR_RELEASES if release.date in dates]


def _toolkits(versions: Sequence[str]) -> list[ToolkitVersion]:
    return [toolkit for toolkit in TOOLKIT_VERSIONS if toolkit.version in versions]


def _down(lab: Lab, options: argparse.Namespace) -> int:
    lab.down(options.names or None)
    return 0


def _status(lab: Lab, _options: argparse.Namespace) -> int:
    rows = lab.status()
    for definition, host, answers in rows:
        gpus = f"{len(definition.pretend_gpus)} GPUs" if definition.gpu else "no driver"
        state = "up" if answers else "NOT answering, or out of date: run `up`"
        login = f"{definition.user}@{host.endpoint}"
        made_of = f"{definition.machine:10} {gpus:10} engine {definition.engine:8}"
        print(f"{host.name:12} {login:24} {made_of} {state}")
    if not rows:
        print("no host is up: start them with `python -m tests.lab up`")
    return 0 if all(answers for *_, answers in rows) else 1


def _ssh(lab: Lab, options: argparse.Namespace) -> int:
    argv = lab.ssh_command(options.name, options.argv)
    os.execvp(argv[0], argv)


def _exec(lab: Lab, options: argparse.Namespace) -> int:
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise LabError(f"no program to run on {options.name}: give one after --")
    inside = lab.host(options.name).enter(argv)
    os.execvp(inside[0], inside)


_COMMANDS = {"up": _up, "parts": _parts, "down": _down, "status": _status, "ssh": _ssh, "exec": _exec}

if __name__ == "__main__":
    sys.exit(main())
