"""Docker's daemon.json: our runtime in it or out of it, every other key and its order as it was."""

from __future__ import annotations

import json
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploys.model.daemon_json import (
    DaemonJsonError,
    lost_default,
    named,
    parse,
    refusal_of_mark,
    runtime_path,
    unnamed,
    with_runtime,
    without_runtime,
)

SHIM = "/usr/bin/nvidia-container-runtime"
NAMES = st.text(max_size=6) | st.sampled_from(["runtimes", "features", "nvidia", "log-opts"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)
# As dockerd takes them; it ignores keys that it does not know, as the `args` that nvidia-ctk writes.
ENTRIES = st.fixed_dictionaries(
    {"path": st.sampled_from(["/n", "nvidia-container-runtime", SHIM])},
    optional={
        "runtimeArgs": st.none() | st.lists(st.text(max_size=6), max_size=2),
        "args": VALUES,
        "options": st.none() | st.just({}),
    },
) | st.fixed_dictionaries(
    {"runtimeType": st.just("io.containerd.runc.v2")},
    optional={"options": st.dictionaries(NAMES, VALUES, max_size=2), "runtimeArgs": st.just([])},
)
RUNTIMES = st.dictionaries(st.sampled_from(["nvidia", "NVIDIA", "runsc", "kata", ""]), ENTRIES, max_size=2)


@st.composite
def configurations(draw) -> dict[str, object]:
    config = draw(st.dictionaries(NAMES.filter("runtimes".__ne__), VALUES, max_size=3))
    if not draw(st.booleans()):
        return config
    items = list(config.items())
    items.insert(draw(st.integers(0, len(items))), ("runtimes", draw(RUNTIMES)))
    return dict(items)


@st.composite
def texts(draw) -> str:
    config = draw(configurations())
    return json.dumps(config, indent=draw(st.sampled_from([None, 0, 2, 4])), ensure_ascii=draw(st.booleans()))


def in_order(value: object) -> object:
    """A value in which the order of keys counts."""
    if isinstance(value, dict):
        return [(key, in_order(inner)) for key, inner in value.items()]
    return [in_order(inner) for inner in value] if isinstance(value, list) else value


@given(texts())
def test_every_other_key_and_its_order_stay(text):
    before, after = json.loads(text), json.loads(with_runtime(text, "nvidia", SHIM))
    assert after["runtimes"]["nvidia"] == {"path": SHIM}
    expected = {**before, "runtimes": {**before.get("runtimes", {}), "nvidia": {"path": SHIM}}}
    assert in_order(after) == in_order(expected)


@given(texts())
def test_a_second_time_changes_nothing(text):
    once = with_runtime(text, "nvidia", SHIM)
    assert with_runtime(once, "nvidia", SHIM) == once
    out = without_runtime(once, "nvidia", text)
    assert without_runtime(out, "nvidia", text) == out


@given(st.none() | texts())
def test_in_and_out_again_is_what_was_there_to_the_letter(text):
    ours = with_runtime(text or "", "nvidia", SHIM)
    assert without_runtime(ours, "nvidia", text) == text


@given(st.none() | texts())
def test_out_again_from_the_form_that_docker_is_given_in_passing_is_what_was_there_too(text):
    """A run that was killed then leaves it: the runtimes are named, be it none."""
    config = json.loads(text or "{}")
    assert without_runtime(json.dumps({"runtimes": {}, **config}), "nvidia", text) == text


@given(st.none() | texts(), VALUES)
def test_what_somebody_else_has_written_meanwhile_stays(text, value):
    before = json.loads(text or "{}")
    ours = json.loads(with_runtime(text or "", "nvidia", SHIM))
    edited = json.dumps({**ours, "of somebody else": value})
    assert in_order(json.loads(without_runtime(edited, "nvidia", text))) == in_order(
        {**before, "of somebody else": value}
    )


def test_an_edit_that_python_takes_for_none_stays():
    edited = with_runtime('{"debug": 1}', "nvidia", SHIM)
    assert json.loads(without_runtime(edited, "nvidia", '{"debug": true}'))["debug"] is not True


def test_a_file_that_is_gone_stays_gone():
    assert without_runtime(None, "nvidia", None) is None
    assert without_runtime(None, "nvidia", '{"debug": true}') is None


def test_taking_the_runtime_out_keeps_the_place_of_the_others():
    text = '{"runtimes": {"kata": {"path": "/k"}, "nvidia": {"path": "/n"}}, "debug": true}'
    assert list(json.loads(without_runtime(text, "nvidia", None))) == ["runtimes", "debug"]


@given(texts())
def test_a_file_that_has_it_already_stays_byte_for_byte(text):
    config = json.loads(text)
    there = json.dumps({**config, "runtimes": {**config.get("runtimes", {}), "nvidia": {"path": SHIM}}})
    assert with_runtime(there, "nvidia", SHIM) is there


@given(texts().filter(lambda text: "nvidia" not in json.loads(text).get("runtimes", {})))
def test_a_file_that_does_not_have_it_is_not_touched_by_taking_it_out(text):
    assert without_runtime(text, "nvidia", text) is text
    assert without_runtime(text, "nvidia", '{"runtimes": {}, "other": 1}') is text


@st.composite
def documents(draw) -> str:
    """Texts as people leave them: their own indentation, line ends, byte order mark and spellings."""
    text = json.dumps(
        draw(configurations()),
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, 8, "\t"])),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,", " : ")])),
    )
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    numbers = draw(
        st.sampled_from(["", ' "x-num": 12345678901234567890,', ' "a": 1e1, "b": -0.0, "c": 1E+2,'])
    )
    if numbers and json.loads(text) and not {"x-num", "a", "b", "c"} & set(json.loads(text)):
        text = text.replace("{", "{" + numbers, 1)
    mark, end = draw(st.sampled_from(["", "\ufeff"])), draw(st.sampled_from(["", "\n", "\r\n", " \n\n"]))
    return mark + text + end


