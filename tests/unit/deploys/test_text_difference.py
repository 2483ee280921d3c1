"""What differs between two texts, for people: whole, without secrets, and harmless to a terminal."""

from __future__ import annotations

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.text_difference import difference, hidden, shown

TEXT = st.text(st.sampled_from("ab \n"), max_size=30)


@given(TEXT, TEXT)
def test_both_texts_can_be_read_out_of_what_differs(old, new):
    lines = [line for line in difference("/f", old, new) if not line.startswith(("---", "+++", "@@", "\\"))]
    whole = [line for line in difflib.ndiff(old.split("\n"), new.split("\n")) if line[0] in "+-"]
    assert bool(lines) == (old != new)
    assert {line[1:] for line in lines if line[0] == "+"} <= set(new.split("\n"))
    assert {line[1:] for line in lines if line[0] == "-"} <= set(old.split("\n"))
    assert bool(whole) == bool(lines)


def test_a_file_that_comes_or_goes_differs_from_none():
    assert difference("/f", None, "a\n") == ("--- /dev/null", "+++ /f (as it will be)", "@@ -0,0 +1 @@", "+a")
    assert difference("/f", "a\n", None) == ("--- /f (as it is)", "+++ /dev/null", "@@ -1 +0,0 @@", "-a")


def test_a_last_line_without_an_end_is_told_from_one_with():
    assert difference("/f", "a", "a\n")[3:] == ("-a", "\\ No newline at end of file", "+a")


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("deb https://user:hunter2@mirror.example/x /", "deb https://(hidden)@mirror.example/x /"),
        ("deb https://hunter2@mirror.example/x /", "deb https://(hidden)@mirror.example/x /"),
        ("deb https://user:hun@ter2@mirror.example/", "deb https://(hidden)@mirror.example/"),
        ('{"http-proxy": "http://u:hunter2@proxy:3128"}', '{"http-proxy": "http://(hidden)@proxy:3128"}'),
        (
            '"log-opts": {"splunk-token": "hunter2", "a": "b"}',
            '"log-opts": {"splunk-token": (hidden), "a": "b"}',
        ),
        ('"auth": "hunter2",', '"auth": (hidden),'),
        ("password = 'hunter2'", "password = (hidden)"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=(hidden)"),
        ("https://h/x?access_token=hunter2&y=1", "https://h/x?access_token=(hidden)&y=1"),
        ("Authorization: Bearer hunter2 hunter2", "Authorization: (hidden)"),
        (r'"password": "a\"hunter2", "b": 1', '"password": (hidden), "b": 1'),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(line, seen):
    assert hidden(line) == seen
    assert "hunter2" not in "\n".join(difference("/f", f"{line}\n", "x\n"))


@pytest.mark.parametrize(
    "line",
    [
        'runtimes = ["/usr/local/bin/nvproxy-runsc"]',
        "deb [signed-by=/etc/apt/keyrings/x.asc] https://nvidia.github.io/x /",
        '"authorization-plugins": ["a"]',
        '"trusted_hooks": ["/usr/bin/nvidia-ctk"]',
        "mail me@example.org",
    ],
)
def test_what_is_no_secret_is_shown(line):
    assert hidden(line) == line


def test_two_texts_that_differ_in_a_secret_alone_differ():
    lines = difference("/f", 'token = "a"\n', 'token = "b"\n')
    assert lines[-2:] == ("-token = (hidden)", "+token = (hidden)")


def test_a_key_is_not_shown():
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nabc\n"
    assert difference("/f", None, key) == ("(a key, which is not shown)",)
    assert difference("/f", key, key) == ()


@given(st.text(max_size=20))
def test_nothing_that_is_shown_steers_a_terminal(text):
    assert re.fullmatch(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]*", shown(text).replace("\n", ""))


def test_what_cannot_be_seen_is_spelt_out():
    assert difference("/f", "\ufeffa\r\n", "a\n")[3:] == ("-\\ufeffa\\r", "+a")
