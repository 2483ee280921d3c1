"""The design's invariants, over captured specs changed at random; `make fuzz` tries a hundred times as many.

WRAPPER_EXAMPLES sets how many specs are tried, 10 000 unless it says otherwise. They are the same in every
run, so that who sees one fail can see it again. Hypothesis' `derandomize` does not give that: it also draws
constants that it reads in whichever modules are loaded.
"""

import os

import pytest

from tests.fuzz.properties import COUNTS, PROPERTIES
from tests.fuzz.property_run import run

EXAMPLES = int(os.environ.get("WRAPPER_EXAMPLES", "10000"))
SEED = 1


@pytest.mark.parametrize("name", PROPERTIES)
def test_odd_specs(name):
    COUNTS.clear()
    run(name, max(EXAMPLES // PROPERTIES[name].for_each, 1), SEED)
    print(f"\n{COUNTS.total()} odd specs: {dict(COUNTS)}")
