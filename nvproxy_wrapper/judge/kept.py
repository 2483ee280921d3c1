"""Whether a kept spec is what a container's spec was made of.

NVIDIA's runtime adds nodes, mounts, hooks and variables to a spec, and takes nothing from it but hooks and
variables (nvidia-container-toolkit 1.14 to 1.20.2, internal/modifier). The CDI library that it uses puts a
mount of its own in the place of one with the same destination, and sorts them (CDI 1.1.1,
pkg/cdi/container-edits.go).
"""

from __future__ import annotations

from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.oci_spec import Parts, is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNTOUCHED = (("process", "args"), ("root", "path"), ("hostname",), ("linux", "cgroupsPath"))
_TOOLKIT_OPTIONS = frozenset(("ro", "nosuid", "nodev"))


def check(kept: dict[str, Any], given: dict[str, Any], where: str) -> None:
    """Find the kept spec in the one that the wrapper was given.

    Args:
        kept: as `strict_json.loads` gives it.
        given: config.json, the same way.
        where: how messages call the kept one.

    Raises:
        Refusal: it is another container's, or one of the two is not of a spec's shape.
    """
    difference = _difference(kept, given)
    if difference:
        raise Refusal(
            "bundle.kept",
            f"{where} is the spec of another container: {difference}",
            "Remove it, and find out who writes into this bundle; the container's engine does not.",
        )


def _difference(kept: dict[str, Any], given: dict[str, Any]) -> str:
    """A sentence on the first thing of the kept spec that is not in the given one; "" for none."""
    for names in _UNTOUCHED:
        if _at(kept, names) != _at(given, names):
            return f"its {'.'.join(names)} is not that of config.json"
    before, after = Parts(kept), Parts(given)
    pairs = {(mount["destination"], mount.get("source") or "") for mount in after.mounts}
    # Of a library or a socket of the driver, for one, that a volume gave as well.
    replaced = {
        mount["destination"]
        for mount in after.mounts
        if is_bind(mount) and _TOOLKIT_OPTIONS.issubset(mount.get("options") or [])
    }
    for mount in before.mounts:
        place = mount["destination"]
        if place not in replaced and (place, mount.get("source") or "") not in pairs:
            return f"its mount on {place} is not in config.json"
    paths = {device["path"] for device in after.devices}
    for device in before.devices:
        if device["path"] not in paths:
            return f"its device {device['path']} is not in config.json"
    for name, value in before.annotations.items():
        if after.annotations.get(name) != value:
            return f"its annotation {name} is not that of config.json"
    return ""


def _at(spec: dict[str, Any], names: tuple[str, ...]) -> Any:
    """What stands there; None for nothing, and for what Go leaves out as it writes: "" and []."""
    here: Any = spec
    for name in names:
        here = here.get(name) if isinstance(here, dict) else None
    return here or None
