"""The launcher under the two shells that /bin/sh is: what it sends straight to runsc, and what to Python.

runsc and Python are replaced by programs that say their names, so that a call shows which way it took.
"""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvproxy_wrapper.host.bundle import has_trace
from nvproxy_wrapper.judge.command_line import CommandLine
from tests.installed_wrapper import SHELLS, render

PLAIN = b'{"process":{"args":["sh","-c","a \\u0026\\u0026 b \\u003c c"]}}'
GPU = b'{"linux":{"devices":[{"path":"/dev/nvidiactl"}]}}'


class Way:
    """A launcher whose runsc and Python only say who they are."""

    def __init__(self, home: Path, shell: list[str], grep: str) -> None:
        self.home = home
        self.shell = shell
        for name in ("runsc", "python"):
            (home / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
            (home / name).chmod(0o755)
        text = render(
            "nvproxy-runsc.sh.j2",
            runsc=str(home / "runsc"),
            runsc_args=["--it's", '--"$HOME"', "--two words"],
            python=str(home / "python"),
            wrapper_dir="/nowhere",
        )
        (home / "launcher").write_text(text.replace("/bin/grep", grep))
        # Each is a bundle, and has all three below it.
        for directory in (home, *(home / name / "b" for name in ("plain", "gpu", "empty"))):
            for name, spec in (("plain", PLAIN), ("gpu", GPU), ("empty", None)):
                (directory / name).mkdir(parents=True)
                if spec is not None:
                    (directory / name / "config.json").write_bytes(spec)

    def take(self, *arguments: str, cwd: str = "plain") -> str:
        """Which of the two was executed."""
        return self.lines(*arguments, cwd=cwd)[0]

    def lines(self, *arguments: str, cwd: str = "plain") -> list[str]:
        finished = subprocess.run(
            [*self.shell, str(self.home / "launcher"), *arguments],
            cwd=self.home / cwd,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert finished.stderr == ""
        return finished.stdout.splitlines()


@pytest.fixture(params=SHELLS, scope="module")
def way(request, tmp_path_factory):
    grep = "/bin/busybox grep" if "busybox" in request.param else "/bin/grep"
    return Way(tmp_path_factory.mktemp("launcher"), SHELLS[request.param], grep)


@pytest.mark.parametrize(
    "line",
    [
        "--version",
        "features",
        "",
        "state abc",
        "--root /r --log /l --log-format json start abc",
        "--root create state abc",
        "--log create --root run delete --force abc",
        "--log=create kill abc",
        "state create",
        "--log-format=json --systemd-cgroup delete create",
        "create abc",
        "create --bundle b/plain abc",
        "--root /r --log=/l --log-format json --systemd-cgroup create --bundle=b/plain --pid-file p abc",
        "create --bundle b/gpu --bundle b/plain --console-socket s create",
        "create --pid-file --bundle --bundle b/plain abc",
    ],
)
def test_calls_without_a_gpu_go_straight_to_runsc(way, line):
    assert way.take(*line.split()) == "runsc"


@pytest.mark.parametrize(
    "line",
    [
        "create --bundle b/gpu abc",
        "create --bundle=b/gpu abc",
        "create -bundle b/gpu abc",
        "create -b b/gpu abc",
        "create -b=b/gpu abc",
        "create --bundle b/plain --bundle b/gpu abc",
        "create --bundle b/plain --pid-file --bundle -b b/gpu abc",
        "--log create create --bundle b/gpu create",
        "--log run --root=create -- create --bundle b/gpu abc",
        "--systemd-cgroup create --bundle b/gpu abc",
        "--from-tomorrow create --bundle b/gpu abc",
        "--from-tomorrow state create --bundle b/gpu abc",
        "run --bundle b/gpu abc",
        "restore --bundle b/gpu --image-path i abc",
        "create --from-tomorrow --bundle b/gpu abc",
        "create --bundle ../plain abc",
        "create --bundle=b/plain/../plain abc",
        "create --bundle b/plain/.. abc",
        "create --bundle b/empty abc",
        "create --bundle b/nowhere abc",
    ],
)
def test_a_creation_with_a_trace_of_a_gpu_or_in_doubt_goes_to_python(way, line):
    assert way.take(*line.split()) == "python"


def test_without_a_bundle_the_working_directory_is_the_bundle(way):
    assert way.take("create", "abc", cwd="plain") == "runsc"
    assert way.take("create", "abc", cwd="gpu") == "python"


def test_a_linked_spec_goes_to_python(way):
    bundle = way.home / "linked"
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").unlink(missing_ok=True)
    (bundle / "config.json").symlink_to(way.home / "plain/config.json")
    assert way.take("create", "--bundle", str(bundle), "abc") == "python"


@pytest.mark.parametrize("grep", ["/nonexistent/grep", "/bin/false --", "exit_two"])
def test_a_grep_that_gives_no_clear_no_sends_to_python(tmp_path, grep):
    """1 alone means that there is no such line; /bin/false says so, and shows that the way can be told."""
    if grep == "exit_two":
        grep = str(tmp_path / "grep")
        (tmp_path / "grep").write_text("#!/bin/sh\nexit 2\n")
        (tmp_path / "grep").chmod(0o755)
    expected = "runsc" if "false" in grep else "python"
    assert Way(tmp_path, ["/bin/sh"], grep).take("create", "--bundle", "b/plain", "abc") == expected


def test_arguments_reach_runsc_and_python_letter_by_letter(way):
    arguments = ["--log", "a b", "--root=*", "create", "--bundle", "b/gpu", "it's", '"$x"']
    first, *rest = way.lines(*arguments)
    assert first == "python"
    assert rest[-len(arguments) :] == arguments
    assert way.lines("state", "it's", "$(x)", "") == [
        "runsc",
        "--it's",
        '--"$HOME"',
        "--two words",
        "state",
        "it's",
        "$(x)",
        "",
    ]


ARGUMENT = st.sampled_from(
    [
        "create",
        "run",
        "restore",
        "state",
        "--root",
        "--log",
        "--log=l",
        "--log-format",
        "json",
        "--systemd-cgroup",
        "-debug",
        "--debug=create",
        "--new",
        "--new=1",
        "--",
        "-",
        "-b",
        "--bundle",
        "-bundle=b/gpu",
        "--bundle=b/plain",
        "b/gpu",
        "b/plain",
        "b/empty",
        "--pid-file",
        "--pid-file=p",
        "--console-socket",
        "--user-log",
        "abc",
    ]
) | st.sampled_from(["", "a b", "*", "$0", "-", "--=", "=x", "--bundle=", "\\", "'", "é"])
LINES = st.lists(ARGUMENT, max_size=6) | st.builds(
    lambda flags, rest: [*flags, "create", *rest],
    st.lists(ARGUMENT, max_size=3),
    st.lists(ARGUMENT, max_size=4),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=LINES, cwd=st.sampled_from(["plain", "gpu", "empty"]))
def test_only_what_python_reads_as_plain_too_goes_straight_to_runsc(way, arguments, cwd):
    if way.take(*arguments, cwd=cwd) == "python":
        return
    call = CommandLine(arguments)
    for bundle in call.bundles:
        assert not has_trace((way.home / cwd / bundle / "config.json").read_bytes())


# No newline or NUL: neither can stand inside a JSON string.
WORDS = [
    b"nvidia",
    b"NVIDIA_",
    b"nvidi",
    b"dev.gvisor.x",
    b"dev-gvisor",
    b"io.kubernetes.cri",
    b"iokubernetes",
]
ESCAPES = [
    rb"\u006e",
    rb"\u003c",
    rb"\u002E",
    rb"\u004",
    rb"\U0041",
    rb"\\u0061",
    rb"\u001b",
    rb"\u0",
    b"\xff",
    b"\xc4\xb0",
]
ANY = st.binary(max_size=3).filter(lambda piece: b"\n" not in piece and b"\0" not in piece)
PIECE = st.sampled_from(WORDS) | st.sampled_from(ESCAPES) | ANY


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECE, max_size=6), separator=st.sampled_from([b"", b"\n", b" "]))
def test_the_launcher_and_python_see_the_same_traces(way, pieces, separator):
    data = separator.join(pieces)
    bundle = way.home / "traced"
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_bytes(data)
    assert way.take("create", "--bundle", str(bundle), "abc") == ("python" if has_trace(data) else "runsc")
