"""The decision log and the runtime's log: whatever strangers wrote, a reader's terminal does not obey it."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvproxy_wrapper import runtime
from nvproxy_wrapper.host import decision_log
from nvproxy_wrapper.judge.decision import Action, Decision, Notice, Pod, Refusal

# All that JSON and a command line may hold, half of a surrogate pair and bytes that are no text included.
TEXT = st.text(st.characters(exclude_categories=[])) | st.sampled_from(
    ["\x1b[31m", "a\r\n{}", "\x9b2J", "\u202egpj.exe", "\u2028", "\udcff", "\0", "x" * 300, "\x1b" * 300]
)


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings_in(item)


def decision(asked, opens, warnings=(), pod=None):
    return Decision(
        spec_class="csv",
        evidence=[],
        gpu_requested=True,
        requested=asked,
        devices=[],
        opens=opens,
        gpus=[],
        actions=[Action("env.void", "x", "y", "z")],
        warnings=list(warnings),
        pod=pod,
        refusal=None,
        spec={},
        changed=False,
        runsc_flags=[],
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=TEXT | st.lists(TEXT, max_size=3) | st.none(),
    opens=st.lists(TEXT, max_size=3) | st.none(),
    name=TEXT,
    words=TEXT,
)
def test_every_string_in_the_decision_log_is_printable_and_none_floods_it(
    tmp_path, asked, opens, name, words
):
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    made = decision(
        asked, opens, [Notice("r", words, words, words, words)], Pod(words, words, words, [words])
    )
    assert decision_log.append(str(log), made, name, time.monotonic()) is None
    (line,) = log.read_bytes().decode("utf-8").split("\n")[:-1]
    assert line.isprintable()
    logged = json.loads(line)
    assert all(text.isprintable() for text in strings_in(logged))
    assert all(len(text) <= 257 for text in strings_in({**logged, "warnings": []}))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=TEXT)
def test_every_sentence_for_a_user_is_printable(tmp_path, words, capfd):
    log = tmp_path / "log.json"
    log.unlink(missing_ok=True)
    runtime._report("error", Refusal("devices.scope", words, words).sentence(), str(log))
    line = log.read_bytes().decode("utf-8").removesuffix("\n")
    assert line.isprintable()
    assert runtime._log_line("warning", words)[:-1].decode("utf-8").isprintable()
    said = capfd.readouterr().err
    assert said.endswith("\n")
    assert json.loads(line)["msg"] == said[:-1]


@pytest.mark.parametrize("text", ["0", "GPU-1", "a b", "é", "\U0001f600"])
def test_what_is_printable_stays_as_it_was_written(tmp_path, text):
    log = tmp_path / "log"
    decision_log.append(str(log), decision([text], [text]), text, 0.0)
    line = json.loads(log.read_text())
    assert (line["id"], line["asked"], line["given"]) == (text, [text], [text])
