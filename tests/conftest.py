"""What holds for all tests."""

from __future__ import annotations

import pytest

from tests.lab import Machine


def pytest_addoption(parser):
    parser.addoption(
        "--machine",
        choices=list(Machine),
        default=Machine.CONTAINER,
        help="what the hosts of tests/e2e are made of (container)",
    )
    parser.addoption("--long", action="store_true", help="also the long forms, as `make test-vm` does")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """The lab's tests last: meanwhile `make test` builds in the background what the lab is made of."""
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)
