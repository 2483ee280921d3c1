"""Runs on the machine with the GPU, out of the archive that `python -m tests.gpu` packs.

`python3 run.py EVIDENCE`, as root, with Python 3.11 or later. It puts the programs where the deploys put
them, finds the driver, writes the configuration and the CSV files by the product's own code and the CDI
specification by NVIDIA's nvidia-ctk, and verifies: in each mode through entry, shim, wrapper and runsc, and
through a one-line wrapper for comparison. What the machine does not allow is told, and the rest is tried.
Into EVIDENCE: result.json, answer.json, the wrapper's log.

Exit status: 0 where every check passed or was skipped, 1 where one did not, 2 where the machine is unfit.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

HOME = Path(__file__).resolve().parent
MODES = ("csv", "cdi", "jit-cdi")
CDI = Path("/var/run/cdi/nvidia.yaml")
ONE_LINE = Path("/usr/local/bin/nvproxy-one-line")
# What a machine lets root do, each as a program that succeeds where it may.
TRIED = {
    "a mount namespace": ["unshare", "--mount", "true"],
    "a network namespace": ["unshare", "--net", "true"],
    "a user namespace": ["unshare", "--user", "true"],
    "mount": ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
    "mknod": ["sh", "-c", "mknod /tmp/nvproxy-gpu-node c 1 3 && rm /tmp/nvproxy-gpu-node"],
    "ptrace": [
        sys.executable,
        "-c",
        "import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)",
    ],
    "/dev/nvidiactl": ["sh", "-c", "exec 3<>/dev/nvidiactl"],
    "nvidia-smi": ["nvidia-smi", "-L"],
}

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.verification.questions import Verification


def main() -> int:
    """Everything; the exit status."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "evidence")
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {
        "machine": machine(),
        "allowed": {what: allowed(argv) for what, argv in TRIED.items()},
    }
    try:
        return verify(out, told)
    except Exception as error:  # noqa: BLE001 - the evidence is worth more than the trace
        told["error"] = f"{type(error).__name__}: {error}"
        print(f"cannot be used: {told['error']}", file=sys.stderr)
        return 2
    finally:
        (out / "result.json").write_text(json.dumps(told, indent=1, default=str) + "\n")


def machine() -> dict[str, str]:
    """Versions, for who reads the evidence."""
    version = Path("/proc/driver/nvidia/version")
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "glibc": " ".join(platform.libc_ver()),
        "driver": version.read_text().splitlines()[0] if version.exists() else "none",
        "gvisor and toolkit": (HOME / "bin/versions").read_text().strip(),
    }


def allowed(argv: list[str]) -> str:
    """Empty where the machine lets it, or what was said."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:] or str(done.returncode)


def unpack_wheels() -> None:
    """The libraries that the deploys' model imports, of this Python."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = list((HOME / "wheels" / version).glob("*.whl"))
    if not found:
        packed = sorted(path.name for path in (HOME / "wheels").iterdir())
        raise RuntimeError(f"no wheels for Python {version} were packed, only for {', '.join(packed)}")
    place = HOME / "site"
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    sys.path[:0] = [str(HOME), str(place)]


def verify(out: Path, told: dict[str, Any]) -> int:
    """Install, verify in each mode, and compare; what comes of it goes into `told`."""
    unpack_wheels()
    from deploys.host.remote import container_runs, snapshot_probe  # noqa: PLC0415 - they are there only now
    from deploys.model.checks import State, Subject  # noqa: PLC0415
    from deploys.model.settings import Settings  # noqa: PLC0415
    from deploys.model.snapshot import HostSnapshot  # noqa: PLC0415
    from deploys.model.verification.answers import Answer  # noqa: PLC0415
    from deploys.model.verification.judgement import judge  # noqa: PLC0415
    from deploys.model.verification.questions import task, verification  # noqa: PLC0415
    from deploys.model.versions import TOOLKIT_PACKAGES  # noqa: PLC0415

    release, toolkit = (HOME / "bin/versions").read_text().split()
    extra = json.loads(os.environ.get("SETTINGS", "{}"))
    data = {
        "gvisor_release": release,
        "gvisor_sha512": {"x86_64": "0" * 128},
        "toolkit_version": toolkit,
        "verify_modes": MODES,
    }
    settings = Settings.from_data("machine", {**data, **extra}, ())
    install_programs(release)
    look = HostSnapshot.model_validate(snapshot_probe.main(look_task(settings)))
    install_files(settings, look)
    told["cdi"] = allowed(["nvidia-ctk", "cdi", "generate", f"--output={CDI}"])
    what = verification(settings, look)
    # No engine, and no package of the toolkit's: its programs came with us.
    what = replace(
        what,
        runs=tuple(run for run in what.runs if run.subject is not Subject.DOCKER),
        skipped=tuple(check for check in what.skipped if check.subject is not Subject.DOCKER),
    )
    found = container_runs.main({**task(what), "look": look_task(settings)})
    (out / "answer.json").write_text(json.dumps(found, indent=1) + "\n")
    # The programs are those of the packages, which are not: what hangs on them is tried all the same.
    found["look"]["packages"] = dict.fromkeys(TOOLKIT_PACKAGES, toolkit)
    result = judge("machine", what, Answer.read(found))
    left_out = ("docker.", "host.engine", "host.files", "toolkit.floor", "toolkit.packages", "gvisor.release")
    checks = [check for check in result.checks if not check.id.startswith(left_out)]
    told["checks"] = [asdict(check) for check in checks]
    told["one_line_wrapper"] = compared(what, container_runs.main, task)
    for name in ("/var/log/nvproxy-wrapper/decisions.jsonl", "/var/log/nvidia-container-runtime.log"):
        if Path(name).exists():
            shutil.copy2(name, out)
    for check in checks:
        print(f"{check.state:8} {check.layer:10} {check.id:20} {check.why}")
    for name, said in told["one_line_wrapper"].items():
        print(f"one-line wrapper: {name}: {said}")
    return 1 if any(check.state in (State.FAILED, State.UNKNOWN) for check in checks) else 0


