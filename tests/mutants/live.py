"""A mutant put in the place of the code that is loaded, in a process that is thrown away afterwards.

Tests hold functions and tables that they imported long ago. So a function stays the same object and gets the
mutant's code. Tables are made anew, the one that is changed and those behind it that may be made of it, out
of the classes and functions that are there; they replace the old ones wherever a module has that very object
under the same name.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping

    from tests.mutants.changes import Mutant


def install(module: types.ModuleType, mutant: Mutant, tree: ast.Module) -> None:
    """Put it there; raises whatever the mutant raises while its module is imported."""
    changed, following = _statements(tree, mutant.line)
    before = dict(vars(module))
    if isinstance(changed, ast.FunctionDef | ast.ClassDef):
        new = _member(_executed(module, [changed]), mutant.function)
        if hasattr(new, "__code__"):
            live = _member(before, mutant.function)
            live.__code__ = new.__code__
            live.__defaults__, live.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
            changed = ast.Pass()
    for name, value in _executed(module, [changed, *following]).items():
        if value is before.get(name):
            continue
        for holder in list(sys.modules.values()):
            # pytest knows a file of tests by its own name alone, where its folder is no package.
            is_ours = holder.__name__.partition(".")[0].partition("_")[0] in ("nvproxy", "tests", "test")
            if is_ours and name in vars(holder) and vars(holder)[name] is before.get(name):
                setattr(holder, name, value)


def _statements(tree: ast.Module, line: int) -> tuple[ast.stmt, list[ast.stmt]]:
    """The statement of the module in which the line is, and those behind it that may make tables."""
    place = next(
        place for place, one in enumerate(tree.body) if one.lineno <= line <= (one.end_lineno or one.lineno)
    )
    tables = (ast.Assign, ast.AnnAssign, ast.Try)
    return tree.body[place], [one for one in tree.body[place + 1 :] if isinstance(one, tables)]


def _executed(module: types.ModuleType, statements: list[ast.stmt]) -> dict[str, Any]:
    """The module's names after these statements; the module itself is left as it is."""
    names = dict(vars(module))
    future = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    tree = ast.fix_missing_locations(ast.Module([future, *statements], []))
    exec(compile(tree, f"<mutant of {module.__name__}>", "exec"), names)
    return names


def _member(names: Mapping[str, Any], path: str) -> Any:
    """What a function or class of that path is; the function of a property or a static method."""
    found: Any = None
    for part in path.split("."):
        found = names[part]
        found = getattr(found, "fget", getattr(found, "__func__", found))
        names = vars(found)
    return found
