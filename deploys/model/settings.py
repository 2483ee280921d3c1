"""What an inventory may say about a host, checked whole before any host is touched."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from deploys.model import paths
from deploys.model.layouts import Layout
from deploys.model.versions import (
    AUTO_FLOOR,
    GVISOR_RELEASE,
    TOOLKIT_DEFAULT,
    TOOLKIT_FLOOR,
    DriverVersion,
    ToolkitVersion,
)
from nvproxy_wrapper.judge.capabilities import DEFAULT
from nvproxy_wrapper.judge.refused_flags import first_refused
from nvproxy_wrapper.judge.settings import DEFAULTS as WRAPPERS_OWN

TOOLKIT_KEY = Path(__file__).parents[2] / "templates" / "keys" / "nvidia-container-toolkit.asc"


class SettingsError(ValueError):
    """One or more settings of a host are wrong; `str()` is the text for the operator, a line per setting."""


class ToolkitMode(StrEnum):
    """The supported modes of nvidia-container-runtime (nvidia-container-toolkit v1.20.0, factory.go)."""

    CSV = "csv"
    AUTO = "auto"


class ReportForm(StrEnum):
    """How much of a verification is shown on the screen; the file has all of it."""

    SHORT = "short"
    FULL = "full"


class Architecture(StrEnum):
    """Machine names as `uname -m` and gVisor's download addresses write them."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


