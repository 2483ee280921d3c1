"""Wrong settings, each with the whole sentence that an operator reads; and the examples, which are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from deploys.host.inventory import _connector_keys
from deploys.model.settings import Settings, SettingsError
from tests.deploys.example_hosts import SETTINGS_DATA

# Not imported here: pyinfra_cli puts gevent's threads, forks and pipes in the place of its process' own.
READ = (
    "import json, sys; from pyinfra_cli.util import parse_cli_arg as of; print(json.dumps(of(sys.argv[1])))"
)


def as_pyinfra_reads(argument):
    """What becomes of `--data key=ARGUMENT`."""
    done = subprocess.run([sys.executable, "-c", READ, argument], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


SHA = "0123456789abcdef" * 8
OTHER_SHA = "fedcba9876543210" * 8
NOT_A_TEXT = "where a text is needed"
NO_ADDRESS = "it does not begin with http:// or https://"
OVERLAY = (
    "the wrapper does not go with --overlay2=none: without the overlay the root file system is not nodev: "
    "device nodes in an image open every GPU"
)
PASSWORD = (
    "it has a user or password in it, and stands in files and messages that everybody on the host may read; "
    "use a mirror that needs none, or a proxy that adds them"
)
FRACTION = "it was read as a number, and may have lost zeros; write it in quotes"
DEFAULT = "there is nothing; leave it out for its default"
NAME = "a name has small letters a to z and digits, and behind the first also . _ and -"
DASH = "does not begin with -; the value of a flag stands behind =, as in --root=/x"
FOUR = "a package's version has four numbers, the last after a dash"
DRIVER = "a driver's version has two or three numbers with points between"
LIST = "it is a text, where a list is needed"
ADDRESS = "it has a space, a control character or a letter that addresses spell otherwise (%20, xn--)"
IMAGE = "an image's name begins with a letter or digit, and has no spaces"


def by_data(key, value):
    return f" Did you mean {value}? With --data: --data '{key}={value}'."


# The setting, its value, how that is shown where it is not by repr, why it is refused, what was meant.
WRONG = [
    ("gvisor_release", "latest", None, "it changes under a fleet, and no sha512 can be pinned for it", ""),
    (
        *("gvisor_release", "2026-09-05", None, "it is no day, written year, month, day"),
        " Did you mean 20260905?",
    ),
    (
        *("gvisor_release", "release-20260905.0", None, "it is no day, written year, month, day"),
        " Did you mean 20260905?",
    ),
    ("gvisor_release", "20261399", None, "it is no day, written year, month, day", ""),
    ("gvisor_release", "20\uff12\uff1660905", None, "it is no day, written year, month, day", ""),
    ("gvisor_release", "20260905\u200b", "'20260905\\u200b'", "it is no day, written year, month, day", ""),
    ("gvisor_release", "", None, "it is no day, written year, month, day", ""),
    ("gvisor_release", 20260905.1, None, FRACTION, ""),
    ("gvisor_release", None, None, "there is nothing", ""),
    ("gvisor_release", True, None, f"it is true or false, {NOT_A_TEXT}", ""),
    ("gvisor_release", ["20260905"], None, f"it is a list, {NOT_A_TEXT}", " Did you mean 20260905?"),
    ("gvisor_sha512", SHA, None, "it is a text, where a mapping is needed", ""),
    ("gvisor_sha512", [SHA], None, "it is a list, where a mapping is needed", ""),
    ("gvisor_sha512", {}, None, "it is empty", ""),
    ("gvisor_url", "https://user:hunter2@m.example/x", "'https://(hidden)@m.example/x'", PASSWORD, ""),
    ("gvisor_url", "https://hunter2@m.example/x", "'https://(hidden)@m.example/x'", PASSWORD, ""),
    ("gvisor_url", "user:hunter2@m.example/x", "'(hidden)@m.example/x'", NO_ADDRESS, ""),
    (
        *("gvisor_url", "https://m.example/x?token=hunter2", "'https://m.example/x?token=(hidden)'"),
        *("it has a ? or #, behind which nothing can be added to an address", ""),
    ),
    (
        *("gvisor_url", "storage.googleapis.com/gvisor", None, NO_ADDRESS),
        " Did you mean https://storage.googleapis.com/gvisor?",
    ),
    ("gvisor_url", "HTTPS://m.example/x", None, NO_ADDRESS, " Did you mean https://m.example/x?"),
    ("gvisor_url", "file:///srv/gvisor", None, NO_ADDRESS, ""),
    ("gvisor_url", "https:///gvisor", None, "it names no host", ""),
    ("gvisor_url", "https://höst.example/x", None, ADDRESS, ""),
    ("gvisor_url", "https://m.example/a b", None, ADDRESS, ""),
    ("gvisor_url", "  ", None, "it is empty", ""),
    ("gvisor_url", None, None, DEFAULT, ""),
    ("gvisor_url", {"x86_64": "https://m"}, None, f"it is a mapping, {NOT_A_TEXT}", ""),
    ("toolkit_version", "1.20.0", None, FOUR, " Did you mean 1.20.0-1?"),
    ("toolkit_version", "v1.20.0-1", None, FOUR, " Did you mean 1.20.0-1?"),
    ("toolkit_version", "latest", None, FOUR, ""),
    ("toolkit_version", 1.20, "1.2", FRACTION, ""),
    (
        *("toolkit_version", "1.13.5-1", None),
        *("older versions let containers out (CVE-2025-23266, CVE-2025-23267)", ""),
    ),
    ("toolkit_repository_url", "", None, "it is empty", ""),
    ("toolkit_key", " ", None, "it is empty", ""),
    ("toolkit_key", ["a.asc"], None, "it is a list, where a path is needed", ""),
    ("toolkit_key", "a\0.asc", "'a\\x00.asc'", "it has a control character", ""),
    ("toolkit_mode", "cvs", None, "", " Did you mean csv?"),
    ("toolkit_mode", "AUTO", None, "", " Did you mean auto?"),
    ("toolkit_mode", "hook", None, "", ""),
    ("toolkit_mode", ["csv"], None, f"it is a list, {NOT_A_TEXT}", " Did you mean csv?"),
    ("runtime_name", "NVIDIA", None, NAME, " Did you mean nvidia?"),
    ("runtime_name", "nv\u0456dia", None, f"{NAME}, and '\u0456' (U+0456) is none of them", ""),
    ("runtime_name", "runc", None, "dockerd keeps that name for itself", ""),
    ("runtime_name", 7, None, f"it is a number, {NOT_A_TEXT}", by_data("runtime_name", '"7"')),
    ("runsc_args", "--debug", None, LIST, by_data("runsc_args", '["--debug"]')),
    ("runsc_args", "[--debug, --strace]", None, LIST, by_data("runsc_args", '["--debug", "--strace"]')),
    ("runsc_args", ["debug"], None, f"'debug' {DASH}", by_data("runsc_args", '["--debug"]')),
    ("runsc_args", ["--root", "/x"], None, f"'/x' {DASH}", by_data("runsc_args", '["--root=/x"]')),
    ("runsc_args", {"--debug"}, None, "a set has no order", by_data("runsc_args", '["--debug"]')),
    (
        *("runsc_args", ["--overlay2=none"], None),
        *(OVERLAY, ""),
    ),
    ("driver_version", "v570.124.06", None, DRIVER, " Did you mean 570.124.06?"),
    ("driver_version", "570", None, DRIVER, ""),
    ("driver_version", 550.120, "550.12", FRACTION, ""),
    (
        *("allowed_capabilities", "compute,video", None, LIST),
        by_data("allowed_capabilities", '["compute", "video"]'),
    ),
    ("allowed_capabilities", "all", None, LIST, ""),
    (
        *("allowed_capabilities", [], None),
        *("it is empty, and no container could use a GPU; leave it out for its default", ""),
    ),
    ("trusted_hooks", "/usr/bin/nvidia-ctk", None, LIST, by_data("trusted_hooks", '["/usr/bin/nvidia-ctk"]')),
    ("trusted_ldconfig", None, None, DEFAULT, ""),
    ("host_prep", "/bin/true -x", None, LIST, by_data("host_prep", '[["/bin/true", "-x"]]')),
    (
        *("allow_user_annotations", "ture", None, "it is a text, where true or false is needed"),
        by_data("allow_user_annotations", "true"),
    ),
    ("allow_user_annotations", 2, None, "it is a number, where true or false is needed", ""),
    ("drop_update_ldcache", [], None, "it is a list, where true or false is needed", ""),
    (
        "kernel_modules",
        "nvidia nvidia-uvm",
        None,
        LIST,
        by_data("kernel_modules", '["nvidia", "nvidia-uvm"]'),
    ),
    ("verify_image", "", None, IMAGE, ""),
    ("verify_image", "--privileged", None, IMAGE, ""),
    (
        *("verify_timeout", "40s", None, "it is a text, where a whole number is needed"),
        by_data("verify_timeout", "40"),
    ),
    ("verify_timeout", 601, None, "it is above 600", ""),
    ("verify_timeout", -1, None, "it is below 5", ""),
    ("verify_timeout", 40.5, None, "it is a number with a fraction, where a whole number is needed", ""),
    ("verify_timeout", True, None, "it is true or false, where a whole number is needed", ""),
    ("report_dir", "", None, "it is empty", ""),
    ("report", "ful", None, "", " Did you mean full?"),
    ("since", "20.11.2026", None, "a day is written year-month-day", " Did you mean 2026-11-20?"),
    ("since", 20261120, None, "it is a number", by_data("since", '"2026-11-20"')),
    ("since", "2026-13-01", None, "", ""),
]
# Where in the setting, what stands there, why it is refused, what was meant.
WRONG_INSIDE = [
    ("gvisor_sha512", {"x86_64": SHA[:-1]}, "['x86_64']", SHA[:-1], "it has 127 characters, not 128", ""),
    (
        *("gvisor_sha512", {"x86_64": SHA.upper()}, "['x86_64']", SHA.upper()),
        *("not all are 0 to 9 and a to f", f" Did you mean {SHA}?"),
    ),
    (
        *("gvisor_sha512", {"x86_64": f"{SHA} gvisor.tar.bz2"}, "['x86_64']", f"{SHA} gvisor.tar.bz2"),
        *("it has 143 characters, not 128", f" Did you mean {SHA}?"),
    ),
    (
        *("allowed_capabilities", ["compute", "Video"], "[1]", "Video"),
        *("a capability's name has small letters, digits and -", " Did you mean video?"),
    ),
    (
        *("allowed_capabilities", ["all"], "[0]", "all"),
        *("what all means differs from release to release; name each", ""),
    ),
    ("trusted_hooks", ["nvidia-ctk"], "[0]", "nvidia-ctk", "it does not begin with /", ""),
    ("host_prep", ["/bin/true"], "[0]", "/bin/true", LIST, ' Did you mean ["/bin/true"]?'),
    ("host_prep", [[]], "[0]", [], "it is empty", ""),
    (
        *("host_prep", [["true"]], "[0]", ["true"]),
        *("its first word, the program, does not begin with /", ""),
    ),
    (
        *("kernel_modules", ["nvidia.ko"], "[0]", "nvidia.ko"),
        *("a module's name has letters, digits, - and _, and no ending", " Did you mean nvidia?"),
    ),
    ("runsc_args", [7], "[0]", 7, f"it is a number, {NOT_A_TEXT}", ""),
]
UNKNOWN = [
    (
        {"gvisor_relase": "20260905"},
        "setting gvisor_relase = '20260905' is unknown. Did you mean gvisor_release?",
    ),
    (
        {"GVISOR_RELEASE": "20260905"},
        "setting GVISOR_RELEASE = '20260905' is unknown. Did you mean gvisor_release?",
    ),
    ({"toolkit-mode": "csv"}, "setting toolkit-mode = 'csv' is unknown. Did you mean toolkit_mode?"),
    ({"ssh_usr": "admin"}, "setting ssh_usr = 'admin' is unknown. Did you mean ssh_user?"),
    ({"ssh_pasword": "hunter2"}, "setting ssh_pasword = (hidden) is unknown. Did you mean ssh_password?"),
    ({"mirror_token": "hunter2"}, "setting mirror_token = (hidden) is unknown. Known are: "),
    ({"mirror": "https://u:hunter2@h/"}, "setting mirror = 'https://(hidden)@h/' is unknown. Known are: "),
    ({7: 1}, "setting 7 = 1 is unknown. Known are: "),
]
TOGETHER = [
    (
        {"toolkit_mode": "auto", "toolkit_version": "1.17.8-1"},
        (
            "toolkit_mode = 'auto' needs toolkit_version 1.18.0-1 or later, not 1.17.8-1: before, auto meant "
            "legacy. Set toolkit_mode to csv, or take a later toolkit_version."
        ),
    ),
    (
        {"driver_version": "570.124.06", "runsc_args": ["-nvproxy-driver-version=550.90.07"]},
        (
            "driver_version = '570.124.06' and runsc_args both say which driver runsc takes for granted. "
            "Take --nvproxy-driver-version out of runsc_args."
        ),
    ),
    (
        {"gvisor_sha512": {"x86_64": SHA, "aarch64": SHA}},
        (
            "gvisor_sha512 has the same sha512 for two architectures, whose archives differ. "
            "Take each from the gvisor.tar.bz2.sha512 beside its archive."
        ),
    ),
]


def told(**data):
    with pytest.raises(SettingsError) as caught:
        Settings.from_data("gpu-1", {**SETTINGS_DATA, **data}, _connector_keys())
    return str(caught.value)


def whole(key, shown, reason, meant):
    must = Settings.model_fields[key].description
    because = f" ({reason})" if reason else ""
    return f"host gpu-1: setting {shown} is not allowed{because}. It must be {must}.{meant}"


def test_there_are_sixty_at_least():
    assert len(WRONG) + len(WRONG_INSIDE) + len(UNKNOWN) + len(TOGETHER) >= 60


@pytest.mark.parametrize(("key", "value", "shown", "reason", "meant"), WRONG)
def test_a_wrong_value_is_told_whole(key, value, shown, reason, meant):
    assert told(**{key: value}) == whole(key, f"{key} = {shown or repr(value)}", reason, meant)


@pytest.mark.parametrize("wrong", WRONG_INSIDE)
def test_a_wrong_value_inside_another_is_told_with_its_place(wrong):
    key, value, place, inside, reason, meant = wrong
    assert told(**{key: value}) == whole(key, f"{key}{place} = {inside!r}", reason, meant)


@pytest.mark.parametrize(("name", "meant"), [("amd64", "x86_64"), ("arm64", "aarch64"), ("x86-64", "x86_64")])
def test_an_architecture_by_another_name_is_told_its_name_here(name, meant):
    must = Settings.model_fields["gvisor_sha512"].description
    assert told(gvisor_sha512={name: SHA}) == (
        f"host gpu-1: setting gvisor_sha512 has the key '{name}', which is not allowed. It must be {must}. "
        f"Did you mean {meant}?"
    )


@pytest.mark.parametrize(("data", "sentence"), UNKNOWN)
def test_a_setting_that_is_not_known_is_told_with_the_nearest_or_all(data, sentence):
    with pytest.raises(SettingsError) as caught:
        Settings.from_data("gpu-1", {**SETTINGS_DATA, **data}, _connector_keys())
    text = str(caught.value)
    assert text.startswith(f"host gpu-1: {sentence}")
    if "Did you mean" in sentence:
        assert text == f"host gpu-1: {sentence}"
    else:
        assert text.endswith(f"Known are: {', '.join(Settings.model_fields)}.")


@pytest.mark.parametrize(("data", "sentence"), TOGETHER)
def test_settings_that_do_not_go_together_are_told_with_what_to_do(data, sentence):
    assert told(**data) == f"host gpu-1: {sentence}"


def test_all_that_does_not_go_together_is_told_at_once():
    data = {key: value for one, _ in TOGETHER for key, value in one.items()}
    assert told(**data).splitlines() == [f"host gpu-1: {sentence}" for _, sentence in TOGETHER]


def test_a_setting_that_is_missing_is_told_with_what_it_must_be():
    must = Settings.model_fields["gvisor_release"].description
    with pytest.raises(SettingsError) as caught:
        Settings.from_data("gpu-1", {"gvisor_sha512": {"x86_64": SHA}}, ())
    assert str(caught.value) == f"host gpu-1: setting gvisor_release is missing. It must be {must}."


EVERY = [
    *({key: value} for key, value, *_ in (*WRONG, *WRONG_INSIDE)),
    *(data for data, _ in (*UNKNOWN, *TOGETHER)),
]


@pytest.mark.parametrize("data", EVERY, ids=str)
def test_no_sentence_has_pydantics_words_a_secret_or_a_second_line(data):
    with pytest.raises(SettingsError) as caught:
        Settings.from_data("gpu-1", {**SETTINGS_DATA, **data}, _connector_keys())
    text = str(caught.value)
    assert (
        re.search(r"Input should|should be|pydantic|valid string|type=|Field required|validation", text)
        is None
    )
    assert "hunter2" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("key", "meant"),
    [(key, meant) for key, _, _, _, meant in WRONG if "--data" in meant],
)
def test_what_was_meant_is_accepted_as_it_is_spelt_for_data(key, meant):
    value = as_pyinfra_reads(meant.rpartition(f"{key}=")[2].removesuffix("'."))
    Settings.from_data("gpu-1", {**SETTINGS_DATA, key: value}, ())


@pytest.mark.parametrize(
    ("key", "meant"),
    [(key, meant) for key, _, _, _, meant in WRONG if meant.endswith("?")],
)
def test_what_was_meant_is_accepted(key, meant):
    value = meant.removeprefix(" Did you mean ").removesuffix("?")
    Settings.from_data("gpu-1", {**SETTINGS_DATA, key: value}, ())


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_example_of_every_setting_is_accepted(key):
    (example,) = Settings.model_fields[key].examples
    taken = Settings.from_data("gpu-1", {**SETTINGS_DATA, key: example}, ())
    assert getattr(taken, key) != Settings.model_fields[key].default or key == "toolkit_version"


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ({"allow_user_annotations": "true"}, True),
        ({"allow_user_annotations": "False"}, False),
        ({"verify_timeout": "120"}, 120),
        ({"runtime_name": " nvidia-gvisor\n"}, "nvidia-gvisor"),
        ({"gvisor_release": 20260905}, "20260905"),
    ],
)
def test_what_can_only_mean_one_thing_is_taken(data, kept):
    (key,) = data
    assert getattr(Settings.from_data("gpu-1", {**SETTINGS_DATA, **data}, ()), key) == kept
