"""The wrapper as an OCI runtime: judge a container's spec, put the repaired one in its place, become runsc.

The launcher (templates/nvproxy-runsc.sh.j2) comes first and sends everything that has no trace of NVIDIA or
gVisor straight to runsc. What arrives here is a GPU container, or a plain one that merely looks like one.

A plain container is none of the wrapper's business: as long as its spec needs no change, whatever is odd
about it, its bundle or the command line is left to runsc, with the environment that the caller gave. What
cannot be told from a GPU container is refused.

SIGINT, SIGTERM and SIGHUP end this process as they end runsc, at once and without a word: the first thing
that the launcher's program does is to take Python's own handler away. The bundle's spec is then the old one
or the new one, as `Bundle.replace` has it.

`run` and `restore` are judged like `create`. nvidia-container-runtime edits the spec for `create` alone, but
a spec that lists devices already has to be safe whichever way it is started; `restore` reads the spec where
the container does not exist yet (runsc/cmd/restore.go, 20260905).

Nothing is written to the streams of a container that starts, but for a decision log that cannot be written:
an engine throws the runtime's log away after success, so there nobody would ever read it. What was asked for
and is not given stands in that log nevertheless, beside runsc's own lines: containerd and dockerd keep it in
the bundle as `log.json` while the container runs, and show its user errors alone (containerd, go-runc,
getLastRuntimeError). For good it stands in the decision log.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps, without its import of `enum`
import posix
import sys
import time

from nvproxy_wrapper.host import decision_log, kept_spec, settings_file, trusted_file
from nvproxy_wrapper.host.bundle import Bundle, has_trace
from nvproxy_wrapper.host.views import CreateView
from nvproxy_wrapper.judge import kept, process_environment, strict_json
from nvproxy_wrapper.judge.command_line import CommandLine, roots_in
from nvproxy_wrapper.judge.decision import Refusal, printable
from nvproxy_wrapper.judge.rewrite import decide, not_understood
from nvproxy_wrapper.judge.settings import DEFAULTS, SETTINGS_PATH, Settings, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from nvproxy_wrapper.judge.decision import Decision

_MAX_SENTENCE = 4000
_LOG_FLAGS = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC


def main(runsc: list[str], settings_path: str = SETTINGS_PATH) -> int:
    """Judge the call in `sys.argv[1:]` and become runsc; it returns only where the container must not start.

    Args:
        runsc: path and arguments of the runsc that the launcher itself executes. It serves the calls that are
            none of the wrapper's business, so that plain containers run, and run alike, whatever the settings
            say.
        settings_path: the settings file.

    Returns:
        1, after one sentence on the error stream and in the file of `--log`.
    """
    started = time.monotonic()
    arguments = sys.argv[1:]
    call = CommandLine(arguments)
    try:
        if call.reads_spec:
            _create(call, arguments, runsc, settings_path, started)
        else:
            _become(runsc, arguments)
    except Refusal as refusal:
        sentence = refusal.sentence()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the container must not start and the user must be told
        sentence = _fault(error).sentence()
    _report("error", sentence, call.log)
    return 1


def _create(
    call: CommandLine, arguments: list[str], runsc: list[str], settings_path: str, started: float
) -> NoReturn:
    try:
        bundle = _bundle_to_judge(call)
    except Refusal as refusal:
        settings, fault = _settings(settings_path)
        _log(not_understood({}, refusal), settings, fault, call, started)
        raise
    if bundle is None:
        _become(runsc, arguments)
    settings, fault = _settings(settings_path)
    decision = _decide(bundle, settings, fault, call)
    if decision is None:
        _become(runsc, arguments)
    if bundle.fault and (decision.gpu_requested or decision.changed):
        decision = not_understood({}, bundle.fault)
    if fault is None:
        runsc = [settings.runsc, *settings.runsc_args]
    try:
        if decision.changed and not decision.refusal:
            bundle.replace(strict_json.dumps(decision.spec))
        if decision.gpu_requested or decision.refusal or decision.runsc_flags:
            _log(decision, settings, fault, call, started)
        if not decision.refusal:
            _start(decision, runsc, arguments, call)
    except BaseException:
        bundle.put_back()
        raise
    raise decision.refusal


def _start(decision: Decision, runsc: list[str], arguments: list[str], call: CommandLine) -> NoReturn:
    for warning in decision.warnings:
        _append(call.log, _log_line("warning", warning.sentence()))
    has_gpus = decision.gpu_requested or bool(decision.runsc_flags)
    _become([*runsc, *decision.runsc_flags], arguments, has_gpus=has_gpus)


def _bundle_to_judge(call: CommandLine) -> Bundle | None:
    """The bundle, or None where runsc is to have the call as it is."""
    found = [bundle for bundle in map(_bundle_with_trace, call.bundles) if bundle is not None]
    if found and len(call.bundles) > 1:
        raise Refusal(
            "bundle.file",
            f"the command line may mean the bundle {' or '.join(call.bundles)}",
            "Write runsc's flags as --flag=value: one of them is not known here.",
        )
    return found[0] if found else None


def _bundle_with_trace(path: str) -> Bundle | None:
    try:
        bundle = Bundle(path)
    except FileNotFoundError:
        # runsc says so itself, or needs none, as `restore` of a container that exists.
        return None
    return bundle if has_trace(bundle.data) else None


def _decide(
    bundle: Bundle, settings: Settings, fault: SettingsError | None, call: CommandLine
) -> Decision | None:
    """The decision; None for a spec that cannot be judged, and need not be: no reading of it has a GPU."""
    try:
        spec = strict_json.loads(bundle.data)
    except strict_json.JSONError as error:
        refusal = Refusal(
            "spec.json",
            f"{bundle.where} {error}",
            "The engine wrote a spec that cannot be judged: report it there.",
        )
        return not_understood({}, refusal) if _may_be_gpu(bundle) else None

    asked, asked_fault = _kept(bundle, spec)
    is_dockers = call.is_dockers or kept_spec.engine(posix.environ) == "docker"

    def decided() -> Decision:
        view = CreateView(settings.proc_driver, _root(call, settings))
        return decide(
            spec,
            settings,
            view,
            fault,
            engine_has_no_pods=is_dockers,
            kept=asked,
            kept_fault=asked_fault,
        )

    decision = decided()
    if not decision.refusal:
        return decision
    if decision.refusal.rule == "spec.json" and not _may_be_gpu(bundle):
        return None
    if not decision.refusal.host_prep_may_help:
        return decision
    from nvproxy_wrapper.host import preparation  # noqa: PLC0415 - `subprocess` costs more than all the rest, and few come here

    failures = preparation.run(settings.host_prep)
    decision = decided()
    if decision.refusal and failures:
        decision.refusal.message += f", also after host preparation ({'; '.join(failures)})"
    return decision


def _root(call: CommandLine, settings: Settings) -> str:
    """Where runsc keeps its state: its own last --root, or its default (runsc/config/flags.go)."""
    given = call.root or "".join(roots_in(settings.runsc_args)[-1:])
    session = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return given or f"{session or '/var/run'}/runsc"


def _kept(bundle: Bundle, spec: dict[str, Any]) -> tuple[dict[str, Any] | None, Refusal | None]:
    """The spec as the engine wrote it, or None; and why it cannot be used, which only GPU containers mind."""
    if bundle.fault:
        return None, None  # Refused for that.
    where = kept_spec.path(bundle)
    try:
        data = kept_spec.read(bundle, posix.environ)
        if data is None:
            return None, None
        found = strict_json.loads(data)
        kept.check(found, spec, where)
    except strict_json.JSONError as error:
        return None, Refusal(
            "bundle.kept", f"{where} {error}", "The engine wrote a spec that cannot be read: report it there."
        )
    except Refusal as refusal:
        return None, refusal
    return found, None


def _may_be_gpu(bundle: Bundle) -> bool:
    from nvproxy_wrapper.judge import any_reading  # noqa: PLC0415 - few come here

    return any_reading.may_be_gpu(bundle.data)


def _log(
    decision: Decision, settings: Settings, fault: SettingsError | None, call: CommandLine, started: float
) -> None:
    if fault is not None:
        # Where the log is, the settings say.
        return
    notice = decision_log.append(settings.audit_log, decision, call.container, started)
    if notice:
        _report("warning", notice, call.log)


def _settings(path: str) -> tuple[Settings, SettingsError | None]:
    """The settings and None; or the defaults, which do for telling a plain container, and what is wrong."""
    try:
        return settings_file.load_settings(path), None
    except FileNotFoundError:
        return DEFAULTS, SettingsError(f"The settings file {path} is missing.")
    except SettingsError as error:
        return DEFAULTS, error


def _become(runsc: list[str], arguments: list[str], *, has_gpus: bool = False) -> NoReturn:
    """Execute runsc in the place of this process, whose id, descriptors, directory and umask it keeps."""
    environment = (
        process_environment.for_runsc(posix.environ)
        if has_gpus
        else process_environment.as_it_was(_environment_at_start())
    )
    # Python ignores these two for itself, and what is ignored stays so in the program that follows.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        posix.execve(runsc[0], [*runsc, *arguments], environment)
    except OSError as error:
        raise Refusal(
            "wrapper.fault",
            f"{runsc[0]} cannot be executed: {error.strerror}",
            "Run deploys/site.py for this host again.",
        ) from None


def _environment_at_start() -> bytes:
    fd = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return trusted_file.read_all(fd)
    finally:
        posix.close(fd)


def _fault(error: BaseException) -> Refusal:
    where = ""
    frame = error.__traceback__
    while frame is not None:
        where = f"{frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}"
        frame = frame.tb_next
    return Refusal(
        "wrapper.fault",
        f"the wrapper itself failed at {where}: {type(error).__name__}: {error}",
        "No container was started and the bundle is as it was; please report this.",
    )


def _report(level: str, sentence: str, log: str | None) -> None:
    """Say `sentence` on the error stream and in the runtime's log, whose last error Docker shows its user."""
    _append(log, _log_line(level, sentence))
    try:
        posix.write(2, _readable(sentence).encode("utf-8") + b"\n")
    except OSError:
        pass


def _log_line(level: str, sentence: str) -> bytes:
    line = {"level": level, "msg": _readable(sentence), "time": decision_log.timestamp()}
    return strict_json.dumps(line) + b"\n"


def _readable(sentence: str) -> str:
    return printable(sentence[:_MAX_SENTENCE])


def _append(path: str | None, data: bytes) -> None:
    if path is None:
        return
    try:
        fd = posix.open(path, _LOG_FLAGS, 0o600)
        try:
            posix.write(fd, data)
        finally:
            posix.close(fd)
    except OSError:
        # The error stream is the other half.
        pass
