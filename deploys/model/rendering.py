"""Templates to text. They are read once, at import: they belong to the program as its modules do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import toml

TEMPLATES = Path(__file__).parents[2] / "templates"

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.DictLoader(
        {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.j2")}
    ),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701 - shell, TOML and JSON, never HTML; each template quotes by the filters below
)


# For writing only: the `toml` package reads a truncated file without complaint; what is read goes to tomllib.
_ENVIRONMENT.filters["toml"] = toml.TomlEncoder().dump_value


def render(template: str, **data: Any) -> str:
    """The text of `templates/<template>`; a name that it uses and `data` lacks is a jinja2 error."""
    return _ENVIRONMENT.get_template(template).render(**data)
