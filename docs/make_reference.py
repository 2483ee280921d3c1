"""Write the pages that are made from the code: `make docs`. A test sees to it that they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic_core import PydanticUndefined

from deploys.model.settings import Settings
from nvproxy_wrapper.judge import catalogue

DOCS = Path(__file__).parent

_SETTINGS_HEAD = """# Settings

Every setting of a host, as an inventory or `group_data/` may give it. All are checked for all hosts
before any host is touched; an unknown name stops the run. Made by `make docs`.

| setting | what it does | what it must be | default |
|---|---|---|---|
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
        elif isinstance(value, Path) and value.is_absolute():
            default = f"`{value.relative_to(DOCS.parent)}` of this project"
        else:
            default = f"`{value if isinstance(value, str | Path) else plain(value)}`"
        rows.append(f"| `{name}` | {field.title} | {field.description} | {default} |")
    return _SETTINGS_HEAD + "\n".join(rows) + "\n"


def gpu_modes_page() -> str:
    """`docs/gpu-modes.md`: written by hand, but for its tables of what may be asked for beside GPUs."""
    text = (DOCS / "gpu-modes.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(_TABLES_BEGIN)
    _, _, after = rest.partition(_TABLES_END)
    return f"{before}{_TABLES_BEGIN}\n{catalogue.asked_tables()}{_TABLES_END}{after}"


def plain(value: object) -> str:
    """A default as one would write it in an inventory."""
    if isinstance(value, tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


PAGES = {"gpu-modes.md": gpu_modes_page, "settings.md": settings_page, "wrapper.md": catalogue.markdown}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
