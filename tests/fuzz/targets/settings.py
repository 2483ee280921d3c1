"""The settings file: accepted is what the schema below allows, told in another way than the wrapper does."""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema

from nvproxy_wrapper.judge.refused_flags import first_refused
from nvproxy_wrapper.judge.settings import DEFAULTS, Settings, SettingsError, parse_settings
from tests.fuzz.json_model import read

LONGEST = 256
# Bytes, of which two are a name and its value.
_PAIRS = 24

_WHERE = "/etc/nvproxy-wrapper/settings.json"

_TEXT = {"type": "string", "pattern": r"^[^\0]*$"}
_PATH = {"type": "string", "pattern": r"^(/(?!\.{1,2}(/|$))[^/\0]+)+$"}
_CAPABILITY = {"type": "string", "pattern": "^(?!all$)[a-z0-9-]+$"}
_BOOLEAN = {"type": "boolean"}


def _list_of(items: dict[str, object]) -> dict[str, object]:
    return {"type": "array", "items": items}


_is_allowed = fastjsonschema.compile(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "runsc": _PATH,
            "runsc_args": _list_of(_TEXT),
            "hooks_run": _BOOLEAN,
            "runsc_flags": _list_of({"type": "string", "pattern": "^[^=-][^=]*$"}),
            "toolkit_mode": {"enum": ["auto", "legacy", "csv", "cdi", "jit-cdi"]},
            "toolkit_version": _TEXT,
            "swarm_resources": _list_of({"type": "string", "pattern": r"^[^=\0]+$"}),
            "trusted_hooks": _list_of(_PATH),
            "trusted_ldconfig": _list_of(_PATH),
            "runsc_capabilities": _list_of(_CAPABILITY),
            "allowed_capabilities": _list_of(_CAPABILITY),
            "host_prep": _list_of(
                {"type": "array", "minItems": 1, "items": [_PATH], "additionalItems": _TEXT}
            ),
            "allow_user_annotations": _BOOLEAN,
            "drop_update_ldcache": _BOOLEAN,
            "proc_driver": _PATH,
            "audit_log": _PATH,
        },
    }
)

_VALUES = [
    *(
        "/opt/gvisor/current/runsc",
        "/x",
        "/",
        "//x",
        "/x/",
        "/x/../y",
        "/./x",
        "/x\0",
        "",
        "a",
        "a\0",
        "-x",
        "a=b",
    ),
    *("csv", "jit-cdi", "auto", "CSV", "compute", "all", "rdma", True, False, None, 0, 1, 1.5, 2**70, [], {}),
    *(
        ["compute", "utility"],
        ["x\n"],
        ["all"],
        ["/usr/bin/nvidia-ctk"],
        ["x"],
        [["/sbin/modprobe", "nvidia"]],
        [[]],
        [["x"]],
    ),
    *(
        [["/x", "a\0"]],
        [["/x", 1]],
        ["--debug", ""],
        [None],
        [{}],
        ["nvproxy", "host-uds"],
        ["--nvproxy"],
        ["a=b"],
        {"a": "/x"},
    ),
]
_WRITTEN = [json.dumps(value, separators=(",", ":")) for value in _VALUES]
_NAMES = [*Settings.__slots__, "unknown", "Runsc", "runsc"]
WORDS = [
    *(value.encode() for value in _WRITTEN),
    *(f'"{name}":'.encode() for name in _NAMES),
    *(b'"', b",", b"/..", b"/.", b"/", b"\\u0000", b"\\u002f", b"[", b"]", b"{", b"}"),
]


def document_of(data: bytes) -> bytes:
    """The document itself, where it begins like one; else one of whole names and values, two bytes a pair.

    Of documents that are changed letter by letter one in a hundred is still JSON.
    """
    if data.lstrip()[:1] in (b"{", b""):
        return data
    pairs = zip(data[:_PAIRS:2], data[1:_PAIRS:2], strict=False)
    members = (_NAMES[name % len(_NAMES)] + '":' + _WRITTEN[value % len(_WRITTEN)] for name, value in pairs)
    return ("{" + ",".join('"' + member for member in members) + "}").encode()


def seeds() -> list[bytes]:
    every = {name: getattr(DEFAULTS, name) for name in Settings.__slots__}
    given = [{}, every, *({name: value} for name in _NAMES for value in (every.get(name), *_VALUES))]
    return [json.dumps(values, separators=(",", ":")).encode() for values in given] + [
        bytes(range(16 * i, 16 * (i + 1))) for i in range(8, 16)
    ]


def check(data: bytes) -> str:
    document = document_of(data)
    reading = read(document)
    is_allowed = not reading.faults and _is_valid(reading.value)
    settings, refusal = _parsed(document)
    if settings is None:
        assert not is_allowed, f"refused: {refusal}"
        assert _WHERE in refusal, refusal
        assert not any(letter < " " for letter in refusal), f"more than one line: {refusal!r}"
        return "refused"
    assert is_allowed, f"accepted: {reading}"
    for name in Settings.__slots__:
        expected = reading.value.get(name, getattr(DEFAULTS, name))
        taken = getattr(settings, name)
        assert (type(taken), taken) == (type(expected), expected), f"{name} is {taken!r}, given {expected!r}"
    return "accepted"


def _parsed(document: bytes) -> tuple[Settings | None, str]:
    """The settings, and why they are refused."""
    try:
        return parse_settings(document, _WHERE), ""
    except SettingsError as error:
        return None, str(error)


def _is_valid(value: Any) -> bool:
    try:
        _is_allowed(value)
    except fastjsonschema.JsonSchemaValueException:
        return False
    # Which flags those are is a table, and no schema's to say.
    return first_refused(value.get("runsc_args", [])) is None
