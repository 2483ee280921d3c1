"""The wrapper's settings: what `/etc/nvproxy-wrapper/settings.json` may say. Pure: no file is read."""

from __future__ import annotations

from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.refused_flags import first_refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

SETTINGS_PATH = "/etc/nvproxy-wrapper/settings.json"

TOOLKIT_MODES = ("auto", "legacy", "csv", "cdi", "jit-cdi")
"""The modes of nvidia-container-runtime (nvidia-container-toolkit 1.20.0, internal/modifier/factory.go)."""


class SettingsError(ValueError):
    """The settings cannot be used; the sentence says which key, its value, where, what is allowed."""


class Settings:
    """What the wrapper needs at create time; nothing here is found out while a container waits.

    Attributes:
        runsc: absolute path of the runsc that is executed.
        runsc_args: arguments put before the caller's own.
        hooks_run: whether this runsc runs createContainer hooks.
        runsc_flags: names of the flags that this runsc knows, without dashes.
        runsc_capabilities: names that this runsc takes in --nvproxy-allowed-driver-capabilities.
        toolkit_mode: `mode` of NVIDIA's config.toml; decides only where a spec fits two classes.
        toolkit_version: version of the NVIDIA Container Toolkit, or "".
        swarm_resources: `swarm-resource` of NVIDIA's config.toml: variables that ask in the place of
            NVIDIA_VISIBLE_DEVICES.
        trusted_hooks: absolute paths of the programs that may stay as hooks.
        trusted_ldconfig: absolute paths of the programs that a trusted update-ldcache may run.
        allowed_capabilities: what a container may have of NVIDIA_DRIVER_CAPABILITIES.
        host_prep: commands, each a list of arguments, that load modules and make nodes.
        allow_user_annotations: whether annotations that change the sandbox are left to users.
        drop_update_ldcache: whether the update-ldcache hook is dropped (hosts whose /proc is masked).
        proc_driver: where the NVIDIA driver describes itself.
        audit_log: file of the decision log.
    """

    __slots__ = (
        "allow_user_annotations",
        "allowed_capabilities",
        "audit_log",
        "drop_update_ldcache",
        "hooks_run",
        "host_prep",
        "proc_driver",
        "runsc",
        "runsc_args",
        "runsc_capabilities",
        "runsc_flags",
        "swarm_resources",
        "toolkit_mode",
        "toolkit_version",
        "trusted_hooks",
        "trusted_ldconfig",
    )

    runsc: str
    runsc_args: list[str]
    hooks_run: bool
    runsc_flags: list[str]
    runsc_capabilities: list[str]
    toolkit_mode: str
    toolkit_version: str
    swarm_resources: list[str]
    trusted_hooks: list[str]
    trusted_ldconfig: list[str]
    allowed_capabilities: list[str]
    host_prep: list[list[str]]
    allow_user_annotations: bool
    drop_update_ldcache: bool
    proc_driver: str
    audit_log: str

    def __init__(self, values: dict[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])


def parse_settings(data: bytes, where: str) -> Settings:
    """The settings in `data`, the bytes of the file `where`; keys left out take their defaults.

    Raises:
        SettingsError: not JSON, an unknown key, or a value that the key does not take.
    """
    try:
        given = strict_json.loads(data)
    except strict_json.JSONError as error:
        raise SettingsError(f"The settings file {where} {error}.") from None
    values = dict(_DEFAULT_VALUES)
    for key, value in given.items():
        if key not in _ALLOWED:
            raise SettingsError(
                f"The settings file {where} has the unknown key {key!r}; known are {', '.join(_ALLOWED)}."
            )
        is_allowed, allowed = _ALLOWED[key]
        if not is_allowed(value):
            shown = strict_json.dumps(value).decode("utf-8")
            raise SettingsError(f"The settings file {where} has {key} = {shown}; it takes {allowed}.")
        values[key] = value
    refused = first_refused(values["runsc_args"])
    if refused is not None:
        raise SettingsError(
            f"The settings file {where} has {refused[0]!r} in runsc_args, which the wrapper does not go with:"
            f" {refused[1]}."
        )
    return Settings(values)


