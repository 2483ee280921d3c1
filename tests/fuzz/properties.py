"""The properties of the rules: what is drawn and what has to hold, for `make test` and `make fuzz` alike."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from nvproxy_wrapper.judge import strict_json
from tests.fuzz.hosts import HOSTS
from tests.fuzz.invariants import check, part
from tests.specs.captured_specs import CAPTURED
from tests.unit.wrapper.mutations import MUTATIONS, POD_SPECS, SETTINGS, SPECS, VALUES, build
from tests.unit.wrapper.specs import judge

if TYPE_CHECKING:
    from collections.abc import Callable

REPLACED = {c.path.stem: c for c in CAPTURED if c.is_listed and c.requested != c.asked}
KEPT_BASE = "1.20.1_csv_no-gpu"
"""What an engine writes: the toolkit left it alone."""

LEAVE_ITS_ANSWER = {"no device", "no hook", "hook is", "hook word", "other form", "mount is"}
"""What asks for no other GPU; neither do variables that an image may set but the one that asks."""

COUNTS: Counter[str] = Counter()
"""How many cases were judged in this process, by what became of them."""


class Property(NamedTuple):
    """One property.

    Attributes:
        arguments: a strategy for each argument of `check`.
        check: fails where the property does not hold.
        for_each: a run has one case of this property for so many cases that are asked for.
    """

    arguments: dict[str, st.SearchStrategy[Any]]
    check: Callable[..., None]
    for_each: int


def no_spec_gets_more_than_it_brought(drawn: Any, given_settings: dict[str, Any], where: str) -> None:
    COUNTS[check(build(drawn), HOSTS[where], given_settings)] += 1


def no_spec_gets_more_than_its_engine_wrote_and_was_asked_for(
    drawn: Any, values: list[str], by_engine: list[int], given_settings: dict[str, Any], where: str
) -> None:
    spec, kept = build(drawn), build((KEPT_BASE, [("ask", values)]))
    if not part(spec, "process"):
        del kept["process"]  # Nothing is taken from a kept spec but hooks and variables.
    if by_engine:
        kept["linux"]["devices"] = [
            {"path": f"/dev/nvidia{tail}", "type": "c", "major": 195, "minor": minor}
            for tail, minor in [("ctl", 255), *((str(minor), minor) for minor in by_engine)]
        ]
    COUNTS[f"{check(spec, HOSTS[where], given_settings, kept)}, with a kept spec"] += 1


def no_pods_container_gets_more_than_it_was_given(
    drawn: Any, given_settings: dict[str, Any], where: str
) -> None:
    COUNTS[f"{check(build(drawn), HOSTS[where], given_settings)}, of a pod"] += 1


def a_spec_without_its_request_gets_no_more_than_was_asked_for(drawn: Any, hooks_run: bool) -> None:
    """From toolkit 1.20.1 on `void` stands there: only the captured spec's name tells what was asked."""
    base, mutations = drawn
    stay = [
        one
        for one in mutations
        if one[0] in LEAVE_ITS_ANSWER or (one[0] == "env" and one[1] != "NVIDIA_VISIBLE_DEVICES")
    ]
    decision = judge(build((base, stay)), HOSTS["lab"].view, hooks_run=hooks_run)
    assert set(decision.gpus) <= REPLACED[base].asked_minors
    COUNTS["without its request"] += 1


def a_hook_with_a_new_name_never_makes_a_class(drawn: Any, stage: str, program: str) -> None:
    before, spec = build(drawn), build(drawn)
    fixed = ["nvidia-ctk", "hook"] if program.endswith("nvidia-ctk") else ["nvidia-cdi-hook"]
    try:
        spec.setdefault("hooks", {}).setdefault(stage, []).append(
            {"path": program, "args": [*fixed, "make-coffee"]}
        )
    except (AttributeError, TypeError):
        return  # Hooks that are none.
    plain, more = judge(before, HOSTS["captured"].view), judge(spec, HOSTS["captured"].view)
    told = " ".join(line for line in plain.evidence if "has the hook" in line)
    is_toolkits = "nvidia-ctk" in told or "nvidia-cdi-hook" in told
    if not is_toolkits and any("linux.devices lists" in line for line in plain.evidence + more.evidence):
        # Then it is the only trace of the toolkit, whose list may be one of csv mode.
        check(spec, HOSTS["captured"], {})
        return
    assert more.spec_class == plain.spec_class
    assert more.devices == plain.devices
    assert (more.refusal and more.refusal.rule) == (plain.refusal and plain.refusal.rule)
    COUNTS["with a hook of a new name"] += 1


def what_is_decided_does_not_hang_on_how_the_bytes_are_written(drawn: Any) -> None:
    spec = build(drawn)
    compact = strict_json.loads(strict_json.dumps(spec))
    spaced = strict_json.loads(json.dumps(spec, indent=2, ensure_ascii=True).encode())
    view = HOSTS["captured"].view
    first, second = judge(compact, view), judge(spaced, view)
    assert (first.spec, first.spec_class, first.devices) == (second.spec, second.spec_class, second.devices)
    assert list(strict_json.loads(strict_json.dumps(first.spec))) == list(first.spec)
    COUNTS["written in two ways"] += 1


PROPERTIES = {
    "rules": Property(
        {"drawn": SPECS, "given_settings": SETTINGS, "where": st.sampled_from(list(HOSTS))},
        no_spec_gets_more_than_it_brought,
        1,
    ),
    "pods": Property(
        {"drawn": POD_SPECS, "given_settings": SETTINGS, "where": st.sampled_from(list(HOSTS))},
        no_pods_container_gets_more_than_it_was_given,
        4,
    ),
    "kept": Property(
        {
            "drawn": SPECS,
            "values": st.lists(st.sampled_from(VALUES), max_size=2),
            "by_engine": st.lists(st.sampled_from([0, 1, 2, 5]), max_size=2, unique=True),
            "given_settings": SETTINGS,
            "where": st.sampled_from(list(HOSTS)),
        },
        no_spec_gets_more_than_its_engine_wrote_and_was_asked_for,
        2,
    ),
    "requests": Property(
        {
            "drawn": st.tuples(st.sampled_from(list(REPLACED)), st.lists(MUTATIONS, max_size=5)),
            "hooks_run": st.booleans(),
        },
        a_spec_without_its_request_gets_no_more_than_was_asked_for,
        10,
    ),
    "new hooks": Property(
        {
            "drawn": SPECS,
            "stage": st.sampled_from(["createRuntime", "createContainer", "startContainer"]),
            "program": st.sampled_from(["/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"]),
        },
        a_hook_with_a_new_name_never_makes_a_class,
        10,
    ),
    "bytes": Property({"drawn": SPECS}, what_is_decided_does_not_hang_on_how_the_bytes_are_written, 10),
}
