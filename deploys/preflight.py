"""Look, change nothing: `pyinfra inventories/example.py deploys/preflight.py`."""

from deploys.host.announcing import announce_site
from deploys.host.noting import say_notes
from deploys.host.run import look
from deploys.steps.preflight import inspect

run = look()
announce_site(run)
say_notes(run)
inspect(run=run)
