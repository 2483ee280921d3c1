"""NVIDIA's hooks: what each one is, which may stay, and why the others go."""

from __future__ import annotations

from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from nvproxy_wrapper.judge.rewrite import Draft
    from nvproxy_wrapper.judge.settings import Settings

LEGACY_PROGRAMS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
"""The prestart hook of legacy mode, now and up to 1.10 (toolkit, internal/modifier/hook_remover.go)."""

SUBCOMMANDS = (
    "create-symlinks",
    "update-ldcache",
    "enable-cuda-compat",
    "update-application-profile",
    "disable-device-node-modification",
    "chmod",
    "noop",
)
"""Hooks of nvidia-container-toolkit 1.13 to 1.20 (cmd/nvidia-cdi-hook/commands/commands.go)."""

STAGE = "createContainer"
"""The stage of all of these (toolkit, internal/discover/hooks.go, getOCIHookType)."""

_CTK = "nvidia-ctk"
_CDI_HOOK = "nvidia-cdi-hook"
_PROGRAMS = (*LEGACY_PROGRAMS, _CTK, _CDI_HOOK, "nvidia-container-cli")

_LDCONFIG = ("/sbin/ldconfig", "/sbin/ldconfig.real", "/usr/sbin/ldconfig", "/usr/sbin/ldconfig.real")


class NvidiaHook:
    """A hook that is NVIDIA's by its name, or says that it is.

    Attributes:
        stage: where it stands: prestart, createRuntime, createContainer, ...
        hook: the hook itself, as in the spec.
        program: the last part of its path.
        subcommand: what follows `nvidia-ctk hook` or `nvidia-cdi-hook`; None where it has neither form.
        arguments: what follows the subcommand.
    """

    __slots__ = ("arguments", "hook", "program", "stage", "subcommand")

    def __init__(self, stage: str, hook: dict[str, Any]) -> None:
        self.stage = stage
        self.hook = hook
        self.program = _basename(hook["path"])
        args = hook.get("args") or []
        # The words before the subcommand, as the toolkit writes them: getFixedArgsForCDIHookCLI.
        skip = 2 if self.program == _CTK and args[1:2] == ["hook"] else 1
        has_form = (self.program == _CTK and skip == 2) or self.program == _CDI_HOOK
        self.subcommand = args[skip] if has_form and len(args) > skip else None
        self.arguments = args[skip + 1 :]

    @property
    def is_ctk_form(self) -> bool:
        """Written `nvidia-ctk hook NAME`: the shim's csv and jit-cdi modes, and CDI files up to 1.15."""
        return self.program == _CTK

    @property
    def is_legacy(self) -> bool:
        """The trigger of the legacy path."""
        return self.stage == "prestart" and self.program in LEGACY_PROGRAMS

    @property
    def is_known(self) -> bool:
        """One of the hooks that NVIDIA's toolkit has, at the stage at which it puts them."""
        return self.stage == STAGE and self.subcommand in SUBCOMMANDS

    def values(self, flag: str) -> list[str]:
        """The values of `flag` among the arguments, written `--flag value` or `--flag=value`."""
        return [value for name, value in _pairs(self.arguments) if name == flag and value is not None]

    def __str__(self) -> str:
        return f"{self.hook['path']} {self.subcommand}" if self.subcommand else str(self.hook["path"])


def find(hooks: dict[str, list[dict[str, Any]]]) -> list[NvidiaHook]:
    """Every hook, at any stage, whose program or first argument has NVIDIA in its name, or that runs one.

    `containerd oci-hook -- nvidia-container-cli ...` is what `ctr run --gpus` puts there (containerd,
    contrib/nvidia).
    """
    return [NvidiaHook(stage, hook) for stage, listed in hooks.items() for hook in listed if _is_nvidia(hook)]


def links_of(hooks: list[NvidiaHook]) -> list[tuple[str, str]]:
    """(target, link) of every --link of the create-symlinks hooks among `hooks`."""
    links = []
    for hook in hooks:
        if hook.subcommand == "create-symlinks":
            for value in hook.values("--link"):
                target, _, link = value.partition("::")
                links.append((target, link))
    return links


