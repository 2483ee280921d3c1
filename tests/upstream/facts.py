"""What a spec says and what a runsc knows, as single facts; and how those of two versions differ. Pure."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Kind(StrEnum):
    """What a fact is about."""

    REFUSAL = "refusal by the shim"
    HOOK = "hook"
    ARGUMENT = "hook argument"
    HOOK_VARIABLE = "hook environment"
    VARIABLE = "environment entry"
    NODE = "node"
    MOUNT = "mount"
    ANNOTATION = "annotation"
    ELSEWHERE = "elsewhere in the spec"
    FLAG = "flag"
    CAPABILITY = "driver capability"
    DRIVER = "driver version"
    ABILITY = "ability"


class How(StrEnum):
    """How two versions differ in a fact."""

    NEW = "new"
    GONE = "gone"
    ORDER = "another order"


@dataclass(frozen=True)
class Fact:
    """One thing that is so. Two that are equal are the same."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Difference:
    """One thing that is so in one of two versions, and not in the other."""

    how: How
    fact: Fact


_UUID = re.compile(r"GPU(-[0-9a-f]+){5}")


def differences(old: Sequence[Fact], new: Sequence[Fact]) -> tuple[Difference, ...]:
    """What is new, then what is gone; and the hooks that both have, where they run in another order now."""
    both = set(old) & set(new)
    found = [Difference(How.NEW, fact) for fact in new if fact not in both]
    found += [Difference(How.GONE, fact) for fact in old if fact not in both]
    before, after = (
        [fact.text for fact in facts if fact.kind is Kind.HOOK and fact in both] for facts in (old, new)
    )
    if before != after:
        found.append(Difference(How.ORDER, Fact(Kind.HOOK, ", ".join(after))))
    return tuple(found)


def differences_by_request(
    old: Mapping[str, Sequence[Fact]], new: Mapping[str, Sequence[Fact]]
) -> dict[Difference, tuple[str, ...]]:
    """Each difference, with the requests in whose specs it is."""
    found: dict[Difference, tuple[str, ...]] = {}
    for request, facts in new.items():
        for difference in differences(old[request], facts):
            found[difference] = (*found.get(difference, ()), request)
    return found


def of_spec(spec: Mapping[str, Any]) -> tuple[Fact, ...]:
    """The facts of an OCI spec. GPUs in them have no names of their own: one hook for each is one fact."""
    rest = json.loads(_UUID.sub("GPU-UUID", json.dumps(spec)))
    hooks = rest.pop("hooks", {})
    environment = rest["process"].pop("env", [])
    nodes = rest["linux"].pop("devices", [])
    mounts = rest.pop("mounts", [])
    annotations = rest.pop("annotations", {})
    facts = [fact for stage, run in hooks.items() for hook in run for fact in _of_hook(stage, hook)]
    facts += [Fact(Kind.VARIABLE, entry) for entry in environment]
    facts += [Fact(Kind.NODE, _named(node, "path")) for node in nodes]
    facts += [Fact(Kind.MOUNT, _named(mount, "destination")) for mount in mounts]
    facts += [Fact(Kind.ANNOTATION, f"{name}={value}") for name, value in annotations.items()]
    facts += [Fact(Kind.ELSEWHERE, text) for text in _leaves(rest)]
    return tuple(dict.fromkeys(facts))


def _of_hook(stage: str, hook: Mapping[str, Any]) -> Iterator[Fact]:
    """The hook, and each of its arguments and variables apart, so that one more link is one more fact."""
    called, *words = hook.get("args") or [""]
    name = [hook["path"]]
    while words and not words[0].startswith("-"):
        name.append(words.pop(0))
    title = f"{stage}: {' '.join(name)}"
    yield Fact(Kind.HOOK, title)
    if called != name[0].rpartition("/")[2]:
        yield Fact(Kind.ARGUMENT, f"{title} called as {called!r}")
    while words:
        option = [words.pop(0)]
        if words and not words[0].startswith("-"):
            option.append(words.pop(0))
        yield Fact(Kind.ARGUMENT, f"{title} {shlex.join(option)}")
    for entry in hook.get("env", []):
        yield Fact(Kind.HOOK_VARIABLE, f"{title} {entry}")
    for key in sorted(hook.keys() - {"path", "args", "env"}):
        yield Fact(Kind.ARGUMENT, f"{title} {key}={json.dumps(hook[key])}")


def _named(item: Mapping[str, Any], name: str) -> str:
    return f"{item[name]} {json.dumps({key: value for key, value in item.items() if key != name})}"


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from (f"{path}: {json.dumps(item)}" for item in value)
    else:
        yield f"{path}: {json.dumps(value)}"
