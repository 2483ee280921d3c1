"""What a runsc can do, found out by trying it: flags, drivers, side binaries, and whether it runs hooks.

`runsc features` lists createContainer hooks also where it does not run them (20260518), and a version says
nothing on builds of one's own (VERSION_MISSING). So a bundle is created, never started, whose hook leaves a
mark.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile

from nvproxy_wrapper.judge.capabilities import ALLOW_FLAG
from nvproxy_wrapper.judge.host_view import PROGRAM_PATH
from nvproxy_wrapper.judge.rules.asked import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

TIMEOUT_SECONDS = 30
"""For each call of runsc. `create` takes about 0.1 s."""

_ENVIRONMENT = {"PATH": ":".join(PROGRAM_PATH)}
_CONTAINER = "nvproxy-wrapper-probe"


class ProbeError(Exception):
    """The program is no runsc that runs here; the message is a whole sentence."""


class Probe:
    """What was found out about one runsc.

    Attributes:
        runsc: its path, as given.
        version: what `--version` says, VERSION_MISSING on builds without a release.
        hooks_run: whether it runs createContainer hooks; None where that could not be tried.
        why_not_told: why `hooks_run` is None, or None.
        flags: names of its global flags, without dashes.
        capabilities: driver capabilities by name, and whether it takes them as allowed; empty where it has no
            flag for it.
        supported_drivers: driver versions, as `nvproxy list-supported-drivers` prints them.
        side_binaries: file names in `gvisor-bin` beside the real file (releases from 20260721 on).
    """

    def __init__(self, runsc: str, capabilities: Iterable[str] = ()) -> None:
        """Try it.

        Args:
            runsc: its path.
            capabilities: names to ask it about, besides the known ones.
        """
        self.runsc = runsc
        self.version = _version(_output(runsc, "--version"))
        self.flags = re.findall(r"^  -(\S+)", _output(runsc, "flags"), re.MULTILINE)
        self.capabilities = _capabilities(runsc, self.flags, dict.fromkeys([*CAPABILITIES, *capabilities]))
        self.supported_drivers = _output(runsc, "nvproxy", "list-supported-drivers").split()
        self.side_binaries = _side_binaries(runsc)
        self.hooks_run, self.why_not_told = _try_hook(runsc, self.flags)

    def as_json(self) -> dict[str, Any]:
        """The object that `probe --format json` prints."""
        return dict(vars(self))

    def as_text(self) -> str:
        """The same for people."""
        taken = [name for name, is_taken in self.capabilities.items() if is_taken]
        hooks = {True: "runs them", False: "does not run them", None: f"cannot tell: {self.why_not_told}"}
        return "\n".join(
            [
                f"runsc:                  {self.runsc}",
                f"version:                {self.version}",
                f"createContainer hooks:  {hooks[self.hooks_run]}",
                f"driver capabilities:    {' '.join(taken) or 'cannot be chosen'}",
                f"supported drivers:      {' '.join(self.supported_drivers) or 'none'}",
                f"side binaries:          {' '.join(self.side_binaries) or 'none'}",
                f"flags:                  {len(self.flags)}, of nvproxy: "
                + " ".join(flag for flag in self.flags if flag.startswith("nvproxy")),
            ]
        )


def main(argv: Sequence[str]) -> int:
    """`probe RUNSC [--capabilities NAME,…] [--format text|json]`.

    Returns:
        0; 1 for no usable runsc, 2 where hooks could not be tried.
    """
    parser = argparse.ArgumentParser(
        prog="nvproxy-wrapper probe", description="Find out what a runsc can do."
    )
    parser.add_argument("runsc", metavar="RUNSC")
    parser.add_argument(
        "--capabilities",
        metavar="NAME,…",
        default="",
        help="driver capabilities to ask it about, besides those that are known",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args(argv)
    try:
        probe = Probe(options.runsc, filter(None, options.capabilities.split(",")))
    except ProbeError as error:
        parser.exit(1, f"nvproxy-wrapper: {error}\n")
    print(json.dumps(probe.as_json(), indent=2) if options.format == "json" else probe.as_text())
    return 2 if probe.hooks_run is None else 0


class _Finished:
    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.output = output


def _call(runsc: str, *arguments: str) -> _Finished:
    # A file and not a pipe: the sandbox inherits the streams of `create`, so a pipe would never come to its
    # end.
    with tempfile.TemporaryFile() as output:
        try:
            finished = subprocess.run(
                [runsc, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_ENVIRONMENT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except OSError as error:
            raise ProbeError(
                f"{runsc} cannot be executed ({error.strerror}). Give the path of a runsc."
            ) from None
        except subprocess.TimeoutExpired:
            raise ProbeError(
                f"`{runsc} {' '.join(arguments)}` did not end within {TIMEOUT_SECONDS} s. Run it by hand."
            ) from None
        output.seek(0)
        return _Finished(finished.returncode, output.read().decode("utf-8", "replace"))


def _output(runsc: str, *arguments: str) -> str:
    finished = _call(runsc, *arguments)
    if finished.status != 0:
        raise ProbeError(
            f"`{runsc} {' '.join(arguments)}` ended with status {finished.status} "
            f"({finished.output.strip()[-300:]}). It is no runsc with GPU support (20231106 or newer)."
        )
    return finished.output


def _version(output: str) -> str:
    found = re.search(r"^runsc version (?:release-)?(\S+)", output, re.MULTILINE)
    if not found:
        raise ProbeError(f"`--version` says {output[:100]!r}, which is not what a runsc says.")
    return found.group(1)


def _capabilities(runsc: str, flags: Sequence[str], names: Iterable[str]) -> dict[str, bool]:
    # The flag's value is checked before the subcommand is run (runsc/config/config.go, validate), and `flags`
    # does nothing but print.
    if ALLOW_FLAG not in flags:
        return {}
    return {name: _call(runsc, f"--{ALLOW_FLAG}={name}", "flags").status == 0 for name in names}


def _side_binaries(runsc: str) -> list[str]:
    # runsc looks beside its real file, behind all links (pkg/gvisorbinaries, 20260905).
    try:
        return sorted(os.listdir(os.path.join(os.path.dirname(os.path.realpath(runsc)), "gvisor-bin")))
    except FileNotFoundError:
        return []


def _try_hook(runsc: str, flags: Sequence[str]) -> tuple[bool | None, str | None]:
    touch = shutil.which("touch", path=_ENVIRONMENT["PATH"])
    if touch is None:
        return None, "there is no `touch` for the hook to run"
    if os.geteuid() != 0:
        return None, "only root may create a container"
    directory = tempfile.mkdtemp(prefix="nvproxy-wrapper-probe-")
    try:
        return _create(runsc, flags, directory, touch)
    finally:
        _remove(directory)


def _create(runsc: str, flags: Sequence[str], directory: str, touch: str) -> tuple[bool | None, str | None]:
    mark = os.path.join(directory, "mark")
    os.mkdir(os.path.join(directory, "rootfs"))
    spec = {
        "ociVersion": "1.0.2",
        # Never started, so it need not exist; nothing of the host is in the container.
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/none"], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": True},
        "hooks": {"createContainer": [{"path": touch, "args": ["touch", mark], "env": []}]},
        "linux": {"namespaces": [{"type": name} for name in ("mount", "pid", "ipc", "uts", "network")]},
    }
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file)
    options = ["--root", os.path.join(directory, "state"), "--network=none", "--ignore-cgroups"]
    if "host-settings" in flags:
        options.append("--host-settings=ignore")
    try:
        created = _call(runsc, *options, "create", "--bundle", directory, _CONTAINER)
        # A mark is proof even where the creation failed later; no mark is proof only where it did not.
        if os.path.exists(mark):
            return True, None
        if created.status == 0:
            return False, None
        return None, f"a bundle could not be created: {created.output.strip()[-300:]}"
    except ProbeError as error:
        return None, str(error)
    finally:
        _call(runsc, *options, "delete", "--force", _CONTAINER)


def _remove(directory: str) -> None:
    # Newer ones keep an empty network namespace mounted under --root for the gofers to come (20260810 and
    # later).
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        mounted = [line.split()[1] for line in mounts]
    for path in mounted:
        if path.startswith(directory + "/"):
            subprocess.run(["umount", "-l", path], env=_ENVIRONMENT, timeout=TIMEOUT_SECONDS, check=False)
    shutil.rmtree(directory, ignore_errors=True)
