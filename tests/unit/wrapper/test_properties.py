"""The design's invariants, over captured specs changed at random; `make fuzz` tries a hundred times as many.

WRAPPER_EXAMPLES sets how many specs are tried, 10 000 unless it says otherwise.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.properties import COUNTS, PROPERTIES

EXAMPLES = int(os.environ.get("WRAPPER_EXAMPLES", "10000"))


@pytest.fixture(scope="module", autouse=True)
def printed_counts():
    COUNTS.clear()
    yield
    print(f"\n{COUNTS.total()} odd specs: {dict(COUNTS)}")


@pytest.mark.parametrize("name", PROPERTIES)
def test_odd_specs(name):
    prop = PROPERTIES[name]
    tried = settings(
        max_examples=max(EXAMPLES // prop.for_each, 1),
        deadline=None,
        # The same specs in every run, so that who sees it fail can see it again; `make fuzz` tries others.
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    tried(given(**prop.arguments)(prop.check))()
