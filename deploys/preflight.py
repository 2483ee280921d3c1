"""Look, change nothing: `pyinfra inventories/example.py deploys/preflight.py`."""

from deploys.host.run import look
from deploys.steps.preflight import inspect

inspect(run=look())
