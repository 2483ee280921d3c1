"""The whole decision about one spec: the rules, in order, on a copy."""

from __future__ import annotations

from nvproxy_wrapper.judge import capabilities, features, gpus
from nvproxy_wrapper.judge.annotations import NVPROXY, is_in_pod, is_pod_sandbox
from nvproxy_wrapper.judge.decision import Decision, Refusal
from nvproxy_wrapper.judge.device_nodes import CONTROL, PREFIX, UVM, WSL, gpus_in, is_privileged, is_served
from nvproxy_wrapper.judge.draft import Draft
from nvproxy_wrapper.judge.rules import devices, env, hooks, mounts
from nvproxy_wrapper.judge.rules.annotations import drop_overrides, enable_nvproxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from nvproxy_wrapper.judge.classify import Facts
    from nvproxy_wrapper.judge.decision import Notice, Pod
    from nvproxy_wrapper.judge.host_view import HostView
    from nvproxy_wrapper.judge.settings import Settings, SettingsError


def decide(  # noqa: PLR0913 - all that a decision depends on
    spec: dict[str, Any],
    settings: Settings,
    host: HostView,
    settings_fault: SettingsError | None = None,
    *,
    engine_has_no_pods: bool = False,
    kept: dict[str, Any] | None = None,
    kept_fault: Refusal | None = None,
) -> Decision:
    """What becomes of a container's spec. Pure but for what `host` looks up; `spec` is not changed.

    Args:
        spec: config.json, as `strict_json.loads` gives it.
        settings: the wrapper's; its defaults where `settings_fault` is given.
        host: what may be looked up on this host.
        settings_fault: why the host's own settings cannot be used. GPU containers are refused then, others go
            on.
        engine_has_no_pods: the container is known to be Docker's, which has none.
        kept: the spec as the engine wrote it, before NVIDIA's runtime changed it; known to be this
            container's. None: it was not kept.
        kept_fault: why the one that there is cannot be used. As `settings_fault`.
    """
    try:
        draft = Draft(spec, settings, host, engine_has_no_pods=engine_has_no_pods, kept=kept)
    except Refusal as refusal:
        return not_understood(spec, refusal)
    is_pods = is_in_pod(draft.annotations) and not engine_has_no_pods
    pod = _pod(draft) if is_pods else None
    try:
        if is_pods:
            _narrow_privileged(draft)
        if draft.facts.gpu_requested:
            _check_usable(draft, settings_fault, kept_fault)
            _rewrite_gpu_container(draft)
        else:
            _rewrite_plain_container(draft)
    except Refusal as refusal:
        return _refused(spec, draft.facts, refusal, draft.warnings, pod)
    made = draft.put_back(spec)
    opens = _opens(draft)
    return Decision(
        spec_class=draft.facts.spec_class,
        evidence=draft.facts.evidence,
        gpu_requested=draft.facts.gpu_requested,
        requested=draft.facts.requested,
        devices=[device["path"] for device in draft.devices],
        opens=opens,
        gpus=None if opens is None else sorted(gpus_in(opens)),
        actions=draft.actions,
        warnings=draft.warnings,
        refusal=None,
        spec=made,
        changed=made != spec,
        runsc_flags=draft.runsc_flags,
        pod=pod,
    )


def not_understood(spec: dict[str, Any], refusal: Refusal) -> Decision:
    """The decision about a spec that could not be read at all: of no class that can be told, and refused."""
    return _refused(spec, None, refusal, [])


def _refused(
    spec: dict[str, Any],
    facts: Facts | None,
    refusal: Refusal,
    warnings: list[Notice],
    pod: Pod | None = None,
) -> Decision:
    unread = ["The spec could not be read far enough to tell its class"]
    return Decision(
        spec_class=facts.spec_class if facts else "mixed",
        evidence=facts.evidence if facts else unread,
        gpu_requested=facts.gpu_requested if facts else True,
        requested=facts.requested if facts else None,
        devices=[],
        opens=[],
        gpus=[],
        actions=[],
        warnings=warnings,
        refusal=refusal,
        spec=spec,
        changed=False,
        runsc_flags=[],
        pod=pod,
    )


def _opens(draft: Draft) -> list[str] | None:
    """What can be opened of NVIDIA's nodes after the rules: no mount opens one, so it is what runsc binds."""
    if not draft.facts.gpu_requested:
        return []
    if draft.facts.spec_class != "legacy":
        return [device["path"] for device in draft.devices if is_served(device["path"])]
    minors = gpus.openable(draft.facts.requested, draft.host)
    return None if minors is None else [CONTROL, UVM, *(f"{PREFIX}{minor}" for minor in sorted(minors))]


def _pod(draft: Draft) -> Pod:
    from nvproxy_wrapper.judge import pod  # noqa: PLC0415 - a file more, which Docker's containers need not wait for

    return pod.named(draft.annotations)


def _narrow_privileged(draft: Draft) -> None:
    if is_privileged(draft.cgroup_rules):
        from nvproxy_wrapper.judge.rules import pods  # noqa: PLC0415 - see above

        pods.keep_what_was_given(draft)


