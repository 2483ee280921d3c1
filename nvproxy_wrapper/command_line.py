"""runsc's command line: which subcommand it is, which bundle it means, where it logs.

runsc parses with Go's package flag: `-name` and `--name` are one, a value follows after `=` or as the next
argument, booleans take a value only after `=`, and parsing stops at the first argument that is no flag, or
after `--` (runsc/cli/cli.go and runsc/cmd/*.go, gVisor 20260905). Without runsc's own list of flags nobody
can tell whether `--new-flag create` is a boolean and the subcommand, or a flag and its value. So a flag that
is in neither table below is read both ways, and where either way makes it a container's creation, that is
what it is taken for: looking at a spec too many costs milliseconds, one too few lets a container through
unseen. Where both ways make it a creation, and of different bundles, nobody can say which spec to look at.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC_READING_SUBCOMMANDS = frozenset(("create", "run", "restore"))
"""Those that read the bundle's config.json; `restore` does where the container does not exist yet."""

# What callers put before the subcommand: containerd's go-runc, dockerd, conmon and NVIDIA's runtime. Not
# runsc's whole list, which changes with each release.
_GLOBAL_WITH_VALUE = frozenset(("root", "log", "log-format", "panic-log", "debug-log", "debug-log-format"))
_GLOBAL_BOOLEAN = frozenset(("systemd-cgroup", "debug", "rootless", "nvproxy", "version", "help"))

# runsc has no -b, but nvidia-container-runtime reads it (internal/oci/args.go, v1.20.0), so both have to mean
# the same.
_BUNDLE = frozenset(("bundle", "b"))
_WITH_VALUE = frozenset(
    (
        "console-socket",
        "exec-fd",
        "fs-restore-image-path",
        "image-path",
        "pass-fd",
        "pid-file",
        "preserve-fds",
        "user-log",
        "work-path",
    )
)


class CommandLine:
    """What the wrapper needs to know of a command line.

    Attributes:
        subcommand: the subcommand, or None where there is none (`--version`).
        reads_spec: whether runsc reads config.json for it.
        bundle: the bundle as it was written, "." where it was not; only meant where `reads_spec`.
        log: the file of `--log`, or None.
        other_bundle: another bundle that it could mean as well, or None.
        container: the last argument, which is the container's id wherever runsc accepts the line at all.
    """

    __slots__ = ("bundle", "container", "log", "other_bundle", "reads_spec", "subcommand")

    def __init__(self, argv: Sequence[str]) -> None:
        position, *others = _subcommand_positions(argv)
        self.subcommand = argv[position] if position < len(argv) else None
        self.reads_spec = self.subcommand in SPEC_READING_SUBCOMMANDS
        self.log = _last_value(argv[:position], ("log",), _GLOBAL_WITH_VALUE) or None
        self.bundle = _bundle(argv[position + 1 :])
        self.other_bundle = None
        for other in others:
            bundle = _bundle(argv[other + 1 :])
            if bundle != self.bundle:
                self.other_bundle = bundle
        self.container = argv[-1] if self.reads_spec else ""


def _flag_name(argument: str) -> str:
    """The name in `-name`, `--name` or `--name=value`; "" for an argument that is no flag, "-" for `--`."""
    if argument == "--":
        return "-"
    if len(argument) < 2 or argument[0] != "-":
        return ""
    return argument[2 if argument[1] == "-" else 1 :].partition("=")[0]


def _bundle(arguments: Sequence[str]) -> str:
    # runsc takes an empty --bundle for the working directory, like none at all (cmd/create.go).
    return _last_value(arguments, _BUNDLE, _WITH_VALUE) or "."


def _subcommand_positions(argv: Sequence[str]) -> list[int]:
    """Where the subcommand may be: of all readings those that read a spec, else the first; never empty.

    `len(argv)` stands for no subcommand.
    """
    ends = []
    starts = {0}
    for position, argument in enumerate(argv):
        if position not in starts:
            continue
        name = _flag_name(argument)
        if name == "-":
            ends.append(position + 1)
        elif not name:
            ends.append(position)
        else:
            has_value = "=" in argument
            if has_value or name not in _GLOBAL_WITH_VALUE:
                starts.add(position + 1)
            if not has_value and name not in _GLOBAL_BOOLEAN:
                starts.add(position + 2)
    reading = [end for end in ends if end < len(argv) and argv[end] in SPEC_READING_SUBCOMMANDS]
    return reading or ends[:1] or [len(argv)]


def _last_value(arguments: Sequence[str], names: Sequence[str] | frozenset[str], skip: frozenset[str]) -> str:
    """The value of the last of the flags `names`, "" if there is none; values of `skip` are passed over.

    It reads on behind the first argument that is no flag, where Go stops: such a line has two of them, and
    runsc refuses it. Stopping there would take the value of a flag that is not in the tables for the id.
    """
    value = ""
    wanted = skipped = False
    for argument in arguments:
        if wanted or skipped:
            value = argument if wanted else value
            wanted = skipped = False
            continue
        name = _flag_name(argument)
        if name == "-":
            break
        if name in names:
            wanted = "=" not in argument
            value = value if wanted else argument.partition("=")[2]
        elif name in skip:
            skipped = "=" not in argument
    return value
