"""Docker's daemon.json: our runtime in it or out of it, every other key and its order as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.daemon_json import (
    DaemonJsonError,
    lost_default,
    parse,
    runtime_path,
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
RUNTIMES = st.dictionaries(st.sampled_from(["nvidia", "runsc", "kata", ""]), VALUES, max_size=2)


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
        ('{"runtimes": null}', "its runtimes are NoneType, not an object"),
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


@pytest.mark.parametrize("text", ['{"labels": ["\\ud800"]}', '{"\\udfff": 1}', '{"a": "\ud800"}'])
def test_half_a_surrogate_pair_is_refused_since_it_could_not_be_written_back(text):
    with pytest.raises(DaemonJsonError, match="half of a surrogate pair"):
        parse(text)


def test_a_file_of_brackets_alone_is_refused():
    with pytest.raises(DaemonJsonError):
        parse("[" * 100_000)


@given(texts(), VALUES, VALUES)
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
