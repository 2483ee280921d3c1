"""NVIDIA's hooks: which may stay, and why the others go."""

from __future__ import annotations

from nvproxy_wrapper.judge.nvidia_hooks import STAGE, find
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook
    from nvproxy_wrapper.judge.settings import Settings

_LDCONFIG = ("/sbin/ldconfig", "/sbin/ldconfig.real", "/usr/sbin/ldconfig", "/usr/sbin/ldconfig.real")


def why_not_trusted(hook: NvidiaHook, settings: Settings) -> str | None:
    """Why a hook goes: NVIDIA's toolkit does not write it so, or no sandbox needs it; None: it may stay."""
    path = hook.hook["path"]
    if hook.stage != STAGE:
        return f"NVIDIA's hooks stand at {STAGE}"
    if path not in settings.trusted_hooks:
        return f"its program is not one of {', '.join(settings.trusted_hooks) or 'none'}"
    if hook.subcommand is None or hook.hook["args"][0].rpartition("/")[2] != hook.program:
        return "its arguments have not the form that NVIDIA's toolkit writes"
    if hook.subcommand not in _ARGUMENTS:
        return _DROPPED.get(hook.subcommand, "it is not a hook that is known to be needed in a sandbox")
    return _what_is_odd(hook, _ARGUMENTS[hook.subcommand])


def drop_legacy(draft: Draft) -> None:
    """`hooks.legacy`: where the devices are listed, the legacy path must not be taken as well."""
    for hook in find(draft.hooks):
        if hook.is_legacy:
            draft.drop_hook(
                hook,
                "hooks.legacy",
                "the devices are listed already; both paths at once give the union of both",
            )


def allow(draft: Draft) -> None:
    """`hooks.allow`: of NVIDIA's hooks those stay that its toolkit writes, and that a sandbox needs."""
    for hook in find(draft.hooks):
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
    for hook in find(draft.hooks):
        if not hook.is_legacy:
            draft.drop_hook(
                hook, "hooks.emulate", "this runsc runs no createContainer hook; its links become mounts"
            )


def _what_is_odd(hook: NvidiaHook, allowed: dict[str, Callable[[str], bool]]) -> str | None:
    for name, value in hook.flags():
        if name not in allowed or value is None or not allowed[name](value):
            return f"NVIDIA's toolkit does not write the argument {name} {value or ''}".rstrip()
    for entry in hook.hook.get("env") or []:
        if not entry.startswith("NVIDIA_"):
            return f"NVIDIA's toolkit does not set {entry.partition('=')[0]} in a hook's environment"
    return None


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