def same_at_the_front(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@settings(max_examples=50)
@given(documents(), st.sampled_from(["nvidia", "nvidia-gvisor"]))
def test_all_that_stood_there_stands_there_to_the_byte_and_comes_back_to_the_byte(text, name):
    ours = with_runtime(text, name, SHIM)
    assert with_runtime(ours, name, SHIM) is ours
    assert without_runtime(ours, name, text) == text
    if json.loads(text.removeprefix("\ufeff")).get("runtimes", {}).get(name) is None:
        start = same_at_the_front(text, ours)
        end = same_at_the_front(text[start:][::-1], ours[start:][::-1])
        assert len(text) - start - end <= len("{}"), "the new text is the old one with one piece put in"


@settings(max_examples=50)
@given(documents(), st.sampled_from(["nvidia", "nvidia-gvisor"]))
def test_what_dockerd_is_given_in_passing_is_the_same_but_for_the_runtimes_and_no_edit(text, name):
    passing = named(text, {})
    config = json.loads(text.removeprefix("\ufeff"))
    expected = {**config, "runtimes": config.get("runtimes", {})}
    assert in_order(json.loads(passing.removeprefix("\ufeff"))) == in_order(expected)
    assert without_runtime(passing, name, text) == text


@settings(max_examples=50)
@given(documents(), VALUES)
def test_an_edit_of_the_owners_stays_and_what_was_taken_out_leaves_the_rest_to_the_byte(text, value):
    ours = with_runtime(text, "nvidia", SHIM)
    edited = ours.replace("{", '{"of somebody else": ' + json.dumps(value) + ",", 1)
    left = without_runtime(edited, "nvidia", text)
    before = json.loads(text.removeprefix("\ufeff"))
    assert in_order(json.loads(left.removeprefix("\ufeff"))) == in_order(
        {"of somebody else": value, **before}
    )
    again = with_runtime(left, "nvidia", SHIM)
    assert without_runtime(again, "nvidia", left) == left


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{\n\t"mtu": 1450\n}',
            '{\n\t"mtu": 1450,\n\t"runtimes": {\n\t\t"n": {\n\t\t\t"path": "/n"\n\t\t}\n\t}\n}',
        ),
        ('{"mtu": 1450}', '{"mtu": 1450, "runtimes": {"n": {"path": "/n"}}}'),
        (
            '{\r\n  "runtimes": {}\r\n}\r\n',
            '{\r\n  "runtimes": {\r\n    "n": {\r\n      "path": "/n"\r\n    }\r\n  }\r\n}\r\n',
        ),
        (
            '{\n "runtimes": {\n  "a": {"path": "/a"}\n }\n ,"x": 1\n}\n',
            '{\n "runtimes": {\n  "a": {"path": "/a"},\n  "n": {\n   "path": "/n"\n  }\n }\n ,"x": 1\n}\n',
        ),
        (
            '{"runtimes": {"n": {"path": "/o", "runtimeArgs": []}}, "x": 1e1}',
            '{"runtimes": {"n": {"path": "/n"}}, "x": 1e1}',
        ),
        ("", '{\n    "runtimes": {\n        "n": {\n            "path": "/n"\n        }\n    }\n}\n'),
        (
            "\ufeff",
            '\ufeff{\n    "runtimes": {\n        "n": {\n            "path": "/n"\n        }\n    }\n}\n',
        ),
    ],
)
def test_the_runtime_is_written_as_the_text_around_it_is(text, expected):
    assert with_runtime(text, "n", "/n") == expected


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("null", "is null, and has to be an object"),
        ('"/usr/bin/n"', "is a text, and has to be an object"),
        ('["/n"]', "is a list, and has to be an object"),
        ("{}", "has neither a path nor a runtimeType"),
        ('{"path": 1}', "has a number for its path, and that has to be a text"),
        ('{"path": "/n", "runtimeArgs": "--debug"}', "has a text for its runtimeargs"),
        ('{"path": "/n", "runtimeArgs": [1]}', "has something else than texts in its runtimeArgs"),
        ('{"path": "/n", "runtimeType": "io.containerd.x.v1"}', "has a path and a runtimeType"),
        ('{"Path": "/n", "options": {"a": 1}}', "has options"),
        ('{"runtimeType": "io.containerd.x.v1", "runtimeArgs": ["-v"]}', "has runtimeArgs"),
    ],
)
@pytest.mark.parametrize("name", ["nvidia", "kata"])
def test_a_runtime_that_dockerd_would_not_load_is_named_with_its_place(entry, sentence, name):
    text = f'{{\n  "runtimes": {{\n    "{name}": {entry}\n  }}\n}}\n'
    with pytest.raises(DaemonJsonError, match=f"its runtime '{name}' \\(line 3, column 5\\) {sentence}"):
        with_runtime(text, "nvidia", SHIM)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\ufeff{\n\t# mirrors\n}", r"there is a comment in line 2, column 2"),
        ('{\n  "a": 1 // one\n}', r"there is a comment in line 2, column 10"),
        ("/* mine */ {}", r"there is a comment in line 1, column 1"),
        ('{"a": [1, 2,]}', r"a comma too many before the \] in line 1, column 12"),
        ('{\r\n  "a": 1,\r\n}', r"a comma too many before the \} in line 2, column 9"),
        (
            '{\n  "runtimes": {',
            r"it ends where a key in double quotes should stand in line 2, column 16 \(is it",
        ),
        ('{"a": "b', r"Unterminated string starting in line 1, column 7"),
        ('{"a" "b"}', r"there is '\"' where a colon should stand in line 1, column 6"),
        ('{"a": 1 "b": 2}', r"there is '\"' where a comma or \} should stand in line 1, column 9"),
        ("{“a”: 1}", r"there is “ where a key in double quotes should stand in line 1, column 2"),
        ('{"a": True}', r"there is 'T' where a value should stand in line 1, column 7"),
        ('{"a": 01}', r"there is '1' where a comma or \} should stand in line 1, column 8"),
        ('{\0"\0', r"there is a zero byte in line 1, column 2 \(UTF-16 needs its byte order mark\)"),
        ('{"a": 1}}', r"Extra data in line 1, column 9"),
        (
            '{"a": {"b": 1,\n"b": 2}}',
            "the key 'b' is there twice, in line 1, column 8 and in line 2, column 1",
        ),
        ('{"Runtimes": {}}', r"knows no key 'Runtimes' \(line 1, column 2\): write 'runtimes'"),
        ('{"runtimes": {"runc": {"path": "/r"}}}', "has a name that dockerd keeps for itself"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_column(text, sentence):
    with pytest.raises(DaemonJsonError, match=sentence):
        with_runtime(text, "nvidia", SHIM)


def test_runtimes_that_are_null_are_none_and_come_back_as_null():
    ours = with_runtime('{"runtimes": null}', "nvidia", SHIM)
    assert json.loads(ours) == {"runtimes": {"nvidia": {"path": SHIM}}}
    assert without_runtime(ours, "nvidia", '{"runtimes": null}') == '{"runtimes": null}'
    edited = ours.replace("{", '{"debug": true, ', 1)
    assert without_runtime(edited, "nvidia", '{"runtimes": null}') == '{"debug": true, "runtimes": null}'
    assert json.loads(named('{"runtimes": null}', {})) == {"runtimes": {}}, "Docker 20.10 dies of the null"


def test_a_number_of_any_length_stays():
    text = '{"x": ' + "9" * 10_000 + "}"
    assert without_runtime(with_runtime(text, "nvidia", SHIM), "nvidia", text) == text


def test_names_that_differ_in_case_are_two_runtimes():
    text = '{"runtimes": {"NVIDIA": {"path": "/N"}}}'
    assert json.loads(with_runtime(text, "nvidia", SHIM))["runtimes"] == {
        "NVIDIA": {"path": "/N"},
        "nvidia": {"path": SHIM},
    }


@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("20.10.24+dfsg1", True),
        ("23.0.1", False),
        ("29.0.0", False),
        ("library-import", False),
        (None, False),
    ],
)
def test_a_byte_order_mark_is_refused_where_this_docker_does_not_take_it(version, refused):
    assert (refusal_of_mark('\ufeff{"debug": true}', version) is not None) is refused
    assert refusal_of_mark('{"debug": true}', version) is None


