"""runsc's command line, read as Go's package flag does; in doubt, as one that needs a look at the spec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.judge.command_line import CommandLine
from tests.fuzz import runsc_model
from tests.fuzz.runsc_model import execution

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
        ("create --bundle=/a=b abc", "/a=b"),
        ("create --bundle . abc", "."),
        ("create --bundle /b", "/b"),
        ("create --bundle /b --detach", "/b"),
    ],
)
def test_the_bundle_is_the_last_one_given_behind_the_subcommand(line, bundle):
    call = CommandLine(line.split())
    assert call.reads_spec
    assert call.bundles == [bundle]


@pytest.mark.parametrize("line", ["create --bundle", "create --pid-file"])
def test_a_line_that_ends_in_the_midst_of_a_flag_means_no_bundle_as_runsc_refuses_it(line):
    assert CommandLine(line.split()).bundles == []


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
        ("create --bundle /a --from-tomorrow --bundle=/b --pid-file=/p abc", {"/a", "/b"}),
        ("create --bundle /a --from-tomorrow --bundle=/b --detach abc", {"/a", "/b"}),
    ],
)
def test_of_two_bundles_that_a_line_may_mean_none_is_guessed(line, bundles):
    call = CommandLine(line.split())
    assert call.reads_spec
    assert set(call.bundles) == bundles


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
        ("--log=/a=b create abc", "/a=b"),
        ("--log /l", "/l"),
        ("--log /l --version", "/l"),
        ("--log", None),
        ("", None),
    ],
)
def test_the_log_is_the_last_one_given_before_the_subcommand(line, log):
    assert CommandLine(line.split()).log == log


def bundles(call):
    """Every bundle that it may mean."""
    return call.bundles


GLOBAL_BOOLEANS = "systemd-cgroup debug rootless nvproxy version help"
GLOBAL_WITH_VALUE = "log root log-format panic-log debug-log debug-log-format"
BOOLEANS = "background detach direct fs-restore-direct no-new-keyring no-pivot no-subreaper"
WITH_VALUE = (
    "bundle b console-socket exec-fd fs-restore-image-path image-path pass-fd pid-file preserve-fds user-log"
    " work-path"
)


@pytest.mark.parametrize("dash", ["-", "--"])
@pytest.mark.parametrize(
    ("flag", "bundle"),
    [
        *((flag, "run") for flag in GLOBAL_BOOLEANS.split()),
        *((flag, ".") for flag in GLOBAL_WITH_VALUE.split()),
    ],
)
def test_a_flag_of_runsc_that_callers_give_is_read_in_one_way(flag, bundle, dash):
    """A boolean is followed by the subcommand `run`, any other by the value `run`."""
    line = [f"{dash}{flag}", "run", "--bundle", "run", "abc"]
    call = CommandLine(line)
    assert (call.subcommand, bundles(call)) == ("run", [bundle])
    assert call.log == ("run" if flag == "log" else None)
    if flag not in ("version", "help"):
        assert execution([f"{dash}{flag}=1", *line[1:]]) == (
            "run",
            "run",
            "abc",
            "1" if flag == "log" else None,
        )


@pytest.mark.parametrize("dash", ["-", "--"])
@pytest.mark.parametrize(
    ("flag", "bundle"),
    [
        *((flag, "/b") for flag in BOOLEANS.split()),
        *((flag, "--bundle=/b" if flag in ("bundle", "b") else ".") for flag in WITH_VALUE.split()),
    ],
)
def test_a_flag_of_a_subcommand_that_callers_give_is_read_in_one_way(flag, bundle, dash):
    """A boolean is followed by --bundle, any other by the value `--bundle=/b`."""
    call = CommandLine(["restore", f"{dash}{flag}", "--bundle=/b", "abc"])
    assert bundles(call) == [bundle]


@pytest.mark.parametrize("value", ["/v", "create", "--bundle=/w", "--log=/w", "--", "-", ""])
@pytest.mark.parametrize("subcommand", ["create", "run", "restore"])
def test_whatever_flag_of_runscs_has_its_value_behind_an_equals_sign_runsc_reads_the_same(subcommand, value):
    for flag in [*runsc_model.BOOLEANS, *runsc_model.WITH_VALUE]:
        is_boolean = flag in runsc_model.BOOLEANS
        line = [f"--{flag}={'false' if is_boolean else value}", "--log", "/l", subcommand]
        line += [f"--pid-file={value}", f"-user-log={value}", "--bundle", "/b", "abc"]
        call = CommandLine(line)
        assert [(call.subcommand, bundle, call.container, call.log) for bundle in bundles(call)] == [
            execution(line)
        ]


@pytest.mark.parametrize(
    ("line", "is_dockers"),
    [
        (f"{DOCKER} create --bundle /b abc", True),
        ("--root=/run/docker/runtime-runc/moby create abc", True),
        ("-root /run/user/1/docker/runtime-runc/moby --systemd-cgroup create abc", True),
        ("--log /l -root=/var/run/docker/runtime-runc/plugins create abc", True),
        ("--root /a --root /run/docker/runtime-runc/moby create abc", True),
        ("--root=/run/docker/runtime-runc/a=b create abc", True),
        ("--root /run/containerd/runc/k8s.io create abc", False),
        ("--root=/run/docker/runtime-runc create abc", False),
        ("--log /run/docker/runtime-runc/moby/log create abc", False),
        ("--log=/run/docker/runtime-runc/moby/log create abc", False),
        ("--systemd-cgroup /run/docker/runtime-runc/moby create abc", False),
        ("create --root /run/docker/runtime-runc/moby abc", False),
        ("create --root=/run/docker/runtime-runc/moby abc", False),
        ("create abc", False),
        ("--root", False),
        ("", False),
    ],
)
def test_docker_is_told_by_where_it_keeps_the_state_of_its_containers(line, is_dockers):
    assert CommandLine(line.split()).is_dockers is is_dockers


@pytest.mark.parametrize(
    ("line", "root"),
    [
        (f"{DOCKER} create --bundle /b abc", "/run/docker/runtime-runc/moby"),
        ("--root /a -root=/b --log /l create abc", "/b"),
        ("--root=/a=b create --root /c abc", "/a=b"),
        ("--root", ""),
        ("create abc", None),
    ],
)
def test_of_several_roots_the_last_one_counts(line, root):
    assert CommandLine(line.split()).root == root


@pytest.mark.parametrize(
    ("line", "container"),
    [("create --bundle /b abc", "abc"), ("run -- abc", "abc"), ("start abc", ""), ("--version", "")],
)
def test_the_container_is_the_last_argument_of_a_creation(line, container):
    assert CommandLine(line.split()).container == container


def test_an_empty_bundle_is_the_working_directory_as_for_runsc():
    assert CommandLine(["create", "--bundle", "", "abc"]).bundles == ["."]


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


@pytest.mark.parametrize(
    "root",
    [
        "/run/docker/runtime-runc/moby",
        "/var/run/docker/runtime-runc/moby",
        "/run/user/1000/docker/runtime-runc/moby",
        # A runtime that dockerd has by runtimeType: containerd's shim, and gVisor's.
        "/run/containerd/runc/moby",
        "/run/containerd/runc/moby/",
        "/run/containerd/runsc/moby",
        "/run/user/1000/docker/containerd/runc/moby",
    ],
)
def test_dockers_containers_are_told_by_where_its_runtimes_keep_them(root):
    assert CommandLine(["--root", root, "create", "--bundle", "b", "abc"]).is_dockers
    assert CommandLine([f"--root={root}", "state", "abc"]).is_dockers


@pytest.mark.parametrize(
    "root",
    [
        "/run/containerd/runc/k8s.io",
        "/run/containerd/runsc/k8s.io",
        "/run/containerd/runc/default",
        "/run/containerd/runc/moby/k8s.io",
        "/run/containerd/moby",
        "/run/runc/moby",
        "/moby",
        "",
    ],
)
def test_other_engines_containers_are_not_taken_for_dockers(root):
    assert not CommandLine(["--root", root, "create", "--bundle", "b", "abc"]).is_dockers
    assert not CommandLine(["create", "--log", "/run/containerd/runc/moby", "abc"]).is_dockers
