"""`env.void`: NVIDIA_VISIBLE_DEVICES as the toolkit leaves it where it has done its work."""

from __future__ import annotations

from nvproxy_wrapper.judge.environment import VISIBLE_DEVICES, values, with_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft


def void(draft: Draft) -> None:
    """`env.void`: one NVIDIA_VISIBLE_DEVICES, and it says that nothing is left to be done.

    Also where the variable is not set: NVIDIA's tools take that for `all` in an image that sets CUDA_VERSION.
    """
    changed = with_one(draft.env, VISIBLE_DEVICES, "void")
    if changed == draft.env or not draft.has_process:
        return
    before = ", ".join(values(draft.env, VISIBLE_DEVICES)) or "not set"
    draft.env = changed
    draft.act(
        "env.void",
        VISIBLE_DEVICES,
        f"{before} -> void",
        "the devices are listed; any other value makes runsc call nvidia-container-cli and expose every GPU",
    )
