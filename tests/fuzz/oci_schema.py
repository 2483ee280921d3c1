"""The OCI runtime spec's own JSON schema, compiled: an interpreting validator takes ten times as long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastjsonschema

_FOLDER = Path(__file__).resolve().parents[1] / "specs/oci-runtime-spec"
_ROOT = "file:///"


def _schema(uri: str) -> dict[str, Any]:
    # The files name each other by their file names; an `id` says what these are relative to. One reference
    # lacks the slash that makes it a path into the file.
    text = (_FOLDER / uri.removeprefix(_ROOT)).read_text().replace("#definitions/", "#/definitions/")
    return {**json.loads(text), "id": uri}


_validate = fastjsonschema.compile(
    _schema(f"{_ROOT}config-schema.json"), handlers={"file": _schema}, detailed_exceptions=False
)


def is_valid(spec: Any) -> bool:
    """Whether `spec` is valid by the schema."""
    try:
        _validate(spec)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True
