"""NVIDIA's hooks: which they are, and what each one says."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEGACY_HOOK = "nvidia-container-runtime-hook"
"""The prestart hook of legacy mode. runsc takes it for a request and never runs it, by this name alone, in
whatever directory it lies (gVisor, runsc/specutils/nvidia.go, findNvidiaHook; hooks.go, executeHook)."""

LEGACY_PROGRAMS = (LEGACY_HOOK, "nvidia-container-toolkit", "oci-nvidia-hook")
"""That hook, its name up to 1.10, and the script around it that came in NVIDIA's packages up to then
(toolkit, internal/modifier/hook_remover.go; v1.10.0, oci-nvidia-hook). runsc runs the other two like any
hook: as root, on the host."""

CREATE_SYMLINKS = "create-symlinks"
UPDATE_LDCACHE = "update-ldcache"

MEMORY_LIMITS = "apply-cuda-memory-limits"
"""Limits a container's GPU memory; one for each GPU (toolkit 1.20.1, pkg/nvcdi/cuda-memory-limits.go)."""

STAGES = {
    CREATE_SYMLINKS: "createContainer",
    UPDATE_LDCACHE: "createContainer",
    "enable-cuda-compat": "createContainer",
    "update-application-profile": "createContainer",
    "disable-device-node-modification": "createContainer",
    "chmod": "createContainer",
    "noop": "createContainer",
    MEMORY_LIMITS: "createRuntime",
}
"""Hooks of nvidia-container-toolkit 1.13 to 1.20.2, each with its stage.

From cmd/nvidia-cdi-hook/commands/commands.go and internal/discover/hooks.go, getOCIHookType.
"""

_PACKAGED = f"/usr/bin/{LEGACY_HOOK}"

_CTK = "nvidia-ctk"
_CDI_HOOK = "nvidia-cdi-hook"
_PROGRAMS = (*LEGACY_PROGRAMS, _CTK, _CDI_HOOK, "nvidia-container-cli")


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
        """The legacy path's hook by its name, wherever it lies and whenever it would run."""
        return self.program in LEGACY_PROGRAMS

    def why_no_trigger(self, trusted: list[str]) -> str | None:
        """Why this legacy hook is not the one that NVIDIA's toolkit writes and runsc knows; None: it is.

        It lies where NVIDIA's packages put it, or beside one of the programs that are `trusted`. Its
        environment is not looked at, as runsc does not run it: dockerd gives it its own, whatever that is.
        """
        path = self.hook["path"]
        if self.program != LEGACY_HOOK:
            return f"runsc knows {LEGACY_HOOK} alone, and would run this one as root on the host"
        trusted_paths = [_PACKAGED, *(f"{other.rpartition('/')[0]}/{LEGACY_HOOK}" for other in trusted)]
        if path not in trusted_paths:
            return f"its program is not {' or '.join(dict.fromkeys(trusted_paths))}"
        if self.stage != "prestart":
            return f"NVIDIA's toolkit puts it at prestart, and not at {self.stage}"
        # With the whole path up to 1.13 (toolkit, internal/modifier/stable.go).
        if self.hook.get("args") not in ([LEGACY_HOOK, "prestart"], [path, "prestart"]):
            return f"its arguments are not {LEGACY_HOOK} prestart"
        return None

    @property
    def is_known(self) -> bool:
        """One of the hooks that NVIDIA's toolkit has, at the stage at which it puts them."""
        return self.subcommand is not None and STAGES.get(self.subcommand) == self.stage

    def has_new_name(self, trusted: list[str]) -> bool:
        """One of NVIDIA's own programs is called by a name that no toolkit had which is known here.

        Such a hook comes with the next toolkit. It is dropped, and says nothing about the rest of the spec.
        """
        name = self.subcommand or ""
        return self.hook["path"] in trusted and name not in STAGES and name[:1].isalpha()

    def values(self, flag: str) -> list[str]:
        """The values of `flag` among the arguments."""
        return [value for name, value in self.flags() if name == flag and value is not None]

    def flags(self) -> list[tuple[str, str | None]]:
        """The arguments as flags and their values, written `--flag value` or `--flag=value`."""
        return _flags(self.arguments)

    def after(self, name: str) -> list[str] | None:
        """What follows the subcommand `name`, whatever the program is called; None where it is not there.

        For what a hook is for, and not for whether it may run: `nvidia-ctk.real`, or a wrapper of somebody's.
        """
        args = self.hook.get("args") or []
        place = 2 if args[1:2] == ["hook"] else 1
        return args[place + 1 :] if args[place : place + 1] == [name] else None

    @property
    def makes_names(self) -> bool:
        """Whether programs find libraries by what it does."""
        return self.after(CREATE_SYMLINKS) is not None or self.after(UPDATE_LDCACHE) is not None

    def __str__(self) -> str:
        return f"{self.hook['path']} {self.subcommand}" if self.subcommand else str(self.hook["path"])


def find(hooks: dict[str, list[dict[str, Any]]]) -> list[NvidiaHook]:
    """Every hook, at any stage, whose program or first argument has NVIDIA in its name, or that runs one.

    `containerd oci-hook -- nvidia-container-cli ...` is what `ctr run --gpus` puts there (containerd,
    contrib/nvidia).
    """
    return [NvidiaHook(stage, hook) for stage, listed in hooks.items() for hook in listed if _is_nvidia(hook)]


def links_of(hooks: list[NvidiaHook]) -> list[tuple[str, str]]:
    """(target, link) of every --link of the create-symlinks hooks among `hooks`, whatever their program."""
    links = []
    for value in _values(hooks, CREATE_SYMLINKS, "--link"):
        target, _, link = value.partition("::")
        links.append((target, link))
    return links


def cached_folders(hooks: list[NvidiaHook]) -> list[str]:
    """Every --folder of the update-ldcache hooks among `hooks`, whatever their program."""
    return _values(hooks, UPDATE_LDCACHE, "--folder")


def gpus_with_memory_hook(hooks: list[NvidiaHook]) -> list[str]:
    """The UUIDs that the apply-cuda-memory-limits hooks among `hooks` name."""
    return [uuid for hook in hooks if hook.subcommand == MEMORY_LIMITS for uuid in hook.values("--gpu-id")]


def _values(hooks: list[NvidiaHook], subcommand: str, flag: str) -> list[str]:
    pairs = [pair for hook in hooks for pair in _flags(hook.after(subcommand) or [])]
    return [value for name, value in pairs if name == flag and value is not None]


def _flags(words: list[str]) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        pairs.append((name, value if equals else next(rest, None)))
    return pairs


def _is_nvidia(hook: dict[str, Any]) -> bool:
    args = hook.get("args") or []
    is_named_so = any("nvidia" in _basename(word).lower() for word in [hook["path"], *args[:1]])
    return is_named_so or any(_basename(word) in _PROGRAMS for word in args[1:])


def _basename(path: str) -> str:
    return path.rpartition("/")[2]
