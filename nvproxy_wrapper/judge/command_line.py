"""runsc's command line: which subcommand it is, which bundle it means, where it logs.

runsc parses with Go's package flag: `-name` and `--name` are one, a value follows after `=` or as the next
argument, booleans take a value only after `=`, and parsing stops at the first argument that is no flag, or
after `--` (runsc/cli/cli.go and runsc/cmd/*.go, gVisor 20260905). Without runsc's own list of flags, which
changes with each release, nobody can tell whether `--new-flag create` is a boolean and the subcommand, or a
flag and its value. So a flag that is in no table below is read both ways, and where either way makes it a
container's creation, that is what it is taken for: looking at a spec too many costs milliseconds, one too few
lets a container through unseen. Where two ways mean two bundles, nobody can say which spec to look at.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC_READING_SUBCOMMANDS = frozenset(("create", "run", "restore"))
"""Those that read the bundle's config.json; `restore` does where the container does not exist yet."""


class _Flags:
    """The flags of runsc or of a subcommand, as far as callers are known to use them.

    Attributes:
        wanted: names of the one whose value is asked for.
        with_value: names of others that take a value.
        boolean: names of those that take none.
    """

    def __init__(self, wanted: str, with_value: str, boolean: str) -> None:
        self.wanted = frozenset(wanted.split())
        self.with_value = frozenset(with_value.split())
        self.boolean = frozenset(boolean.split())


# containerd's go-runc, dockerd, conmon and NVIDIA's runtime.
_GLOBAL = _Flags(
    wanted="log",
    with_value="root log-format panic-log debug-log debug-log-format",
    boolean="systemd-cgroup debug rootless nvproxy version help",
)
# runsc has no -b, but nvidia-container-runtime reads it (internal/oci/args.go, v1.20.0), so both have to mean
# the same.
_SUBCOMMAND = _Flags(
    wanted="bundle b",
    with_value="console-socket exec-fd fs-restore-image-path image-path pass-fd pid-file preserve-fds"
    " user-log work-path",
    boolean="background detach direct fs-restore-direct no-new-keyring no-pivot no-subreaper",
)


class CommandLine:
    """What the wrapper needs to know of a command line.

    Attributes:
        subcommand: the subcommand, or None where there is none (`--version`).
        reads_spec: whether runsc reads config.json for it.
        bundles: each bundle that it may mean, as it was written, "." where it was not; there is one, but for
            a line that nobody can read in one way. None where not `reads_spec`.
        log: the file of `--log`, or None.
        container: the last argument, which is the container's id wherever runsc accepts the line at all.
        is_dockers: whether dockerd made this container: --root is in its runtime-runc
            (moby, daemon/runtime_unix.go, defaultV2ShimConfig), or, for a runtime that it has by runtimeType,
            where a shim of containerd's keeps the containers of dockerd's namespace, `moby`
            (containerd 2.4.2, cmd/containerd-shim-runc-v2/process; gVisor 20260905, pkg/shim/v1/proc).
        root: the value of --root, or None where it is not given.
    """

    __slots__ = ("bundles", "container", "is_dockers", "log", "reads_spec", "root", "subcommand")

    def __init__(self, argv: Sequence[str]) -> None:
        readings = _readings(argv, _GLOBAL)
        reading_spec = [
            (at, log) for at, log in readings if at < len(argv) and argv[at] in SPEC_READING_SUBCOMMANDS
        ]
        position, log = (reading_spec or readings or [(len(argv), "")])[0]
        self.subcommand = argv[position] if position < len(argv) else None
        self.reads_spec = bool(reading_spec)
        self.log = log or None
        self.bundles = _bundles([argv[at + 1 :] for at, _ in reading_spec])
        self.container = argv[-1] if self.reads_spec else ""
        roots = roots_in(argv[:position])
        self.is_dockers = any(map(_is_dockers, roots))
        self.root = roots[-1] if roots else None


def roots_in(flags: Sequence[str]) -> list[str]:
    """The values of --root among flags of runsc's; of several it takes the last."""
    following = [*flags[1:], ""]
    return [
        flag.partition("=")[2] if "=" in flag else value
        for flag, value in zip(flags, following)
        if _flag_name(flag) == "root"
    ]


def _is_dockers(root: str) -> bool:
    # /run/containerd/runc/moby, or runsc's; a rootless dockerd has its containerd below XDG_RUNTIME_DIR.
    parts = [part for part in root.split("/") if part]
    return "/runtime-runc/" in root or (
        parts[-1:] == ["moby"] and parts[-2:-1] in (["runc"], ["runsc"]) and "containerd" in parts[:-2]
    )


def _bundles(tails: list[Sequence[str]]) -> list[str]:
    """Every bundle that a line may mean, of which these may be the arguments behind the subcommand."""
    readings = [
        (len(tail) - position, bundle) for tail in tails for position, bundle in _readings(tail, _SUBCOMMAND)
    ]
    # runsc takes one argument, the id, and refuses a line with another number.
    taken = [reading for reading in readings if reading[0] == 1]
    # It takes an empty --bundle for the working directory, like none at all (cmd/create.go).
    return list(dict.fromkeys(bundle or "." for _, bundle in taken or readings))


def _readings(arguments: Sequence[str], flags: _Flags) -> list[tuple[int, str]]:
    """Every way to read flags: the index behind them, and the last value of the wanted one, "" for none."""
    found = []
    reached: list[list[str]] = [[] for _ in range(len(arguments) + 1)]
    reached[0].append("")
    for position, values in enumerate(reached[: len(arguments)]):
        argument = arguments[position]
        name = _flag_name(argument)
        for value in dict.fromkeys(values):
            if not name or name == "-":
                found.append((position + len(name), value))
                continue
            is_wanted = name in flags.wanted
            if "=" in argument:
                reached[position + 1].append(argument.partition("=")[2] if is_wanted else value)
                continue
            if not is_wanted and name not in flags.with_value:
                reached[position + 1].append(value)
            # A value that is missing at the end is nobody's reading.
            if name not in flags.boolean and position + 1 < len(arguments):
                reached[position + 2].append(arguments[position + 1] if is_wanted else value)
    found += [(len(arguments), value) for value in dict.fromkeys(reached[len(arguments)])]
    return found


def _flag_name(argument: str) -> str:
    """The name in `-name`, `--name` or `--name=value`; "" for an argument that is no flag, "-" for `--`."""
    if argument == "--":
        return "-"
    if len(argument) < 2 or argument[0] != "-":
        return ""
    return argument[2 if argument[1] == "-" else 1 :].partition("=")[0]
