"""The table of known failures: each is found, and none is found where it is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nvproxy_wrapper.judge import known_failures
from nvproxy_wrapper.judge.known_failures import KNOWN_FAILURES, MASKED, OWN, UNKNOWN, find

SAID = Path(__file__).parents[1] / "verification/said"
EOF_LINE = "cannot create sandbox: cannot read client sync file: waiting for sandbox to start: EOF"
IDS = [known.id for known in KNOWN_FAILURES]


@pytest.mark.parametrize("path", sorted(SAID.glob("*.json")), ids=lambda path: path.stem)
def test_what_a_real_host_said_is_answered_with_its_cause(path):
    told = json.loads(path.read_text(encoding="utf-8"))
    found = find(told["said"])
    assert found.id == told["id"]
    assert found.id == OWN or (found.cause and found.remedy and found.link)


@pytest.mark.parametrize("known", KNOWN_FAILURES, ids=IDS)
def test_each_failure_has_a_name_of_its_own_a_remedy_and_a_source(known):
    assert IDS.count(known.id) == 1
    assert known.cause
    assert known.remedy
    assert re.match(r"https://|docs/", known.link)
    groups = re.compile(known.pattern).groups
    named = {int(number) for number in re.findall(r"\{(\d)\}", known.cause + known.remedy)}
    assert not named or max(named) < max(groups, 1)


def test_the_masked_end_gives_way_to_the_cause_wherever_that_was_said():
    driver = "unsupported Nvidia driver version: 570.99.99"
    for texts in ((EOF_LINE, driver), (driver, EOF_LINE), (f"{EOF_LINE}\n{driver}",)):
        assert find(*texts).id == "driver-unsupported"


def test_the_masked_end_gives_way_to_the_last_words_of_a_cause_that_nobody_knows():
    log = "F1125 21:00:00.000000 1 x.go:1] FATAL ERROR: the moon is in the way\ngoroutine 1 [running]:"
    found = find(EOF_LINE, log)
    assert found.id == MASKED
    assert found.cause.endswith("the moon is in the way")
    assert find(EOF_LINE).cause == "the gVisor sandbox died while it started"


def test_what_may_be_of_another_container_counts_last():
    about_another = 'NVRM: Xid (PCI:0000:01:00): 79, pid=1\nunknown field "x"'
    assert find("unsupported device id: 2", about_another).id == "csv-id"
    assert find("something new", about_another).id == "spec-field"


@pytest.mark.parametrize("text", ["", "something new", "EOF", "exit status 1", "nvidia", "{}", "x" * 100000])
def test_an_unknown_failure_is_called_unknown(text):
    assert find(text) == UNKNOWN


# What a sound host's runsc and engines write all the time.
HARMLESS = """
W1125 21:00:00.000000 1 util.go:64] FATAL is not in this line
I1125 21:00:00.000000 1 c.go:1] --sidecar-usage-policy=IF_RELEASE_BUILD /opt/gvisor/x/gvisor-bin/gvisor_sentry
W1125 21:00:00.000000 1 host.go:1] vm.max_map_count is 65530, 4194304 is recommended
W1125 21:00:00.000000 1 host.go:1] user.max_user_namespaces is 256
level=info msg="loading plugin" type=io.containerd.grpc.v1 additional=x
NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.124.06
"""


def test_nothing_is_found_in_what_sound_hosts_say():
    assert find(HARMLESS) == UNKNOWN


def test_the_table_of_the_docs_has_every_failure():
    rows = known_failures.markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == IDS
    assert all(row.count("|") - row.count("\\|") == 5 for row in rows)
