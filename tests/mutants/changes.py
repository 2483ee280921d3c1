"""The small changes that a module is tried with: one mutant for each place and operator.

- a comparison turned round or moved by one, `and` for `or`, a condition or a `not` the other way;
- a constant: True for False, a number one higher, a string longer by two letters, a word of a list of flags;
- `+` for `-`, `&` for `|`, a method for its opposite (`startswith` for `endswith`, `any` for `all`);
- a call, an assignment or a `raise` that stands as a statement left out, `break` for `continue`, a condition
  of a comprehension left out, a value that is returned replaced by None.

Not tried: docstrings, annotations, `__slots__`, what is for type checkers alone, what stands in for a module
that cannot be imported (`except ImportError` at the top), and sentences, which no test need pin. A string is
a sentence where it has a space beside a word, unless it is handed over by keyword and has nothing but words
of small letters, as the tables of flags in `command_line` are. A sentence with values in it, an f-string,
counts with all that is in its braces.
"""

from __future__ import annotations

import ast
import copy
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    _Parents = tuple[ast.AST, ...]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {
    one: other
    for pair in (
        ("startswith", "endswith"),
        ("partition", "rpartition"),
        ("lower", "upper"),
        ("lstrip", "rstrip"),
        ("any", "all"),
        ("min", "max"),
        ("isdigit", "isalpha"),
    )
    for one, other in (pair, pair[::-1])
}
_SHOWN = 100
_WORD = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        module: its file, from the judge's folder on.
        index: its number among the mutants of that file, for `tree_of`.
        function: the function it is in, `Class.method`; "" at the top of the module.
        line: where, in the file as it is.
        change: `before -> after`, and a number where the function has the same change more than once.
    """

    module: str
    index: int
    function: str
    line: int
    change: str

    @property
    def where(self) -> str:
        """What names its place also where lines have moved."""
        return f"{self.module}:{self.function}".rstrip(":")

    def __str__(self) -> str:
        return f"nvproxy_wrapper/judge/{self.module}:{self.line}  {self.function or 'table'}: {self.change}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its source."""
    seen: Counter[tuple[str, str]] = Counter()
    for index, (function, parents, node, replacement) in enumerate(_changes(ast.parse(source))):
        around = _around(parents, node)
        before = _text(around or node)
        _replace(parents[-1], node, replacement)
        change = f"{_cut(before)} -> {_cut(_text(around or replacement))}"
        _replace(parents[-1], replacement, node)
        seen[function, change] += 1
        if seen[function, change] > 1:
            change += f" ({seen[function, change]})"
        yield Mutant(module, index, function, node.lineno, change)


def tree_of(source: str, mutant: Mutant) -> ast.Module:
    """The module with that change in it."""
    tree = ast.parse(source)
    _, parents, node, replacement = next(itertools.islice(_changes(tree), mutant.index, None))
    _replace(parents[-1], node, replacement)
    return ast.fix_missing_locations(tree)


def is_sentence(text: str) -> bool:
    """Whether a string is wording: a space stands beside a word, or it joins a list for a reader."""
    return text == ", " or (" " in text and text.strip(" ,\t\n\r") != "")


def _changes(tree: ast.Module) -> Iterator[tuple[str, _Parents, ast.stmt | ast.expr, ast.AST]]:
    """(function, what it is in, a node, what may stand in its place)."""
    for function, parents, node in list(_places(tree, "", ())):
        for replacement in _replacements(node, parents):
            yield function, parents, node, replacement


def _places(node: ast.AST, function: str, parents: _Parents) -> Iterator[tuple[str, _Parents, Any]]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_left_out(child):
                continue
            inner = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}".lstrip(".")
            here = (*parents, node)
            if hasattr(child, "lineno"):
                yield inner, here, child
            yield from _places(child, inner, here)


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.ImportFrom() | ast.Import():
            return True
        case ast.ExceptHandler(type=ast.Tuple(elts=[ast.Name(id="ImportError"), *_])):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING" | "__slots__")]):
            return True
        case ast.JoinedStr(values=parts):
            return any(isinstance(part, ast.Constant) and " " in part.value for part in parts)
    return False


def _replacements(node: ast.AST, parents: _Parents) -> Iterator[ast.AST]:
    if isinstance(node, ast.stmt):
        if any(isinstance(one, ast.FunctionDef) for one in parents):
            yield from _statements(node)
        return
    yield from _operators(node)
    yield from _conditions(node, parents[-1])
    match node:
        case ast.Constant(value=value):
            yield from _constants(value, parents[-1])
        case ast.Attribute(value=value, attr=attr) if attr in _NAMES:
            yield ast.Attribute(value, _NAMES[attr], node.ctx)
        case ast.Name(id=name) if name in _NAMES and isinstance(parents[-1], ast.Call):
            yield ast.Name(_NAMES[name], node.ctx)
        case (
            ast.ListComp(generators=[one])
            | ast.SetComp(generators=[one])
            | ast.GeneratorExp(generators=[one])
        ) if one.ifs:
            changed = copy.copy(node)
            changed.generators = [ast.comprehension(one.target, one.iter, [], one.is_async)]
            yield changed


def _operators(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=[op, *ops], comparators=comparators):
            yield ast.Compare(left, [_COMPARISONS[type(op)](), *ops], comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield ast.BinOp(left, _OPERATORS[type(op)](), right)


def _conditions(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """A bare name or call that decides; comparisons and the like have changes of their own."""
    if getattr(parent, "test", None) is node and isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield ast.UnaryOp(ast.Not(), node)


def _statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield ast.Pass()


def _constants(value: object, parent: ast.AST) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"XX")
    elif isinstance(value, str):
        if not is_sentence(value):
            yield ast.Constant(f"{value}XX")
        elif isinstance(parent, ast.keyword) and all(map(_WORD.fullmatch, value.split())):
            words = value.split()
            for place, word in enumerate(words):
                yield ast.Constant(" ".join([*words[:place], f"{word}XX", *words[place + 1 :]]))


def _replace(parent: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for field, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, field, new)
            return
        if isinstance(value, list):
            for place, one in enumerate(value):
                if one is old:
                    value[place] = new
                    return
    raise AssertionError(ast.dump(old))


def _around(parents: tuple[ast.AST, ...], node: ast.AST) -> ast.AST | None:
    """The widest part of the statement around a node that is still short; None: the node says enough."""
    widest, inner = None, node
    for parent in reversed(parents):
        is_part = isinstance(parent, ast.expr | ast.keyword | ast.comprehension | ast.Return | ast.Assign)
        is_test = isinstance(parent, ast.If | ast.While) and parent.test is inner
        if not (is_part or is_test):
            break
        if not isinstance(parent, ast.comprehension):
            if len(_text(parent)) > _SHOWN:
                break
            widest = parent
        inner = parent
    return widest


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN * 2 else f"{text[: _SHOWN * 2]}..."


def _text(node: ast.AST) -> str:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            return f"{type(node).__name__.lower()} {_text(test)}"
    return " ".join(ast.unparse(node).split())
