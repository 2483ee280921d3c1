"""The properties of the rules: what is drawn and what has to hold, for `make test` and `make fuzz` alike."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from nvproxy_wrapper.judge import strict_json
from tests.fuzz.hosts import HOSTS
from tests.fuzz.invariants import check
from tests.specs.captured_specs import CAPTURED
from tests.unit.wrapper.mutations import SETTINGS, SPECS, build
from tests.unit.wrapper.specs import judge

if TYPE_CHECKING:
    from collections.abc import Callable

CSV = {captured.path.stem for captured in CAPTURED if captured.spec_class == "csv"}
LEAVE_ITS_CLASS = {"ask", "env", "no device", "mount", "mount is", "annotations", "other form"}
"""What may be done to a spec of csv mode that stays one; hooks and nodes tell the class."""

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
    base, mutations = drawn
    is_csv = (
        base in CSV
        and {name for name, *_ in mutations} <= LEAVE_ITS_CLASS
        and given_settings.get("toolkit_mode", "auto") in ("auto", "csv")
    )
    COUNTS[check(build(drawn), HOSTS[where], given_settings, is_csv=is_csv)] += 1


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
    "bytes": Property({"drawn": SPECS}, what_is_decided_does_not_hang_on_how_the_bytes_are_written, 10),
}