def test_the_runtimes_of_the_command_line_are_those_that_no_file_names_and_that_are_not_docker_s_own():
    loaded = {"runc": "runc", "io.containerd.runc.v2": "runc", "kata": "/k", "nvidia": "/n", "odd": ""}
    text = '{"runtimes": {"nvidia": {"path": "/n"}}}'
    assert unnamed(loaded, "29.0.0", text, None) == {"kata": "/k"}
    assert unnamed(loaded, "20.10.24", None, text) == {"io.containerd.runc.v2": "runc", "kata": "/k"}
    assert json.loads(named("", {"kata": "/k"})) == {"runtimes": {"kata": {"path": "/k"}}}


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_an_empty_file_counts_as_an_empty_object(text):
    assert json.loads(with_runtime(text, "nvidia", SHIM)) == {"runtimes": {"nvidia": {"path": SHIM}}}
    assert without_runtime(text, "nvidia", text) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{\n    "debug": true,\n}\n', "it is not JSON: .* in line 3, column 1|.* in line 2, column 18"),
        ("{'debug': true}", "it is not JSON: .* in line 1, column 2"),
        ('{"a": 1} {"b": 2}', "it is not JSON: Extra data in line 1, column 10"),
        ('{"a": 1', "it is not JSON: .* in line 1, column 8"),
        ("# a comment\n{}", "it is not JSON: .* in line 1, column 1"),
        ("[]", "it holds list, not an object"),
        ('"x"', "it holds str, not an object"),
        ('{"runtimes": []}', "its runtimes are list, not an object"),
    ],
)
def test_what_dockerd_could_not_read_is_refused_with_its_place(text, sentence):
    for act in (
        lambda: parse(text),
        lambda: with_runtime(text, "nvidia", SHIM),
        lambda: without_runtime(text, "nvidia", None),
        lambda: without_runtime("{}", "nvidia", text),
    ):
        with pytest.raises(DaemonJsonError, match=sentence):
            act()


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}', '{"runtimes": {}, "runtimes": {"k": {}}}'])
def test_what_go_reads_otherwise_is_refused(text):
    with pytest.raises(DaemonJsonError):
        parse(text)


