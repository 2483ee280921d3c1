"""NVIDIA's hooks: which may stay, and why the others go."""

from __future__ import annotations

from nvproxy_wrapper.judge.annotations import is_in_pod
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import gpus_in
from nvproxy_wrapper.judge.environment import values
from nvproxy_wrapper.judge.nvidia_hooks import (
    CREATE_SYMLINKS,
    MEMORY_LIMITS,
    STAGES,
    UPDATE_LDCACHE,
    find,
    gpus_with_memory_hook,
)
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook
    from nvproxy_wrapper.judge.settings import Settings

MEMORY_VARIABLES = ("NVIDIA_GPU_MEMORY_REQUEST", "NVIDIA_GPU_MEMORY_LIMIT")
"""What apply-cuda-memory-limits reads from the bundle's spec, in MiB (toolkit, cmd/nvidia-cdi-hook)."""

# The last is that of a driver in a container, as NVIDIA's operator has it.
_DRIVER_ROOTS = ("", "/", "/run/nvidia/driver")
_GO_FALSE = ("0", "f", "F", "false", "False", "FALSE")  # Go, strconv.ParseBool
_UUID_LENGTH = 36


def why_not_trusted(hook: NvidiaHook, settings: Settings) -> str | None:
    """Why a hook goes: NVIDIA's toolkit does not write it so, or no sandbox needs it; None: it may stay."""
    path = hook.hook["path"]
    if path not in settings.trusted_hooks:
        return f"its program is not one of {', '.join(settings.trusted_hooks) or 'none'}"
    if hook.subcommand is None or hook.hook["args"][0].rpartition("/")[2] != hook.program:
        return "its arguments have not the form that NVIDIA's toolkit writes"
    if hook.subcommand not in STAGES:
        return "it is not a hook that is known to be needed in a sandbox"
    if hook.stage != STAGES[hook.subcommand]:
        return f"NVIDIA's toolkit puts it at {STAGES[hook.subcommand]}"
    if hook.subcommand in _DROPPED:
        return _DROPPED[hook.subcommand]
    return _what_is_odd(hook, _ARGUMENTS[hook.subcommand]) or _why_not_this_ldconfig(hook, settings)


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
        if hook.subcommand == UPDATE_LDCACHE and draft.settings.drop_update_ldcache:
            draft.drop_hook(hook, "hooks.allow", "drop_update_ldcache is set for this host")
        if hook.subcommand == MEMORY_LIMITS and not _asks_for_memory(draft):
            draft.drop_hook(hook, "hooks.allow", f"neither {' nor '.join(MEMORY_VARIABLES)} is set")


def drop_all(draft: Draft) -> None:
    """`hooks.emulate`, first half: a runsc that runs no createContainer hook gets none."""
    for hook in find(draft.hooks):
        if not hook.is_legacy:
            draft.drop_hook(
                hook, "hooks.emulate", "this runsc runs no createContainer hook; its links become mounts"
            )


def check_memory_limits(draft: Draft) -> None:
    """`hooks.memory`: a limit on GPU memory that was asked for is set by its hook, or refused.

    The hook names to the driver the cgroup of the process in the state on its stdin (toolkit 1.20.1,
    internal/info/cgroup). runsc gives it the sandbox's (runsc/container/container.go, State): that process
    and its gofer are what opens the GPU, in the container's own cgroup where the sandbox is its own.

    Raises:
        Refusal: no hook sets it for each GPU, or it would be set for other containers too.
    """
    if not _asks_for_memory(draft) or draft.facts.requested == "none":
        return
    given = gpus_in([device["path"] for device in draft.devices])
    limited = set(gpus_with_memory_hook(draft.trusted_hooks))
    if draft.facts.spec_class == "legacy":
        why = "NVIDIA's toolkit sets none in mode legacy"
    elif len(limited) < len(given):
        why = f"{len(given)} GPUs are listed, and {len(limited)} have a trusted {MEMORY_LIMITS} hook"
    elif not given:
        return
    elif not draft.settings.hooks_run:
        why = "hooks_run is not set: this runsc runs no hook that could set it"
    elif is_in_pod(draft.annotations):
        why = "it would hold for the whole pod: its containers share a sandbox, and so a cgroup"
    elif _ignores_cgroups(draft.settings.runsc_args):
        why = "with --ignore-cgroups in runsc_args the sandbox has no cgroup of its own"
    else:
        return
    names = [name for name in MEMORY_VARIABLES if values(draft.env, name)]
    raise Refusal(
        "hooks.memory",
        f"{' and '.join(names)} asks for a limit on GPU memory, which cannot be set: {why}",
        f"Start the container without {' and '.join(names)}; or ask for GPUs by toolkit 1.20.1 or later in"
        " mode auto, outside of a pod, under a runsc from 20260520 on.",
    )


def _asks_for_memory(draft: Draft) -> bool:
    return any(values(draft.env, name) for name in MEMORY_VARIABLES)


def _ignores_cgroups(runsc_args: list[str]) -> bool:
    flags = [word.lstrip("-").partition("=") for word in runsc_args]
    return any(flag == "ignore-cgroups" and value not in _GO_FALSE for flag, _, value in flags)


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


def _why_not_this_ldconfig(hook: NvidiaHook, settings: Settings) -> str | None:
    for value in hook.values("--ldconfig-path"):
        # The hook executes it on the host; NVIDIA's `@` says just that.
        if (value[1:] if value.startswith("@") else value) not in settings.trusted_ldconfig:
            return f"{value}, which it would run, is not in trusted_ldconfig"
    return None


def _is_driver_root(value: str) -> bool:
    # The hook loads libnvidia-ml.so.1 from below it, as root.
    return value in _DRIVER_ROOTS


def _is_gpu_uuid(value: str) -> bool:
    prefix, digits = value[:4], value[4:]
    return prefix == "GPU-" and len(digits) == _UUID_LENGTH and not digits.strip("0123456789abcdef-")


_ARGUMENTS: dict[str, dict[str, Callable[[str], bool]]] = {
    # --csv-filename: up to 1.13 the hook of csv mode reads the `sym` lines itself.
    CREATE_SYMLINKS: {"--link": _is_link, "--csv-filename": _is_csv_file},
    UPDATE_LDCACHE: {"--folder": is_absolute_path, "--ldconfig-path": bool},
    "enable-cuda-compat": {
        "--host-driver-version": _is_version,
        "--host-cuda-version": _is_version,
        "--cuda-compat-container-root": is_absolute_path,
    },
    "update-application-profile": {},
    MEMORY_LIMITS: {"--driver-root": _is_driver_root, "--gpu-id": _is_gpu_uuid},
}
"""The hooks that may stay, and their arguments; --container-spec, which names a file to read, is left out."""

_DROPPED = {
    "disable-device-node-modification": "gVisor sets ModifyDeviceFiles to 0 itself; the hook kills the gofer",
    "chmod": "gVisor serves the nodes with modes of its own",
    "noop": "it does nothing",
}
