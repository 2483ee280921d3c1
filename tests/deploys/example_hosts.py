"""Hosts and settings that the tests of the deploys begin with, in one place.

A host is what `snapshot_probe` prints for it: the shapes and values are those of a Debian 12 host with Docker
20.10, driver 570.124.06 and two GPUs whose minors are not in PCI order (google/gvisor issue 9389).
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any

from deploys.host import sources
from deploys.model import paths
from deploys.model.applied import RuntimeProbe
from deploys.model.settings import Settings
from deploys.model.snapshot import HostSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploys.model.sources import Sources

    # Changes a record of a host in place.
    Drift = Callable[[dict[str, Any]], None]

RELEASE = "20260905"
DRIVER = "570.124.06"
SETTINGS_DATA: dict[str, Any] = {
    "gvisor_release": RELEASE,
    "gvisor_sha512": {"x86_64": "0123456789abcdef" * 8},
    "toolkit_mode": "csv",
}
# What `nvproxy-wrapper probe` says of gVisor 20260905: it runs createContainer hooks.
PROBE = RuntimeProbe(
    hooks_run=True,
    flags=("nvproxy", "nvproxy-driver-version", "root"),
    supported_drivers=("550.90.12", DRIVER, "580.65.06"),
    version="release-20260905.0",
    capabilities={"compute": True, "utility": True, "video": True, "display": False},
)
RELEASE_TREE = hashlib.sha256(b"the release as it was unpacked").hexdigest()
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"

BLANK: dict[str, Any] = {
    "python": [3, 11, 2],
    "uid": 0,
    "os": {
        "id": "debian",
        "id_like": [],
        "version": "12",
        "name": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-40-amd64",
        "machine": "x86_64",
        "systemd": True,
    },
    "disk_free": {paths.GVISOR_DIR: 40_000_000_000, paths.STATE_DIR: 40_000_000_000},
    "driver": {
        "version": DRIVER,
        "libraries": [f"{_LIBRARIES}/libcuda.so.{DRIVER}", f"{_LIBRARIES}/libnvidia-ml.so.{DRIVER}"],
        "links": [f"{_LIBRARIES}/libcuda.so.1", f"{_LIBRARIES}/libnvidia-ml.so.1"],
        "programs": ["/usr/bin/nvidia-smi"],
        "capabilities": ["mig"],
    },
    "gpus": [
        {
            "pci": "0000:01:00.0",
            "uuid": "GPU-6f2dc1a0-0001-4c1a-8a6e-0a1b2c3d4e5f",
            "minor": 1,
            "model": "NVIDIA A100",
        },
        {
            "pci": "0000:02:00.0",
            "uuid": "GPU-6f2dc1a0-0002-4c1a-8a6e-0a1b2c3d4e5f",
            "minor": 0,
            "model": "NVIDIA A100",
        },
    ],
    "nodes": [
        {"path": "/dev/nvidia-uvm", "kind": "c", "major": 511, "minor": 0, "mode": 0o666},
        {"path": "/dev/nvidia0", "kind": "c", "major": 195, "minor": 0, "mode": 0o666},
        {"path": "/dev/nvidia1", "kind": "c", "major": 195, "minor": 1, "mode": 0o666},
        {"path": "/dev/nvidiactl", "kind": "c", "major": 195, "minor": 255, "mode": 0o666},
    ],
    "packages": {},
    "engine": {
        "client": "/usr/bin/docker",
        "daemon": "/usr/sbin/dockerd",
        "version": "20.10.24+dfsg1",
        "running": True,
        "error": None,
        "can_validate": False,
        "runtimes": {"runc": "runc", "io.containerd.runc.v2": "runc"},
        "default_runtime": "runc",
        "containers": {},
    },
    "files": {},
    "links": {},
    "directories": [],
    "trees": {},
}


def settings(**changes: Any) -> Settings:
    """The settings of an example host, some of them changed."""
    return Settings.from_data("gpu-1", {**SETTINGS_DATA, **changes}, ())


def brought() -> Sources:
    """The real wrapper and key of this checkout."""
    return sources.load(settings())


def snapshot(record: dict[str, Any]) -> HostSnapshot:
    """A record as the model reads it."""
    return HostSnapshot.model_validate(record)


def file_record(text: str, mode: int = 0o644, encoding: str = "utf-8") -> dict[str, Any]:
    """A file of root's as the probe tells of it."""
    return {
        "sha256": hashlib.sha256(text.encode(encoding)).hexdigest(),
        "mode": mode,
        "owner": 0,
        "group": 0,
        "is_link": False,
        "text": text,
        "encoding": encoding,
    }


def drifted(base: HostSnapshot | dict[str, Any], *drifts: Drift) -> HostSnapshot:
    """A host after somebody has changed it."""
    record = copy.deepcopy(base) if isinstance(base, dict) else base.model_dump(mode="json")
    for drift in drifts:
        drift(record)
    return snapshot(record)


def at(*keys: str, value: Any) -> Drift:
    """A drift that gives one place of the snapshot another value."""

    def drift(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return drift


def without(*keys: str) -> Drift:
    """A drift that takes one place of the snapshot out."""

    def drift(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        del record[keys[-1]]

    return drift


def recorded(path: str, *keys: str, value: Any) -> Drift:
    """A drift inside one of the records that runs leave on a host."""

    def drift(record: dict[str, Any]) -> None:
        content = json.loads(record["files"][path]["text"])
        at(*keys, value=value)(content)
        record["files"][path] = file_record(json.dumps(content))

    return drift