def test_a_file_of_brackets_alone_is_refused():
    with pytest.raises(DaemonJsonError):
        parse("[" * 100_000)


@given(texts(), ENTRIES, VALUES)
def test_the_runtime_that_was_there_before_comes_back(text, former, debug):
    config = json.loads(text)
    before = json.dumps({**config, "runtimes": {**config.get("runtimes", {}), "nvidia": former}})
    ours = json.loads(with_runtime(before, "nvidia", SHIM))
    edited = json.dumps({**ours, "debug": debug})
    assert json.loads(without_runtime(edited, "nvidia", before))["runtimes"]["nvidia"] == former
    # Also where somebody else has taken ours out meanwhile.
    assert json.loads(without_runtime(text, "nvidia", before))["runtimes"]["nvidia"] == former


@pytest.mark.parametrize(
    ("text", "loaded", "lost"),
    [
        (None, "runc", None),
        (None, "nvidia", "nvidia"),
        ('{"runtimes": {"nvidia": {"path": "/n"}}}', "nvidia", None),
        ('{"runtimes": {"kata": {"path": "/k"}}}', "nvidia", "nvidia"),
        ('{"default-runtime": "runc"}', "nvidia", None),
        ('{"default-runtime": "nvidia"}', "runc", "nvidia"),
        ('{"default-runtime": ""}', "nvidia", "nvidia"),
        # Docker 20.10 lists it, and knows it no more once a file that names runtimes was loaded.
        ("{}", "io.containerd.runc.v2", "io.containerd.runc.v2"),
        ("{}", None, None),
    ],
)
def test_a_default_runtime_that_a_load_would_lose_is_told(text, loaded, lost):
    assert lost_default(text, loaded) == lost


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"path": "/n", "runtimeArgs": []}, "/n"),
        ({"runtimeType": "io.containerd.runsc.v1"}, "io.containerd.runsc.v1"),
        ({}, ""),
        (None, None),
        ("/n", None),
    ],
)
def test_what_dockerd_says_of_a_runtime_is_told_from_its_entry(entry, path):
    assert runtime_path(entry) == path


@given(st.text(max_size=40) | st.text(alphabet='{}[]":,runtimes nvidia01', max_size=40))
def test_any_text_is_taken_or_refused(text):
    try:
        assert "nvidia" in json.loads(with_runtime(text, "nvidia", SHIM))["runtimes"]
    except DaemonJsonError as error:
        assert str(error)  # noqa: PT017 - either way is right, but nothing else
