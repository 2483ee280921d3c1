"""The two layouts: whose `config.toml` of NVIDIA's runtime leads to the wrapper, and the paths of each."""

from __future__ import annotations

from enum import StrEnum

from deploys.model import paths


class Layout(StrEnum):
    """Whose configuration of NVIDIA's runtime leads to the wrapper.

    `SHARED`: the host's own, so that whatever goes through that runtime runs in gVisor. `DEDICATED`: one of
    ours beside it, so that only what goes through our entry does, and the host's own stays as it is.
    """

    SHARED = "shared"
    DEDICATED = "dedicated"

    @property
    def runtime_name(self) -> str:
        """What our Docker runtime is called where the inventory says nothing."""
        return "nvidia" if self is Layout.SHARED else "nvidia-gvisor"

    @property
    def config_home(self) -> str:
        """The directory in which the shim finds `nvidia-container-runtime/config.toml`."""
        return paths.TOOLKIT_CONFIG_HOME if self is Layout.SHARED else paths.OWN_CONFIG_HOME

    @property
    def toolkit_config(self) -> str:
        """The `config.toml` that leads to the wrapper."""
        return paths.TOOLKIT_CONFIG if self is Layout.SHARED else paths.OWN_TOOLKIT_CONFIG

    @property
    def csv_dir(self) -> str:
        """Where mode csv finds what containers get."""
        return paths.CSV_DIR if self is Layout.SHARED else paths.OWN_CSV_DIR

    @property
    def devices_csv(self) -> str:
        """The device nodes."""
        return paths.DEVICES_CSV if self is Layout.SHARED else paths.OWN_DEVICES_CSV

    @property
    def drivers_csv(self) -> str:
        """The driver's libraries and programs."""
        return paths.DRIVERS_CSV if self is Layout.SHARED else paths.OWN_DRIVERS_CSV

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the other layout has at another place."""
        return (self.devices_csv, self.drivers_csv, self.toolkit_config)

    @property
    def other(self) -> Layout:
        """The other one."""
        return Layout.DEDICATED if self is Layout.SHARED else Layout.SHARED


# For sentences about a host whose layout is not known where they are made.
TOOLKIT_CONFIGS = f"{paths.TOOLKIT_CONFIG} (in the layout {Layout.DEDICATED}: {paths.OWN_TOOLKIT_CONFIG})"
# Directories of both layouts that go where nothing is left in them, the innermost first.
DIRECTORIES = tuple(
    path for layout in Layout for path in (layout.csv_dir, f"{layout.config_home}/nvidia-container-runtime")
)
