"""The parts of an OCI runtime spec that the rules look at: their shape is checked, and they are put back.

What is not looked at here stays as it is, known or unknown.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.decision import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Parts:
    """What a spec says about devices, mounts, hooks, the environment and annotations; lists to be changed.

    Attributes:
        env: `process.env`.
        devices: `linux.devices`.
        cgroup_rules: `linux.resources.devices`.
        mounts: `mounts`.
        hooks: `hooks`, by stage.
        annotations: `annotations`.
        cgroups_path: `linux.cgroupsPath`, "" where it is not given.
        rootfs: `root.path`, "" where it is not given.
        has_process: whether there is a `process`, and so an environment to change.
    """

    __slots__ = (
        "annotations",
        "cgroup_rules",
        "cgroups_path",
        "devices",
        "env",
        "has_process",
        "hooks",
        "mounts",
        "rootfs",
    )

    def __init__(self, spec: dict[str, Any]) -> None:
        """Read them.

        Raises:
            Refusal: one of them has another shape than the OCI runtime spec gives it, or a name that Go would
                take for it.
        """
        top = _object(spec, "", ("process", "root", "mounts", "hooks", "annotations", "linux"))
        process = _object(top.get("process"), "process", ("env",))
        linux = _object(top.get("linux"), "linux", ("devices", "resources"))
        resources = _object(linux.get("resources"), "linux.resources", ("devices",))
        hooks = _object(top.get("hooks"), "hooks", STAGES)
        root = _object(top.get("root"), "root", ("path",))

        self.has_process = bool(process)
        self.rootfs: str = _text(root, "path", "root", required=False)
        self.env: list[str] = _texts(process, "env", "process")
        self.annotations: dict[str, Any] = dict(_object(top.get("annotations"), "annotations", ()))
        path = linux.get("cgroupsPath")
        # Nothing hangs on it but what stays of a pod's annotations: no reason to refuse anything.
        self.cgroups_path = path if isinstance(path, str) else ""
        self.devices = _objects(linux, "devices", "linux", ("path", "type", "major", "minor", "fileMode"))
        self.cgroup_rules = _objects(
            resources, "devices", "linux.resources", ("allow", "type", "major", "minor", "access")
        )
        self.mounts = _objects(top, "mounts", "", ("destination", "type", "source", "options"))
        self.hooks: dict[str, list[dict[str, Any]]] = {
            stage: _objects(hooks, stage, "hooks", ("path", "args", "env"))
            for stage in STAGES
            if hooks.get(stage) is not None
        }
        self._check_members()

    def put_back(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A copy of `spec` with these parts in it.

        Only what differs is replaced, names that were there keep their place.
        """
        made = dict(spec)
        _put(made, ("process", "env"), self.env)
        _put(made, ("mounts",), self.mounts)
        _put(made, ("annotations",), self.annotations)
        _put(made, ("linux", "devices"), self.devices)
        _put(made, ("linux", "resources", "devices"), self.cgroup_rules)
        for stage in STAGES:
            _put(made, ("hooks", stage), self.hooks.get(stage, []))
        return made

    def _check_members(self) -> None:
        for device in self.devices:
            _text(device, "path", "linux.devices")
        for where, items in (
            ("linux.devices", self.devices),
            ("linux.resources.devices", self.cgroup_rules),
        ):
            for item in items:
                _text(item, "type", where, required=False)
                _integer(item, "major", where)
                _integer(item, "minor", where)
        for mount in self.mounts:
            _text(mount, "destination", "mounts")
            _text(mount, "source", "mounts", required=False)
            _text(mount, "type", "mounts", required=False)
            _texts(mount, "options", "mounts")
        for stage, hooks in self.hooks.items():
            for hook in hooks:
                _text(hook, "path", f"hooks.{stage}")
                _texts(hook, "args", f"hooks.{stage}")
                _texts(hook, "env", f"hooks.{stage}")


def is_bind(mount: dict[str, Any]) -> bool:
    """Whether a mount is a bind mount, as runsc tells: by its type or its options."""
    options = mount.get("options") or []
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def is_closed(mount: dict[str, Any]) -> bool:
    """Whether no device opens through a mount: of `dev` and `nodev` the last one counts, as in runsc."""
    given = [option for option in mount.get("options") or [] if option in ("dev", "nodev")]
    return given[-1:] == ["nodev"]


def cleaned(path: str) -> str:
    """A path by its text alone, as runsc cleans a mount's destination: `..` at the root stays there."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _put(made: dict[str, Any], names: tuple[str, ...], value: Any) -> None:
    """Set made[a][b]... = value on copies along the way; an emptied part is left out, as Go does."""
    *parents, last = names
    here = made
    for name in parents:
        if not here.get(name) and not value:
            return
        here[name] = dict(here.get(name) or {})
        here = here[name]
    if value:
        if here.get(last) != value:
            here[last] = value
    elif here.get(last):
        del here[last]


def _object(value: Any, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    """`value` as an object; null and nothing are an empty one, as in Go.

    Go's decoder finds a field by its name in any case, with the Unicode foldings of `s` and `k`, and the last
    one wins: `Devices` would be read by runsc and not by these rules.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"{where} is {strict_json.kind(value)} where the OCI spec has an object")
    if names:
        for name in value:
            if name not in names and name.casefold() in _FOLDED and _FOLDED[name.casefold()] in names:
                place = f"{where}.{name}" if where else name
                raise _bad(f"{place!r} would be read as {_FOLDED[name.casefold()]!r} by runsc")
    return value


def _objects(parent: dict[str, Any], name: str, where: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    place = f"{where}.{name}" if where else name
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad(f"{place} is {strict_json.kind(value)} where the OCI spec has an array")
    for item in value:
        if not isinstance(item, dict):
            raise _bad(f"{place} holds {strict_json.kind(item)} where the OCI spec has objects")
        _object(item, place, names)
    return list(value)


def _texts(parent: dict[str, Any], name: str, where: str) -> list[str]:
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise _bad(f"{where}.{name} is not the array of strings that the OCI spec has there")
    return list(value)


def _text(parent: dict[str, Any], name: str, where: str, *, required: bool = True) -> str:
    value = parent.get(name)
    if isinstance(value, str):
        return value
    if value is None and not required:
        return ""
    raise _bad(f"{where} has a member whose {name} is {strict_json.kind(value)} and not a string")


def _integer(parent: dict[str, Any], name: str, where: str) -> None:
    # bool is an int in Python: `true` would pass for the minor 1.
    if not (parent.get(name) is None or type(parent[name]) is int):
        raise _bad(f"{where} has a member whose {name} is not a whole number")


def _bad(message: str) -> Refusal:
    return Refusal(
        "spec.json",
        f"config.json cannot be understood: {message}",
        "Look at what wrote the container's spec.",
    )


_FOLDED = {
    name.casefold(): name
    for name in (
        *(
            "process",
            "root",
            "mounts",
            "hooks",
            "annotations",
            "linux",
            "env",
            "devices",
            "resources",
            "path",
            "type",
        ),
        *("major", "minor", "fileMode", "allow", "access", "destination", "source", "options", "args"),
        *STAGES,
    )
}
