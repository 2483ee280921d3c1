"""The layers below the containers: from the host to the engine. Each function judges one check."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from deploys.model import daemon_json, paths, sight
from deploys.model.applied import Applied
from deploys.model.checks import State
from deploys.model.device_specs import device_nodes
from deploys.model.drivers import unsupported
from deploys.model.layouts import Layout
from deploys.model.settings import ToolkitMode
from deploys.model.verification import catalogue
from deploys.model.verification.questions import MODULES, STAND_IN_MARK
from deploys.model.verification.verdicts import (
    PASSED,
    Verdict,
    breach,
    check_of,
    failed,
    no_answer,
    skipped,
    unknown,
)
from deploys.model.versions import TOOLKIT_FLOOR, TOOLKIT_PACKAGES, ToolkitVersion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploys.model.checks import Check
    from deploys.model.snapshot import HostSnapshot
    from deploys.model.verification.answers import Answer
    from deploys.model.verification.questions import Verification

# What was found, what should have been, and the verdict.
_Found = tuple[Verdict, str | None, str | None]
_Judge = Callable[["Verification", "Answer", "HostSnapshot"], _Found]

# The check that a file's change is told in; every other recorded file is told in host.files.
_RECORDED_IN = {
    **{layout.toolkit_config: "toolkit.config" for layout in Layout},
    **{path: "toolkit.specs" for layout in Layout for path in (layout.devices_csv, layout.drivers_csv)},
    paths.ENTRY: "wrapper.files",
    paths.LAUNCHER: "wrapper.files",
    paths.ADMIN_COMMAND: "wrapper.files",
    paths.WRAPPER_SETTINGS: "wrapper.files",
    paths.WRAPPER_LOGROTATE: "wrapper.files",
    # What counts is what Docker has loaded; the file may have gained what is not ours.
    paths.DAEMON_JSON: "host.engine",
}
# The check that a subject of `nvproxy-wrapper check` is told in; its hashes are compared here, file by file.
_TOLD_IN = {
    "config.toml": "toolkit.config",
    "runsc": "gvisor.files",
    "side binary": "gvisor.files",
    "launcher": "wrapper.files",
    "wrapper": "wrapper.files",
    "settings": "wrapper.files",
    "python": "wrapper.files",
    "trusted hook": "wrapper.files",
    "decision log": "wrapper.files",
}
_NOBODY = "Let nobody's code run on this host until {}. Run site.py for this host."
_NVIDIA_MAJOR = 195
_CONTROL_MINOR = 255


def host_checks(what: Verification, answer: Answer) -> list[Check]:
    """Every check below the containers, what others are most likely to hang on first."""
    checks = []
    for name, judge in _JUDGES.items():
        if answer.look is None:
            verdict, seen, expected = unknown(answer.no_look, cause=answer.no_look), None, None
        else:
            verdict, seen, expected = judge(what, answer, answer.look)
        checks.append(check_of(catalogue.BY_ID[name], verdict, seen, expected))
    return checks


def _driver(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    version = look.driver.version
    return (PASSED if version else failed("no NVIDIA driver is loaded")), version, "one that is loaded"


def _modules(_what: Verification, answer: Answer, _look: HostSnapshot) -> _Found:
    missing = [path.rpartition("/")[2] for path in MODULES if path not in answer.marks]
    if not missing:
        return PASSED, "both are in the kernel", None
    if STAND_IN_MARK in answer.marks:
        return skipped("the driver of this host is the lab's stand-in, without a kernel module"), None, None
    return failed(f"{' and '.join(missing)} is not in the kernel"), None, "both are in the kernel"


def _nodes(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    there = {node.path: node for node in look.nodes}
    wrong = []
    for path in device_nodes(look.gpus):
        node = there.get(path)
        number = path.removeprefix("/dev/nvidia")
        minor = int(number) if number.isdigit() else _CONTROL_MINOR if number == "ctl" else None
        if node is None:
            wrong.append(f"{path} is missing")
        elif node.kind != "c":
            wrong.append(f"{path} is no character device")
        elif minor is not None and (node.major, node.minor) != (_NVIDIA_MAJOR, minor):
            wrong.append(f"{path} is {node.major}:{node.minor}, not {_NVIDIA_MAJOR}:{minor}")
    verdict = failed("; ".join(wrong), cause="device nodes are missing on the host") if wrong else PASSED
    return verdict, f"{len(there)} nodes", None


def _libraries(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    version = look.driver.version
    if version is None:
        return unknown("no driver is loaded that they could fit"), None, None
    names = {path.rpartition("/")[2] for path in look.driver.links}
    wrong = [name for name in sight.LIBRARIES if name not in names]
    why = f"{' and '.join(wrong)} of driver {version} cannot be found by the host's loader"
    return failed(why) if wrong else PASSED, f"of driver {version}", None


def _smi(_what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    outcome = answer.commands.get("smi_list")
    if outcome is None:
        return unknown("nobody has asked it"), None, None
    if outcome.code != 0:
        said = (outcome.not_run or outcome.err or outcome.out).strip() or f"exit status {outcome.code}"
        return (
            failed(f"'nvidia-smi -L' fails: {said[-200:]}", cause="nvidia-smi fails on the host"),
            None,
            None,
        )
    found = sight.listing(outcome.out.splitlines())
    expected = sorted(gpu.uuid for gpu in look.gpus if gpu.uuid is not None)
    seen = f"{len(found.gpus)} GPUs"
    if sorted(found.gpus) != expected:
        rest = f"; it says: {'; '.join(found.rest)}" if found.rest else ""
        why = (
            f"nvidia-smi lists {len(found.gpus)} GPUs with a UUID, /proc/driver/nvidia {len(expected)}{rest}"
        )
        return failed(why, cause="nvidia-smi on the host does not list the driver's GPUs"), seen, None
    return PASSED, seen, None


def _mig(_what: Verification, answer: Answer, _look: HostSnapshot) -> _Found:
    outcome = answer.commands.get("smi_list")
    if outcome is None or outcome.code != 0:
        return unknown("nvidia-smi did not answer"), None, None
    found = sight.listing(outcome.out.splitlines()).mig
    return (failed(f"there are {len(found)} MIG instances") if found else PASSED), None, "no MIG instance"


def _supported(what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    settings, version = what.settings, look.driver.version
    expected = f"one that gVisor {settings.gvisor_release} supports"
    outcome = answer.commands.get("drivers")
    silent = no_answer(outcome)
    if version is None:
        return unknown("no driver is loaded"), None, expected
    if outcome is None or silent is not None:
        return silent or unknown("nobody has asked it"), version, expected
    try:
        refusal = unsupported(settings, version, outcome.out.split())
    except ValueError as fault:
        return unknown(f"runsc's list of drivers was not understood: {fault}"), version, expected
    return (PASSED if refusal is None else failed(refusal.what, refusal.remedy)), version, expected


def _other_files(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    return _as_recorded(look, "host.files")


def _specs(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    return _as_recorded(look, "toolkit.specs")


def _as_recorded(look: HostSnapshot, name: str) -> _Found:
    verdict = _changed(look, name) or PASSED
    return verdict, None, "as they were written"


def _changed(look: HostSnapshot, name: str) -> Verdict | None:
    """Which of the recorded files that are told in this check are other than they were written."""
    recorded = Applied.read(look).files
    if not recorded:
        return unknown(f"there is no record {paths.APPLIED}, or it cannot be read")
    mine = {path: file for path, file in recorded.items() if _RECORDED_IN.get(path, "host.files") == name}
    gone = [path for path in mine if path not in look.files]
    other = [
        path for path, file in mine.items() if path in look.files and look.files[path].sha256 != file.sha256
    ]
    reasons = [*(f"{path} is gone" for path in gone), *(f"{path} is not as it was written" for path in other)]
    return failed("; ".join(reasons), "Look who changed it; site.py puts it right.") if reasons else None


def _floor(_what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    there = {name: look.packages[name] for name in TOOLKIT_PACKAGES if name in look.packages}
    if not there:
        return skipped("none of its packages is installed"), None, None
    try:
        old = {name: text for name, text in there.items() if ToolkitVersion.parse(text) < TOOLKIT_FLOOR}
    except ValueError as fault:
        return unknown(str(fault)), None, None
    seen = ", ".join(sorted(set(there.values())))
    if not old:
        return PASSED, seen, f"{TOOLKIT_FLOOR} or later"
    listed = ", ".join(f"{name} {text}" for name, text in old.items())
    cause = "a version of the NVIDIA Container Toolkit that lets containers out"
    return breach(f"{cause}: {listed}", "", cause), seen, f"{TOOLKIT_FLOOR} or later"


def _packages(what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    expected = what.settings.toolkit_version
    missing = [name for name in TOOLKIT_PACKAGES if name not in look.packages]
    other = [name for name in TOOLKIT_PACKAGES if look.packages.get(name, expected) != expected]
    reasons = [f"{name} is not installed" for name in missing]
    reasons += [f"{name} is {look.packages[name]}" for name in other]
    cause = "the NVIDIA Container Toolkit is not the one of the settings"
    return failed("; ".join(reasons), cause=cause) if reasons else PASSED, None, expected


def _config(what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    settings, outcome = what.settings, answer.commands.get("config")
    expected = {"mode": settings.toolkit_mode.value, "runtimes": [paths.LAUNCHER]}
    silent = no_answer(outcome)
    if outcome is None or silent is not None:
        read_back: dict[str, object] | None = None
    else:
        silent, read_back = _read_back(outcome.out)
    found = _told(answer, "toolkit.config")
    if read_back is not None:
        seen = {key: read_back.get(key) for key in expected}
        wrong = [f"{key} = {json.dumps(seen[key])}" for key in expected if seen[key] != expected[key]]
        csv = read_back.get("modes", {})
        csv_dir = csv.get("csv", {}).get("mount-spec-path") if isinstance(csv, dict) else None
        if settings.toolkit_mode is ToolkitMode.CSV and csv_dir != settings.layout.csv_dir:
            wrong.append(f"modes.csv.mount-spec-path = {json.dumps(csv_dir)}")
        if wrong:
            why = f"{settings.layout.toolkit_config} has {', '.join(wrong)}"
            verdict = failed(why, cause="the NVIDIA runtime is configured otherwise")
            if seen["runtimes"] != expected["runtimes"]:
                cause = "the NVIDIA runtime leads elsewhere than into gVisor"
                verdict = breach(f"{cause}: {why}", _NOBODY.format(f"it names {paths.LAUNCHER} alone"), cause)
            return verdict, str(seen), str(expected)
    # What the wrapper's own check says names the line; the record says only that somebody was there.
    if found is not None and found.state is State.FAILED:
        return found, None, str(expected)
    return _changed(look, "toolkit.config") or silent or found or PASSED, None, str(expected)


def _read_back(text: str) -> tuple[Verdict | None, dict[str, object] | None]:
    try:
        table = tomllib.loads(text).get("nvidia-container-runtime")
    except tomllib.TOMLDecodeError as fault:
        return unknown(f"'nvidia-ctk config' printed no TOML: {fault}"), None
    return None, table if isinstance(table, dict) else {}


def _release(what: Verification, _answer: Answer, look: HostSnapshot) -> _Found:
    directory = paths.release_directory(what.settings.gvisor_release)
    current, recorded = look.links.get(paths.GVISOR_CURRENT), Applied.read(look).gvisor
    tree = look.trees.get(directory)
    if current is None:
        verdict = failed(f"{paths.GVISOR_CURRENT} is no link, or not there", cause="gVisor is not there")
    elif current not in (directory, directory.rpartition("/")[2]):
        verdict = failed(
            f"{paths.GVISOR_CURRENT} leads to {current}", cause="another gVisor is the current one"
        )
    elif tree is None:
        verdict = failed(f"{directory} is not there", cause="gVisor is not there")
    elif recorded is None or recorded.release != what.settings.gvisor_release:
        verdict = unknown(f"{paths.APPLIED} has no record of it")
    elif tree != recorded.tree:
        verdict = failed(f"{directory} is not as it was installed", cause="gVisor's files were changed")
    else:
        verdict = PASSED
    return verdict, current, directory


def _gvisor_files(_what: Verification, answer: Answer, _look: HostSnapshot) -> _Found:
    found = _told(answer, "gvisor.files")
    # A program that is gone, or cannot be executed, is nobody's way in.
    if found is not None and found.state is State.FAILED and "chown root" in found.next:
        remedy = f"{_NOBODY.format('only root may write it, and find out why')} {found.next}"
        return breach(found.why, remedy, "others than root may change gVisor"), None, None
    return found or PASSED, None, "root's alone to write"


def _wrapper_files(_what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    told, changed = _told(answer, "wrapper.files"), _changed(look, "wrapper.files")
    entry = look.files.get(paths.ENTRY)
    outcome = answer.commands.get("chain")
    if told is not None and outcome is not None and outcome.code == 1 and not outcome.out.strip():
        # Python's own words: it could not load the wrapper.
        return failed(told.why, cause=told.cause), None, None
    if told is not None and told.state is State.FAILED:
        return told, None, None
    replaced = _replaced(look)
    if replaced:
        cause = "what stands between Docker and gVisor is not ours"
        remedy = _NOBODY.format("it is, and find out who changed it")
        return breach(f"{cause}: {replaced} is not as it was written", remedy, cause), None, None
    if changed is not None and changed.state is State.FAILED:
        # By the same words as all that the wrapper's own check would have told.
        cause = told.cause if told is not None else ""
        return failed(changed.why, changed.next, cause), None, None
    if entry is None or entry.owner != 0 or entry.mode != 0o755:
        seen = "is not there" if entry is None else f"has mode {entry.mode:04o} and owner {entry.owner}"
        return failed(f"{paths.ENTRY} {seen}, not mode 0755 and owner 0"), None, None
    return changed or told or PASSED, None, None


def _replaced(look: HostSnapshot) -> str:
    """The first program of the chain that is there and is another than was written; empty where none is."""
    recorded = Applied.read(look).files
    return next(
        (
            path
            for path in (paths.ENTRY, paths.LAUNCHER)
            if path in recorded and path in look.files and look.files[path].sha256 != recorded[path].sha256
        ),
        "",
    )


class _Finding(BaseModel):
    subject: str
    answer: str
    what: str
    remedy: str


class _Findings(BaseModel):
    """What `nvproxy-wrapper check --format json` prints."""

    findings: tuple[_Finding, ...]


def _told(answer: Answer, name: str) -> Verdict | None:
    """What the wrapper's own check says about this one; None where all is well."""
    outcome = answer.commands.get("chain")
    silent = no_answer(outcome, statuses=(0, 1, 2))
    if outcome is None or silent is not None:
        return silent
    try:
        findings = _Findings.model_validate_json(outcome.out).findings
    except ValidationError:
        said = (outcome.err.strip() or outcome.out.strip() or "nothing").splitlines()[-1][-200:]
        why = f"'nvproxy-wrapper check' did not answer: {said}"
        return unknown(why, cause=why)
    # A subject that is not known here must not be lost.
    mine = [
        one
        for one in findings
        if one.subject != "hashes" and _TOLD_IN.get(one.subject, "wrapper.files") == name
    ]
    if not mine:
        return unknown("'nvproxy-wrapper check' says nothing about it")
    open_ones = [one for one in mine if one.answer == "no"] or [one for one in mine if one.answer != "yes"]
    if not open_ones:
        return None
    why = "; ".join(f"{one.subject}: {one.what}" for one in open_ones)
    remedy = " ".join(dict.fromkeys(one.remedy for one in open_ones))
    return failed(why, remedy) if open_ones[0].answer == "no" else unknown(why, remedy)


