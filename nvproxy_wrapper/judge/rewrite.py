"""The whole decision about one spec: the rules, in order, on a copy."""

from __future__ import annotations

from nvproxy_wrapper.judge import environment
from nvproxy_wrapper.judge import request as gpus
from nvproxy_wrapper.judge.classify import Facts
from nvproxy_wrapper.judge.decision import Action, Decision, Refusal
from nvproxy_wrapper.judge.oci_spec import Parts
from nvproxy_wrapper.judge.rules import devices, hooks, mounts
from nvproxy_wrapper.judge.rules.annotations import (
    drop_overrides,
    enable_nvproxy,
    host_has_gpus,
    is_pod_sandbox,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.host.views import ProcDriverView
    from nvproxy_wrapper.judge.rules.hooks import NvidiaHook
    from nvproxy_wrapper.judge.settings import Settings, SettingsError


class Draft(Parts):
    """The parts of a spec while the rules change them.

    Attributes:
        settings: the wrapper's.
        host: what may be looked up.
        facts: what the spec was before any rule.
        actions: what the rules did.
        runsc_flags: what runsc is given.
        trusted_hooks: the NVIDIA hooks that passed `hooks.allow`, whether or not they stay.
        engine_has_no_pods: annotations about pods are the user's own.
    """

    __slots__ = (
        "actions",
        "dropped_devices",
        "engine_has_no_pods",
        "facts",
        "host",
        "runsc_flags",
        "settings",
        "trusted_hooks",
    )

    def __init__(
        self, spec: dict[str, Any], settings: Settings, host: ProcDriverView, *, engine_has_no_pods: bool
    ) -> None:
        super().__init__(spec)
        self.settings = settings
        self.host = host
        self.engine_has_no_pods = engine_has_no_pods
        self.facts = Facts(self, settings.toolkit_mode)
        self.actions: list[Action] = []
        self.runsc_flags: list[str] = []
        self.trusted_hooks: list[NvidiaHook] = []
        self.dropped_devices: list[dict[str, Any]] = []

    def act(self, rule: str, target: str, what: str, why: str) -> None:
        """Note what a rule did."""
        self.actions.append(Action(rule, target, what, why))

    def nvidia_hooks(self) -> list[NvidiaHook]:
        """NVIDIA's hooks that are still there."""
        return hooks.find(self.hooks)

    def drop_hook(self, hook: NvidiaHook, rule: str, why: str) -> None:
        """Remove one hook; by identity, as the same hook may be there twice."""
        self.hooks[hook.stage] = [other for other in self.hooks[hook.stage] if other is not hook.hook]
        self.act(rule, f"{hook.stage}: {hook}", "dropped", why)

    def drop_device(self, device: dict[str, Any], rule: str, why: str) -> None:
        """Remove one node, and with it the line of linux.resources.devices that allows it."""
        self.devices = [other for other in self.devices if other is not device]
        self.dropped_devices.append(device)
        self.cgroup_rules = devices.narrow_cgroup_rules(self.cgroup_rules, self.dropped_devices, self.devices)
        self.act(rule, device["path"], "removed", why)


def decide(
    spec: dict[str, Any],
    settings: Settings,
    host: ProcDriverView,
    settings_fault: SettingsError | None = None,
    *,
    engine_has_no_pods: bool = False,
) -> Decision:
    """What becomes of a container's spec. Pure but for what `host` looks up; `spec` is not changed.

    Args:
        spec: config.json, as `strict_json.loads` gives it.
        settings: the wrapper's; its defaults where `settings_fault` is given.
        host: what may be looked up on this host.
        settings_fault: why the host's own settings cannot be used. GPU containers are refused then, others go
            on.
        engine_has_no_pods: the container is known to be Docker's, which has none.
    """
    try:
        draft = Draft(spec, settings, host, engine_has_no_pods=engine_has_no_pods)
    except Refusal as refusal:
        return not_understood(spec, refusal)
    try:
        if draft.facts.gpu_requested:
            _rewrite_gpu_container(draft, settings_fault)
        else:
            _rewrite_plain_container(draft)
    except Refusal as refusal:
        return _refused(spec, draft.facts, refusal)
    made = draft.put_back(spec)
    paths = [device["path"] for device in draft.devices]
    return Decision(
        spec_class=draft.facts.spec_class,
        evidence=draft.facts.evidence,
        gpu_requested=draft.facts.gpu_requested,
        requested=draft.facts.requested,
        devices=paths,
        gpus=sorted(devices.gpus_in(paths)),
        actions=draft.actions,
        refusal=None,
        spec=made,
        changed=made != spec,
        runsc_flags=draft.runsc_flags,
    )


def not_understood(spec: dict[str, Any], refusal: Refusal) -> Decision:
    """The decision about a spec that could not be read at all: of no class that can be told, and refused."""
    return _refused(spec, None, refusal)


def _refused(spec: dict[str, Any], facts: Facts | None, refusal: Refusal) -> Decision:
    unread = ["The spec could not be read far enough to tell its class"]
    return Decision(
        spec_class=facts.spec_class if facts else "mixed",
        evidence=facts.evidence if facts else unread,
        gpu_requested=facts.gpu_requested if facts else True,
        requested=facts.requested if facts else None,
        devices=[],
        gpus=[],
        actions=[],
        refusal=refusal,
        spec=spec,
        changed=False,
        runsc_flags=[],
    )


def _rewrite_plain_container(draft: Draft) -> None:
    if draft.facts.spec_class == "legacy":
        from nvproxy_wrapper.judge.rules import legacy  # noqa: PLC0415 - a file more is 0.2 ms more for every container that is not legacy

        legacy.one_value(draft)
        # In legacy mode every container has NVIDIA's hook, which must not hide others.
        hooks.allow(draft)
    is_pod = is_pod_sandbox(draft.annotations) and not draft.engine_has_no_pods
    is_gpu_sandbox = is_pod and host_has_gpus(draft.host)
    drop_overrides(draft, keep_nvproxy=is_gpu_sandbox)
    if is_gpu_sandbox:
        enable_nvproxy(
            draft, "pod.sandbox", "this pod's containers may ask for a GPU, and runsc decides that here"
        )


def _rewrite_gpu_container(draft: Draft, settings_fault: SettingsError | None) -> None:
    facts = draft.facts
    if settings_fault is not None:
        raise Refusal(
            "settings",
            f"a GPU is asked for, and the settings cannot be used: {str(settings_fault).rstrip('.')}",
            "Put the settings file right, or run the deployment of this host again, which writes it.",
        )
    if facts.problem:
        raise Refusal(
            "spec.class",
            f"the spec has a part of what a GPU container needs: {facts.problem}",
            "Look at what wrote it: CSV files, a CDI specification or --device without the control node.",
        )
    devices.check(draft)
    # Also what mounts ask for beside the variable: after the rewrite they alone ask.
    gpus.refuse_mig(
        [facts.requested, gpus.volume_mount_request(draft.mounts)],
        "legacy.mig" if facts.spec_class == "legacy" else "devices.scope",
    )
    if facts.spec_class == "legacy":
        from nvproxy_wrapper.judge.rules import legacy  # noqa: PLC0415 - see above

        legacy.check_cli(draft)
        legacy.one_value(draft)
        legacy.clip_capabilities(draft)
    else:
        environment.void(draft)
        hooks.drop_legacy(draft)
    hooks.allow(draft)
    # Before hooks.emulate: a bind that goes must not keep a link from being made in its place.
    mounts.drop_sockets(draft)
    _emulate_hooks(draft)
    devices.scope(draft)
    devices.drop_dead(draft)
    devices.fill_mode(draft)
    devices.check_exist(draft)
    drop_overrides(draft, keep_nvproxy=True)
    enable_nvproxy(draft, "annotation.nvproxy", "runsc keeps it for the calls that follow this one")


def _emulate_hooks(draft: Draft) -> None:
    """`hooks.emulate`: what no hook will do is done by mounts."""
    runs = draft.settings.hooks_run
    if runs and not draft.settings.drop_update_ldcache:
        return
    from nvproxy_wrapper.judge.rules import links  # noqa: PLC0415 - see above

    if runs:
        # A bind on a name that create-symlinks will make would make that hook fail: it cannot remove a mount
        # point.
        made = frozenset(link for _, link in hooks.links_of(draft.trusted_hooks))
        links.emulate(draft, [], sonames=True, but=made)
    else:
        hooks.drop_all(draft)
        links.emulate(draft, hooks.links_of(draft.trusted_hooks), sonames=True)
