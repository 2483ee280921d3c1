"""May these hosts be converged? `pyinfra inventories/example.py deploys/preflight.py` looks, and changes nothing."""

from deploys.host.run import look
from deploys.steps.preflight import inspect

inspect(run=look())
