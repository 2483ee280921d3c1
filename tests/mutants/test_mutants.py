"""What `make mutants` does to a module, and that its explanations are of mutants that are there."""

import ast
import sys
import types

import pytest

from tests.mutants.__main__ import explained, stale
from tests.mutants.changes import mutants_of, tree_of
from tests.mutants.live import install
from tests.mutants.trial import mutants

SOURCE = '''"""A docstring."""
LIMITS = ("low", "high")
ALL = (*LIMITS, "none")

def limit(value: int, name: str = "low") -> bool:
    """Another one."""
    if not value or value > 3:
        raise ValueError(f"the value {value} of {name} is bad")
    return name in ALL and value < 3
'''

CHANGES = [
    ("", 2, "LIMITS = ('low', 'high') -> LIMITS = ('lowXX', 'high')"),
    ("", 2, "LIMITS = ('low', 'high') -> LIMITS = ('low', 'highXX')"),
    ("", 3, "ALL = (*LIMITS, 'none') -> ALL = (*LIMITS, 'noneXX')"),
    ("limit", 5, "'low' -> 'lowXX'"),
    ("limit", 7, "if not value or value > 3 -> if not value and value > 3"),
    ("limit", 7, "if not value or value > 3 -> if value or value > 3"),
    ("limit", 7, "if not value or value > 3 -> if not value or value >= 3"),
    ("limit", 7, "if not value or value > 3 -> if not value or value > 4"),
    ("limit", 8, "raise ValueError(f'the value {value} of {name} is bad') -> pass"),
    ("limit", 9, "return name in ALL and value < 3 -> return None"),
    ("limit", 9, "return name in ALL and value < 3 -> return name in ALL or value < 3"),
    ("limit", 9, "return name in ALL and value < 3 -> return name not in ALL and value < 3"),
    ("limit", 9, "return name in ALL and value < 3 -> return name in ALL and value <= 3"),
    ("limit", 9, "return name in ALL and value < 3 -> return name in ALL and value < 4"),
]


def test_every_place_but_sentences_and_docstrings_is_changed_once():
    made = [(mutant.function, mutant.line, mutant.change) for mutant in mutants_of("x.py", SOURCE)]
    assert made == CHANGES


def test_the_flags_of_a_table_are_changed_one_by_one():
    made = [mutant.change for mutant in mutants_of("x.py", "f(flags='root log')")]
    assert made == [
        "f(flags='root log') -> f(flags='rootXX log')",
        "f(flags='root log') -> f(flags='root logXX')",
    ]


@pytest.mark.parametrize("mutant", list(mutants_of("x.py", SOURCE)), ids=lambda mutant: mutant.change)
def test_the_tree_of_a_mutant_has_its_change_and_no_other(mutant):
    given = ast.unparse(ast.parse(SOURCE)).splitlines()
    made = ast.unparse(tree_of(SOURCE, mutant)).splitlines()
    assert len([1 for one, other in zip(given, made, strict=True) if one != other]) == 1


def test_a_mutant_is_seen_by_who_holds_the_function_and_so_is_what_is_made_of_a_table(monkeypatch):
    module = types.ModuleType("tests.x")
    exec(SOURCE, vars(module))
    held = module.limit
    holder = types.ModuleType("test_x")
    holder.ALL = module.ALL
    monkeypatch.setitem(sys.modules, "test_x", holder)
    monkeypatch.setitem(sys.modules, "tests.x", module)
    assert held(2, "low")
    for mutant in mutants_of("x.py", SOURCE):
        if mutant.change in (CHANGES[0][2], CHANGES[-2][2]):
            install(module, mutant, tree_of(SOURCE, mutant))
    assert module.limit is held
    assert holder.ALL == module.ALL == ("lowXX", "high", "none")
    assert held(3, "high")


def test_every_explanation_is_of_a_mutant_that_is_there():
    assert stale(explained(), mutants()) == []


def test_no_two_mutants_are_explained_by_one():
    made = [(mutant.where, mutant.change) for mutant in mutants()]
    assert len(made) == len(set(made))
