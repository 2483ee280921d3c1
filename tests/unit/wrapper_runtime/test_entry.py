"""The entry under the two shells that /bin/sh is: what it keeps, and what it becomes.

NVIDIA's runtime is replaced by a program that tells how it was called; test_kept_spec has the wrapper's side.
"""

import json
import os
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nvproxy_wrapper.host.kept_spec import NAME
from nvproxy_wrapper.judge.command_line import CommandLine
from tests.installed_wrapper import SHELLS, render

SPEC = b'{"process":{"args":["sh"],"env":["NVIDIA_VISIBLE_DEVICES=1"]}}'
SHIM = """#!/bin/sh
printf '%s\\0' "$NVPROXY_ENTRY" "$NVIDIA_CTK_CONFIG_FILE_PATH" "$XDG_CONFIG_HOME" "$$" "$(umask)" "$@"
# As NVIDIA's runtime: written over in place.
for bundle in @HOME@/* .; do
    [ ! -f "$bundle/config.json" ] || [ -L "$bundle/config.json" ] || echo '{}' >"$bundle/config.json"
done
"""


@dataclass(frozen=True)
class Called:
    """How the shim was called."""

    entry: str
    config_file: str
    config_home: str
    pid: int
    umask: str
    arguments: list[str]


class Host:
    """An entry, its shim, and bundles, each with its own spec."""

    def __init__(self, home: Path, shell: list[str], cat: str = "/bin/cat") -> None:
        self.home = home
        self.shell = shell
        (home / "shim").write_text(SHIM.replace("@HOME@", str(home)))
        (home / "shim").chmod(0o755)
        self.config_home = home / "e t'c"
        self.config = self.config_home / "nvidia-container-runtime" / "config.toml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.touch()
        shim, config_home = str(home / "shim"), str(self.config_home)
        text = render("nvproxy-entry.sh.j2", engine="docker", shim=shim, config_home=config_home)
        (home / "entry").write_text(text.replace("/bin/cat", cat))
        (home / "log").touch()
        self.bundle("b")

    def bundle(self, name: str) -> Path:
        path = self.home / name
        path.mkdir(parents=True, exist_ok=True)
        (path / NAME).unlink(missing_ok=True)
        (path / "config.json").write_bytes(SPEC)
        return path

    def finished(self, *arguments: str | bytes, **options) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.shell, str(self.home / "entry"), *arguments],
            **{"cwd": self.home, "capture_output": True, "timeout": 30, **options},
        )

    def call(self, *arguments: str | bytes, **options) -> Called:
        done = self.finished(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, b"")
        entry, file, home, pid, umask, *rest = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        return Called(entry, file, home, int(pid), umask, rest)

    def kept(self) -> list[Path]:
        """Every kept spec that there is anywhere."""
        return [path for path in self.home.rglob(NAME) if not path.is_symlink()]

    def errors(self) -> list[str]:
        lines = (self.home / "log").read_text().splitlines()
        return [json.loads(line)["msg"] for line in lines]


@pytest.fixture(params=SHELLS)
def host(request, tmp_path):
    return Host(tmp_path, SHELLS[request.param])


CREATIONS = [
    "create --bundle b abc",
    "create --bundle=b abc",
    "create -bundle b abc",
    "create -b b abc",
    "create -b=b abc",
    "create --bundle x --bundle b abc",
    "create --bundle b/ --pid-file p abc",
    "create --bundle ./b --console-socket s --pid-file=p abc",
    "create --bundle b --no-pivot --no-new-keyring --preserve-fds 3 abc",
    "--root /r --log log --log-format json create --bundle b --pid-file p abc",
    "--root=/r --log=log --log-format=json --systemd-cgroup --debug create --bundle=b abc",
    "--log create --root run create --bundle b create",
    "--unknown=1 create --bundle b abc",
]


