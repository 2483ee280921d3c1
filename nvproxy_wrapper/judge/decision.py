"""What the wrapper's parts hand each other: actions, notices, a refusal, the whole decision about one spec.

Plain classes, not dataclasses: `import dataclasses` costs more than the whole rewrite (it pulls in `re` and
`inspect`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A GPU container that must not start: what is wrong, where, and what to do.

    Attributes:
        rule: id of the rule that refuses, as in `catalogue`.
        message: what is wrong, with the value, and where.
        remedy: what to do about it.
        host_prep_may_help: whether modules loaded and nodes made on the host could turn it into a yes.
    """

    def __init__(self, rule: str, message: str, remedy: str, *, host_prep_may_help: bool = False) -> None:
        super().__init__(rule, message, remedy)
        self.rule = rule
        self.message = message
        self.remedy = remedy
        self.host_prep_may_help = host_prep_may_help

    def sentence(self) -> str:
        """What the error stream and the runtime's log get; Docker shows it to its user as it is."""
        return f"nvproxy-wrapper: {self.message} ({self.rule}). {self.remedy}"

    def as_json(self) -> dict[str, str]:
        """The object that `rewrite` prints and `explain` carries."""
        return {"rule": self.rule, "message": self.message, "remedy": self.remedy}


def printable(text: str) -> str:
    """`text` without the power to steer a terminal or to begin a line; strangers write parts of it."""
    return (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    )


class Action:
    """One thing that a rule did to the spec: `explain` prints these, the decision log counts them."""

    __slots__ = ("rule", "target", "what", "why")

    def __init__(self, rule: str, target: str, what: str, why: str) -> None:
        self.rule = rule
        self.target = target
        self.what = what
        self.why = why

    def as_json(self) -> dict[str, str]:
        """The object under `actions` in `explain --format json`."""
        return {"rule": self.rule, "target": self.target, "what": self.what, "why": self.why}


class Notice:
    """A warning: something that was asked for and is not given, to a container that starts all the same.

    Attributes:
        rule: id of the rule that says it.
        asked: what was asked for, and where; without the power to steer a terminal.
        not_given: half a sentence: what does not work.
        why: half a sentence.
        remedy: what to do about it.
    """

    __slots__ = ("asked", "not_given", "remedy", "rule", "why")

    def __init__(self, rule: str, asked: str, not_given: str, why: str, remedy: str) -> None:
        self.rule = rule
        self.asked = asked
        self.not_given = not_given
        self.why = why
        self.remedy = remedy

    def sentence(self) -> str:
        """What the runtime's log gets."""
        return f"nvproxy-wrapper: asked for and not given: {self.text()} ({self.rule}). {self.remedy}"

    def text(self) -> str:
        """What was asked for, and what becomes of it."""
        return f"{self.asked}: {self.not_given}; {self.why}"

    def as_json(self) -> dict[str, str]:
        """The object under `warnings`, in the decision log and in `explain --format json`."""
        return {name: getattr(self, name) for name in ("rule", "asked", "not_given", "why", "remedy")}


class Pod:
    """Which of a pod's containers it is; "" for what no annotation says.

    Attributes:
        namespace: of the pod.
        name: of the pod.
        container: its name in the pod; "" for the sandbox.
        cdi_devices: the names in annotations cdi.k8s.io/*, where the engine passes those on.
    """

    __slots__ = ("cdi_devices", "container", "name", "namespace")

    def __init__(self, namespace: str, name: str, container: str, cdi_devices: list[str]) -> None:
        self.namespace = namespace
        self.name = name
        self.container = container
        self.cdi_devices = cdi_devices


class Decision:
    """The answer about one spec.

    Attributes:
        spec_class: one of none, legacy, csv, cdi, jit-cdi, device-plugin, mixed.
        evidence: sentences that say from which hook, device or variable the class was told.
        gpu_requested: whether this container asks for a GPU.
        requested: "all", "none", the ids as they were written, or None where nothing names any.
        devices: `/dev` paths in `linux.devices` after the rewrite, in the spec's order.
        opens: paths of NVIDIA's nodes that can be opened in the container; None where only
            nvidia-container-cli knows.
        gpus: minors among `opens`, ascending; None as there.
        actions: what the rules did, in the order in which they did it.
        warnings: what was asked for and is not given, each once.
        refusal: set where the container must not start; then `spec` is the one that was given.
        spec: the rewritten spec. The object that was given is never changed.
        changed: whether `spec` differs from what was given; when false, the bundle's bytes stay as they are.
        runsc_flags: flags to put before the caller's own arguments, `--nvproxy` for GPU containers.
        pod: which of a pod's containers this is; None where it is none's.
    """

    __slots__ = (
        "actions",
        "changed",
        "devices",
        "evidence",
        "gpu_requested",
        "gpus",
        "opens",
        "pod",
        "refusal",
        "requested",
        "runsc_flags",
        "spec",
        "spec_class",
        "warnings",
    )

    def __init__(  # noqa: PLR0913 - a record
        self,
        *,
        spec_class: str,
        evidence: list[str],
        gpu_requested: bool,
        requested: str | list[str] | None,
        devices: list[str],
        opens: list[str] | None,
        gpus: list[int] | None,
        actions: list[Action],
        warnings: list[Notice],
        refusal: Refusal | None,
        spec: dict[str, Any],
        changed: bool,
        runsc_flags: list[str],
        pod: Pod | None = None,
    ) -> None:
        self.spec_class = spec_class
        self.evidence = evidence
        self.gpu_requested = gpu_requested
        self.requested = requested
        self.devices = devices
        self.opens = opens
        self.gpus = gpus
        self.actions = actions
        self.warnings = warnings
        self.refusal = refusal
        self.spec = spec
        self.changed = changed
        self.runsc_flags = runsc_flags
        self.pod = pod

    def as_json(self) -> dict[str, Any]:
        """What `explain` shows of it; neither the spec nor the evidence."""
        return {
            "class": self.spec_class,
            "gpu_requested": self.gpu_requested,
            "requested": self.requested,
            "devices": self.devices,
            "gpus": self.gpus,
            "actions": [action.as_json() for action in self.actions],
            "warnings": [warning.as_json() for warning in self.warnings],
            "refusal": self.refusal.as_json() if self.refusal else None,
        }
