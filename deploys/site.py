"""Converge a host, from top to bottom: `pyinfra inventories/example.py deploys/site.py`."""

from deploys.host.announcing import announce_site
from deploys.host.noting import say_notes
from deploys.host.run import look
from deploys.steps.completion import completion
from deploys.steps.device_specs import device_specs
from deploys.steps.docker import docker
from deploys.steps.gvisor import gvisor
from deploys.steps.kernel import kernel
from deploys.steps.preflight import preflight
from deploys.steps.runtime_config import runtime_config
from deploys.steps.toolkit import toolkit
from deploys.steps.verify import verify
from deploys.steps.wrapper import wrapper

run = look()
announce_site(run)
say_notes(run)
preflight(run=run)
kernel(run=run)
toolkit(run=run)
gvisor(run=run)
wrapper(run=run)
device_specs(run=run)
runtime_config(run=run)
docker(run=run)
verify(run=run)
completion(run=run)
