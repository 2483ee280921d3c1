"""An installed wrapper for every test here."""

import pytest

from tests.installed_wrapper import InstalledWrapper


@pytest.fixture
def wrapper(tmp_path):
    return InstalledWrapper(tmp_path)
