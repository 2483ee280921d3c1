"""The container's environment: reading a variable that may be there more than once, and `env.void`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.rewrite import Draft

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"


def values(env: list[str], name: str) -> list[str]:
    """Every value of a variable, in order; "" for an entry without `=`."""
    return [entry[len(name) + 1 :] for entry in env if entry.partition("=")[0] == name]


def with_one(env: list[str], name: str, value: str) -> list[str]:
    """`env` with exactly one entry of a variable: where the first one stood, or at the end."""
    changed = []
    placed = False
    for entry in env:
        if entry.partition("=")[0] != name:
            changed.append(entry)
        elif not placed:
            changed.append(f"{name}={value}")
            placed = True
    return changed if placed else [*changed, f"{name}={value}"]


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