@pytest.mark.parametrize("line", CREATIONS)
def test_the_spec_of_a_creation_is_kept_as_it_was_for_this_process_alone(host, line):
    called = host.call(*line.split(), umask=0o022)
    (kept,) = host.kept()
    assert kept == host.home / "b" / NAME
    assert kept.read_bytes() == SPEC
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert (kept.parent / "config.json").read_bytes() != SPEC, "the shim came after the copy"
    assert called.entry == f"docker:{called.pid}"
    assert called.arguments == line.split()
    assert called.umask == "0022"


def test_without_a_bundle_the_working_directory_is_the_bundle(host):
    assert host.call("create", "abc", cwd=host.home / "b").entry
    assert host.call("create", "--bundle", "", "abc", cwd=host.bundle("c")).entry
    assert {path.parent.name for path in host.kept()} == {"b", "c"}


NOT_SURE = [
    "create --from-tomorrow --bundle b abc",
    "create --bundle b",
    "create --bundle b abc def",
    "create --bundle b abc --bundle c",
    "create --pid-file --bundle --bundle b abc",
    "--from-tomorrow create --bundle b abc",
    "--log --bundle create --bundle b abc",
    "--bundle=b create abc",
    "-b b create abc",
    "-- create --bundle b abc",
    "create --bundle b/../b abc",
    "create --bundle b/.. abc",
    "create --bundle nowhere abc",
    "create --bundle",
    "create",
]


@pytest.mark.parametrize("line", NOT_SURE)
def test_where_it_is_not_sure_it_keeps_nothing_and_says_nothing(host, line):
    called = host.call(*line.split(), env={**os.environ, "NVPROXY_ENTRY": "docker:1"})
    assert (called.entry, host.kept()) == ("", [])
    assert called.arguments == line.split()


@pytest.mark.parametrize(
    "line",
    [
        "--version",
        "",
        "state abc",
        "--root create delete --force abc",
        "--log create kill abc 9",
        "state create",
        "run --bundle b abc",
        "restore --bundle b --image-path i abc",
        "start --bundle b create",
    ],
)
def test_other_calls_go_to_the_shim_as_they_are(host, line):
    called = host.call(*line.split(), env={**os.environ, "NVPROXY_ENTRY": "docker:1"})
    assert (called.entry, host.kept()) == ("", [])
    assert called.arguments == line.split()


@pytest.mark.parametrize("line", ["create --bundle b abc", "state abc", "create --odd --bundle b abc"])
def test_every_call_has_the_configuration_of_the_host(host, line):
    env = {**os.environ, "XDG_CONFIG_HOME": "/theirs", "NVIDIA_CTK_CONFIG_FILE_PATH": "/theirs"}
    called = host.call(*line.split(), env=env)
    assert (called.config_file, called.config_home) == (str(host.config), str(host.config_home))


@pytest.mark.parametrize("line", ["create --bundle b abc", "state abc", "create --odd --bundle b abc"])
def test_without_its_configuration_the_shim_is_not_called_as_it_would_take_runc(host, line):
    host.config.unlink()
    done = host.finished("--log", "log", *line.split())
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(host.config) in done.stderr.decode()
    assert "site.py" in done.stderr.decode()


def test_the_process_is_the_callers_child_all_along(host):
    process = subprocess.Popen(
        [*host.shell, str(host.home / "entry"), "create", "--bundle", "b", "abc"],
        cwd=host.home,
        stdout=subprocess.PIPE,
    )
    out, _ = process.communicate(timeout=30)
    assert out.split(b"\0")[0] == b"docker:%d" % process.pid
    assert out.split(b"\0")[3] == b"%d" % process.pid


def test_arguments_arrive_letter_by_letter(host):
    arguments = ["--root=*", "create", "--bundle", "b", "--pid-file", 'it\'s $(x) \\ "q"', b"\xff"]
    assert [os.fsencode(one) for one in host.call(*arguments).arguments] == [
        os.fsencode(one) for one in arguments
    ]


