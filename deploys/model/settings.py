"""What an inventory may say about a host, checked whole before any host is touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from deploys.model import paths
from deploys.model.layouts import Layout
from deploys.model.setting_values import (
    AbsolutePath,
    Capability,
    Command,
    Day,
    Driver,
    Image,
    LocalPath,
    Module,
    Release,
    RuntimeName,
    Sha512,
    Toolkit,
    Url,
    WrongValueError,
)
from deploys.model.settings_errors import sentences
from deploys.model.versions import AUTO_FLOOR, TOOLKIT_DEFAULT, TOOLKIT_FLOOR, ToolkitVersion
from nvproxy_wrapper.judge.capabilities import DEFAULT
from nvproxy_wrapper.judge.refused_flags import first_refused
from nvproxy_wrapper.judge.settings import DEFAULTS as WRAPPERS_OWN

_DRIVER_FLAG = re.compile("--?nvproxy-driver-version(=|$)")
TOOLKIT_KEY = Path(__file__).parents[2] / "templates" / "keys" / "nvidia-container-toolkit.asc"


class SettingsError(ValueError):
    """One or more settings of a host are wrong; `str()` is the text for the operator, a line per setting."""


def _joined(words: tuple[str, ...]) -> list[str]:
    """Flags as they may have been meant: a value behind a flag is its value, any other word a flag."""
    flags: list[str] = []
    for word in words:
        if word.startswith("-"):
            flags.append(word)
        elif flags and "=" not in flags[-1]:
            flags[-1] += f"={word}"
        else:
            flags.append(f"--{word}")
    return flags


class ToolkitMode(StrEnum):
    """The supported modes of nvidia-container-runtime (nvidia-container-toolkit v1.20.0, factory.go)."""

    CSV = "csv"
    AUTO = "auto"


class VerifyMode(StrEnum):
    """Every mode of nvidia-container-runtime, for one container (nvidia-container-toolkit v1.20.0)."""

    CSV = "csv"
    AUTO = "auto"
    CDI = "cdi"
    JIT_CDI = "jit-cdi"
    LEGACY = "legacy"


class ReportForm(StrEnum):
    """How much of a verification is shown on the screen; the file has all of it."""

    SHORT = "short"
    FULL = "full"


class Architecture(StrEnum):
    """Machine names as `uname -m` and gVisor's download addresses write them."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


