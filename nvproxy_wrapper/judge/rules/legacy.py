"""`legacy.*`: NVIDIA's own prestart hook stays, as runsc's trigger; what would fail late is said early."""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities, gpus
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import PREFIX, gpu_minor, gpus_in, is_served
from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values, with_one
from nvproxy_wrapper.judge.host_view import PROGRAM_PATH
from nvproxy_wrapper.judge.nvidia_hooks import LEGACY_HOOK, find
from nvproxy_wrapper.judge.request import parse_visible_devices, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft

RULE = "legacy.listed"


def keep_trigger(draft: Draft) -> None:
    """`legacy.hook`: of the hooks by the legacy hook's names only the one stays that NVIDIA's toolkit writes.

    Raises:
        Refusal: a GPU is asked for, and none of them is that one.
    """
    hooks = [hook for hook in find(draft.hooks) if hook.is_legacy]
    reasons = [(hook, hook.why_no_trigger(draft.settings.trusted_hooks)) for hook in hooks]
    if draft.facts.gpu_requested and all(why is not None for _, why in reasons):
        hook, why = reasons[0]
        raise Refusal(
            "legacy.hook",
            f"the hook {hook.hook['path']} at {hook.stage} stands for the GPUs that are asked for, and it is"
            f" not taken for NVIDIA's: {why}",
            f"Let the engine use /usr/bin/{LEGACY_HOOK}, or start the container by NVIDIA's runtime; where"
            " NVIDIA's programs lie elsewhere, name them in trusted_hooks in the inventory.",
        )
    for hook, why in reasons:
        if why is not None:
            draft.drop_hook(hook, "legacy.hook", why)


def one_value(draft: Draft) -> None:
    """`legacy.env`: of several values the last one, as NVIDIA's hook and runsc take it, or the mounts'.

    Raises:
        Refusal: the variable and another place ask for different GPUs.
    """
    facts = draft.facts
    if facts.asked.conflict and not gpus.are_same(facts.asked.sources, draft.host):
        raise Refusal(
            "legacy.env", facts.asked.conflict, "Ask for the same GPUs in both, or in one of them only."
        )
    for name in (VISIBLE_DEVICES, capabilities.VARIABLE):
        given = values(draft.env, name)
        if not given and (name == capabilities.VARIABLE or facts.requested is None):
            continue
        counts, why = given[-1] if given else "", "given more than once; the last one counts"
        if name == VISIBLE_DEVICES and parse_visible_devices(counts) != facts.requested:
            # runsc knows the variable only, and would hand out more.
            counts, why = (
                written(facts.requested) or "void",
                "other places ask, volume mounts or Swarm's variables, and runsc does not read them",
            )
        if given != [counts]:
            draft.env = with_one(draft.env, name, counts)
            draft.act("legacy.env", name, f"{', '.join(given) or 'not set'} -> {counts}", why)


def narrow_to_list(draft: Draft) -> None:
    """`legacy.listed`: of the GPUs that are asked for and those whose nodes are listed, the fewer.

    The hook is the only one that brings libraries, so that it stays and the nodes go: it makes them, and both
    ways at once give the union. A privileged container lists the nodes of every GPU, which asks for none.

    Raises:
        Refusal: each asks for another GPU, or which they are cannot be told.
    """
    facts = draft.facts
    listed = gpus_in([device["path"] for device in draft.devices])
    if not listed:
        return
    of_host = gpus.of_host(draft.host)
    every = {gpu.minor for gpu in of_host}
    wanted = every
    if isinstance(facts.requested, list):
        wanted = gpus.minors_of(facts.requested, draft.host)
    elif facts.requested == "none":
        wanted = set()
    for device in list(draft.devices):
        minor = gpu_minor(device["path"])
        if minor is not None and minor not in wanted:
            draft.drop_device(device, RULE, f"asked for is {written(facts.requested)}")
    if every <= listed or wanted == listed:
        return
    if facts.requested != "all" or not listed < every:
        nodes = ", ".join(f"{PREFIX}{minor}" for minor in sorted(listed))
        raise Refusal(
            RULE,
            f"{VISIBLE_DEVICES} asks for {written(facts.requested)}, and the spec lists {nodes} beside it",
            f"Leave the nodes out (--device), and ask for GPUs in {VISIBLE_DEVICES} alone: their nodes and"
            " libraries come with it.",
        )
    facts.requested = [gpu.uuid or str(gpu.index) for gpu in of_host if gpu.minor in listed]
    fewer = written(facts.requested)
    draft.env = with_one(draft.env, VISIBLE_DEVICES, fewer)
    draft.act(RULE, VISIBLE_DEVICES, f"all -> {fewer}", "the nodes of no other GPU are listed")


def drop_listed(draft: Draft) -> None:
    """`legacy.listed`, second half: the nodes that nvidia-container-cli makes."""
    for device in list(draft.devices):
        if is_served(device["path"]):
            draft.drop_device(device, RULE, "it comes with the libraries, by nvidia-container-cli")


def clip_capabilities(draft: Draft) -> None:
    """`legacy.capabilities`: runsc fails where more is asked for than it is told to allow.

    `asked.capabilities` has seen to it that something is left, and says what is not.
    """
    asked = capabilities.written(draft.env)
    allowed = draft.settings.allowed_capabilities
    kept = list(allowed) if capabilities.ALL in asked else [name for name in asked if name in allowed]
    if kept == asked:
        return
    draft.env = with_one(draft.env, capabilities.VARIABLE, ",".join(kept))
    draft.act(
        "legacy.capabilities",
        capabilities.VARIABLE,
        f"{','.join(asked)} -> {','.join(kept)}",
        "more is not allowed here",
    )


def check_cli(draft: Draft) -> None:
    """`legacy.cli`: runsc looks nvidia-container-cli up in its PATH.

    Raises:
        Refusal: it is not there.
    """
    if draft.host.has_program("nvidia-container-cli") is False:
        raise Refusal(
            "legacy.cli",
            f"legacy mode needs nvidia-container-cli, which is not in {':'.join(PROGRAM_PATH)}",
            "Install libnvidia-container-tools, or set toolkit_mode to auto or csv in the inventory.",
        )
