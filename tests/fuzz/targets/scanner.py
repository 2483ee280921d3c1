"""The argument scanner: whatever runsc would execute with a bundle is seen as that, with the same bundle."""

from __future__ import annotations

import itertools

from nvproxy_wrapper.judge.command_line import SPEC_READING_SUBCOMMANDS, CommandLine
from tests.fuzz.runsc_model import NEW_BOOLEAN, NEW_WITH_VALUE, Execution, execution

# As dockerd and containerd's runc shim, containerd's runsc shim, and conmon call a runtime; with short ids
# and directories, as only short inputs are changed often enough to be changed well.
LINES = [
    "--root /r --log /b/l --log-format json create --bundle /b --pid-file /b/p x",
    "--root /r --log /b/l --log-format json --systemd-cgroup create --bundle /b --console-socket /s x",
    "--root /r --log /b/l --log-format json start x",
    "--root /r --log /b/l --log-format json kill --all x 9",
    "--root /r --log /b/l --log-format json exec --process /p --detach --pid-file /b/e x",
    "--root=/r --log=/l --log-format=json --panic-log=/p --platform=kvm create --bundle /b --user-log /u x",
    "--systemd-cgroup create --bundle /b --pid-file /b/p --no-new-keyring x",
    "--root=/r run --bundle=/b --detach --pass-fd 3:4 x",
    "--log /l restore --image-path=/i --work-path /w --detach --bundle /b x",
    "--network none --debug-log /d/ --overlay2=none create -bundle /b -- x",
    f"--{NEW_BOOLEAN} --{NEW_WITH_VALUE} y create --{NEW_WITH_VALUE} y --bundle /b x",
    "--platform create -- create --bundle /b x",
    "--platform create --log --bundle=/a create x",
    "--version",
    "",
]

# Each byte is a whole argument: letter by letter no second flag would be found in a day. What a line turns on
# is there more than once, as any byte may become any other.
_ARGUMENTS = [
    *("create", "run", "restore", "--", "x", "/b", "--bundle", "--bundle=/a", "--log", "--root", "--platform")
    * 3,
    *("state", "start", "exec", "-", "", "--log=/l", "--log-format", "-debug-log", "--panic-log"),
    *(
        "--debug-log-format=json",
        "--systemd-cgroup",
        "--debug",
        "-debug=false",
        "--rootless",
        "--nvproxy",
        "--nvproxy=1",
    ),
    *(
        "--help",
        "--version=0",
        "--platform=kvm",
        "-network",
        "--overlay2",
        "--net-raw",
        "-TESTONLY-unsafe-nonroot=true",
    ),
    *(
        "-bundle",
        "-bundle=/c",
        "--bundle=",
        "-b",
        "--pid-file",
        "--pid-file=/p",
        "--console-socket",
        "--user-log",
    ),
    *("--image-path", "--work-path", "--pass-fd", "--exec-fd", "--exec-fd=3", "--fs-restore-image-path"),
    *("--fs-restore-direct", "--detach", "--background", "--no-subreaper", "--direct"),
    *(f"--{NEW_BOOLEAN}", f"--{NEW_WITH_VALUE}", f"--{NEW_WITH_VALUE}=/v", f"-{NEW_BOOLEAN}=true"),
    *("---", "--=", "-=x", "---bundle", "\udcff", "--bundle=\udcff", "=", "--bundle=--bundle=/d"),
]
_LETTERS = 0xFF
# What stands before and behind the drawn arguments, by the first byte: of lines that are drawn as a whole
# runsc executes one in fifty.
_FRAMES: list[tuple[list[str], list[str]]] = [([], []), ([], ["create", "x"]), (["create"], ["x"])]
WORDS: list[bytes] = []
LONGEST = 32


def arguments_of(data: bytes) -> list[str]:
    """The command line that bytes stand for; behind `_LETTERS` follow one argument's letters, and a NUL."""
    before, behind = _FRAMES[data[0] % len(_FRAMES)] if data else ([], [])
    arguments = list(before)
    rest = iter(data[1:])
    for byte in rest:
        if byte == _LETTERS:
            arguments.append("".join(map(chr, itertools.takewhile(bool, rest))))
        else:
            arguments.append(_ARGUMENTS[byte % len(_ARGUMENTS)])
    return arguments + behind


def seeds() -> list[bytes]:
    return [b"\0" + b"".join(_byte_or_letters(word) for word in line.split()) for line in LINES]


def _byte_or_letters(word: str) -> bytes:
    if word in _ARGUMENTS:
        return bytes([_ARGUMENTS.index(word)])
    return bytes([_LETTERS]) + word.encode() + b"\0"


def check(data: bytes) -> str:
    arguments = arguments_of(data)
    call = CommandLine(arguments)
    runs = execution(arguments)
    if runs is None:
        return "looked at all the same" if call.reads_spec else "none of the wrapper's business"
    told = f"for {arguments} runsc executes {runs}"
    assert call.reads_spec, f"{told}, and the scanner sees {call.subcommand}"
    assert call.container == runs.container, f"{told}, and the scanner sees the container {call.container!r}"
    if len(call.bundles) > 1:
        return "refused, as it may mean two bundles"
    assert call.bundles == [runs.bundle], f"{told}, and the scanner sees the bundles {call.bundles}"
    return _what_is_odd(arguments, runs)


def _what_is_odd(arguments: list[str], runs: Execution) -> str:
    """For the counts; and as each answer is a branch, a guided run keeps lines of each kind to change."""
    before = arguments[: len(arguments) - 1]
    subcommands = [word for word in before if word in SPEC_READING_SUBCOMMANDS]
    if len(subcommands) > 1 and "--" in before:
        return "executed, with two subcommands and the end of the flags"
    if len(subcommands) > 1 and any(word.startswith("--bundle=") for word in before):
        return "executed, with two subcommands and a bundle"
    if len(subcommands) > 1:
        return "executed, with two subcommands"
    if runs.bundle.startswith("-"):
        return "executed, with a bundle like a flag"
    if "--" in before:
        return "executed, with the end of the flags"
    return "executed"
