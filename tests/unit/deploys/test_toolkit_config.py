"""config.toml: what is rendered is what go-toml, tomllib and the `toml` package read alike."""

from __future__ import annotations

import tomllib

import pytest
import toml
from hypothesis import example, given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.settings import ToolkitMode
from deploys.model.toolkit_config import (
    ToolkitConfigError,
    config_toml,
    differences,
    merged,
    runtimes_of,
    unmerged,
)
from deploys.model.versions import ToolkitVersion

WANTED = {
    "nvidia-container-runtime": {
        "log-level": "info",
        "runtimes": [paths.LAUNCHER],
        "modes": {
            "csv": {"mount-spec-path": paths.CSV_DIR},
            "cdi": {
                "annotation-prefixes": ["cdi.k8s.io/"],
                "default-kind": "nvidia.com/gpu",
                "spec-dirs": ["/etc/cdi", "/var/run/cdi"],
            },
        },
    },
    "nvidia-container-runtime-hook": {"path": "nvidia-container-runtime-hook", "skip-mode-detection": False},
    "nvidia-ctk": {"path": "nvidia-ctk"},
}


@pytest.mark.parametrize("mode", ToolkitMode)
@pytest.mark.parametrize("read", [toml.loads, tomllib.loads])
def test_both_readers_find_the_mode_and_the_wrapper_as_the_only_runtime(mode, read):
    found = read(config_toml(mode))
    assert found["nvidia-container-runtime"].pop("mode") == mode.value
    assert found == WANTED


def test_the_runtimes_of_the_rendered_file_are_the_launcher_alone():
    assert runtimes_of(config_toml(ToolkitMode.CSV)) == (paths.LAUNCHER,)


@pytest.mark.parametrize(
    ("text", "runtimes"),
    [
        ("", ("runc", "crun")),
        ("[nvidia-container-runtime]\n", ("runc", "crun")),
        ("[nvidia-container-runtime]\nruntimes = []\n", ()),
        ('[nvidia-container-runtime]\nruntimes = ["docker-runc", "runc"]\n', ("docker-runc", "runc")),
        ('[nvidia-container-runtime]\nruntimes = "runc"\n', None),
        ("[nvidia-container-runtime]\nruntimes = [1, 2]\n", None),
        ('nvidia-container-runtime = "x"\n', None),
        ("nvidia-container-runtime = [1]\n", None),
        ("not toml at all", None),
        ('[nvidia-container-runtime]\nruntimes = ["runc"\n', None),
    ],
)
def test_the_runtimes_of_a_file_that_was_there_are_told_or_cannot_be_told(text, runtimes):
    assert runtimes_of(text) == runtimes


@example("[a]\n[[a]]")
@example("a = 1 b = 2")
@example("=")
@given(
    st.text(max_size=30)
    | st.text(alphabet="[]=\"\n'\\#.,{}a1-_ :TZ", max_size=40)
    | st.lists(st.sampled_from(config_toml(ToolkitMode.CSV).splitlines()), max_size=20).map("\n".join)
)
def test_no_text_makes_reading_fail_in_another_way(text):
    found = runtimes_of(text)
    assert found is None or all(isinstance(runtime, str) for runtime in found)


VERSION = ToolkitVersion.parse("1.20.0-1")
DEFAULT = """\
#accept-nvidia-visible-devices-as-volume-mounts = false
disable-require = false
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
environment = []
ldconfig = "@/sbin/ldconfig.real"
load-kmods = true
#no-cgroups = false

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto" # as NVIDIA has it
runtimes = [ # in this order
    "docker-runc",
    "runc",
]

[nvidia-container-runtime.modes.cdi]
spec-dirs = ["/etc/cdi", "/opt/cdi"]

[nvidia-ctk]
path = "nvidia-ctk"
"""
# As people have it, one of each kind.
KINDS = {
    "NVIDIA's": DEFAULT,
    "a swarm's": 'swarm-resource = "DOCKER_RESOURCE_GPU"\n' + DEFAULT,
    "a rootless host's": DEFAULT.replace("#no-cgroups = false", "no-cgroups = true"),
    "a driver in a container": DEFAULT.replace(
        "environment = []", 'root = "/run/nvidia/driver"\nenvironment = []'
    ),
    "Windows lines": DEFAULT.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + DEFAULT,
    "no last line end": DEFAULT.rstrip(),
    "indented": DEFAULT.replace("\nmode", "\n\t mode").replace(
        "\n[nvidia-container-runtime]", "\n  [ nvidia-container-runtime ]"
    ),
    "a quoted header": DEFAULT.replace("[nvidia-container-runtime]", '["nvidia-container-runtime"]'),
    "dotted modes": '[nvidia-container-runtime.modes]\ncdi.default-kind = "x/y"\n',
    "features": "[features]\ndisable-imex-channel-creation = true\n",
    "a header in a text": '[nvidia-container-cli]\nuser = """\n[nvidia-container-runtime]\nmode = "x"\n"""\n',
    "comments alone": "# nothing yet\n",
    "empty": "",
}


def leaves(text):
    found = {}

    def walk(table, above):
        for key, value in table.items():
            if isinstance(value, dict):
                walk(value, f"{above}{key}.")
            else:
                found[f"{above}{key}"] = value

    walk(tomllib.loads(text.removeprefix("\ufeff")), "")
    return found