class Settings(BaseModel):
    """The settings of one host; its title is what it does, its description what it must be.

    An operator reads the description where a value is refused, and both in docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    gvisor_release: Release = Field(
        title="The release that is installed and pinned.",
        description="a release date of gVisor like 20260905 or 20260905.1",
        examples=["20260905"],
    )
    gvisor_sha512: Mapping[Architecture, Sha512] = Field(
        min_length=1,
        title="What the release is checked against before anything of it is used.",
        description="the sha512 (128 hex digits) of gvisor.tar.bz2 by architecture, as in {'x86_64': '…'}",
        examples=[{"x86_64": "0123456789abcdef" * 8}],
    )
    gvisor_url: Url = Field(
        title="Where hosts download gVisor from; for a mirror of your own.",
        default="https://storage.googleapis.com/gvisor/releases/release",
        description="the address below which <release>/<arch>/gvisor.tar.bz2 lies",
        examples=["https://mirror.example.org/gvisor/releases/release"],
    )
    gvisor_releases_kept: int = Field(
        title=(
            "How many releases stay on a host: the one in use, the one before it, then the newest; besides, "
            "each of which a sandbox still runs."
        ),
        default=2,
        ge=1,
        description="a number, 1 or more",
        examples=[4],
    )
    toolkit_version: Toolkit = Field(
        title="The four packages of the toolkit, installed and held.",
        default=str(TOOLKIT_DEFAULT),
        description=f"a package version of the NVIDIA Container Toolkit from {TOOLKIT_FLOOR} on",
        examples=["1.20.1-1"],
    )
    toolkit_repository_url: Url = Field(
        title="Where hosts download the toolkit from; for a mirror of your own.",
        default="https://nvidia.github.io/libnvidia-container/stable",
        description="the address below which deb/<arch>/ lies",
        examples=["https://mirror.example.org/libnvidia-container/stable"],
    )
    toolkit_key: LocalPath = Field(
        title="The key that the repository must be signed with.",
        default=TOOLKIT_KEY,
        description="a file on this machine with the repository's ASCII-armoured public key",
        examples=["keys/our-mirror.asc"],
    )
    toolkit_mode: ToolkitMode = Field(
        title="How containers get their GPUs: docs/gpu-modes.md.",
        default=ToolkitMode.AUTO,
        description="csv or auto",
        examples=["csv"],
    )
    layout: Layout = Field(
        title=(
            "Which containers run in gVisor. shared: all that go through NVIDIA's runtime, by whatever name. "
            "dedicated: those of runtime_name alone; the host's own config.toml, its runtimes and what runs "
            "by them stay as they are: docs/operations.md."
        ),
        default=Layout.SHARED,
        description="shared or dedicated",
        examples=["dedicated"],
    )
    runtime_name: RuntimeName = Field(
        title=(
            "What containers ask for; in the layout dedicated nvidia-gvisor where it is left out. In the "
            "layout shared every Docker runtime of the host that leads to nvidia-container-runtime runs in "
            "gVisor from then on, whatever its name."
        ),
        default=Layout.SHARED.runtime_name,
        description="the name of the Docker runtime, as in docker run --runtime=nvidia",
        examples=["nvidia-gvisor"],
    )
    runsc_args: tuple[str, ...] = Field(
        title="Flags for every call of runsc, as --debug-log=/var/log/runsc/%ID%.%COMMAND%.log.",
        default=(),
        description="a list of runsc's global flags, each beginning with -, none of them one that is refused "
        "(docs/wrapper.md)",
        examples=[["--debug", "--debug-log=/var/log/runsc/%ID%.%COMMAND%.log"]],
    )
    driver_version: Driver | None = Field(
        title="Forces the driver that runsc takes for granted.",
        default=None,
        description="a driver version like 570.124.06 that runsc takes for granted "
        "(--nvproxy-driver-version); only for hosts whose driver cannot be asked",
        examples=["570.124.06"],
    )
    allowed_capabilities: tuple[Capability, ...] = Field(
        title=(
            "What of the driver a container may use (--nvproxy-allowed-driver-capabilities); runsc is asked "
            "whether it takes each."
        ),
        default=DEFAULT,
        description="a list of driver capabilities by name, as utility, compute, graphics or video; not all",
        examples=[["utility", "compute", "video"]],
    )
    trusted_hooks: tuple[AbsolutePath, ...] = Field(
        title=(
            "Programs that may run as root on the host when a container is created, in NVIDIA's own "
            "form only."
        ),
        default=tuple(WRAPPERS_OWN.trusted_hooks),
        description="a list of absolute paths",
        examples=[["/usr/bin/nvidia-cdi-hook"]],
    )
    trusted_ldconfig: tuple[AbsolutePath, ...] = Field(
        title=(
            "Programs that such a hook, update-ldcache, may run as root. The last two are those of a driver "
            "in a container, as NVIDIA's operator has it."
        ),
        default=tuple(WRAPPERS_OWN.trusted_ldconfig),
        description="a list of absolute paths",
        examples=[["/sbin/ldconfig"]],
    )
    host_prep: tuple[Command, ...] = Field(
        title=(
            "Run as root when a container is created and a device node is missing. The default makes "
            "them all, as at boot."
        ),
        default=((paths.DEVICE_NODES_PROGRAM,),),
        description="a list of commands, each a list that begins with an absolute path",
        examples=[[["/usr/bin/nvidia-modprobe", "-c", "0", "-u"]]],
    )
    allow_user_annotations: bool = Field(
        title=(
            "Leaves dev.gvisor.* and, in Docker, io.kubernetes.cri* annotations to whoever starts a "
            "container, who can then change runsc's flags, mounts and cgroup, and enter another's "
            "sandbox. Only for gVisor's own containerd shim."
        ),
        default=False,
        description="true or false",
        examples=[True],
    )
    drop_update_ldcache: bool = Field(
        title="Drops that hook, which needs a /proc that some hosts mask; links take its place.",
        default=False,
        description="true or false",
        examples=[True],
    )
    kernel_modules: tuple[Module, ...] = Field(
        title="Loaded at boot, and when a node is missing.",
        default=("nvidia", "nvidia-uvm"),
        description="a list of kernel modules to load at boot",
        examples=[["nvidia", "nvidia-uvm", "nvidia-modeset"]],
    )
    verify_image: Image | None = Field(
        title="What the verification runs.",
        default=None,
        description="an image that is on the host or that it can pull, with sh, ls, cat and dmesg; "
        "left out, a small one is made of the host's own programs",
        examples=["registry.example.org/verify:1"],
    )
    verify_timeout: int = Field(
        title="How long one container of the verification may take.",
        default=40,
        ge=5,
        le=600,
        description="seconds, from 5 to 600; more than the default for hosts that are slow, as emulated ones",
        examples=[120],
    )
    verify_modes: tuple[VerifyMode, ...] = Field(
        title="Modes of the NVIDIA runtime that the verification tries beside the host's own, each by a "
        "configuration that only its container has.",
        default=(),
        description="a list of csv, auto, cdi, jit-cdi and legacy",
        examples=[("csv", "jit-cdi")],
    )
    report_dir: LocalPath = Field(
        title="Where the verification's reports are written.",
        default=Path("reports"),
        description="a directory on this machine for the reports",
        examples=["/var/lib/gpu-reports"],
    )
    report: ReportForm = Field(
        title="What a verification shows at its end.",
        default=ReportForm.SHORT,
        description="short: a line for each host and every cause once; full: also each check of each host",
        examples=["full"],
    )
    metrics_dir: AbsolutePath | None = Field(
        title="Where a verification leaves its result on the host as metrics (nvproxy_fleet.prom).",
        default=None,
        description="the directory of node_exporter's textfile collector; left out, no metrics are written",
        examples=["/var/lib/prometheus/node-exporter"],
    )
    since: Day | None = Field(
        title="With which earlier verification a run is compared.",
        default=None,
        description="a day, as in 2026-11-20: the last run before it; left out, the last run",
        examples=["2026-11-20"],
    )

    @model_validator(mode="before")
    @classmethod
    def _name_of_the_layout(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("layout") == Layout.DEDICATED:
            return {"runtime_name": Layout.DEDICATED.runtime_name, **data}
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _lists_have_an_order(cls, value: Any) -> Any:
        # A set's differs from one run to the next, and with it what is written.
        if isinstance(value, set | frozenset):
            raise WrongValueError("a set has no order", sorted(value, key=str))
        return value

    @field_validator("toolkit_version")
    @classmethod
    def _toolkit_is_safe(cls, value: str) -> str:
        if ToolkitVersion.parse(value) < TOOLKIT_FLOOR:
            raise WrongValueError("older versions let containers out (CVE-2025-23266, CVE-2025-23267)")
        return value

    @field_validator("allowed_capabilities")
    @classmethod
    def _something_is_allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise WrongValueError(
                "it is empty, and no container could use a GPU; leave it out for its default"
            )
        return value

    @field_validator("runsc_args")
    @classmethod
    def _runsc_args_are_flags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((word for word in value if not word.startswith("-")), None)
        if wrong is not None:
            # runsc would take it for its subcommand.
            rule = "does not begin with -; the value of a flag stands behind =, as in --root=/x"
            raise WrongValueError(f"{wrong!r} {rule}", _joined(value))
        if any("\0" in word for word in value):
            raise WrongValueError("it has a control character")
        refused = first_refused(value)
        if refused is not None:
            raise WrongValueError(f"the wrapper does not go with {refused[0]}: {refused[1]}")
        return value

    @model_validator(mode="after")
    def _all_go_together(self) -> Self:
        wrong = []
        # Up to 1.17 `auto` meant legacy here, which gives containers their GPUs by another way altogether.
        if self.toolkit_mode is ToolkitMode.AUTO and self.toolkit < AUTO_FLOOR:
            wrong.append(
                f"toolkit_mode = 'auto' needs toolkit_version {AUTO_FLOOR} or later, not "
                f"{self.toolkit_version}: before, auto meant legacy. Set toolkit_mode to csv, or take a "
                "later toolkit_version."
            )
        if self.driver_version is not None and any(_DRIVER_FLAG.match(word) for word in self.runsc_args):
            wrong.append(
                f"driver_version = {self.driver_version!r} and runsc_args both say which driver runsc takes "
                "for granted. Take --nvproxy-driver-version out of runsc_args."
            )
        if len(set(self.gvisor_sha512.values())) < len(self.gvisor_sha512):
            wrong.append(
                "gvisor_sha512 has the same sha512 for two architectures, whose archives differ. Take each "
                "from the gvisor.tar.bz2.sha512 beside its archive."
            )
        if wrong:
            raise ValueError("\n".join(wrong))
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
        mine = {
            str(key): value
            for key, value in data.items()
            if key not in others and not str(key).startswith("_")
        }
        try:
            return cls.model_validate(mine)
        except ValidationError as error:
            lines = [
                line
                for detail in error.errors()
                for line in sentences(host, dict(detail), cls.model_fields, others)
            ]
            raise SettingsError("\n".join(lines)) from None