@pytest.mark.parametrize("kind", ["file", "open file", "link", "dangling link", "hard link", "fifo"])
def test_what_an_earlier_life_of_the_bundle_has_left_is_replaced_and_never_written_through(host, kind):
    left, other = host.home / "b" / NAME, host.home / "other"
    other.write_text("theirs")
    {
        "file": lambda: left.write_text("a longer text than the spec itself is, " * 9),
        "open file": lambda: (left.write_text("x"), left.chmod(0o666)),
        "link": lambda: left.symlink_to(other),
        "dangling link": lambda: left.symlink_to(host.home / "nothing"),
        "hard link": lambda: left.hardlink_to(other),
        "fifo": lambda: os.mkfifo(left),
    }[kind]()
    assert host.call("create", "--bundle", "b", "abc").entry
    assert left.read_bytes() == SPEC
    assert stat.S_IMODE(left.lstat().st_mode) == 0o600
    assert other.read_text() == "theirs"
    assert not (host.home / "nothing").exists()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "nothing"])
def test_a_spec_that_is_no_plain_file_is_left_to_who_comes_after(host, kind):
    spec = host.home / "b/config.json"
    spec.unlink()
    {
        "link": lambda: spec.symlink_to(host.home / "shim"),
        "fifo": lambda: os.mkfifo(spec),
        "directory": spec.mkdir,
        "nothing": lambda: None,
    }[kind]()
    if kind == "fifo":
        # The stand-in for the shim would wait for a reader.
        (host.home / "shim").write_text('#!/bin/sh\nprintf "%s\\0" "$NVPROXY_ENTRY" "" "" 1 "" "$@"\n')
    assert host.call("create", "--bundle", "b", "abc").entry == ""
    assert host.kept() == []


def assert_refused(host, done, *words):
    """One sentence, for the user of Docker too, and the shim was not called."""
    assert (done.returncode, done.stdout) == (1, b"")
    (sentence,) = done.stderr.decode().splitlines()
    for word in words:
        assert word in sentence
    plain = "".join(letter if letter.isascii() else "?" for letter in sentence.encode().decode("latin-1"))
    assert host.errors() == [plain.replace('"', "'").replace("\\", "/")]


CREATE = ["--log", "log", "--log-format", "json", "create", "--bundle", "b", "abc"]


def test_a_directory_in_the_place_of_the_kept_spec_is_a_refusal(host):
    (host.home / "b" / NAME).mkdir()
    assert_refused(
        host, host.finished(*CREATE), f"b/{NAME}", "could not be copied", "Look at the file system"
    )
    assert (host.home / "b/config.json").read_bytes() == SPEC


def test_a_bundle_that_cannot_be_written_is_a_refusal(host):
    """A read-only mount, as root may write into any directory."""
    script = 'mount --bind b b && mount -o remount,bind,ro b && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *host.shell, "entry", *CREATE]
    done = subprocess.run(command, cwd=host.home, capture_output=True, timeout=30)
    assert_refused(host, done, f"b/{NAME}", "read-only")


@pytest.mark.parametrize("room", [0, 4096])
def test_a_disk_that_is_full_is_a_refusal(host, room):
    """A file system with room for the spec, beside which there is none, or too little for another."""
    script = f'mount -t tmpfs -o size={4096 + room} b b && cp spec b/config.json && exec "$@"'
    (host.home / "spec").write_bytes(SPEC + b" " * (4096 - len(SPEC) if room == 0 else 4097 - len(SPEC)))
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *host.shell, "entry", *CREATE]
    done = subprocess.run(command, cwd=host.home, capture_output=True, timeout=30)
    assert_refused(host, done, f"b/{NAME}", "space")


def test_the_path_of_a_bundle_cannot_break_the_line_of_the_log(host):
    bundle = host.bundle('é "q" \\')
    (bundle / NAME).mkdir()
    done = host.finished("--log=log", "create", "--bundle", bundle.name, "abc")
    assert_refused(host, done, "could not be copied")


