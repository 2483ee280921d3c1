"""A pod's containers: none brings its neighbours down, and a privileged one gets the GPUs it was given."""

from __future__ import annotations

from nvproxy_wrapper.judge.annotations import joins_sandbox, sandbox_id
from nvproxy_wrapper.judge.classify import Facts
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.device_nodes import given_to_privileged, is_nvidia, is_privileged
from nvproxy_wrapper.judge.host_view import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvproxy_wrapper.judge.draft import Draft

_CURE = "set privileged_without_host_devices = true for its runtime handler in containerd or CRI-O"


def keep_what_was_given(draft: Draft) -> None:
    """`pod.privileged`: of the nodes that an engine lists for the privilege's sake, those that were given.

    Where nothing tells them, the variable may ask: `devices.scope` reads that.

    Raises:
        Refusal: nothing tells what was given, and NVIDIA's toolkit has given something.
    """
    nodes = [device for device in draft.devices if is_nvidia(device)]
    if not nodes or not is_privileged(draft.cgroup_rules) or draft.facts.is_rewritten:
        return
    given = given_to_privileged(draft.devices, draft.cgroup_rules)
    if not given and draft.facts.requested is not None:
        return
    if not given and draft.facts.toolkit_made_devices:
        raise Refusal(
            "pod.privileged",
            f"the pod is privileged, so that the spec lists all {len(nodes)} NVIDIA nodes of the host, and"
            " nothing says which of them were given to it",
            f"Do not make it privileged, or {_CURE}.",
        )
    shown = ", ".join(dict.fromkeys(node["path"] for node in given))
    why = (
        "the pod is privileged, so that the engine lists every node of the host; given to it was"
        f" {shown or 'none'}"
    )
    for node in nodes:
        if not any(node is other for other in given):
            draft.drop_device(node, "pod.privileged", why)
    draft.facts = Facts(draft, draft.settings, draft.facts.kept)
    draft.facts.evidence.append(f"linux.resources.devices allows everything: {why}")


def refuse_without_nvproxy(draft: Draft) -> None:
    """`pod.joined`: no GPU container joins a sandbox that has no nvproxy.

    Raises:
        Refusal: it would, or nobody can tell.
    """
    sandbox = sandbox_id(draft.annotations)
    if not sandbox or not joins_sandbox(draft.annotations):
        # Without an id runsc says so itself.
        return
    named = f"a GPU is asked for in a pod whose sandbox {sandbox[:12]}"
    try:
        has_nvproxy = draft.host.sandbox_has_nvproxy(sandbox)
    except HostError as error:
        raise Refusal(
            "pod.joined",
            f"{named} cannot be looked at: {error}. Without nvproxy there, runsc would end every container of"
            " the pod",
            "Delete the pod and let it be made again.",
        ) from None
    if has_nvproxy is False:
        raise Refusal(
            "pod.joined",
            f"{named} was started without nvproxy, and runsc would end every container of the pod",
            "Delete the pod and let it be made again where the driver can be read: a sandbox gets nvproxy"
            f" where {draft.host.proc_driver}/gpus lists a GPU while it is made.",
        )
