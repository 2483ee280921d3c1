"""Compile the package: each module by itself, and those of the create path once more into one file.

`python3 -I nvproxy_wrapper/admin/byte_code.py` does it for the package that it lies in, and for the Python
that runs it; the deploys run it after they put the package on a host. What it writes and when that is used:
`joined`.
"""

from __future__ import annotations
import __future__

import ast
import compileall
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

READER = "joined"
ENTRY = "runtime"
"""The module that the launcher asks for `main`."""

_INIT = "__init__"


class Source:
    """One module's text as it is now.

    Attributes:
        name: its path in the package without .py: `runtime`, `judge/decision`, `judge/__init__` for a room.
        tree: what it says, without `from __future__`: as a flag that means the same, and imports nothing.
    """

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self._folder = folder
        self._path = f"{folder}/{name}.py"
        with open(self._path, encoding="utf-8") as file:
            self._status = os.fstat(file.fileno())
            self.tree = ast.parse(file.read(), self._path)
        self.tree.body = [node for node in self.tree.body if getattr(node, "module", None) != "__future__"]

    def imports(self) -> list[str]:
        """The modules of this package that it imports at its top, and the rooms that they are in."""
        found: list[str] = []
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                top, *parts = node.module.split(".")
                if top == os.path.basename(self._folder):
                    found += self._modules(parts, [alias.name for alias in node.names])
        return found

    def code(self) -> CodeType:
        """Its byte-code, without docstrings."""
        flags = __future__.annotations.compiler_flag
        made: CodeType = compile(self.tree, self._path, "exec", flags, dont_inherit=True, optimize=2)
        return made

    def entry(self) -> tuple[str, int, int, CodeType]:
        """What `joined.load` takes."""
        return self.name, self._status.st_size, int(self._status.st_mtime), self.code()

    def _modules(self, parts: list[str], names: list[str]) -> list[str]:
        """The modules that `from PACKAGE.PARTS import NAMES` loads, in the order in which it does."""
        paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        paths += ["/".join([*parts, name]) for name in names]
        rooms = [f"{path}/{_INIT}" for path in paths]
        return [
            name for pair in zip(rooms, paths) for name in pair if os.path.exists(f"{self._folder}/{name}.py")
        ]


def write(folder: str) -> None:
    """Compile the package in `folder`.

    Raises:
        OSError: a file cannot be read or written.
        SyntaxError: a module is not for this Python.
    """
    sources = _with_imports(folder, ENTRY, {_INIT: Source(folder, _INIT)})
    parts = (Source(folder, READER).code(), tuple(source.entry() for source in sources.values()))
    if not compileall.compile_dir(folder, quiet=1):
        raise SyntaxError(f"{folder} has a module that is not for Python {sys.version.split()[0]}")
    # Byte-code of another magic number is not only wrong: reading it may end the process.
    path = f"{folder}/__pycache__/{READER}.{MAGIC_NUMBER.hex()}"
    with open(f"{path}.new", "wb") as file:
        file.write(marshal.dumps(parts))
        os.fchmod(file.fileno(), 0o644)
    os.replace(f"{path}.new", path)


def _with_imports(folder: str, name: str, found: dict[str, Source]) -> dict[str, Source]:
    """`found`, and behind it what `name` imports and `name` itself."""
    source = Source(folder, name)
    for other in source.imports():
        if other not in found:
            found = _with_imports(folder, other, found)
    return {**found, name: source}


if __name__ == "__main__":
    write(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
