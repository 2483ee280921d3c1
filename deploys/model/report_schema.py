"""The JSON Schema of a report's JSON document, made from the types that the document is made of. Pure.

Draft 7, which every validator reads. A name and a sentence stand once: in the types' own docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

from deploys.model.checks import HostResult, State
from deploys.model.report import SCHEMA
from deploys.model.sight import Sight

_NAMES = {"Mapping": Mapping, "Sight": Sight}
_PLAIN: dict[Any, str] = {str: "string", float: "number", int: "integer", bool: "boolean", type(None): "null"}
_TIME = {"type": "string", "description": "in ISO 8601, UTC"}


def schema() -> dict[str, Any]:
    """The schema. Within a version keys may be added, and none is taken away or changes its meaning."""
    host = _object(HostResult)
    host["properties"]["checks"]["items"]["properties"]["host"] = {
        "type": "string",
        "description": "its host's name, so that a list of checks of a fleet needs nothing else",
    }
    # A host's name and what was verified there are keys of the document.
    for name in ("host", "versions"):
        del host["properties"][name]
    host["properties"]["verdict"] = {
        **_schema(State),
        "description": "of all checks; `unknown` where it could not be told, which is never `passed`",
    }
    host["required"] = sorted(host["properties"])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The report of a verification by nvproxy-fleet",
        "description": "Keys may be added within a version: read those that you know.",
        "type": "object",
        "properties": {
            "schema": {"const": SCHEMA, "description": "the version of this schema"},
            "started": {**_TIME},
            "finished": {**_TIME},
            "settings": {
                "type": "object",
                "description": "by host: what was verified there, by the names of the settings",
                "additionalProperties": _schema(Mapping[str, str]),
            },
            "hosts": {"type": "object", "description": "by name", "additionalProperties": host},
        },
        "required": ["schema", "started", "finished", "settings", "hosts"],
    }


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, localns=_NAMES)
    said = _descriptions(kind)
    names = [field.name for field in fields(kind)]
    properties = {name: {**_schema(hints[name]), "description": said[name]} for name in names}
    return {"type": "object", "properties": properties, "required": sorted(names)}


def _schema(kind: Any) -> dict[str, Any]:
    if is_dataclass(kind) and isinstance(kind, type):
        return _object(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [member.value for member in kind]}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema(parts[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(parts[1])}
    return {"anyOf": [_schema(part) for part in parts]}


def _descriptions(kind: type[Any]) -> dict[str, str]:
    """The sentences of a docstring's part `Attributes:`, by name."""
    _, _, text = (kind.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", sentence) for name, sentence in found}
