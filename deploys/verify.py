"""Prove that these hosts work: `pyinfra inventories/example.py deploys/verify.py`."""

from deploys.host.run import look
from deploys.steps.verify import verify

verify(run=look())
