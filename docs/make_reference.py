"""Write the pages that are made from the code: `make docs`. A test sees to it that they are up to date."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic_core import PydanticUndefined

from deploys.model.report_schema import schema
from deploys.model.settings import Settings
from deploys.model.verification import catalogue as checks
from nvproxy_wrapper.judge import catalogue, known_failures

DOCS = Path(__file__).parent
QUOTE = '"'

_SETTINGS_HEAD = """# Settings

Every setting of a host, as an inventory or `group_data/` may give it. All are checked for all hosts
before any host is touched; an unknown name stops the run. Made by `make docs`.

pyinfra's `--data` reads a value as JSON where it is that: `--data verify_timeout=120`,
`--data 'kernel_modules=["nvidia"]'`. A version has to be in quotes there, as a number would
lose its last zero: `--data 'driver_version="550.120"'`.

| setting | type | default | what it does | what it must be | example |
|---|---|---|---|---|---|
"""

_TABLES_BEGIN = "<!-- made by `make docs` from nvproxy_wrapper/judge/rules/asked.py -->"
_TABLES_END = "<!-- end -->"


def settings_page() -> str:
    """`docs/settings.md`."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = field.default
        if value is PydanticUndefined:
            default = "(required)"
        elif value is None:
            default = "(none)"
        elif isinstance(value, Path) and value.is_absolute():
            default = f"`{value.relative_to(DOCS.parent)}` of this project"
        else:
            default = f"`{value if isinstance(value, str | Path) else plain(value)}`"
        (example,) = field.examples or ()
        shown = re.sub(r"[0-9a-f]{128}", lambda digits: f"{digits[0][:8]}…", plain(example))
        cells = (
            *(f"`{name}`", kind(field.annotation), default, (field.title or "").replace("<", "&lt;")),
            *(
                (field.description or "").replace("<", "&lt;"),
                f"`{shown.removeprefix(QUOTE).removesuffix(QUOTE)}`",
            ),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return _SETTINGS_HEAD + "\n".join(rows) + "\n"


def kind(annotation: Any, s: str = "") -> str:
    """A type in words; `s` for many of it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0], s)
    if origin in (Union, UnionType):
        return " or ".join(kind(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list{s} of {kind(inner[0], 's')}"
    if origin is Mapping:
        return f"mapping: {kind(inner[0])} to {kind(inner[1])}"
    if issubclass(annotation, Enum):
        return " or ".join(member.value for member in annotation)
    return {str: f"text{s}", bool: "true or false", int: "whole number", Path: "path", date: "day"}[
        annotation
    ]


def gpu_modes_page() -> str:
    """`docs/gpu-modes.md`: written by hand, but for its tables of what may be asked for beside GPUs."""
    text = (DOCS / "gpu-modes.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(_TABLES_BEGIN)
    _, _, after = rest.partition(_TABLES_END)
    return f"{before}{_TABLES_BEGIN}\n{catalogue.asked_tables()}{_TABLES_END}{after}"


def plain(value: object) -> str:
    """A default as one would write it in an inventory."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{plain(name)}: {plain(item)}" for name, item in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


_FAILURES_HEAD = """# Failures that are known

What a verification and `nvproxy-wrapper bundle-report` find behind the texts of the chain's parts, looked for
from top to bottom. A failure that is none of these is called unknown, with everything that was said.
Made by `make docs`.

"""


def failures_page() -> str:
    """`docs/failures.md`."""
    return _FAILURES_HEAD + known_failures.markdown()


def schema_page() -> str:
    """`docs/report.schema.json`."""
    return json.dumps(schema(), indent=2) + "\n"


PAGES = {
    "failures.md": failures_page,
    "gpu-modes.md": gpu_modes_page,
    "report.schema.json": schema_page,
    "settings.md": settings_page,
    "verify.md": checks.markdown,
    "wrapper.md": catalogue.markdown,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