def why_not_trusted(hook: NvidiaHook, settings: Settings) -> str | None:
    """Why a hook goes: NVIDIA's toolkit does not write it so, or no sandbox needs it; None: it may stay."""
    path = hook.hook["path"]
    if hook.stage != STAGE:
        return f"NVIDIA's hooks stand at {STAGE}"
    if path not in settings.trusted_hooks:
        return f"its program is not one of {', '.join(settings.trusted_hooks) or 'none'}"
    if hook.subcommand is None or _basename(hook.hook["args"][0]) != hook.program:
        return "its arguments have not the form that NVIDIA's toolkit writes"
    if hook.subcommand not in _ARGUMENTS:
        return _DROPPED.get(hook.subcommand, "it is not a hook that is known to be needed in a sandbox")
    return _what_is_odd(hook, _ARGUMENTS[hook.subcommand])


def drop_legacy(draft: Draft) -> None:
    """`hooks.legacy`: where the devices are listed, the legacy path must not be taken as well."""
    for hook in draft.nvidia_hooks():
        if hook.is_legacy:
            draft.drop_hook(
                hook,
                "hooks.legacy",
                "the devices are listed already; both paths at once give the union of both",
            )


def allow(draft: Draft) -> None:
    """`hooks.allow`: of NVIDIA's hooks those stay that its toolkit writes, and that a sandbox needs."""
    for hook in draft.nvidia_hooks():
        if hook.is_legacy:
            continue
        why = why_not_trusted(hook, draft.settings)
        if why is not None:
            draft.drop_hook(hook, "hooks.allow", why)
            continue
        draft.trusted_hooks.append(hook)
        if hook.subcommand == "update-ldcache" and draft.settings.drop_update_ldcache:
            draft.drop_hook(hook, "hooks.allow", "drop_update_ldcache is set for this host")


def drop_all(draft: Draft) -> None:
    """`hooks.emulate`, first half: a runsc that runs no createContainer hook gets none."""
    for hook in draft.nvidia_hooks():
        if not hook.is_legacy:
            draft.drop_hook(
                hook, "hooks.emulate", "this runsc runs no createContainer hook; its links become mounts"
            )


def _what_is_odd(hook: NvidiaHook, allowed: dict[str, Callable[[str], bool]]) -> str | None:
    for name, value in _pairs(hook.arguments):
        if name not in allowed or value is None or not allowed[name](value):
            return f"NVIDIA's toolkit does not write the argument {name} {value or ''}".rstrip()
    for entry in hook.hook.get("env") or []:
        if not entry.startswith("NVIDIA_"):
            return f"NVIDIA's toolkit does not set {entry.partition('=')[0]} in a hook's environment"
    return None


def _is_nvidia(hook: dict[str, Any]) -> bool:
    args = hook.get("args") or []
    is_named_so = any("nvidia" in _basename(word).lower() for word in [hook["path"], *args[:1]])
    return is_named_so or any(_basename(word) in _PROGRAMS for word in args[1:])


def _basename(path: str) -> str:
    return path.rpartition("/")[2]


def _pairs(arguments: list[str]) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        pairs.append((name, value if equals else next(rest, None)))
    return pairs


def _is_link(value: str) -> bool:
    target, separator, link = value.partition("::")
    return bool(separator and target) and "::" not in link and "\0" not in target and is_absolute_path(link)


def _is_csv_file(value: str) -> bool:
    return is_absolute_path(value) and value.endswith(".csv")


def _is_version(value: str) -> bool:
    return value != "" and not value.strip("0123456789.*")


def _is_ldconfig(value: str) -> bool:
    # The hook executes it on the host; NVIDIA's `@` says just that.
    return (value[1:] if value.startswith("@") else value) in _LDCONFIG


_ARGUMENTS: dict[str, dict[str, Callable[[str], bool]]] = {
    # --csv-filename: up to 1.13 the hook of csv mode reads the `sym` lines itself.
    "create-symlinks": {"--link": _is_link, "--csv-filename": _is_csv_file},
    "update-ldcache": {"--folder": is_absolute_path, "--ldconfig-path": _is_ldconfig},
    "enable-cuda-compat": {
        "--host-driver-version": _is_version,
        "--host-cuda-version": _is_version,
        "--cuda-compat-container-root": is_absolute_path,
    },
    "update-application-profile": {},
}
"""The hooks that may stay, and their arguments; --container-spec, which names a file to read, is left out."""

_DROPPED = {
    "disable-device-node-modification": "gVisor sets ModifyDeviceFiles to 0 itself; the hook kills the gofer",
    "chmod": "gVisor serves the nodes with modes of its own",
    "noop": "it does nothing",
}
