"""The house script, on small trees made up for it."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from tools.house import (
    LIST,
    Layers,
    LongThing,
    cycles,
    dotted,
    main,
    parse_layers,
    parse_module,
    parse_rules,
    renewed,
)

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
package = "pack"
code = ["wing", "src/pack"]
tests = ["tests"]

[limits]
folder = 3           # modules
module = 40
function = 5
test_module = 60
slack = 2
"""
PYPROJECT = """
[[tool.importlinter.contracts]]
name = "high over low"
type = "layers"
containers = ["pack.wing"]
layers = ["high", "left | right", "low"]
"""


class Tree:
    """A tree of code that keeps the rules, until a test has it break one."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        self.write(LIST, RULES)
        self.write("pyproject.toml", PYPROJECT)
        self.write("src/pack/__init__.py", "from pack.wing.high import top\n")
        self.write("wing/high/top.py", "from pack.wing.low import base\n")
        self.write("wing/low/base.py", "")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))

    def allow(self, where: str, lines: int, reason: str = "a reason") -> None:
        text = (self.root / LIST).read_text()
        block = f'\n[[exceptions]]\nwhere = "{where}"\nlines = {lines}\nreason = "{reason}"\n'
        self.write(LIST, text + block)

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code and what failed."""
        code = main(["--root", str(self.root), *arguments])
        self.said = self._capsys.readouterr().out
        lines = self.said.splitlines()
        failed = [line.removeprefix("FAILED: ") for line in lines if line.startswith("FAILED")]
        return code, failed


@pytest.fixture
def tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tree:
    return Tree(tmp_path, capsys)


def function(lines: int, name: str = "long") -> str:
    return f"def {name}():\n" + "    pass\n" * (lines - 1)


def test_a_tree_that_keeps_the_rules_passes_and_is_counted(tree: Tree) -> None:
    tree.write("wing/low/base.py", function(5))
    assert tree.run() == (0, [])
    assert "       1       5  wing/low\n" in tree.said
    assert "       3       7  modules and lines in all" in tree.said
    assert "functions over 5 lines: 0 of 1" in tree.said
    assert "       5  wing/low/base.py:long" in tree.said
    assert "arrows: 2; against the layers: 0" in tree.said
    assert "cycles: 0; exceptions: 0" in tree.said


# --- circles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "back",
    [
        "from pack.wing.high import top",
        "from pack.wing.high.top import name",
        "import pack.wing.high.top",
        "def f():\n    import pack.wing.high.top",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.wing.high import top",
    ],
    ids=["module", "name", "plain", "in a function", "for types"],
)
def test_a_cycle_fails_whatever_kind_of_import_closes_it(tree: Tree, back: str) -> None:
    tree.write("wing/low/base.py", back)
    assert tree.run() == (1, ["a cycle: pack.wing.high.top, pack.wing.low.base"])


def test_a_module_that_imports_itself_is_a_cycle(tree: Tree) -> None:
    tree.write("wing/low/base.py", "import pack.wing.low.base")
    assert tree.run() == (1, ["a cycle: pack.wing.low.base"])


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}}, [["a", "b"], ["c", "d"]]),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}, []),
        ({"a": {"b"}, "b": {"c", "a"}, "c": {"b"}}, [["a", "b", "c"]]),
    ],
    ids=["a line", "a ring", "two rings", "a diamond", "rings that touch"],
)
def test_cycles_are_the_groups_that_reach_themselves(graph, expected) -> None:
    assert cycles(graph) == expected


def test_a_folder_that_is_linked_is_counted_once(tree: Tree) -> None:
    (tree.root / "src/pack/wing").symlink_to(tree.root / "wing")
    assert tree.run() == (0, [])
    assert "       3       2  modules and lines in all" in tree.said


# --- arrows ---------------------------------------------------------------------------------------


def test_arrows_against_the_layers_are_printed_and_fail_nothing_here(tree: Tree) -> None:
    tree.write("wing/left/a.py", "from pack.wing.right import b\nfrom pack.wing.low import base")
    tree.write("wing/right/b.py", "from pack.wing.high import top")
    assert tree.run() == (0, [])
    assert "against the layers: 2\n" in tree.said
    assert "pack.wing.left.a -> pack.wing.right.b (high over low)" in tree.said
    assert "pack.wing.right.b -> pack.wing.high.top (high over low)" in tree.said


def test_contracts_of_other_kinds_are_no_layers() -> None:
    contracts = [
        {"name": "n", "type": "layers", "layers": ["a", "b | c"]},
        {"name": "f", "type": "forbidden", "source_modules": ["a"]},
    ]
    found = list(parse_layers({"tool": {"importlinter": {"contracts": contracts}}}))
    assert found == [Layers("n", (("a",), ("b", "c")))]
    assert list(found[0].against({"ab": {"a"}, "b.x": {"b.y", "other"}, "a": {"b.x"}})) == []


