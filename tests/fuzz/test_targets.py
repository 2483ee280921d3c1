"""The targets of `make fuzz` in short, without a guide, so that they do not rot; and their models."""

import importlib
import os
import shlex

import pytest

from nvproxy_wrapper.judge import strict_json
from tests.fuzz import blind, smallest
from tests.fuzz.go_flags import FlagError, Flags
from tests.fuzz.json_model import Literal, read
from tests.fuzz.runsc_model import execution
from tests.fuzz.targets import TARGETS, parser, scanner
from tests.specs.captured_specs import CAPTURED

RUNS = int(os.environ.get("WRAPPER_EXAMPLES", "4000"))


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_changed_at_random(name):
    counts = blind.run(importlib.import_module(f"tests.fuzz.targets.{name}"), RUNS, seed=20)
    print(f"\n{name}: {counts.total()} inputs: {dict(counts)}")
    assert counts.total() >= RUNS
    assert len(counts) > 1, "all inputs ended alike"


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda captured: captured.path.stem)
def test_a_captured_spec_is_read_as_python_reads_it(captured):
    assert parser.check(captured.path.read_bytes()) == "accepted"


def test_a_failure_says_how_to_see_the_smallest_input_again(monkeypatch):
    monkeypatch.setattr(strict_json, "_check_surrogates", lambda value: None)
    long = b'{"a":[1,2,3,{"b":null}],"c":"abc\\ud800def","d":{}}'
    assert smallest.failing(parser, long) == b'{"":"\\uddef"}'
    monkeypatch.setattr(parser, "seeds", lambda: [long])
    with pytest.raises(AssertionError) as failure:
        blind.run(parser, 1, seed=1)
    (note,) = failure.value.__notes__
    message, command = note.splitlines()
    assert message.startswith('Smallest input: AssertionError("accepted as')
    assert shlex.split(command)[1:] == [
        "-c",
        r"""from tests.fuzz.targets import parser; parser.check(b'{"":"\\uddef"}')""",
    ]


@pytest.mark.parametrize(
    ("line", "values", "rest"),
    [
        ("", {}, []),
        ("x -a", {}, ["x", "-a"]),
        ("-a=1 --b v x", {"a": "true", "b": "v"}, ["x"]),
        ("-a x", {"a": "true"}, ["x"]),
        ("--b=u --b v", {"b": "v"}, []),
        ("--b= x", {"b": ""}, ["x"]),
        ("--b=u=v", {"b": "u=v"}, []),
        ("--b -- x", {"b": "--"}, ["x"]),
        ("-a=F -- -a", {"a": "false"}, ["-a"]),
        ("- -a", {}, ["-", "-a"]),
    ],
)
def test_flags_are_read_as_go_reads_them(line, values, rest):
    assert Flags(frozenset("a"), frozenset("b")).parse(line.split()) == (values, rest)


@pytest.mark.parametrize("line", ["-c", "---a", "--=", "-=a", "-b", "-a=yes", "-a=", "--help", "--b"])
def test_flags_that_go_refuses_are_refused(line):
    with pytest.raises(FlagError):
        Flags(frozenset("a"), frozenset("b")).parse(line.split())


@pytest.mark.parametrize(
    ("line", "executed"),
    [
        ("--root /r create --bundle /b x", ("create", "/b", "x", None)),
        ("--log /l --log= run x", ("run", ".", "x", None)),
        ("--platform create --log /l restore --image-path run -bundle=/b -- x", ("restore", "/b", "x", "/l")),
        ("state x", None),
        ("create", None),
        ("create x y", None),
        ("create -b /b x", None),
        ("create x --bundle /b", None),
        ("--platform create x", None),
        ("--version create x", None),
        ("--version=false create x", ("create", ".", "x", None)),
    ],
)
def test_runsc_executes_what_it_does_not_refuse(line, executed):
    assert execution(line.split()) == executed


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (b'{"a":[1,{"b":-0}]}', set()),
        (b"{", {"is not JSON"}),
        (b"{}x", {"has more after"}),
        (b"[]", {"is not an object"}),
        (b"\xff", {"is not UTF-8"}),
        (b'{"a":1,"\\u0061":2}', {"twice in one object"}),
        (b'{"\\ud800":[NaN]}', {"half of a surrogate pair", "has NaN, which is no JSON number"}),
        (b'{"a":"\\u+123"}', {"is not JSON"}),
        (b'{"a":"\\\\u+123"}', set()),
        ('{"a":1\u0661}'.encode(), {"is not JSON", "has more after"}),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", {"is nested deeper"}),
        (b" " * (16 << 20) + b"{}", {"bytes long"}),
    ],
)
def test_what_has_two_readings_is_noted(document, faults):
    assert read(document).faults == faults


def test_a_number_is_kept_letter_by_letter():
    assert read(b'{"a":[1.10,-0,1]}').value == {"a": [Literal("1.10"), Literal("-0"), Literal("1")]}


def test_a_byte_is_an_argument_and_letters_can_be_any():
    assert scanner.arguments_of(b"\0\xff--x\0\x00\xff") == ["--x", "create", ""]
    assert scanner.arguments_of(b"\2\xff--x\0") == ["create", "--x", "x"]
