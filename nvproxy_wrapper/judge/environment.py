"""The container's environment: reading and setting a variable that may be there more than once."""

from __future__ import annotations

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"


def values(env: list[str], name: str) -> list[str]:
    """Every value of a variable, in order; "" for an entry without `=`."""
    return [entry[len(name) + 1 :] for entry in env if entry.partition("=")[0] == name]


def with_one(env: list[str], name: str, value: str) -> list[str]:
    """`env` with exactly one entry of a variable: where the first one stood, or at the end."""
    changed = []
    placed = False
    for entry in env:
        if entry.partition("=")[0] != name:
            changed.append(entry)
        elif not placed:
            changed.append(f"{name}={value}")
            placed = True
    return changed if placed else [*changed, f"{name}={value}"]
