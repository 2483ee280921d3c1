"""The decision log and the runtime's log: whatever strangers wrote, a reader's terminal does not obey it."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvproxy_wrapper import runtime
from nvproxy_wrapper.host import decision_log
from nvproxy_wrapper.judge.decision import Action, Decision, Refusal

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


def decision(asked, opens, refusal):
    return Decision(
        spec_class="csv",
        evidence=[],
        gpu_requested=True,
        requested=asked,
        devices=[],
        opens=opens,
        gpus=[],
        actions=[Action("env.void", "x", "y", "z")],
        warnings=[],
        refusal=refusal,
        spec={},
        changed=False,
        runsc_flags=[],
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=TEXT | st.lists(TEXT, max_size=3) | st.none(),
    opens=st.lists(TEXT, max_size=3) | st.none(),
    name=TEXT,
)
def test_every_string_in_the_decision_log_is_printable_and_short(tmp_path, asked, opens, name):
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    assert decision_log.append(str(log), decision(asked, opens, None), name, time.monotonic()) is None
    (line,) = log.read_bytes().decode("utf-8").split("\n")[:-1]
    assert all(text.isprintable() and len(text) <= 257 for text in strings_in(json.loads(line)))
    assert line.isprintable()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=TEXT)
def test_every_sentence_for_a_user_is_printable(tmp_path, words, capfd):
    log = tmp_path / "log.json"
    log.unlink(missing_ok=True)
    runtime._report("error", Refusal("devices.scope", words, words).sentence(), str(log))
    line = log.read_bytes().decode("utf-8").removesuffix("\n")
    assert line.isprintable()
    said = capfd.readouterr().err
    assert said.endswith("\n")
    assert json.loads(line)["msg"] == said[:-1]


@pytest.mark.parametrize("text", ["0", "GPU-1", "a b", "é", "\U0001f600"])
def test_what_is_printable_stays_as_it_was_written(tmp_path, text):
    log = tmp_path / "log"
    decision_log.append(str(log), decision([text], [text], None), text, 0.0)
    line = json.loads(log.read_text())
    assert (line["id"], line["asked"], line["given"]) == (text, [text], [text])
