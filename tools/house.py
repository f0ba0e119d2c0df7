"""The numbers of the house: what stands in which room, what is too long, and what goes in circles.

    python tools/house.py            print the numbers; exit 1 where a rule is broken
    python tools/house.py --write    rewrite the list of exceptions to what is needed today

Rules:
    - No module imports itself, however far round: imports for types alone and in functions count.
    - A folder holds at most so many modules, a module so many lines, a function so many lines.
    - ``house.toml``, beside this file, lists what is longer, each with its length and a reason. The
      list only shrinks: an exception that is not needed, has no reason, or leaves more room than
      ``slack`` is a failure.

Arrows against the layers are printed and fail nothing here: ``lint-imports`` fails on them. The
layers are those of its contracts.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LIST: Final = "tools/house.toml"
LONGEST: Final = 10

Graph = dict[str, set[str]]
"""Which module imports which."""


# --- what there is --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Module:
    """A file of code.

    Attributes:
        path: Where it is, from the root of the tree, with slashes.
        name: What it is imported as.
        lines: How many lines it has.
        functions: The lines of each function, by its qualified name.
        imports: What it imports, with the names from a module.
    """

    path: str
    name: str
    lines: int
    functions: Mapping[str, int] = field(default_factory=dict)
    imports: frozenset[str] = frozenset()


def parse_module(path: str, package: str, text: str) -> Module:
    """Return what is to be known of a file."""
    tree = ast.parse(text)
    functions, imports = dict(_functions(tree)), frozenset(_imports(tree))
    return Module(path, dotted(path, package), len(text.splitlines()), functions, imports)


def dotted(path: str, package: str) -> str:
    """Return what a file is imported as: the wings stand beside ``src``, and are the package's."""
    pieces = path.removeprefix("src/").removesuffix(".py").split("/")
    if pieces[-1] == "__init__":
        pieces.pop()
    return ".".join(pieces if pieces[0] == package else [package, *pieces])


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    for each in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{prefix}{each.name}."
            if not isinstance(each, ast.ClassDef):
                yield prefix + each.name, (each.end_lineno or 0) - each.lineno + 1
        yield from _functions(each, inner)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read_modules(root: Path, folders: Iterable[str], package: str) -> list[Module]:
    """Return the modules in ``folders``, each once: links to folders are not followed."""
    return [
        parse_module(path.relative_to(root).as_posix(), package, path.read_text())
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        if not any((root / parent).is_symlink() for parent in path.relative_to(root).parents[:-1])
    ]


# --- who imports whom -----------------------------------------------------------------------------


def graph_of(modules: Iterable[Module]) -> Graph:
    """Return who imports whom: of an import, the longest beginning that is a module."""
    found = {each.name: each.imports for each in modules}

    def target(imported: str) -> str:
        while imported and imported not in found:
            imported = imported.rpartition(".")[0]
        return imported

    return {name: {target(each) for each in imports} - {""} for name, imports in found.items()}


def cycles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import one another (Tarjan 1972), sorted."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in path:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            at = path.index(name)
            group = sorted(path[at:])
            del path[at:]
            if len(group) > 1 or name in graph[name]:
                found.append(group)

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Layers:
    """A contract: a layer may import those below it; neighbours in one do not know each other."""

    title: str
    layers: tuple[tuple[str, ...], ...]

    def against(self, graph: Graph) -> Iterator[tuple[str, str]]:
        """Yield the arrows that break it."""
        for name in sorted(graph):
            for other in sorted(graph[name]):
                of, to = self._place(name), self._place(other)
                if of and to and of != to and of[0] >= to[0]:
                    yield name, other

    def _place(self, name: str) -> tuple[int, str] | None:
        for at, layer in enumerate(self.layers):
            for each in layer:
                if f"{name}.".startswith(f"{each}."):
                    return at, each
        return None


