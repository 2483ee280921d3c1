"""The admin command: explain, rewrite and rules; probe, check and bundle-report are elsewhere.

Exit status: 0; 3 where a spec is refused; 2 for a wrong call; 1 where a file cannot be written. The others
have their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING

from nvproxy_wrapper.host.settings_file import load_settings
from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import catalogue, strict_json
from nvproxy_wrapper.judge.decision import Refusal, printable
from nvproxy_wrapper.judge.rewrite import decide, not_understood
from nvproxy_wrapper.judge.settings import DEFAULTS, SETTINGS_PATH, Settings, SettingsError, parse_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nvproxy_wrapper.judge.decision import Decision

EXIT_REFUSED = 3


def main(arguments: Sequence[str]) -> int:
    """Run one admin command; `arguments` are those after the program's name. Returns the exit status."""
    if arguments and arguments[0] in ("probe", "check", "bundle-report"):
        # They parse their own: argparse's REMAINDER takes no option before the first positional argument.
        return _run_elsewhere(arguments[0], arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        status = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`); without this Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _run(options: argparse.Namespace) -> int:
    if options.command == "rules":
        print(_rules_as_json() if options.format == "json" else _rules_as_text())
        return 0
    spec, decision = _judge(options.config, options.settings)
    if options.command == "explain":
        print(_as_json(decision) if options.format == "json" else _as_text(decision))
        return EXIT_REFUSED if decision.refusal else 0
    if decision.refusal:
        print(json.dumps(decision.refusal.as_json()), file=sys.stderr)
        return EXIT_REFUSED
    return _write(strict_json.dumps(decision.spec) if decision.changed else spec, options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvproxy-wrapper", description="What stands between nvidia-container-runtime and runsc."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain = commands.add_parser(
        "explain", help="say what a container's spec is, and what would become of it"
    )
    rewrite = commands.add_parser("rewrite", help="print the spec that runsc would get")
    rules = commands.add_parser("rules", help="list the rules")
    for command in (explain, rewrite):
        command.add_argument(
            "--settings", metavar="F", help=f"settings file (default: {SETTINGS_PATH}, if it is there)"
        )
        command.add_argument(
            "config", metavar="CONFIG.json", help="a bundle's config.json, or - for standard input"
        )
    rewrite.add_argument(
        "-o", dest="output", metavar="OUT", help="write it there instead of on standard output"
    )
    for command in (explain, rules):
        command.add_argument("--format", choices=("text", "json"), default="text")
    for name, text in (
        ("probe", "find out what a runsc can do"),
        ("check", "say whether the installed chain is sound"),
        ("bundle-report", "pack what says why a container got no GPU into one file, secrets left out"),
    ):
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _run_elsewhere(command: str, arguments: Sequence[str]) -> int:
    # Imported where they are called: explain has to work where they cannot.
    if command == "probe":
        from nvproxy_wrapper.admin import probe  # noqa: PLC0415

        return probe.main(arguments)
    if command == "bundle-report":
        from nvproxy_wrapper.admin import bundle_report  # noqa: PLC0415

        return bundle_report.main(list(arguments))
    from nvproxy_wrapper.admin import check  # noqa: PLC0415

    return check.main(arguments)


def _judge(config: str, settings_path: str | None) -> tuple[bytes, Decision]:
    """The bytes of a config.json and the decision about it."""
    settings, fault = _settings(settings_path)
    data = b""
    try:
        data = _read(config)
        spec = strict_json.loads(data)
    except OSError as error:
        message = f"{config} cannot be read: {error.strerror}"
        return data, not_understood(
            {}, Refusal("spec.json", message, "Give the path of a bundle's config.json.")
        )
    except strict_json.JSONError as error:
        refusal = Refusal("spec.json", f"{config} {error}", "Look at what wrote the container's spec.")
        return data, not_understood({}, refusal)
    return data, decide(spec, settings, ProcDriverView(settings.proc_driver), fault)


def _settings(path: str | None) -> tuple[Settings, SettingsError | None]:
    try:
        if path is None:
            # As at create time: one that others may write is refused.
            return load_settings(SETTINGS_PATH), None
        return parse_settings(_read(path), path), None
    except FileNotFoundError:
        if path is None:
            return DEFAULTS, None
        return DEFAULTS, SettingsError(f"The settings file {path} is not there.")
    except OSError as error:
        return DEFAULTS, SettingsError(
            f"The settings file {path or SETTINGS_PATH} cannot be read: {error.strerror}."
        )
    except SettingsError as error:
        return DEFAULTS, error


def _read(path: str) -> bytes:
    # One byte more than is allowed: strict_json says so then, and a gigabyte is never read.
    limit = strict_json.MAX_BYTES + 1
    if path == "-":
        return sys.stdin.buffer.read(limit)
    with open(path, "rb") as file:
        return file.read(limit)


def _write(data: bytes, path: str | None) -> int:
    try:
        if path is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif os.path.exists(path) and not os.path.isfile(path):
            # Not replaced: -o /dev/null, typed by root, would make a file of the host's /dev/null.
            with open(path, "wb") as file:
                file.write(data)
        else:
            # A link stays one.
            _write_file(data, os.path.realpath(path))
    except OSError as error:
        where = path or "standard output"
        print(
            f"nvproxy-wrapper: {where} could not be written: {error.strerror}; it is as it was.",
            file=sys.stderr,
        )
        return 1
    return 0


def _write_file(data: bytes, path: str) -> None:
    """All of it or nothing: beside, and renamed."""
    descriptor, temporary = tempfile.mkstemp(prefix=".nvproxy-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _as_json(decision: Decision) -> str:
    return json.dumps(decision.as_json(), indent=2)


_CLASS_SENTENCES = {
    "none": "a plain container: NVIDIA's runtime has added nothing to it",
    "legacy": "a container of NVIDIA's legacy mode: its prestart hook is there and no device is listed",
    "csv": "a GPU container from NVIDIA's csv mode, which lists every GPU whatever was asked for",
    "cdi": "a GPU container from a CDI file",
    "jit-cdi": "a GPU container from NVIDIA's jit-cdi mode, which is what auto means from 1.18 on",
    "device-plugin": "a GPU container whose devices an engine or a device plugin listed",
    "mixed": "not of one class",
}


def _as_text(decision: Decision) -> str:
    """What `explain` prints; what a spec says is shown without the power to steer a terminal."""
    return "\n".join(printable(line) for line in _text_lines(decision))


def _text_lines(decision: Decision) -> list[str]:
    if decision.refusal and decision.refusal.rule == "spec.json":
        return [f"{decision.refusal.message}.", decision.refusal.remedy]
    lines = [f"This is {_CLASS_SENTENCES[decision.spec_class]} (class {decision.spec_class})."]
    lines += [f"  - {sentence}." for sentence in decision.evidence]
    lines += ["", _what_is_asked(decision)]
    if decision.refusal:
        refusal = decision.refusal
        lines += ["", f"It must not start ({refusal.rule}):", f"  {refusal.message}.", f"  {refusal.remedy}"]
        return lines + _what_is_not_given(decision)
    lines += [_what_it_gets(decision), *_what_is_not_given(decision), ""]
    if not decision.actions:
        lines.append("Nothing is changed." if not decision.changed else "The spec is written anew.")
    else:
        lines.append("What is changed, and why:")
        lines += [
            f"  - {action.rule}: {action.target}: {action.what}; {action.why}." for action in decision.actions
        ]
    if decision.runsc_flags:
        lines += ["", f"runsc is called with {' '.join(decision.runsc_flags)}."]
    return lines


def _what_is_not_given(decision: Decision) -> list[str]:
    if not decision.warnings:
        return []
    told = [f"  - {warning.rule}: {warning.text()}. {warning.remedy}" for warning in decision.warnings]
    return ["", "What is asked for and not given:", *told]


def _what_is_asked(decision: Decision) -> str:
    request = decision.requested
    if not decision.gpu_requested:
        return "It asks for no GPU."
    if request is None:
        return "It has GPU devices, and no variable or mount says which GPUs are asked for."
    if isinstance(request, str):
        return {"all": "It asks for all GPUs.", "none": "It asks for the driver and no GPU."}[request]
    return f"It asks for the GPUs {', '.join(request)}."


def _what_it_gets(decision: Decision) -> str:
    if not decision.gpu_requested:
        return "It gets none."
    if decision.gpus is None:
        return "runsc has nvidia-container-cli set it up; it gets what that finds for the request."
    gpus = f"GPU minors {', '.join(map(str, decision.gpus))}" if decision.gpus else "no GPU"
    if decision.spec_class == "legacy":
        return f"runsc has nvidia-container-cli set it up; for the request that finds {gpus}."
    return f"It can open {gpus}; its nodes are {', '.join(decision.devices)}."


def _rules_as_json() -> str:
    return json.dumps([vars(rule) for rule in catalogue.RULES], indent=2)


def _rules_as_text() -> str:
    return "\n\n".join(
        f"{rule.id}\n  {rule.what}\n  Why: {rule.why}\n  runsc: {rule.runsc}\n  Source: {rule.source}"
        for rule in catalogue.RULES
    )
