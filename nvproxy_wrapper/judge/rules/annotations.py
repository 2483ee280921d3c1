"""Annotations: nvproxy for GPU containers and for pod sandboxes on GPU hosts, and none that users brought."""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities
from nvproxy_wrapper.judge.annotations import CRI, GVISOR, NVPROXY
from nvproxy_wrapper.judge.refused_flags import why_annotation_refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft


def drop_overrides(draft: Draft, *, keep_nvproxy: bool) -> None:
    """`annotation.user`: what changes the sandbox is the host's to say.

    Docker has no pods: there, what says that a container is a part of one came with the container, and runsc
    would put it into the sandbox that it names, whoever's that is.

    Args:
        draft: the spec.
        keep_nvproxy: leave that one, as the wrapper sets it itself.
    """
    if draft.settings.allow_user_annotations:
        _drop_refused(draft)
        return
    users = (GVISOR, CRI) if draft.engine_has_no_pods else (GVISOR,)
    for name in list(draft.annotations):
        if name.startswith(users) and not (keep_nvproxy and name == NVPROXY):
            value = draft.annotations.pop(name)
            draft.act(
                "annotation.user",
                name,
                f"removed ({value!r})",
                "it changes the sandbox, and came with the container",
            )


def _drop_refused(draft: Draft) -> None:
    """The annotations that no setting allows, as they undo what the rules do."""
    for name, value in list(draft.annotations.items()):
        why = why_annotation_refused(name, value)
        if why is not None:
            del draft.annotations[name]
            draft.act("annotation.user", name, f"removed ({value!r})", why)


def enable_nvproxy(draft: Draft, rule: str, why: str) -> None:
    """`annotation.nvproxy` and `pod.sandbox`: the annotation for later calls, the flag for this one."""
    draft.runsc_flags.append("--nvproxy")
    # A GPU container is refused where one of them cannot be used; a pod without one has to start.
    unusable = capabilities.unusable(draft.settings, draft.host)
    allowed = [name for name in draft.settings.allowed_capabilities if name not in unusable]
    if set(allowed) != set(capabilities.DEFAULT) and capabilities.ALLOW_FLAG in draft.settings.runsc_flags:
        draft.runsc_flags.append(f"--{capabilities.ALLOW_FLAG}={','.join(allowed)}")
    if draft.annotations.get(NVPROXY) != "true":
        draft.annotations[NVPROXY] = "true"
        draft.act(rule, NVPROXY, 'set to "true"', why)
