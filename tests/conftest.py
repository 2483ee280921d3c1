"""What holds for all tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """The lab's tests last: meanwhile `make test` builds in the background what the lab is made of."""
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)
