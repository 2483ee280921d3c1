"""Is the installed chain sound: config.toml, launcher, wrapper, settings, runsc, each only root's to write?

Each question is answered by yes, no or cannot tell, and "cannot tell" is never taken for yes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import stat
import sys

from nvproxy_wrapper.host.settings_file import load_settings
from nvproxy_wrapper.judge.settings import SETTINGS_PATH, Settings, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Answers = Iterator["Finding"]

ENTRY = "/usr/local/bin/nvproxy-container-runtime"
LAUNCHER = "/usr/local/bin/nvproxy-runsc"
TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"
APPLIED = "/var/lib/nvproxy-fleet/applied.json"

YES, NO, CANNOT_TELL = "yes", "no", "cannot tell"
_EXIT_STATUS = {YES: 0, NO: 1, CANNOT_TELL: 2}

# What the entry exports (templates/nvproxy-entry.sh.j2).
_ENTRY_CONFIG = re.compile(r"^export NVIDIA_CTK_CONFIG_FILE_PATH='([^']+)' ", re.MULTILINE)
# The last lines of the launcher's own program (templates/nvproxy-runsc.sh.j2).
_LAUNCHER_CALL = re.compile(r"^sys\.exit\(main\((\[.*\]), (\".*\")\)\)$", re.MULTILINE)
_LAUNCHER_HOME = re.compile(r"^    home = posix\.open\((\".*\"), posix\.O_PATH", re.MULTILINE)
_TABLE = re.compile(r"^\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_RUNTIMES = re.compile(r"^\s*runtimes\s*=\s*(\[[^\[\]#]*\])\s*(?:#.*)?$")

_RUN_SITE = "Run deploys/site.py for this host again, from where its inventory is."
_MAX_LINKS = 40
_OTHERS_MAY_WRITE = 0o022
_ALL_MAY_READ_AND_EXECUTE = 0o555


class Finding:
    """The answer to one question.

    Attributes:
        subject: what was asked about.
        answer: yes, no or cannot tell.
        what: what was seen, with the value.
        remedy: what to do, "" where the answer is yes.
    """

    def __init__(self, subject: str, answer: str, what: str, remedy: str = "") -> None:
        self.subject = subject
        self.answer = answer
        self.what = what
        self.remedy = remedy


def main(arguments: Sequence[str]) -> int:
    """`check [--format text|json]`: 0 sound, 1 not, 2 cannot tell."""
    parser = argparse.ArgumentParser(
        prog="nvproxy-wrapper check", description="Is the installed chain sound?"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    findings = list(examine())
    answer = overall(findings)
    if options.format == "json":
        print(json.dumps({"answer": answer, "findings": [vars(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            remedy = f" {finding.remedy}" if finding.remedy else ""
            print(f"{finding.answer:11}  {finding.subject}: {finding.what}.{remedy}")
        print(f"Sound: {answer}.")
    return _EXIT_STATUS[answer]


def overall(findings: Sequence[Finding]) -> str:
    """One answer for all: no where any is no, else cannot tell where any is that."""
    answers = {finding.answer for finding in findings}
    return NO if NO in answers else CANNOT_TELL if CANNOT_TELL in answers else YES


def examine(
    launcher: str = LAUNCHER,
    settings_path: str = SETTINGS_PATH,
    toolkit_config: str = TOOLKIT_CONFIG,
    applied: str = APPLIED,
    entry: str = ENTRY,
) -> Answers:
    """Every question, in the order in which a container's creation passes them."""
    if os.path.lexists(entry):
        yield from _program("entry", entry)
    yield from _runtimes(_config_of(entry) or toolkit_config, launcher)
    yield from _program("launcher", launcher)
    try:
        settings = load_settings(settings_path)
    except FileNotFoundError:
        yield Finding("settings", NO, f"{settings_path} is missing", _RUN_SITE)
    except PermissionError as error:
        yield Finding("settings", CANNOT_TELL, f"{settings_path}: {error.strerror}", "Run it as root.")
    except SettingsError as error:
        yield Finding("settings", NO, str(error).rstrip("."), _RUN_SITE)
    else:
        yield from _only_roots("settings", settings_path)
        yield from _launcher_agrees(launcher, settings, settings_path)
        yield from _programs(settings)
        yield from _only_roots("decision log", os.path.dirname(settings.audit_log))
    yield from _hashes(applied)


