"""Put hosts back as they were: `pyinfra inventories/example.py deploys/remove.py`."""

from deploys.host.run import look
from deploys.steps.remove import remove

remove(run=look())