class _Explained(BaseModel):
    gpus: list[int] | None
    refusal: dict[str, str] | None


def _rewrite(_what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    if not look.gpus or look.gpus[0].minor is None:
        return skipped("the driver tells of no GPU"), None, None
    expected = [look.gpus[0].minor]
    outcome = answer.commands.get("rewrite")
    silent = no_answer(outcome, statuses=(0, 3))
    if outcome is None or silent is not None:
        why = silent.why.splitlines()[-1] if silent else "nobody has asked it"
        return failed(f"the wrapper does not run: {why}", silent.next if silent else ""), None, None
    try:
        found = _Explained.model_validate_json(outcome.out)
    except ValidationError:
        return unknown(f"'nvproxy-wrapper explain' did not answer: {outcome.out[-200:]!r}"), None, None
    seen = f"minors {found.gpus}"
    if found.refusal is not None:
        return (
            failed(f"it refuses: {found.refusal.get('message')}", found.refusal.get("remedy", "")),
            seen,
            None,
        )
    if found.gpus != expected:
        return failed(f"of a spec that asks for minor {expected[0]} it leaves {found.gpus}"), seen, None
    return PASSED, seen, f"minors {expected}"


def _engine(what: Verification, answer: Answer, look: HostSnapshot) -> _Found:
    name = what.settings.runtime_name
    expected = f"{name}: {paths.ENTRY}"
    outcome = answer.commands.get("engine")
    silent = no_answer(outcome)
    if outcome is None or silent is not None:
        return silent or unknown("nobody has asked it"), None, expected
    try:
        entry = json.loads(outcome.out).get(name) or {}
        seen = f"{name}: {entry.get('path') or entry.get('runtimeType') or 'not loaded'}"
    except (ValueError, AttributeError, RecursionError):
        return unknown(f"docker info gave no JSON object: {outcome.out[:200]!r}"), None, expected
    if seen != expected:
        return failed(f"Docker's loaded runtimes have {seen}"), seen, expected
    try:
        written = daemon_json.runtimes(look.text_of(paths.DAEMON_JSON))
    except ValueError as fault:
        return failed(f"{paths.DAEMON_JSON} cannot be read any more: {fault}"), seen, expected
    if name not in written:
        return (
            failed(f"{paths.DAEMON_JSON} has no runtime {name}: Docker's next reload loses it"),
            seen,
            expected,
        )
    return PASSED, seen, expected


_JUDGES: dict[str, _Judge] = {
    "wrapper.files": _wrapper_files,
    "host.driver": _driver,
    "host.modules": _modules,
    "host.nodes": _nodes,
    "host.libraries": _libraries,
    "host.nvidia-smi": _smi,
    "host.mig": _mig,
    "host.supported": _supported,
    "host.files": _other_files,
    "toolkit.floor": _floor,
    "toolkit.packages": _packages,
    "toolkit.config": _config,
    "toolkit.specs": _specs,
    "gvisor.release": _release,
    "gvisor.files": _gvisor_files,
    "wrapper.rewrite": _rewrite,
    "host.engine": _engine,
}


def names() -> Iterable[str]:
    """The ids of the checks that are judged here."""
    return _JUDGES