def allowed_values() -> list[tuple[str, str]]:
    """Every key with what it takes, as error messages and documentation say it."""
    return [(key, allowed) for key, (_, allowed) in _ALLOWED.items()]


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def is_absolute_path(value: object) -> bool:
    """Whether a path is absolute and plain: no `.`, no `..`, no empty part, no NUL."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        return False
    return all(part not in ("", ".", "..") for part in value[1:].split("/"))


def _is_list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def _is_flag(value: object) -> bool:
    return isinstance(value, str) and value != "" and not value.startswith("-") and "=" not in value


def _is_capability(value: object) -> bool:
    # `all` is no name of one, and what it means is another thing under another runsc.
    return (
        isinstance(value, str)
        and value not in ("", "all")
        and not value.strip("abcdefghijklmnopqrstuvwxyz0123456789-")
    )


def _is_variable(value: object) -> bool:
    return isinstance(value, str) and value != "" and "=" not in value and "\0" not in value


def _is_command(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and is_absolute_path(value[0]) and all(map(_is_text, value))
    )


_PATH = (is_absolute_path, "an absolute path without . and ..")
_PATHS = (_is_list_of(is_absolute_path), "a list of absolute paths without . and ..")
_BOOL = (_is_bool, "true or false")
_CAPABILITIES = (_is_list_of(_is_capability), "a list of driver capabilities by name, as video; not all")

_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "runsc": _PATH,
    "runsc_args": (_is_list_of(_is_text), "a list of strings, none of them a flag that is refused (below)"),
    "hooks_run": _BOOL,
    "runsc_flags": (_is_list_of(_is_flag), "a list of flag names without dashes"),
    "runsc_capabilities": _CAPABILITIES,
    "toolkit_mode": (TOOLKIT_MODES.__contains__, f"one of {', '.join(TOOLKIT_MODES)}"),
    "toolkit_version": (_is_text, "a string"),
    "swarm_resources": (_is_list_of(_is_variable), "a list of names of environment variables"),
    "trusted_hooks": _PATHS,
    "trusted_ldconfig": _PATHS,
    "allowed_capabilities": _CAPABILITIES,
    "host_prep": (
        _is_list_of(_is_command),
        "a list of commands, each a list of strings that begins with an absolute path",
    ),
    "allow_user_annotations": _BOOL,
    "drop_update_ldcache": _BOOL,
    "proc_driver": _PATH,
    "audit_log": _PATH,
}

_DEFAULT_VALUES: dict[str, Any] = {
    "runsc": "/opt/gvisor/current/runsc",
    "runsc_args": [],
    "hooks_run": True,
    "runsc_flags": [
        "nvproxy",
        "nvproxy-allowed-driver-capabilities",
        "nvproxy-docker",
        "nvproxy-driver-version",
    ],
    "runsc_capabilities": [
        "compute",
        "utility",
        "graphics",
        "video",
        "ngx",
        "fabric-imex-mgmt",
        "profiling",
        "rdma",
    ],
    "toolkit_mode": "auto",
    "toolkit_version": "",
    "swarm_resources": [],
    "trusted_hooks": ["/usr/bin/nvidia-ctk", "/usr/bin/nvidia-cdi-hook"],
    # The last two are those of a driver in a container, as NVIDIA's operator has it: below /run only root
    # makes anything, and no hook of the operator's runs that `trusted_hooks` does not name.
    "trusted_ldconfig": [
        "/sbin/ldconfig",
        "/sbin/ldconfig.real",
        "/usr/sbin/ldconfig",
        "/usr/sbin/ldconfig.real",
        "/run/nvidia/driver/sbin/ldconfig",
        "/run/nvidia/driver/sbin/ldconfig.real",
    ],
    # What runsc itself allows where --nvproxy-allowed-driver-capabilities is not given.
    "allowed_capabilities": ["utility", "compute"],
    # What runsc does on its legacy path (runsc/container, nvProxyPreGoferHostSetup), with the driver's own
    # tool in the place of nvidia-container-cli, which a host without the legacy path lacks.
    "host_prep": [
        ["/sbin/modprobe", "nvidia"],
        ["/sbin/modprobe", "nvidia-uvm"],
        ["/usr/bin/nvidia-modprobe", "-c0", "-u"],
    ],
    "allow_user_annotations": False,
    "drop_update_ldcache": False,
    "proc_driver": "/proc/driver/nvidia",
    "audit_log": "/var/log/nvproxy-wrapper/decisions.jsonl",
}

DEFAULTS = Settings(_DEFAULT_VALUES)
"""The settings where no file is: those of the newest runsc."""
