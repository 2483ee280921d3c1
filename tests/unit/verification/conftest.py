"""What the tests of the verification share."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a time: the machine may be doing something else.
settings.register_profile("verification", deadline=None)
settings.load_profile("verification")
