"""The lab's hosts, as `python -m tests.lab up` (or `make demo`) has booted them."""

import json
import os
from pathlib import Path

_STATE = (
    Path(os.environ.get("NVPROXY_LAB_CACHE", "/var/cache/nvproxy-fleet-lab")) / "state" / "inventory.json"
)
if not _STATE.is_file():
    raise SystemExit(
        f"The lab is not up ({_STATE} is not there). Start it with 'make demo', or with "
        "'.venv/bin/python -m tests.lab up'."
    )
_LAB = json.loads(_STATE.read_text(encoding="utf-8"))

_RELEASE = max(_LAB["mirror"]["gvisor_releases"])


def _data(host: dict) -> dict:
    return {
        "ssh_hostname": host["address"],
        "ssh_port": host["port"],
        "ssh_user": host["user"],
        "ssh_key": _LAB["ssh_key"],
        "ssh_known_hosts_file": _LAB["known_hosts"],
        "ssh_strict_host_key_checking": "yes",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        # The mirror, as an air-gapped site would have one: other addresses, another key, its own hashes.
        "gvisor_url": _LAB["mirror"]["gvisor_url"],
        "gvisor_release": _RELEASE,
        "gvisor_sha512": _LAB["mirror"]["gvisor_releases"][_RELEASE],
        "toolkit_repository_url": _LAB["mirror"]["toolkit_repository_url"],
        "toolkit_key": _LAB["mirror"]["toolkit_key"],
        # A container has no kernel driver that runsc could ask. A virtual machine has, and may be emulated.
        **(
            {"driver_version": host["driver_version"]}
            if host["machine"] == "container"
            else {"verify_timeout": 240}
        ),
    }


csv = [(name, _data(host)) for name, host in _LAB["hosts"].items() if host["engine"] != "current"]
auto = [(name, _data(host)) for name, host in _LAB["hosts"].items() if host["engine"] == "current"]
