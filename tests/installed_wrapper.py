"""The wrapper as it lies on a host, in a directory of a test: launcher, settings, and a runsc that tells.

Three things are stand-ins, and only these: `runsc` is a program that writes down what it was started with,
the nodes /dev/nvidia* are real character devices without a driver behind them, in a /dev of the call's own,
and behind the entry NVIDIA's runtime is a program that puts a spec of the test's into the bundle.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
CAPTURED = ROOT / "tests/specs/captured"
PYTHON = "/usr/bin/python3"
SHELLS = {"dash": ["/bin/dash"], "busybox ash": ["/bin/busybox", "sh"]}

# Majors and minors as in the captured specs: 195 is NVIDIA's own, nvidia-uvm's was 511 on the host of the
# capture.
_NODES = {
    "nvidiactl": (195, 255),
    "nvidia-modeset": (195, 254),
    "nvidia-uvm": (511, 0),
    "nvidia-uvm-tools": (511, 1),
    **{f"nvidia{minor}": (195, minor) for minor in range(8)},
}
_PRIVATE_DEV = "\n".join(
    [
        "set -e",
        "mount -t tmpfs -o mode=755 dev /dev",
        "mknod -m 666 /dev/null c 1 3",
        *(f"mknod -m 666 /dev/{name} c {major} {minor}" for name, (major, minor) in _NODES.items()),
        'exec "$@"',
    ]
)

# In sh, as Python changes what it is started with: it ignores SIGPIPE and sets LC_CTYPE.
_TELLING_RUNSC = """#!/bin/sh
seen=${0%/*}/seen
rm -rf "$seen"
mkdir "$seen"
# Without a redirection, for which dash would keep a descriptor; and -e leaves out the one that read the list.
for fd in /proc/$$/fd/*; do [ -e "$fd" ] && fds="$fds ${fd##*/}"; done
echo $fds >"$seen/fds"
cat /proc/$$/cmdline >"$seen/cmdline"
cat /proc/$$/environ >"$seen/environ"
cat /proc/$$/status >"$seen/status"
pwd >"$seen/cwd"
for argument; do
    [ "$previous" = --bundle ] && cat "$argument/config.json" >"$seen/spec"
    previous=$argument
done
"""


# In the place of NVIDIA's runtime: it edits a spec of a creation, and becomes the low-level runtime.
_EDITING_SHIM = """#!/bin/sh
for argument; do
    [ "$previous" = --bundle ] && [ -f @HOME@/edited ] && cat @HOME@/edited >"$argument/config.json"
    previous=$argument
