"""runsc's command line, read as Go's package flag does; in doubt, as one that needs a look at the spec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.judge.command_line import CommandLine

DOCKER = "--root /run/docker/runtime-runc/moby --log /b/log.json --log-format json"


@pytest.mark.parametrize(
    ("line", "subcommand"),
    [
        (f"{DOCKER} create --bundle /b --pid-file /b/init.pid abc", "create"),
        (f"{DOCKER} --systemd-cgroup create --bundle /b abc", "create"),
        (f"{DOCKER} start abc", "start"),
        ("state create", "state"),
        ("--root create state abc", "state"),
        ("--log create delete --force run", "delete"),
        ("-log create kill abc 9", "kill"),
        ("--log=create events abc", "events"),
        ("--root=/x -- create abc", "create"),
        ("--log create -- create abc", "create"),
        ("--systemd-cgroup create abc", "create"),
        ("--systemd-cgroup=true create abc", "create"),
        ("-- --root create", "--root"),
        ("- create", "-"),
        ("--version", None),
        ("", None),
        ("--root", None),
        ("--log-format json features", "features"),
        ("run --bundle /b abc", "run"),
        ("restore --image-path run abc", "restore"),
        # Flags that no table knows are read both ways.
        ("--from-tomorrow create abc", "create"),
        ("--from-tomorrow value create abc", "create"),
        ("--from-tomorrow state create abc", "create"),
        ("--one --two three create abc", "create"),
        ("--from-tomorrow state abc", "state"),
    ],
)
def test_the_subcommand_is_the_first_argument_that_is_no_flag(line, subcommand):
    assert CommandLine(line.split()).subcommand == subcommand


@pytest.mark.parametrize(
    ("line", "bundle"),
    [
        ("create --bundle /b abc", "/b"),
        ("create --bundle=/b abc", "/b"),
        ("create -bundle /b abc", "/b"),
        ("create -bundle=/b abc", "/b"),
        ("create -b /b abc", "/b"),
        ("create -b=/b abc", "/b"),
        ("create abc", "."),
        ("create --bundle= abc", "."),
        ("create --bundle /a --bundle=/b abc", "/b"),
        ("create --bundle=/a --bundle /b abc", "/b"),
        ("--root /a --bundle=/wrong create abc", "."),
        ("create --pid-file --bundle --bundle /b abc", "/b"),
        ("create --console-socket --bundle=/wrong abc", "."),
        ("create --bundle --pid-file abc", "--pid-file"),
        ("create --from-tomorrow --bundle /b abc", "/b"),
        ("create --from-tomorrow 7 --bundle /b abc", "/b"),
        ("create -- --bundle=/wrong", "."),
        ("run --detach --bundle /b abc", "/b"),
        ("restore --image-path --bundle=/wrong --bundle /b abc", "/b"),
    ],
)
def test_the_bundle_is_the_last_one_given_behind_the_subcommand(line, bundle):
    call = CommandLine(line.split())
    assert call.reads_spec
    assert (call.bundle, call.other_bundle) == (bundle, None)


@pytest.mark.parametrize(
    ("line", "bundles"),
    [
        ("--from-tomorrow create run --bundle /b abc", {"/b"}),
        ("--from-tomorrow create --bundle /a run --bundle /b abc", {"/b"}),
        ("--from-tomorrow=1 create -- run --bundle /b", {"."}),
        ("--from-tomorrow state -- create --bundle /b abc", {"/b"}),
        ("create --from-tomorrow=1 --bundle=/b abc", {"/b"}),
        ("run --detach --bundle=/b abc", {"/b"}),
        ("--from-tomorrow create -- run --bundle /b abc", {"/b"}),
        ("--platform create --log --bundle=/a create abc", {"."}),
        ("--from-tomorrow create --bundle=/a --and-another run abc", {".", "/a"}),
        ("create --from-tomorrow --bundle=/b abc", {".", "/b"}),
    ],
)
def test_of_two_bundles_that_a_line_may_mean_none_is_guessed(line, bundles):
    call = CommandLine(line.split())
    assert call.reads_spec
    assert {call.bundle, call.other_bundle or call.bundle} == bundles


@pytest.mark.parametrize(
    ("line", "log"),
    [
        (f"{DOCKER} create --bundle /b abc", "/b/log.json"),
        ("--log=/l create abc", "/l"),
        ("--log /a --log /l create abc", "/l"),
        ("--root --log --log /l create abc", "/l"),
        ("create --log /wrong abc", None),
        ("--log= create abc", None),
        ("create abc", None),
    ],
)
def test_the_log_is_the_last_one_given_before_the_subcommand(line, log):
    assert CommandLine(line.split()).log == log


def test_an_empty_bundle_is_the_working_directory_as_for_runsc():
    assert CommandLine(["create", "--bundle", "", "abc"]).bundle == "."


ARGUMENT = st.sampled_from(
    [
        "create",
        "run",
        "restore",
        "state",
        "start",
        "--root",
        "--log",
        "--log=/l",
        "--log-format",
        "json",
        "--systemd-cgroup",
        "--debug=true",
        "--new",
        "--new=1",
        "--",
        "-",
        "--bundle",
        "-b",
        "--bundle=/b",
        "/b",
        "--pid-file",
        "--version",
        "abc",
    ]
) | st.text(max_size=4)


@given(st.lists(ARGUMENT, max_size=12))
def test_a_line_without_the_three_words_reads_no_spec(arguments):
    call = CommandLine(arguments)
    if not {"create", "run", "restore"} & set(arguments):
        assert not call.reads_spec
    if call.reads_spec:
        assert call.subcommand in ("create", "run", "restore")


@given(
    st.lists(
        st.sampled_from(["--root=/r", "--log=/l", "--debug", "--systemd-cgroup", "--new=x"]), max_size=5
    ),
    st.sampled_from(["create", "run", "restore"]),
    st.lists(ARGUMENT, max_size=8),
)
def test_what_go_takes_for_a_creation_is_one(flags, subcommand, rest):
    assert CommandLine([*flags, subcommand, *rest]).subcommand == subcommand