def parse_layers(pyproject: Mapping[str, Any]) -> Iterator[Layers]:
    """Yield import-linter's contracts that are layers, one for each of their containers."""
    contracts = pyproject.get("tool", {}).get("importlinter", {}).get("contracts", [])
    for each in contracts:
        if each["type"] == "layers":
            for container in each.get("containers", [""]):
                names = [layer.replace(" ", "").split("|") for layer in each["layers"]]
                prefix = container and f"{container}."
                yield Layers(
                    each["name"], tuple(tuple(prefix + name for name in layer) for layer in names)
                )


# --- what is longer than it should be -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LongThing:
    """A module (``path``) or a function (``path:name``), and why it may be long."""

    where: str
    lines: int
    reason: str = ""

    @property
    def name(self) -> str:
        """What stays the same when it moves."""
        return self.where.rpartition(":" if ":" in self.where else "/")[2]


@dataclass(frozen=True, slots=True)
class Rules:
    """What ``house.toml`` says: where code and tests are, the limits, and what may be longer."""

    package: str
    code: tuple[str, ...]
    tests: tuple[str, ...]
    limits: Mapping[str, int]
    exceptions: Mapping[str, LongThing]


def parse_rules(text: str) -> Rules:
    """Return the rules that a ``house.toml`` has."""
    raw = tomllib.loads(text)
    exceptions = {each["where"]: LongThing(**each) for each in raw.get("exceptions", [])}
    return Rules(raw["package"], tuple(raw["code"]), tuple(raw["tests"]), raw["limits"], exceptions)


def long_things(modules: Iterable[Module], limits: Mapping[str, int]) -> list[LongThing]:
    """Return the modules and functions over their limits, by where they are."""
    found = []
    for each in modules:
        sizes = [(each.path, each.lines, limits["module"])]
        sizes += [(f"{each.path}:{n}", x, limits["function"]) for n, x in each.functions.items()]
        found += [LongThing(where, lines) for where, lines, limit in sizes if lines > limit]
    return sorted(found, key=lambda thing: thing.where)


def check_exceptions(
    found: Iterable[LongThing], listed: Mapping[str, LongThing], slack: int
) -> Iterator[str]:
    """Yield what is wrong between what is long and what may be."""
    long = {thing.where: thing.lines for thing in found}
    for where, lines in long.items():
        allowed = listed.get(where)
        if allowed is None:
            yield f"{where} has {lines} lines, and is no exception"
        elif lines > allowed.lines:
            yield f"{where} has {lines} lines, more than its {allowed.lines}"
        elif lines < allowed.lines - slack:
            yield f"{where} has {lines} lines: lower its limit of {allowed.lines}"
        elif not allowed.reason:
            yield f"{where} is an exception without a reason"
    for where in listed.keys() - long.keys():
        yield f"{where} is an exception that is not needed any more"


def renewed(found: Sequence[LongThing], listed: Mapping[str, LongThing]) -> list[LongThing]:
    """Return the exceptions that are needed, with the reasons that they had.

    What moved to another file brings its reason along; what is new has none, and fails for that.
    """
    stays = {thing.where for thing in found}
    moved = {each.name: each.reason for where, each in listed.items() if where not in stays}
    reasons = {where: each.reason for where, each in listed.items()}
    return [
        LongThing(each.where, each.lines, reasons.get(each.where) or moved.get(each.name, ""))
        for each in found
    ]


def with_exceptions(text: str, exceptions: Iterable[LongThing]) -> str:
    """Return ``text``, a ``house.toml``, with other exceptions below what else it says."""
    blocks = [
        f"\n[[exceptions]]\nwhere = {json.dumps(each.where)}\nlines = {each.lines}\n"
        f"reason = {json.dumps(each.reason, ensure_ascii=False)}\n"
        for each in exceptions
    ]
    return text.partition("[[exceptions]]")[0].rstrip() + "\n" + "".join(blocks)