def look_task(settings: Settings) -> dict[str, Any]:
    """What to look at: as the deploys do, without pyinfra."""
    from deploys.model import paths  # noqa: PLC0415

    return {
        "files": [*paths.MANAGED_FILES, paths.APPLIED],
        "apt_words": [],
        "links": list(paths.MANAGED_LINKS),
        "directories": [],
        "packages": [],
        "disk": ["/"],
        "proc_driver": paths.PROC_DRIVER,
        "way_back": paths.WAY_BACK,
        "trees": [paths.release_directory(settings.gvisor_release)],
    }


def install_programs(release: str) -> None:
    """runsc, the toolkit's programs and the wrapper, in the places that the deploys give them."""
    from deploys.model import paths  # noqa: PLC0415

    directory = Path(paths.release_directory(release))
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy2(HOME / "bin/runsc", directory / "runsc")
    (directory / "runsc").chmod(0o755)
    wrapper = Path(paths.WRAPPER_DIR) / "packed"
    shutil.copytree(HOME / "nvproxy_wrapper", wrapper / "nvproxy_wrapper", dirs_exist_ok=True)
    for link, target in ((paths.GVISOR_CURRENT, directory), (paths.WRAPPER_CURRENT, wrapper)):
        Path(link).unlink(missing_ok=True)
        Path(link).symlink_to(target)
    for program in (HOME / "bin").iterdir():
        if program.name.startswith("nvidia-"):
            shutil.copy2(program, Path("/usr/bin") / program.name)
    shutil.chown(directory, "root", "root")


def install_files(settings: Settings, look: HostSnapshot) -> None:
    """Entry, launcher, admin command, settings, configuration and CSV files, by the product's own code."""
    from deploys.host.remote.prelude import replace_file  # noqa: PLC0415
    from deploys.model import device_specs, paths  # noqa: PLC0415
    from deploys.model.applied import Applied, AppliedFile, RuntimeProbe  # noqa: PLC0415
    from deploys.model.managed_files import DesiredFile, toolkit_config_file, wrapper_settings_file  # noqa: PLC0415
    from deploys.model.plan import Step  # noqa: PLC0415
    from deploys.model.wrapper_files import admin_command, entry, launcher  # noqa: PLC0415

    wanted = ["--capabilities", ",".join(settings.allowed_capabilities)]
    argv = [sys.executable, "-m", "nvproxy_wrapper", "probe", paths.RUNSC, "--format", "json", *wanted]
    probed = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=HOME)
    answer = json.loads(probed.stdout)
    # A machine may not let it be tried; the wrapper then puts links in the hooks' place.
    probe = RuntimeProbe.model_validate({**answer, "hooks_run": bool(answer["hooks_run"])})
    files = [
        DesiredFile(Step.WRAPPER, paths.ENTRY, entry(settings.layout.config_home), 0o755),
        DesiredFile(Step.WRAPPER, paths.LAUNCHER, launcher(settings), 0o755),
        DesiredFile(Step.WRAPPER, paths.ADMIN_COMMAND, admin_command(), 0o755),
        DesiredFile(Step.DEVICE_SPECS, settings.layout.devices_csv, device_specs.devices_csv(look)),
        DesiredFile(Step.DEVICE_SPECS, settings.layout.drivers_csv, device_specs.drivers_csv(look)),
        toolkit_config_file(settings, look),
        wrapper_settings_file(settings, look, probe),
    ]
    for file in files:
        replace_file(file.path, file.text.encode(file.encoding), file.mode)
    Path(paths.DECISION_LOG_DIR).mkdir(parents=True, exist_ok=True)
    record = Applied(files={file.path: AppliedFile(sha256=file.sha256) for file in files})
    replace_file(paths.APPLIED, record.text().encode(), 0o644)
    flags = " ".join(["--nvproxy", *settings.runsc_flags])
    replace_file(str(ONE_LINE), f'#!/bin/sh\nexec {paths.RUNSC} {flags} "$@"\n'.encode(), 0o755)


def compared(what: Verification, run: Any, task: Any) -> dict[str, str]:
    """The same modes through a one-line wrapper: what came of each, in a line."""
    from deploys.model import paths, sight  # noqa: PLC0415

    modes = tuple(
        replace(one, config=(one.config or "").replace(paths.LAUNCHER, str(ONE_LINE)), entry=None)
        for one in what.runs
        if ".mode-" in one.id
    )
    found = run(task(replace(what, runs=modes)))
    said = {}
    for name, outcome in found.get("runs", {}).items():
        printed = sight.read(outcome["out"], platform.release())
        last = (outcome["err"].strip().splitlines() or [""])[-1][-200:]
        said[name] = (
            f"{len(printed.sight.gpus)} GPUs; {printed.cuda}" if printed.complete else f"no start: {last}"
        )
    return said


if __name__ == "__main__":
    sys.exit(main())
