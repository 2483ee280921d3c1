"""Annotations: nvproxy for GPU containers and for pod sandboxes on GPU hosts, and none that users brought."""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities
from nvproxy_wrapper.judge.annotations import CRI, GVISOR, NVPROXY, is_in_pod
from nvproxy_wrapper.judge.refused_flags import why_annotation_refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft


def drop_overrides(draft: Draft, *, keep_nvproxy: bool) -> None:
    """`annotation.user`: what changes the sandbox is the host's to say.

    Docker has no pods: there, what says that a container is a part of one came with the container, and runsc
    would put it into the sandbox that it names, whoever's that is.

    In a pod the annotations of gVisor's own shim stay, where they are to the letter what it writes.

    Args:
        draft: the spec.
        keep_nvproxy: leave that one, as the wrapper sets it itself.
    """
    if draft.settings.allow_user_annotations:
        _drop_refused(draft)
        return
    users = (GVISOR, CRI) if draft.engine_has_no_pods else (GVISOR,)
    shims = _of_the_shim(draft)
    for name, value in list(draft.annotations.items()):
        is_kept = (keep_nvproxy and name == NVPROXY) or value in shims.get(name, ())
        if name.startswith(users) and not is_kept:
            del draft.annotations[name]
            why = "it changes the sandbox, and came with the container"
            if name in shims:
                written = " or ".join(map(repr, shims[name])) or "no such value"
                why = f"gVisor's containerd shim writes {written} there"
            draft.act("annotation.user", name, f"removed ({value!r})", why)


def _of_the_shim(draft: Draft) -> dict[str, tuple[str, ...]]:
    is_pods = is_in_pod(draft.annotations) and not draft.engine_has_no_pods
    if not is_pods or not any(name.startswith(GVISOR) for name in draft.annotations):
        return {}
    from nvproxy_wrapper.judge import pod  # noqa: PLC0415 - pods alone need it

    return pod.written_by_shim(draft)


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
