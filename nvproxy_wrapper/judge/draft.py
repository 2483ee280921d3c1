"""A spec while the rules change it: its parts, what was found out about it, and what was done.

It knows no rule: rules are functions of a draft, in `nvproxy_wrapper.judge.rules`.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.classify import Facts
from nvproxy_wrapper.judge.decision import Action
from nvproxy_wrapper.judge.device_nodes import numbers
from nvproxy_wrapper.judge.oci_spec import Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.judge.decision import Notice
    from nvproxy_wrapper.judge.host_view import HostView
    from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook
    from nvproxy_wrapper.judge.settings import Settings


class Draft(Parts):
    """The parts of a spec while the rules change them.

    Attributes:
        settings: the wrapper's.
        host: what may be looked up.
        facts: what the spec was before any rule.
        actions: what the rules did.
        warnings: what was asked for and is not given.
        runsc_flags: what runsc is given.
        dropped_hooks: the hooks that were dropped, each with the reason.
        trusted_hooks: the NVIDIA hooks that passed `hooks.allow`, whether or not they stay.
        engine_has_no_pods: annotations about pods are the user's own.
    """

    __slots__ = (
        "actions",
        "dropped_devices",
        "dropped_hooks",
        "engine_has_no_pods",
        "facts",
        "host",
        "runsc_flags",
        "settings",
        "trusted_hooks",
        "warnings",
    )

    def __init__(
        self,
        spec: dict[str, Any],
        settings: Settings,
        host: HostView,
        *,
        engine_has_no_pods: bool,
        kept: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(spec)
        self.settings = settings
        self.host = host
        self.engine_has_no_pods = engine_has_no_pods
        self.facts = Facts(self, settings, None if kept is None else Parts(kept))
        self.actions: list[Action] = []
        self.warnings: list[Notice] = []
        self.runsc_flags: list[str] = []
        self.trusted_hooks: list[NvidiaHook] = []
        self.dropped_devices: list[dict[str, Any]] = []
        self.dropped_hooks: list[tuple[NvidiaHook, str]] = []

    def act(self, rule: str, target: str, what: str, why: str) -> None:
        """Note what a rule did."""
        self.actions.append(Action(rule, target, what, why))

    def drop_hook(self, hook: NvidiaHook, rule: str, why: str) -> None:
        """Remove one hook; by identity, as the same hook may be there twice."""
        self.hooks[hook.stage] = [other for other in self.hooks[hook.stage] if other is not hook.hook]
        self.dropped_hooks.append((hook, why))
        self.act(rule, f"{hook.stage}: {hook}", "dropped", why)

    def drop_device(self, device: dict[str, Any], rule: str, why: str) -> None:
        """Remove one node, and with it the line of linux.resources.devices that allows it."""
        self.devices = [other for other in self.devices if other is not device]
        self.dropped_devices.append(device)
        self.cgroup_rules = _narrow_cgroup_rules(self.cgroup_rules, self.dropped_devices, self.devices)
        self.act(rule, device["path"], "removed", why)


def _narrow_cgroup_rules(
    rules: list[dict[str, Any]], removed: list[dict[str, Any]], kept: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """linux.resources.devices without what allows the removed nodes and no kept one.

    runsc ignores the list; whoever reads the spec finds it true to the nodes.
    """
    gone = {numbers(device) for device in removed} - {numbers(device) for device in kept}
    return [rule for rule in rules if rule.get("allow") is not True or numbers(rule) not in gone]
