"""Asking the module proxy: what it answers, and that no silence is taken for an answer."""

from __future__ import annotations

import pytest

from tests.lab import LabError
from tests.upstream.components import Component
from tests.upstream.proxy import offered

TAGGED = Component("runc", "example.org/runc", "v1.0.0")
BRANCH = Component("gvisor", "example.org/gvisor", "v0.0.0-20260905035102-160fafc42237", ("go", "latest"))


@pytest.fixture
def go(tmp_path, monkeypatch):
    """A `go` that runs the shell lines given to it; `$*` is its command line."""

    def write(text):
        program = tmp_path / "go"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return write


def test_the_tags_of_a_module_are_what_go_list_says(go):
    go(
        """[ "$*" = "list -m -json -versions example.org/runc" ] || exit 1
        echo '{"Versions": ["v1.0.0", "v1.0.1"]}'"""
    )
    assert offered(TAGGED) == ["v1.0.0", "v1.0.1"]


def test_a_branch_is_asked_for_first_and_the_latest_where_the_proxy_has_no_branches(go):
    go("""case $* in *@go) echo '{"Version": "v3"}';; *) echo '{"Version": "v4"}';; esac""")
    assert offered(BRANCH) == ["v3"]
    go("""case $* in *@go) echo "403 Forbidden" >&2; exit 1;; *) echo '{"Version": "v4"}';; esac""")
    assert offered(BRANCH) == ["v4"]


def test_a_proxy_that_refuses_everything_is_an_error_with_each_refusal(go):
    go('echo "no $4" >&2; exit 1')
    with pytest.raises(LabError, match=r"no example\.org/gvisor@go.*no example\.org/gvisor@latest"):
        offered(BRANCH)
    with pytest.raises(LabError, match=r"asking the module proxy for example\.org/runc failed"):
        offered(TAGGED)


def test_a_module_without_versions_is_an_error_and_not_up_to_date(go):
    go("""echo '{"Path": "example.org/runc"}'""")
    with pytest.raises(LabError, match=r"offers no version of example\.org/runc"):
        offered(TAGGED)
