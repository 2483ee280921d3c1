"""The CSV files from which nvidia-container-runtime takes devices and libraries in mode csv.

Format: `type, path` per line, types dev, lib, sym, dir (nvidia-container-toolkit v1.20.0,
internal/platform-support/tegra/csv). No globs: the shim's filters per device see the line as it is written,
so a glob for the GPU nodes gives every container every GPU (pkg/nvcdi/lib-csv.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploys.model.snapshot import Gpu, HostSnapshot

# nvidia-modeset, nvidia-uvm-tools and nvidia-caps are dead nodes inside gVisor (20260817,
# gofer_mount.go:483).
CONTROL_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")


def device_nodes(gpus: Iterable[Gpu]) -> tuple[str, ...]:
    """The control nodes and those of these GPUs, which go by the minor and not by the index."""
    return (*CONTROL_NODES, *(f"/dev/nvidia{gpu.minor}" for gpu in gpus if gpu.minor is not None))


def devices_csv(snapshot: HostSnapshot) -> str:
    """One line per device node that gVisor can serve."""
    return _lines(("dev", path) for path in device_nodes(snapshot.gpus))


def drivers_csv(snapshot: HostSnapshot) -> str:
    """One line per driver library, per name by which programs load it, and per program."""
    driver = snapshot.driver
    files = [("lib", path) for path in (*driver.libraries, *driver.programs)]
    # Toolkits before 1.18 make no links out of `lib` lines, so the names have lines of their own.
    return _lines([*files, *(("sym", path) for path in driver.links)])


def _lines(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{kind}, {path}\n" for kind, path in rows)
