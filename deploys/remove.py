"""Put hosts back as they were: `pyinfra inventories/example.py deploys/remove.py`."""

from deploys.host.announcing import announce_removal
from deploys.host.run import look
from deploys.steps.remove import remove

run = look()
announce_removal(run)
remove(run=run)