done
exec @HOME@/nvproxy-runsc "$@"
"""


@dataclasses.dataclass(frozen=True)
class Start:
    """What a runsc was started with.

    Attributes:
        arguments: without the program itself.
        environment: its variables.
        fds: the open descriptors.
        pid: its process id.
        cwd: its working directory.
        umask: as four octal digits.
        ignored_signals: the mask of ignored signals.
        spec: config.json of its bundle as it found it, b"" where it was given none.
    """

    arguments: list[str]
    environment: dict[str, str]
    fds: set[int]
    pid: int
    cwd: str
    umask: str
    ignored_signals: int
    spec: bytes

    @classmethod
    def read(cls, seen: Path) -> Start:
        """What `_TELLING_RUNSC` wrote down."""
        status = dict(line.split(":", 1) for line in (seen / "status").read_text().splitlines())
        spec = seen / "spec"
        return cls(
            # The kernel puts the interpreter and the script before the arguments.
            arguments=(seen / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")[2:-1],
            environment=dict(
                item.split("=", 1) for item in (seen / "environ").read_text().split("\0") if item
            ),
            # 10 is where dash keeps the script itself.
            fds={int(fd) for fd in (seen / "fds").read_text().split()} - {10},
            pid=int(status["Pid"]),
            cwd=(seen / "cwd").read_text().strip(),
            umask=status["Umask"].strip(),
            ignored_signals=int(status["SigIgn"], 16),
            spec=spec.read_bytes() if spec.exists() else b"",
        )


@dataclasses.dataclass(frozen=True)
class Call:
    """One finished call of the launcher.

    Attributes:
        status: exit status.
        stdout: everything on its standard output.
        stderr: everything on its standard error.
        runsc: what the telling runsc was started with; None where it was not started.
        errors: the `msg` of each line of level error in the file of `--log`.
        warnings: the same for level warning.
    """

    status: int
    stdout: str
    stderr: str
    runsc: Start | None
    errors: list[str]
    warnings: list[str]


class InstalledWrapper:
    """A launcher, settings and a runsc of its own under `home`."""

    def __init__(
        self, home: Path, *, package: Path | None = None, python: str = PYTHON, **settings: Any
    ) -> None:
        """Install; `settings` are keys of settings.json beyond those that point into `home`."""
        self.home = home
        self.package = package or _shared_package(python)
        self.runsc = home / "runsc"
        self.settings_file = home / "settings.json"
        self.audit_log = home / "decisions.jsonl"
        self.log = home / "log.json"
        self.launcher = home / "nvproxy-runsc"
        self.proc_driver = home / "proc_driver"
        home.chmod(0o755)
        self.runsc.write_text(_TELLING_RUNSC)
        self.runsc.chmod(0o755)
        _write_proc_driver(self.proc_driver)
        self.write_settings(**settings)
        self.launcher.write_text(
            render(
                "nvproxy-runsc.sh.j2",
                runsc=str(self.runsc),
                runsc_args=["--from-launcher"],
                python=python,
                wrapper_dir=str(self.package),
                settings_path=str(self.settings_file),
            )
        )
        self.launcher.chmod(0o755)
        config = home / "nvidia-container-runtime" / "config.toml"
        config.parent.mkdir(exist_ok=True)
        config.touch()
        self.entry = home / "nvproxy-container-runtime"
        self.entry.write_text(
            render("nvproxy-entry.sh.j2", engine="docker", shim=str(home / "shim"), config_home=str(home))
        )
        (home / "shim").write_text(_EDITING_SHIM.replace("@HOME@", str(home)))
        for program in (self.entry, home / "shim"):
            program.chmod(0o755)

    def write_settings(self, **settings: Any) -> None:
        """Write settings.json anew."""
        known: dict[str, Any] = {
            "runsc": str(self.runsc),
            "runsc_args": ["--from-settings"],
            "audit_log": str(self.audit_log),
            "proc_driver": str(self.proc_driver),
            "host_prep": [],
        }
        self.settings_file.write_text(json.dumps(known | settings))
        self.settings_file.chmod(0o644)

    def bundle(self, name: str, spec: bytes) -> Path:
        """A bundle with `spec` as its config.json."""
        path = self.home / name
        path.mkdir(mode=0o711)
        (path / "config.json").write_bytes(spec)
        (path / "config.json").chmod(0o600)
        return path

    def call(self, *arguments: str | bytes, **options: Any) -> Call:
        """Call the launcher with `--log` and `arguments`; `options` as for `call_exactly`."""
        return self.call_exactly("--log", str(self.log), *arguments, **options)

    def call_entry(self, *arguments: str | bytes, edited: bytes | None = None, **options: Any) -> Call:
        """Call the entry with `--log` and `arguments`; `edited` is what the shim makes of the spec."""
        (self.home / "edited").unlink(missing_ok=True)
        if edited is not None:
            (self.home / "edited").write_bytes(edited)
        return self.call_exactly("--log", str(self.log), *arguments, program=self.entry, **options)

    def call_exactly(
        self,
        *arguments: str | bytes,
        program: Path | None = None,
        shell: Sequence[str] = ("/bin/sh",),
        nodes: bool = True,
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> Call:
        """Call the launcher with `arguments` and nothing else.

        Args:
            arguments: the whole command line.
            program: called in the launcher's place.
            shell: what /bin/sh is on this host.
            nodes: whether NVIDIA's nodes are in its /dev.
            prefix: a program and its arguments that it is started by.
            popen: for `subprocess.run`.
        """
        seen = self.home / "seen"
        shutil.rmtree(seen, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        command = [*prefix, *shell, str(program or self.launcher), *arguments]
        finished = subprocess.run(
            in_a_private_dev(command) if nodes else command,
            capture_output=True,
            timeout=60,
            check=False,
            **popen,
        )
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return Call(
            status=finished.returncode,
            stdout=finished.stdout.decode(),
            stderr=finished.stderr.decode(),
            runsc=Start.read(seen) if seen.exists() else None,
            errors=[line["msg"] for line in lines if line["level"] == "error"],
            warnings=[line["msg"] for line in lines if line["level"] == "warning"],
        )

    def decisions(self) -> list[dict[str, Any]]:
        """The decision log."""
        if not self.audit_log.exists():
            return []
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]


def in_a_private_dev(command: Sequence[str | bytes]) -> list[str | bytes]:
    """`command` in a mount namespace of its own, whose /dev has NVIDIA's nodes and /dev/null."""
    return ["unshare", "--mount", "/bin/sh", "-c", _PRIVATE_DEV, "sh", *command]


def render(template: str, **values: Any) -> str:
    """A template of the project, with every name in it required."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(**values)


def copy_of_the_package(to: Path, python: str = PYTHON) -> Path:
    """A copy of the wrapper's package that a test may break, compiled as on a host; its directory."""
    package = to / "nvproxy_wrapper"
    shutil.copytree(ROOT / "nvproxy_wrapper", package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-I", package / "admin/byte_code.py"], check=True)
    return to


@functools.cache
def _shared_package(python: str) -> Path:
    """One compiled copy for all tests that leave it as it is."""
    folder = Path(tempfile.mkdtemp(prefix="nvproxy-wrapper-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    return copy_of_the_package(folder, python)


def _write_proc_driver(root: Path) -> None:
    for minor in range(8):
        gpu = root / "gpus" / f"0000:{minor + 1:02x}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(
            f"Model: \t\t Pretend GPU\nGPU UUID: \t GPU-0000000{minor}-0000-0000-0000-00000000000{minor}\n"
            f"Bus Location: \t 0000:{minor + 1:02x}:00.0\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"
        )