def _text(value: Any) -> Any:
    """`pyinfra --data gvisor_release=20260905` arrives as a number, since pyinfra reads --data as JSON.

    Raises:
        ValueError: it has a fraction: 550.120 has already become 550.12 by then, another version.
    """
    if isinstance(value, float):
        raise ValueError("it was read as a number; write it in quotes, as in --data 'key=\"1.20\"'")  # noqa: TRY004
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]
# Without a user and password: it stands in files and messages that everybody on the host may read.
Url = Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")]
Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Capability = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00\n]*$")]
Sha512 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class Settings(BaseModel):
    """The settings of one host; its title is what it does, its description what it must be.

    An operator reads the description where a value is refused, and both in docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    gvisor_release: Text = Field(
        title="The release that is installed and pinned.",
        description="a release date of gVisor like 20260905 or 20260905.1",
    )
    gvisor_sha512: Mapping[Architecture, Sha512] = Field(
        title="What the release is checked against before anything of it is used.",
        description="the sha512 (128 hex digits) of gvisor.tar.bz2 by architecture, as in {'x86_64': '…'}",
    )
    gvisor_url: Url = Field(
        title="Where hosts download gVisor from; for a mirror of your own.",
        default="https://storage.googleapis.com/gvisor/releases/release",
        description="the address below which <release>/<arch>/gvisor.tar.bz2 lies",
    )
    toolkit_version: Text = Field(
        title="The four packages of the toolkit, installed and held.",
        default=str(TOOLKIT_DEFAULT),
        description=f"a package version of the NVIDIA Container Toolkit from {TOOLKIT_FLOOR} on",
    )
    toolkit_repository_url: Url = Field(
        title="Where hosts download the toolkit from; for a mirror of your own.",
        default="https://nvidia.github.io/libnvidia-container/stable",
        description="the address below which deb/<arch>/ lies",
    )
    toolkit_key: Path = Field(
        title="The key that the repository must be signed with.",
        default=TOOLKIT_KEY,
        description="a file on this machine with the repository's ASCII-armoured public key",
    )
    toolkit_mode: ToolkitMode = Field(
        title="How containers get their GPUs: docs/gpu-modes.md.",
        default=ToolkitMode.AUTO,
        description="csv or auto",
    )
    layout: Layout = Field(
        title=(
            "Which containers run in gVisor. shared: all that go through NVIDIA's runtime, by whatever name. "
            "dedicated: those of runtime_name alone; the host's own config.toml, its runtimes and what runs "
            "by them stay as they are: docs/operations.md."
        ),
        default=Layout.SHARED,
        description="shared or dedicated",
    )
    runtime_name: str = Field(
        title=(
            "What containers ask for; in the layout dedicated nvidia-gvisor where it is left out. In the "
            "layout shared every Docker runtime of the host that leads to nvidia-container-runtime runs in "
            "gVisor from then on, whatever its name."
        ),
        default=Layout.SHARED.runtime_name,
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        description="the name of the Docker runtime, as in docker run --runtime=nvidia",
    )
    runsc_args: tuple[str, ...] = Field(
        title="Flags for every call of runsc, as --debug-log=/var/log/runsc/%ID%.%COMMAND%.log.",
        default=(),
        description="a list of runsc's global flags, each beginning with -, none of them one that is refused "
        "(docs/wrapper.md)",
    )
    driver_version: Text | None = Field(
        title="Forces the driver that runsc takes for granted.",
        default=None,
        description="a driver version like 570.124.06 that runsc takes for granted "
        "(--nvproxy-driver-version); only for hosts whose driver cannot be asked",
    )
    allowed_capabilities: tuple[Capability, ...] = Field(
        title=(
            "What of the driver a container may use (--nvproxy-allowed-driver-capabilities); runsc is asked "
            "whether it takes each."
        ),
        default=DEFAULT,
        description="a list of driver capabilities by name, as utility, compute, graphics or video; not all",
    )
    trusted_hooks: tuple[AbsolutePath, ...] = Field(
        title=(
            "Programs that may run as root on the host when a container is created, in NVIDIA's own "
            "form only."
        ),
        default=tuple(WRAPPERS_OWN.trusted_hooks),
        description="a list of absolute paths",
    )
    trusted_ldconfig: tuple[AbsolutePath, ...] = Field(
        title=(
            "Programs that such a hook, update-ldcache, may run as root. The last two are those of a driver "
            "in a container, as NVIDIA's operator has it."
        ),
        default=tuple(WRAPPERS_OWN.trusted_ldconfig),
        description="a list of absolute paths",
    )
    host_prep: tuple[Command, ...] = Field(
        title=(
            "Run as root when a container is created and a device node is missing. The default makes "
            "them all, as at boot."
        ),
        default=((paths.DEVICE_NODES_PROGRAM,),),
        description="a list of commands, each a list that begins with an absolute path",
    )
    allow_user_annotations: bool = Field(
        title=(
            "Leaves dev.gvisor.* and, in Docker, io.kubernetes.cri* annotations to whoever starts a "
            "container, who can then change runsc's flags, mounts and cgroup, and enter another's "
            "sandbox. Only for gVisor's own containerd shim."
        ),
        default=False,
        description="true or false",
    )
    drop_update_ldcache: bool = Field(
        title="Drops that hook, which needs a /proc that some hosts mask; links take its place.",
        default=False,
        description="true or false",
    )
    kernel_modules: tuple[Module, ...] = Field(
        title="Loaded at boot, and when a node is missing.",
        default=("nvidia", "nvidia-uvm"),
        description="a list of kernel modules to load at boot",
    )
    verify_image: str | None = Field(
        title="What the verification runs.",
        default=None,
        description="an image that is on the host or that it can pull, with sh, ls, cat and dmesg; "
        "left out, a small one is made of the host's own programs",
    )
    verify_timeout: int = Field(
        title="How long one container of the verification may take.",
        default=40,
        ge=5,
        le=600,
        description="seconds, from 5 to 600; more than the default for hosts that are slow, as emulated ones",
    )
    report_dir: Path = Field(
        title="Where the verification's reports are written.",
        default=Path("reports"),
        description="a directory on this machine for the reports",
    )
    report: ReportForm = Field(
        title="What a verification shows at its end.",
        default=ReportForm.SHORT,
        description="short: a line for each host and every cause once; full: also each check of each host",
    )
    since: date | None = Field(
        title="With which earlier verification a run is compared.",
        default=None,
        description="a day, as in 2026-11-20: the last run before it; left out, the last run",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_the_layout(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("layout") == Layout.DEDICATED:
            return {"runtime_name": Layout.DEDICATED.runtime_name, **data}
        return data

    @field_validator("runtime_name")
    @classmethod
    def _runtime_name_is_free(cls, value: str) -> str:
        if value in {"runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"}:
            raise ValueError("dockerd keeps that name for itself")
        return value

    @field_validator("gvisor_release")
    @classmethod
    def _release_is_dated(cls, value: str) -> str:
        # `latest` is refused on purpose: it changes under a fleet, and no hash can be pinned for it.
        if GVISOR_RELEASE.fullmatch(value) is None:
            raise ValueError
        return value

    @field_validator("toolkit_version")
    @classmethod
    def _toolkit_is_safe(cls, value: str) -> str:
        if ToolkitVersion.parse(value) < TOOLKIT_FLOOR:
            raise ValueError("older versions let containers out (CVE-2025-23266, CVE-2025-23267)")
        return value

    @field_validator("allowed_capabilities")
    @classmethod
    def _capabilities_are_named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "all" in value:
            raise ValueError("what all means differs from release to release; name each")
        return value

    @field_validator("driver_version")
    @classmethod
    def _driver_is_a_version(cls, value: str | None) -> str | None:
        return None if value is None else str(DriverVersion.parse(value))

    @field_validator("runsc_args")
    @classmethod
    def _runsc_args_are_flags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # A word without a dash would be taken by runsc for the subcommand.
        if any(not word.startswith("-") or "\0" in word for word in value):
            raise ValueError
        refused = first_refused(value)
        if refused is not None:
            raise ValueError(f"the wrapper does not go with {refused[0]}: {refused[1]}")
        return value

    @field_validator("host_prep")
    @classmethod
    def _host_prep_is_absolute(cls, value: tuple[Command, ...]) -> tuple[Command, ...]:
        if any(not command[0].startswith("/") for command in value):
            raise ValueError
        return value

    @model_validator(mode="after")
    def _auto_has_one_meaning(self) -> Self:
        # Up to 1.17 `auto` meant legacy here, which gives containers their GPUs by another way altogether.
        if self.toolkit_mode is ToolkitMode.AUTO and self.toolkit < AUTO_FLOOR:
            raise ValueError(
                f"toolkit_mode = 'auto' needs toolkit_version {AUTO_FLOOR} or later, not "
                f"{self.toolkit_version}: before, auto meant legacy. Set toolkit_mode to csv, or take a "
                "later toolkit_version."
            )
        return self

    @property
    def toolkit(self) -> ToolkitVersion:
        """The toolkit's version, parsed."""
        return ToolkitVersion.parse(self.toolkit_version)

    @property
    def runsc_flags(self) -> tuple[str, ...]:
        """The global flags that every call of runsc gets."""
        forced = () if self.driver_version is None else (f"--nvproxy-driver-version={self.driver_version}",)
        return (*self.runsc_args, *forced)

    @classmethod
    def from_data(cls, host: str, data: Mapping[str, Any], others: Collection[str]) -> Settings:
        """Settings out of a host's inventory data.

        Args:
            host: the host's name, for the error's text.
            data: all of the host's data as pyinfra merged it.
            others: keys that belong to pyinfra itself (connector data); those that begin with `_` do too.

        Raises:
            SettingsError: a key is unknown, a value is not allowed, or a key is missing.
        """
        mine = {key: value for key, value in data.items() if key not in others and not key.startswith("_")}
        try:
            return cls.model_validate(mine)
        except ValidationError as error:
            lines = [_explain(host, dict(detail), cls) for detail in error.errors()]
            raise SettingsError("\n".join(lines)) from None


def _explain(host: str, detail: dict[str, Any], model: type[Settings]) -> str:
    key = str(detail["loc"][0]) if detail["loc"] else ""
    where = f"host {host}: setting {key}"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(model.model_fields)}."
        return f"{where} = {detail['input']!r} is unknown. {hint}"
    if not key:
        return f"host {host}: {detail['msg'].removeprefix('Value error, ')}"
    allowed = model.model_fields[key].description
    if detail["type"] == "missing":
        return f"{where} is missing. It must be {allowed}."
    own_words = detail["msg"].removeprefix("Value error, ") if detail["type"] == "value_error" else ""
    because = f" ({own_words})" if own_words.strip() else ""
    at = "".join(f"[{part!r}]" for part in detail["loc"][1:])
    return f"{where}{at} = {detail['input']!r} is not allowed{because}. It must be {allowed}."
