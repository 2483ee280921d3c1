"""Prove that these hosts work: `pyinfra inventories/example.py deploys/verify.py`.

Exit status: 0 all passed, 1 a required check failed, or the run could not begin, 2 it cannot be told.
"""

from deploys.host.run import look
from deploys.steps.verify import verify

verify(run=look(), alone=True)
