"""An object is finished when its constructor returns: nobody assigns to its attributes from outside.

A module may change what its own classes describe; what it gets from elsewhere it calls.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.tree import WINGS, modules, name_of, only_listed, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ALLOWED: Final = {
    "catalog/lake/staged.py: commit: self._transaction.transaction_properties": (
        "Lance takes a transaction's properties this way alone"
    ),
    "catalog/sql/filter.py: _metadata_pairs: pointer.argtypes": "how ctypes declares a function",
    "catalog/sql/filter.py: _metadata_pairs: pointer.restype": "how ctypes declares a function",
    "catalog/sources/web/wire.py: cut_after: timer.daemon": "how a Timer is told",
    "triggers/subscriptions/endings.py: when_forgotten: ending.atexit": "how weakref is told",
}
"""A list that only shrinks."""


class Own:
    """What a module may change: its own classes, and the attributes that they have."""

    def __init__(self, tree: ast.Module) -> None:
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        self.classes = {"cls", *(each.name for each in classes)}
        self.attributes = {name for each in classes for name in self._attributes_of(each)}

    def _attributes_of(self, node: ast.ClassDef) -> Iterator[str]:
        for each in ast.walk(node):
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id
            is_set = isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
            if is_set and ast.unparse(each.value) == "self":
                yield each.attr


def body_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield what stands in a function itself, not in those within it."""
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            left += ast.iter_child_nodes(node)


def class_made(value: ast.AST) -> str | None:
    """Return the class of what ``Class(...)``, ``cls(...)`` or ``cls.__new__(...)`` makes."""
    name = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    name = "cls" if name.endswith(".__new__") else name.rpartition(".")[2]
    return name if name == "cls" or name.lstrip("_")[:1].isupper() else None


def types_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    """Return the classes of the names that are arguments, or objects made here, where that is told."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    types = {each.arg: ast.unparse(each.annotation) for each in arguments if each.annotation}
    for node in body_of(function):
        if isinstance(node, ast.Assign | ast.AnnAssign) and (made := class_made(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            types |= {each.id: made for each in targets if isinstance(each, ast.Name)}
    return types


def intrusions(tree: ast.Module) -> Iterator[str]:
    """Yield ``function: object.attribute`` for each assignment to what is another's."""
    own = Own(tree)
    for function in ast.walk(tree):
        if not isinstance(function, FUNCTIONS):
            continue
        types = types_in(function)
        for node in body_of(function):
            if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
                continue
            holder = ast.unparse(node.value)
            if holder in {"self", "cls"}:
                continue
            is_own = (
                types[holder] in own.classes if holder in types else node.attr in own.attributes
            )
            if not is_own:
                yield f"{function.name}: {holder}.{node.attr}"


@pytest.mark.slow
def test_nothing_is_assigned_to_an_object_from_outside() -> None:
    found = {
        f"{name_of(path)}: {each}" for path in modules(*WINGS) for each in intrusions(parsed(path))
    }
    only_listed(found, ALLOWED, "give it to the constructor, or add a method")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(lake):\n    lake.ledgers = 1", ["f: lake.ledgers"]),
        ("def f(lake):\n    lake.store.wanted += 1", ["f: lake.store.wanted"]),
        ("def f(a, b):\n    a.x, b.y = 1, 2", ["f: a.x", "f: b.y"]),
        ("def f(a):\n    del a.x", ["f: a.x"]),
        ("class C:\n    def f(self):\n        self.x = 1\n        self.lake.x2 = 1", ["f: self.lake.x2"]),
        ("class Made:\n    def new(cls):\n        made = cls.__new__(cls)\n        made.x = 1", []),
        ("def f():\n    lake = Lake()\n    lake.ledgers = 1", ["f: lake.ledgers"]),
        ("class C:\n    x: int\ndef f(each: C, other: D):\n    each.x = other.x = 1", ["f: other.x"]),
        ("class C:\n    x: int\ndef f():\n    for each in found():\n        each.x = 1", []),
        ("def f(a):\n    def g():\n        a.x = 1", ["g: a.x"]),
        ("def f(a):\n    a['x'] = a.x", []),
    ],
)  # fmt: skip
def test_what_is_assigned_from_outside_is_seen(text: str, expected: list[str]) -> None:
    assert sorted(intrusions(ast.parse(text))) == expected