def _rewrite_plain_container(draft: Draft) -> None:
    if draft.facts.spec_class == "legacy":
        from nvproxy_wrapper.judge.rules import legacy  # noqa: PLC0415 - a file more is 0.2 ms more for every container that is not legacy

        legacy.keep_trigger(draft)
        legacy.one_value(draft)
    if draft.facts.has_hooks:
        # In legacy mode every container has NVIDIA's hook, which must not hide others. Elsewhere it is one
        # that a newer toolkit brings.
        hooks.allow(draft)
    is_in_gpu_pod = is_in_pod(draft.annotations) and not draft.engine_has_no_pods and gpus.exist(draft.host)
    is_gpu_sandbox = is_in_gpu_pod and is_pod_sandbox(draft.annotations)
    drop_overrides(draft, keep_nvproxy=is_gpu_sandbox)
    if is_gpu_sandbox:
        enable_nvproxy(
            draft, "pod.sandbox", "this pod's containers may ask for a GPU, and runsc decides that here"
        )
    if is_in_gpu_pod or NVPROXY in draft.annotations:
        mounts.refuse_what_stays_open(draft)
        mounts.close(draft)


def _check_usable(draft: Draft, settings_fault: SettingsError | None, kept_fault: Refusal | None) -> None:
    """Before anything is read of a GPU container: what it is read with has to be sound."""
    if settings_fault is not None:
        raise Refusal(
            "settings",
            f"a GPU is asked for, and the settings cannot be used: {str(settings_fault).rstrip('.')}",
            "Put the settings file right, or run the deployment of this host again, which writes it.",
        )
    if kept_fault is not None:
        raise kept_fault
    for name, why in capabilities.unusable(draft.settings, draft.host).items():
        raise Refusal(
            "settings",
            f"a GPU is asked for, and allowed_capabilities has {name}, which {why}: runsc would start no"
            " container with a GPU",
            f"Take {name} out of allowed_capabilities in the inventory, and run the deployment of this host"
            " again.",
            host_prep_may_help=name in draft.settings.runsc_capabilities,
        )


def _rewrite_gpu_container(draft: Draft) -> None:
    facts = draft.facts
    asks_for_more = features.may_be_asked(draft, draft.settings)
    if asks_for_more:
        from nvproxy_wrapper.judge.rules import asked  # noqa: PLC0415 - as above
    if facts.problem or draft.host.is_wsl():
        _refuse_half(draft, asks_for_more=asks_for_more)
    devices.check(draft)
    devices.refuse_mig(draft)
    mounts.refuse_nodes(draft)
    if asks_for_more:
        asked.check(draft)
    if facts.spec_class == "legacy":
        from nvproxy_wrapper.judge.rules import legacy  # noqa: PLC0415 - see above

        legacy.keep_trigger(draft)
        legacy.check_cli(draft)
        legacy.one_value(draft)
        legacy.narrow_to_list(draft)
        legacy.clip_capabilities(draft)
    else:
        env.void(draft)
        hooks.drop_legacy(draft)
    hooks.allow(draft)
    # Before hooks.emulate: a bind that goes must not keep a link from being made in its place.
    mounts.drop_sockets(draft)
    _emulate_hooks(draft)
    mounts.close(draft)
    devices.scope(draft)
    devices.refuse_mig_nodes(draft)
    devices.refuse_integrated(draft)
    if facts.spec_class == "legacy":
        legacy.drop_listed(draft)
    devices.check_uvm(draft)
    devices.drop_dead(draft)
    devices.fill_mode(draft)
    devices.check_exist(draft)
    drop_overrides(draft, keep_nvproxy=True)
    hooks.check_memory_limits(draft)
    if is_in_pod(draft.annotations):
        from nvproxy_wrapper.judge.rules import pods  # noqa: PLC0415 - see above

        pods.refuse_without_nvproxy(draft)
    enable_nvproxy(draft, "annotation.nvproxy", "runsc keeps it for the calls that follow this one")


def _refuse_half(draft: Draft, *, asks_for_more: bool) -> NoReturn:
    """Say why a container cannot have a GPU whose spec has but a part of one, or whose host is WSL's."""
    from nvproxy_wrapper.judge.rules import asked, half_specs  # noqa: PLC0415 - few come here

    if not draft.facts.problem:
        raise half_specs.of_wsl(f"this host has {WSL}")
    half_specs.refuse(draft)
    devices.refuse_integrated(draft)
    if asks_for_more:
        asked.check_alone(draft)
    devices.check_control(draft)
    raise Refusal(
        "spec.class",
        f"the spec has a part of what a GPU container needs: {draft.facts.problem}",
        "Look at what wrote it: CSV files, a CDI specification or --device without the control node.",
    )


def _emulate_hooks(draft: Draft) -> None:
    """`hooks.emulate`: what no hook will do is done by mounts."""
    if not draft.settings.hooks_run:
        hooks.drop_all(draft)
    elif not draft.settings.drop_update_ldcache and not any(
        hook.makes_names for hook, _ in draft.dropped_hooks
    ):
        return
    from nvproxy_wrapper.judge.rules import links  # noqa: PLC0415 - see above

    links.replace(draft)