@pytest.mark.parametrize("mode", ToolkitMode)
@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_our_keys_are_set_and_every_other_key_and_comment_stays(text, mode):
    made = merged(text, mode, VERSION)
    ours = {
        "nvidia-container-runtime.mode": mode.value,
        "nvidia-container-runtime.runtimes": [paths.LAUNCHER],
    }
    if mode is ToolkitMode.CSV:
        ours["nvidia-container-runtime.modes.csv.mount-spec-path"] = paths.CSV_DIR
    assert leaves(made) == {**leaves(text), **ours}
    assert merged(made, mode, VERSION) == made, "a second run changes nothing"
    comments = [line for line in text.splitlines() if line.lstrip("\ufeff").startswith("#")]
    assert [line for line in made.splitlines() if line.lstrip("\ufeff").startswith("#")] == comments
    assert unmerged(made, text, VERSION) == text, "a removal gives it back to the letter"


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_what_others_write_meanwhile_stays_and_our_keys_are_as_they_were(text):
    edited = (
        merged(text, ToolkitMode.CSV, VERSION) + '\n[nvidia-container-runtime-hook]\npath = "/opt/hook"\n'
    )
    left = unmerged(edited, text, VERSION)
    assert leaves(left) == {**leaves(text), "nvidia-container-runtime-hook.path": "/opt/hook"}
    again = merged(left, ToolkitMode.CSV, VERSION)
    assert unmerged(again, left, VERSION) == left


def test_a_comment_behind_a_value_stays_behind_it():
    made = merged(DEFAULT, ToolkitMode.CSV, VERSION)
    assert 'mode = "csv" # as NVIDIA has it\n' in made


def test_what_is_rendered_has_our_keys_already():
    for mode in ToolkitMode:
        assert merged(config_toml(mode), mode, VERSION) == config_toml(mode)


def test_what_changes_for_all_that_the_runtime_starts_is_said():
    assert differences(DEFAULT, ToolkitMode.CSV) == (
        'nvidia-container-runtime.mode = "auto" becomes "csv"',
        f'nvidia-container-runtime.runtimes = ["docker-runc", "runc"] becomes ["{paths.LAUNCHER}"]',
    )
    assert differences("", ToolkitMode.CSV) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("disable-require = falsesudo docker run\n", r"it is not TOML: .* \(at line 1, column"),
        ('a = "x"\na = "x"\n', r"it is not TOML: .* \(at line 2, column"),
        ("[nvidia-ctk]\n[nvidia-ctk]\n", r"it is not TOML: .* \(at line 2, column"),
        (
            '[nvidia-ctk]\nswarm-resource = "X"\n',
            "knows no key nvidia-ctk.swarm-resource, .*; it belongs above the first table",
        ),
        ("skip-mode-detection = true\n", r"it belongs below \[nvidia-container-runtime-hook\]"),
        ("[features]\ngdrcopy = true\n", "knows no key features.gdrcopy, and would ignore it"),
        ('disable-require = "false"\n', 'disable-require = "false", and has to be true or false'),
        ("[nvidia-container-runtime]\nruntimes = [1]\n", r"runtimes = \[1\], and has to be a list of texts"),
        ('[nvidia-container-runtime]\nmodes = "x"\n', "knows no key nvidia-container-runtime.modes,"),
        ("disable-require = 1979-05-27\n", 'disable-require = "1979-05-27", and has to be true or false'),
        ('nvidia-container-runtime = {mode = "auto"}\n', r"cannot be set in it: write them below \["),
        ('nvidia-container-runtime.mode = "auto"\n', r"cannot be set in it: write them below \["),
        ("[[nvidia-container-runtime]]\n", "knows no key nvidia-container-runtime,"),
    ],
)
def test_what_cannot_be_kept_is_named(text, sentence):
    with pytest.raises(ToolkitConfigError, match=sentence):
        merged(text, ToolkitMode.CSV, VERSION)


def test_a_key_that_came_later_is_one_that_this_version_does_not_know():
    text = '[nvidia-container-runtime.modes.jit-cdi]\nnvcdi-disable-hooks = ["all"]\n'
    assert merged(text, ToolkitMode.CSV, VERSION)
    with pytest.raises(
        ToolkitConfigError, match=r"1\.17\.8-1 does not know .*hooks yet, which came with 1\.20\.0"
    ):
        merged(text, ToolkitMode.CSV, ToolkitVersion.parse("1.17.8-1"))


@given(
    st.lists(
        st.sampled_from([*DEFAULT.splitlines(), "", "#", "[x]", "mode = 1", "runtimes = ["]), max_size=20
    ).map("\n".join)
    | st.text(alphabet="[]=\"\n'\\#.,{}a1-_ :TZ", max_size=40)
)
def test_any_text_is_merged_or_refused(text):
    try:
        made = merged(text, ToolkitMode.CSV, VERSION)
    except ToolkitConfigError as error:
        assert str(error)  # noqa: PT017 - either way is right, but nothing else
    else:
        assert runtimes_of(made.removeprefix("\ufeff")) == (paths.LAUNCHER,)


def test_a_file_with_a_byte_order_mark_tells_its_runtimes_as_the_toolkit_reads_them():
    assert runtimes_of(f"\ufeff{config_toml(ToolkitMode.CSV)}") == (paths.LAUNCHER,)


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_also_after_a_change_of_the_mode_a_removal_gives_it_back_to_the_letter(text):
    other = merged(merged(text, ToolkitMode.CSV, VERSION), ToolkitMode.AUTO, VERSION)
    assert unmerged(other, text, VERSION) == text