def _config_of(entry: str) -> str | None:
    """The config.toml that the entry names to NVIDIA's runtime; None where there is no entry, and by hand."""
    try:
        with open(entry, encoding="utf-8") as file:
            named = _ENTRY_CONFIG.search(file.read())
    except (OSError, UnicodeDecodeError):
        return None
    return named.group(1) if named else None


def _runtimes(config: str, launcher: str) -> Answers:
    subject = "config.toml"
    try:
        with open(config, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        yield Finding(
            subject,
            NO if missing else CANNOT_TELL,
            f"{config}: {error}",
            _RUN_SITE if missing else "Run it as root.",
        )
        return
    yield from _only_roots(subject, config)
    found = _read_runtimes(text)
    if found is None:
        yield Finding(
            subject,
            CANNOT_TELL,
            f"{config} has no single, plain line `runtimes = [...]` in [nvidia-container-runtime]",
            f'It should be runtimes = ["{launcher}"].',
        )
    elif found != [launcher]:
        yield Finding(
            subject,
            NO,
            f"{config} has runtimes = {json.dumps(found)}",
            f'It has to be ["{launcher}"] alone: where that is gone, a second entry means no gVisor.',
        )
    else:
        yield Finding(subject, YES, f"{launcher} is the only runtime")


def _read_runtimes(text: str) -> list[str] | None:
    """`runtimes` of a config.toml written plainly, as this project and nvidia-ctk do; None where it is not.

    No whole TOML: tomllib is there from Python 3.11 on, and a file that needs one is nobody's that we know.
    """
    if '"""' in text or "'''" in text:
        return None
    table = ""
    values = []
    for line in text.splitlines():
        header = _TABLE.match(line)
        if header:
            table = header.group(1).strip()
        elif table == "nvidia-container-runtime" and re.match(r"\s*[\"']?runtimes\b", line):
            values.append(_RUNTIMES.match(line))
    if len(values) != 1 or values[0] is None:
        return None
    try:
        value = json.loads(values[0].group(1))
    except ValueError:
        return None
    return value if all(isinstance(item, str) for item in value) else None


def _launcher_agrees(launcher: str, settings: Settings, settings_path: str) -> Answers:
    subject = "launcher"
    try:
        with open(launcher, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        yield Finding(subject, CANNOT_TELL, f"{launcher}: {error}", _RUN_SITE)
        return
    call, home = _LAUNCHER_CALL.search(text), _LAUNCHER_HOME.search(text)
    if call is None or home is None:
        yield Finding(subject, CANNOT_TELL, f"{launcher} is of another version than this check", _RUN_SITE)
        return
    runsc, used_settings, package = (json.loads(part) for part in (*call.groups(), *home.groups()))
    yield from _tree("wrapper", os.path.join(package, "nvproxy_wrapper"))
    wanted = [settings.runsc, *settings.runsc_args]
    if (runsc, used_settings) == (wanted, settings_path):
        yield Finding(subject, YES, "it and the settings name the same runsc")
    else:
        yield Finding(
            subject,
            NO,
            f"it names {json.dumps(runsc)} and {used_settings}, the settings "
            f"{json.dumps(wanted)} and {settings_path}",
            f"Plain and GPU containers would get different ones. {_RUN_SITE}",
        )


def _programs(settings: Settings) -> Answers:
    yield from _program("runsc", settings.runsc)
    sides = os.path.join(os.path.dirname(os.path.realpath(settings.runsc)), "gvisor-bin")
    if os.path.isdir(sides):
        for name in sorted(os.listdir(sides)):
            yield from _program("side binary", os.path.join(sides, name))
    yield from _program("python", sys.executable)
    for hook in settings.trusted_hooks:
        # One of the two NVIDIA programs is enough: which, the mode decides.
        if os.path.lexists(hook):
            yield from _program("trusted hook", hook)


def _program(subject: str, path: str) -> Answers:
    safe = list(_only_roots(subject, path))
    yield from safe
    if overall(safe) != YES:
        return
    status = os.stat(path)
    if (
        not stat.S_ISREG(status.st_mode)
        or status.st_mode & _ALL_MAY_READ_AND_EXECUTE != _ALL_MAY_READ_AND_EXECUTE
    ):
        # runsc drops its privileges and starts its own file again (gVisor's FAQ, runsc-perms).
        yield Finding(
            subject,
            NO,
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}",
            f"It has to be a program that everybody may read and execute: chmod 0755 {path}.",
        )


def _tree(subject: str, directory: str) -> Answers:
    """Every file below `directory`; one yes for all of them."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(directory) for name in names] or [directory]
    findings = [finding for path in paths for finding in _only_roots(subject, path)]
    bad = [finding for finding in findings if finding.answer != YES]
    yield from bad
    if not bad:
        yield Finding(subject, YES, f"{len(paths)} files below {directory} are root's alone to write")


def _only_roots(subject: str, path: str) -> Answers:
    """Whether nobody but root may write `path`, or put another in its place, by any name on the way to it."""
    try:
        for name in _way(path):
            status = os.lstat(name)
            wrong = (
                f"belongs to user {status.st_uid}"
                if status.st_uid != 0
                else f"has mode {stat.S_IMODE(status.st_mode):04o}"
                if status.st_mode & _OTHERS_MAY_WRITE and not stat.S_ISLNK(status.st_mode)
                else None
            )
            if wrong:
                yield Finding(
                    subject,
                    NO,
                    f"{path}: {name} {wrong}",
                    f"chown root {name}; chmod go-w {name}, once you know why.",
                )
                return
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(subject, NO, f"{path} is missing", _RUN_SITE)
    except OSError as error:
        yield Finding(subject, CANNOT_TELL, f"{path}: {error.strerror}", "Run it as root.")
    else:
        yield Finding(subject, YES, f"{path} is root's alone to write")


def _way(path: str) -> Iterator[str]:
    """Each name that the kernel looks at when it resolves the absolute `path`, the ways of links included."""
    links = 0
    done = "/"
    rest = [part for part in path.split("/") if part]
    yield done
    while rest:
        part = rest.pop(0)
        if part == "..":
            done = os.path.dirname(done)
            continue
        name = os.path.join(done, part)
        yield name
        if not stat.S_ISLNK(os.lstat(name).st_mode):
            done = name
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(0, "more links than the kernel follows")
        target = os.readlink(name)
        done = "/" if target.startswith("/") else done
        rest = [part for part in target.split("/") if part not in ("", ".")] + rest


def _hashes(applied: str) -> Answers:
    subject = "hashes"
    try:
        with open(applied, encoding="utf-8") as file:
            recorded = {path: entry["sha256"] for path, entry in json.load(file)["files"].items()}
    except FileNotFoundError:
        yield Finding(subject, CANNOT_TELL, f"there is no record {applied}", _RUN_SITE)
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Finding(subject, CANNOT_TELL, f"{applied} cannot be read: {error}", _RUN_SITE)
        return
    findings = [_hash(path, digest) for path, digest in sorted(recorded.items())]
    bad = [finding for finding in findings if finding.answer != YES]
    yield from bad
    if not bad:
        yield Finding(subject, YES, f"{len(findings)} files are as they were written")


def _hash(path: str, recorded: str) -> Finding:
    subject = "hashes"
    try:
        with open(path, "rb") as file:
            there = hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return Finding(subject, NO, f"{path} is gone", _RUN_SITE)
    except OSError as error:
        return Finding(subject, CANNOT_TELL, f"{path}: {error.strerror}", "Run it as root.")
    if there != recorded:
        return Finding(
            subject, NO, f"{path} is not as it was written", "Look who changed it; site.py puts it right."
        )
    return Finding(subject, YES, f"{path} is as it was written")
