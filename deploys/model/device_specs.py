"""The CSV files from which nvidia-container-runtime takes devices and libraries in mode csv.

Format: `type, path` per line, types dev, lib, sym, dir (nvidia-container-toolkit v1.20.0,
internal/platform-support/tegra/csv). No globs: the shim's filters per device see the line as it is written,
so a glob for the GPU nodes gives every container every GPU (pkg/nvcdi/lib-csv.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.toolkit_config import driver_root

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


def drivers_csv(snapshot: HostSnapshot, *, with_32_bit: bool = False) -> str:
    """One line per driver library, per name by which programs load and start something, and per program.

    `lib` lines name the files themselves: NVIDIA's runtime follows a link there, and its name would be gone.
    """
    driver, root = snapshot.driver, driver_root(snapshot.text_of(paths.TOOLKIT_CONFIG))
    files, names = [*driver.libraries, *driver.programs], [*driver.links]
    if with_32_bit:
        files, names = [*files, *driver.libraries_32], [*names, *driver.links_32]
    # Toolkits before 1.18 make no links out of `lib` lines, so the names have lines of their own.
    rows = [*(("lib", path) for path in files), *(("sym", path) for path in names)]
    # The shim puts the root before every line (nvidia-container-toolkit v1.20.1, internal/lookup/root).
    return _lines(
        (kind, path.removeprefix(root) if path.startswith(f"{root}/") else path) for kind, path in rows
    )


def _lines(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{kind}, {path}\n" for kind, path in rows)
