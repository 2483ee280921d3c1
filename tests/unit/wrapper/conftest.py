"""Hosts to judge specs on."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from tests.driver_tree import CAPTURED_HOST, SHUFFLED_HOST, write_driver_tree


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """The host of the captured specs: minor = index."""
    return ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), CAPTURED_HOST)))


@pytest.fixture(scope="session")
def shuffled_host(tmp_path_factory):
    """A host where index i has the minor 7 - i."""
    return ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), SHUFFLED_HOST)))