# --- what is too long -----------------------------------------------------------------------------


def test_a_full_folder_fails_and_init_is_no_module_of_it(tree: Tree) -> None:
    for name in ("__init__", "a", "b"):
        tree.write(f"wing/low/{name}.py", "")
    assert tree.run() == (0, [])
    tree.write("wing/low/c.py", "")
    assert tree.run() == (1, ["wing/low holds 4 modules, more than 3"])


def test_what_is_long_fails_unless_it_is_an_exception(tree: Tree) -> None:
    tree.write("wing/low/base.py", function(6) + "x = 1\n" * 40)
    assert tree.run() == (
        1,
        [
            "wing/low/base.py has 46 lines, and is no exception",
            "wing/low/base.py:long has 6 lines, and is no exception",
        ],
    )
    tree.allow("wing/low/base.py", 46)
    tree.allow("wing/low/base.py:long", 6)
    assert tree.run() == (0, [])


def test_functions_are_named_by_what_they_are_in() -> None:
    text = "class C:\n    def f(self):\n        def g():\n            pass\n    async def h(self): ...\n"
    assert parse_module("a.py", "pack", text).functions == {"C.f": 3, "C.f.g": 2, "C.h": 1}


def test_a_long_module_of_tests_fails(tree: Tree) -> None:
    tree.write("tests/test_a.py", "x = 1\n" * 60 + function(20))
    assert tree.run() == (1, ["tests/test_a.py has 80 lines, more than 60"])


@pytest.mark.parametrize(
    ("lines", "failure"),
    [
        (5, "wing/low/base.py:long is an exception that is not needed any more"),
        (7, "wing/low/base.py:long has 7 lines: lower its limit of 10"),
        (8, None),
        (10, None),
        (11, "wing/low/base.py:long has 11 lines, more than its 10"),
    ],
)
def test_the_list_only_shrinks(tree: Tree, lines: int, failure: str | None) -> None:
    tree.write("wing/low/base.py", function(lines))
    tree.allow("wing/low/base.py:long", 10)
    assert tree.run() == ((1, [failure]) if failure else (0, []))


def test_an_exception_of_what_is_gone_or_has_no_reason_fails(tree: Tree) -> None:
    tree.write("wing/low/base.py", function(6))
    tree.allow("wing/low/base.py:long", 6, reason="")
    tree.allow("wing/low/gone.py", 50)
    assert tree.run() == (
        1,
        [
            "wing/low/base.py:long is an exception without a reason",
            "wing/low/gone.py is an exception that is not needed any more",
        ],
    )


# --- rewriting the list ---------------------------------------------------------------------------


def test_rewriting_lowers_raises_drops_and_keeps_reasons(tree: Tree) -> None:
    tree.write("wing/low/base.py", function(9, "one") + function(30, "two"))
    tree.allow("wing/low/base.py:one", 20, 'it says "so"'.replace('"', '\\"'))
    tree.allow("wing/low/base.py:two", 6, "größer")
    tree.allow("wing/low/gone.py", 50)
    assert tree.run("--write") == (0, [])
    text = (tree.root / LIST).read_text()
    assert text.startswith(RULES.rstrip()), "what stands above the exceptions stays"
    assert list(parse_rules(text).exceptions.values()) == [
        LongThing("wing/low/base.py:one", 9, 'it says "so"'),
        LongThing("wing/low/base.py:two", 30, "größer"),
    ]
    assert tree.run("--write") == (0, [])
    assert (tree.root / LIST).read_text() == text


def test_what_is_new_in_the_list_wants_a_reason(tree: Tree) -> None:
    tree.write("wing/low/base.py", function(6))
    assert tree.run("--write") == (1, ["wing/low/base.py:long is an exception without a reason"])


def test_what_moved_brings_its_reason_along() -> None:
    listed = {
        each.where: each
        for each in (LongThing("a/one.py:C.f", 9, "f's"), LongThing("a/two.py", 99, "two's"))
    }
    found = [LongThing("b/one.py:C.f", 8), LongThing("b/three.py", 70), LongThing("b/two.py", 80)]
    assert [each.reason for each in renewed(found, listed)] == ["f's", "", "two's"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("wing/low/base.py", "pack.wing.low.base"),
        ("wing/low/__init__.py", "pack.wing.low"),
        ("src/pack/__init__.py", "pack"),
        ("src/pack/errors.py", "pack.errors"),
    ],
)
def test_the_wings_beside_src_are_the_packages(path: str, name: str) -> None:
    assert dotted(path, "pack") == name
