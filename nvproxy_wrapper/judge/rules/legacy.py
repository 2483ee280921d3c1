"""`legacy.*`: the prestart hook stays, as runsc's trigger; what would fail late is said early."""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values, with_one
from nvproxy_wrapper.judge.host_view import PROGRAM_PATH
from nvproxy_wrapper.judge.request import parse_visible_devices, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft

CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"


def one_value(draft: Draft) -> None:
    """`legacy.env`: of several values the last one, as NVIDIA's hook and runsc take it, or the mounts'.

    Raises:
        Refusal: the variable and the mounts ask for different GPUs.
    """
    facts = draft.facts
    if facts.request_conflict:
        raise Refusal(
            "legacy.env", facts.request_conflict, "Ask for the same GPUs in both, or in one of them only."
        )
    for name in (VISIBLE_DEVICES, CAPABILITIES):
        given = values(draft.env, name)
        if not given:
            continue
        counts, why = given[-1], "given more than once; the last one counts"
        if name == VISIBLE_DEVICES and parse_visible_devices(counts) != facts.requested:
            # runsc knows the variable only, and would hand out more.
            counts, why = (
                written(facts.requested) or "void",
                "volume mounts ask for less, and runsc does not read them",
            )
        if given != [counts]:
            draft.env = with_one(draft.env, name, counts)
            draft.act("legacy.env", name, f"{', '.join(given)} -> {counts}", why)


def clip_capabilities(draft: Draft) -> None:
    """`legacy.capabilities`: runsc fails where more is asked for than it is told to allow.

    Raises:
        Refusal: nothing of what is asked for is allowed; left empty, it would mean runsc's default.
    """
    given = values(draft.env, CAPABILITIES)
    asked = [part.strip() for part in ",".join(given).split(",") if part.strip()]
    if not asked:
        return
    allowed = draft.settings.allowed_capabilities
    kept = list(allowed) if "all" in asked else [name for name in asked if name in allowed]
    if kept == asked:
        return
    if not kept:
        raise Refusal(
            "legacy.capabilities",
            f"{CAPABILITIES} asks for {', '.join(asked)}; this host allows {', '.join(allowed) or 'none'}",
            "Ask for what is allowed, or add to allowed_capabilities in the inventory.",
        )
    draft.env = with_one(draft.env, CAPABILITIES, ",".join(kept))
    draft.act(
        "legacy.capabilities",
        CAPABILITIES,
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