def test_a_missing_shim_is_said(host):
    (host.home / "shim").unlink()
    assert_refused(host, host.finished(*CREATE), "shim is missing", "site.py")
    done = host.finished("state", "abc")
    assert (done.returncode, b"shim is missing" in done.stderr) == (1, True)


def test_killed_while_it_copies_it_has_said_nothing_and_the_next_creation_keeps_anew(host, tmp_path):
    slow = tmp_path / "slow-cat"
    slow.write_text('#!/bin/sh\nprintf half; echo $$ >"${0%/*}/copying"; sleep 30\n')
    slow.chmod(0o755)
    first = Host(tmp_path, host.shell, cat=str(slow))
    process = subprocess.Popen([*host.shell, str(tmp_path / "entry"), *CREATE], cwd=tmp_path)
    end = time.monotonic() + 20
    while not (tmp_path / "copying").exists() or not (tmp_path / "copying").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait(timeout=30)
    os.kill(int((tmp_path / "copying").read_text()), signal.SIGKILL)
    (half,) = first.kept()
    assert half.read_bytes() == b"half"
    assert half.parent.joinpath("config.json").read_bytes() == SPEC, "the shim was not called"
    again = Host(tmp_path, host.shell)
    (half.parent / "config.json").write_bytes(SPEC)
    half.write_bytes(b"half")
    assert again.call(*CREATE).entry
    assert half.read_bytes() == SPEC


def shims_bundle(arguments: list[str]) -> str | None:
    """The bundle by the shim's own reading, None for no creation (toolkit v1.20.2, internal/oci/args.go)."""

    def is_flag(argument: str) -> bool:
        return argument.startswith("-") and argument.lstrip("-") in ("b", "bundle")

    creates, previous = False, False
    for argument in arguments:
        if not previous and is_flag(argument):
            previous = True
            continue
        creates = creates or (not previous and argument == "create")
        previous = False
    bundle, at = "", 0
    while at < len(arguments):
        name, equals, value = arguments[at].partition("=")
        if is_flag(name):
            if not equals and at + 1 == len(arguments):
                return None
            bundle = value if equals else arguments[at + 1]
            at += not equals
        at += 1
    return (bundle or ".") if creates else None


WORD = st.sampled_from(
    [
        "create",
        "run",
        "state",
        "--root",
        "--log",
        "--log=log",
        "--log-format",
        "json",
        "--systemd-cgroup",
        "--new",
        "--new=1",
        "--",
        "-b",
        "--b",
        "---bundle",
        "---b=c",
        "--bundle",
        "-bundle=b",
        "--bundle=c",
        "b",
        "c",
        "--pid-file",
        "--pid-file=p",
        "--no-pivot",
        "abc",
        "",
        "--bundle=",
    ]
)
LINES = st.lists(WORD, max_size=6) | st.builds(
    lambda flags, rest: [*flags, "create", *rest], st.lists(WORD, max_size=3), st.lists(WORD, max_size=4)
)


@pytest.fixture(scope="module")
def one_host(tmp_path_factory):
    return Host(tmp_path_factory.mktemp("entry"), SHELLS["dash"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=LINES)
def test_what_is_kept_is_the_spec_that_the_shim_and_the_wrapper_read(one_host, arguments):
    assume(any(word == "create" for word in arguments))
    for name in ("", "/b", "/c"):
        one_host.bundle(f"wd{name}")
    called = one_host.call(*arguments, cwd=one_host.home / "wd")
    at = {path.parent for path in one_host.kept()}
    assert bool(called.entry) == bool(at)
    if not at:
        return
    call = CommandLine(arguments)
    read = {str(Path(one_host.home, "wd", where)) for where in (shims_bundle(arguments), *call.bundles)}
    assert (call.subcommand, len(call.bundles)) == ("create", 1)
    assert {str(path) for path in at} == read