# --- what is said of it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class House:
    """What was found in a tree."""

    rules: Rules
    modules: Sequence[Module]
    tests: Sequence[Module]
    layers: Sequence[Layers]

    def folders(self) -> Counter[str]:
        """Count the modules of each folder; ``__init__`` only says what lives there."""
        paths = [each.path for each in self.modules if not each.path.endswith("/__init__.py")]
        return Counter(path.rpartition("/")[0] for path in paths)

    def problems(self) -> Iterator[str]:
        """Yield each rule that is broken, and where."""
        limits = self.rules.limits
        for group in cycles(graph_of(self.modules)):
            yield f"a cycle: {', '.join(group)}"
        for folder, count in self.folders().items():
            if count > limits["folder"]:
                yield f"{folder} holds {count} modules, more than {limits['folder']}"
        for each in self.tests:
            if each.lines > limits["test_module"]:
                yield f"{each.path} has {each.lines} lines, more than {limits['test_module']}"
        yield from check_exceptions(
            long_things(self.modules, limits), self.rules.exceptions, limits["slack"]
        )

    def report(self) -> Iterator[str]:
        """Yield the lines that say how things stand."""
        yield from self._rooms()
        folder, count = max(self.folders().items(), key=lambda each: each[1], default=("none", 0))
        yield f"\nfullest folder: {folder} with {count} modules"
        limits = self.rules.limits
        modules = {each.path: each.lines for each in self.modules}
        functions = {
            f"{each.path}:{name}": lines
            for each in self.modules
            for name, lines in each.functions.items()
        }
        yield from _longest("modules", modules, limits["module"])
        yield from _longest("functions", functions, limits["function"], least=LONGEST)
        graph = graph_of(self.modules)
        against = [(each.title, *arrow) for each in self.layers for arrow in each.against(graph)]
        yield f"arrows: {sum(map(len, graph.values()))}; against the layers: {len(against)}"
        yield from (f"          {name} -> {other} ({title})" for title, name, other in against)
        yield f"cycles: {len(cycles(graph))}; exceptions: {len(self.rules.exceptions)}"

    def _rooms(self) -> Iterator[str]:
        """Yield a line a room: a wing, and the first folder in it."""
        modules, lines = Counter[str](), Counter[str]()
        for each in [*self.modules, *self.tests]:
            room = "/".join(each.path.split("/")[:-1][:2])
            modules[room] += 1
            lines[room] += each.lines
        yield from (f"{modules[room]:>8}{lines[room]:>8}  {room}" for room in sorted(modules))
        yield f"{modules.total():>8}{lines.total():>8}  modules and lines in all"


def _longest(what: str, sizes: Mapping[str, int], limit: int, *, least: int = 0) -> Iterator[str]:
    """Yield how many are over the limit, and which: at least so many of the longest."""
    over = sum(lines > limit for lines in sizes.values())
    ranked = sorted(sizes.items(), key=lambda each: (-each[1], each[0]))
    yield f"{what} over {limit} lines: {over} of {len(sizes)}"
    yield from (f"{lines:>8}  {where}" for where, lines in ranked[: max(over, least)])


def read_house(root: Path) -> House:
    """Return what is in the tree at ``root``."""
    rules = parse_rules((root / LIST).read_text())
    return House(
        rules,
        read_modules(root, rules.code, rules.package),
        read_modules(root, rules.tests, rules.package),
        list(parse_layers(tomllib.loads((root / "pyproject.toml").read_text()))),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the numbers, and return 1 where a rule is broken."""
    parser = argparse.ArgumentParser(description="Print the numbers of the house.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--write", action="store_true", help="rewrite the list of exceptions")
    given = parser.parse_args(arguments)
    house = read_house(given.root)
    if given.write:
        needed = renewed(long_things(house.modules, house.rules.limits), house.rules.exceptions)
        path = given.root / LIST
        path.write_text(with_exceptions(path.read_text(), needed))
        house = read_house(given.root)
    print(*house.report(), sep="\n")
    problems = list(house.problems())
    for each in problems:
        print(f"FAILED: {each}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
