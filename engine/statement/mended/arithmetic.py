"""Whole numbers that end where their type does: DataFusion 54.1 goes on at the other end of it.

``n + 1`` of the largest number is the smallest one there, and so is a sum. Here what may pass the
end is computed in decimals of 38 digits and brought back, which fails where it does not fit. What
cannot pass it, as the sum of an INT and a small number, stays as it is.

What is brought back stands in a ``greatest`` of its own, which gives it as it is: DataFusion asks
a cast for its type twice at each turn of planning, a function once. Casts of casts, as chains of
WITH and of views make them, would take twice as long to plan with each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_operand
from affidavit.engine.statement.honoured import AGGREGATES
from affidavit.engine.statement.reading.places import (
    OPERATORS,
    between,
    clause,
    factor_before,
    is_query,
)
from affidavit.engine.statement.reading.walker import closing, siblings, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Span, Tokens


WIDE: Final = "DECIMAL(38, 0)"

_SQL: Final = {
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INT", "int64": "BIGINT",
    "uint8": "TINYINT UNSIGNED", "uint16": "SMALLINT UNSIGNED", "uint32": "INT UNSIGNED",
    "uint64": "BIGINT UNSIGNED",
}  # fmt: skip
"""What the types are called that have an end."""

_LARGEST: Final = frozenset({"BIGINT", "BIGINT UNSIGNED"})

_CHAINED: Final = frozenset("+-*/%")
_BEHIND_FROM: Final = frozenset(
    {"WHERE", "GROUP", "HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET", "FETCH", "SORT",
     "CLUSTER", "DISTRIBUTE"}
)  # fmt: skip
_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT"})


@dataclass(frozen=True, slots=True)
class _Chain:
    """Operands with one kind of operator between: ``+`` and ``-``, or ``*``."""

    operands: tuple[Span, ...]
    operators: tuple[str, ...]

    @property
    def span(self) -> Span:
        return self.operands[0][0], self.operands[-1][1]


@dataclass(frozen=True, slots=True)
class Cast:
    """What is written around a text; the larger its rank, the further out."""

    start: int
    end: int
    rank: int
    before: str
    behind: str


def checked(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> list[Cast]:
    """Return what is written in the SELECT at a place, but in those that stand in it."""
    return _Core(text, tokens, at, schema_of).casts()


class _Core:
    """One SELECT, up to the next UNION or the end of its bracket."""

    def __init__(self, text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> None:
        self._text, self._tokens, self._schema_of = text, tokens, schema_of
        end = len(tokens)
        if tokens.opens[at] >= 0:
            end = closing(tokens, tokens.opens[at])
        inside = siblings(tokens, (at + 1, end))
        end = next((each for each in inside if word(tokens, each) in _SETS), end)
        self._span = (at, end)
        begins = clause(tokens, self._span, "FROM")
        self._listed_end = end if begins < 0 else begins
        self._from = "" if begins < 0 else between(text, tokens, self._from_span(begins))
        self._types: dict[str, str] = {}

    def _from_span(self, begins: int) -> Span:
        inside = siblings(self._tokens, (begins + 1, self._span[1]))
        ends = (at for at in inside if word(self._tokens, at) in _BEHIND_FROM)
        return begins, next(ends, self._span[1])

    def casts(self) -> list[Cast]:
        chains = list(self._chains())
        sums = list(self._sums())
        if not chains and not sums:
            return []
        self._ask([*(each for chain in chains for each in chain.operands), *sums])
        casts: list[Cast] = []
        kinds = {chain.span: self._may_pass(chain) for chain in chains}
        wide = {span for span, kind in kinds.items() if kind is not None}
        inner = {
            self._bare(operand)
            for chain in chains if chain.span in wide for operand in chain.operands
        } & wide  # fmt: skip
        for chain in chains:
            if (kind := kinds[chain.span]) is None:
                continue
            within, around = (1, 2) if chain.operators[0] == "*" else (3, 4)
            operands = (each for each in chain.operands if self._bare(each) not in inner)
            casts += [self._cast(operand, WIDE, within) for operand in operands]
            if chain.span not in inner:
                casts.append(self._brought_back(chain.span, kind, around))
        for argument in sums:
            if (kind := _SQL.get(self._types.get(self._sql(argument), ""), "")) in _LARGEST:
                casts.append(self._cast(argument, WIDE, 5))
                casts.append(self._cast(self._whole_call(argument), kind, 0))
        return casts

    # --- what is computed

    def _own(self) -> Iterator[int]:
        """Yield the places behind the first that are in no query within this one."""
        at, end = self._span
        while (at := at + 1) < end:
            if self._tokens.words[at] == "(" and is_query(self._tokens, at):
                at = closing(self._tokens, at)
            else:
                yield at

    def _chains(self) -> Iterator[_Chain]:
        """Yield sums and products, each once."""
        seen: set[tuple[int, int]] = set()
        for at in self._own():
            if not self._is_operator(at):
                continue
            for chain in self._around_operator(at):
                if chain.span not in seen:
                    seen.add(chain.span)
                    yield chain

    def _is_operator(self, at: int) -> bool:
        said, tokens = word(self._tokens, at), self._tokens
        if said not in {"+", "-", "*"} or tokens[at].kind != "symbol":
            return False
        before, behind = word(tokens, at - 1), word(tokens, at + 1)
        if before in OPERATORS - {"END"} or before in {"(", "[", "{", "."}:
            return False
        return behind not in {",", ")", "]", "", "FROM", "EXCLUDE", "REPLACE", "RENAME"}

    def _around_operator(self, at: int) -> Iterator[_Chain]:
        """Yield the sum that an operator is in, and each product in it."""
        operands, operators = self._segment(at)
        terms: list[list[Span]] = [[operands[0]]]
        signs: list[str] = []
        for operator, operand in zip(operators, operands[1:], strict=True):
            if operator in {"+", "-"}:
                signs.append(operator)
                terms.append([operand])
            else:
                terms[-1].append((-1, -1) if operator != "*" else operand)
                if operator != "*":
                    terms[-1].append(operand)
        spans = []
        for term in terms:
            product = term[: term.index((-1, -1))] if (-1, -1) in term else term
            if len(product) > 1:
                yield _Chain(tuple(product), ("*",) * (len(product) - 1))
            spans.append((term[0][0], term[-1][1]))
        if signs:
            yield _Chain(tuple(spans), tuple(signs))

    def _segment(self, at: int) -> tuple[list[Span], list[str]]:
        """Return the operands around an operator that ``+ - * / %`` stand between, and those."""
        start = self._operand_start(at)
        while word(self._tokens, start - 1) in _CHAINED and self._is_binary(start - 1):
            start = self._operand_start(start - 1)
        operands: list[Span] = []
        operators: list[str] = []
        while True:
            end = self._operand_end(start)
            operands.append((start, end))
            if word(self._tokens, end) not in _CHAINED or end >= self._span[1]:
                return operands, operators
            operators.append(word(self._tokens, end))
            start = end + 1

    def _is_binary(self, at: int) -> bool:
        before = word(self._tokens, at - 1)
        return before not in OPERATORS - {"END"} and before not in {"(", "[", "{", "."}

    def _operand_start(self, at: int) -> int:
        at = factor_before(self._tokens, at)
        while word(self._tokens, at - 1) in {"+", "-"} and not self._is_binary(at - 1):
            at -= 1
        return at

    def _operand_end(self, start: int) -> int:
        cursor = Cursor(self._text, self._tokens, start)
        skip_operand(cursor)
        return cursor.at

    def _sums(self) -> Iterator[Span]:
        """Yield the arguments of ``sum``."""
        for at in self._own():
            if self._tokens[at].name not in {"sum", "SUM"} or word(self._tokens, at + 1) != "(":
                continue
            first = at + 2 + (word(self._tokens, at + 2) in {"DISTINCT", "ALL"})
            close = closing(self._tokens, at + 1)
            if first < close and clause(self._tokens, (first, close), "ORDER") < 0:
                yield first, close

    def _whole_call(self, argument: Span) -> Span:
        tokens, (first, end) = self._tokens, argument
        start = first - 1 - (word(tokens, first - 1) in {"DISTINCT", "ALL"})
        end += 1
        if word(tokens, end) == "FILTER" and word(tokens, end + 1) == "(":
            end = closing(tokens, end + 1) + 1
        if word(tokens, end) == "OVER":
            end = closing(tokens, end + 1) + 1 if word(tokens, end + 1) == "(" else end + 2
        return start - 1, end

    def _bare(self, span: Span) -> Span:
        """Return a span without the brackets around it: a chain there goes on as it is, wide."""
        start, end = span
        while self._tokens.words[start] == "(" and closing(self._tokens, start) == end - 1:
            start, end = start + 1, end - 1
        return start, end

    # --- of which type

    def _sql(self, span: Span) -> str:
        return between(self._text, self._tokens, span)

    def _ask(self, spans: list[Span]) -> None:
        """Find the types of operands: all at once, and each alone where that does not do."""
        asked: dict[bool, list[str]] = {True: [], False: []}
        for span in spans:
            sql = self._sql(span)
            if not self._is_number(span) and sql not in self._types:
                self._types[sql] = ""
                asked[self._aggregates(span)].append(sql)
        for group in asked.values():
            if group and not self._told(group) and len(group) > 1:
                for each in group[:ASKED_MAX]:
                    self._told([each])

    def _told(self, group: list[str]) -> bool:
        listed = ", ".join(f"({each}) AS c{at}" for at, each in enumerate(group))
        schema = self._schema_of(f"SELECT {listed} {self._from}")
        if schema is not None:
            self._types.update(zip(group, map(str, schema.types), strict=True))
        return schema is not None

    def _is_number(self, span: Span) -> bool:
        start, end = span
        while word(self._tokens, start) in {"+", "-"}:
            start += 1
        return end == start + 1 and self._tokens[start].text.isdecimal()

    def _aggregates(self, span: Span) -> bool:
        return any(
            token.name is not None and token.name.lower() in AGGREGATES
            for token in self._tokens[span[0] : span[1]]
        )

    def _may_pass(self, chain: _Chain) -> str | None:
        """Return the SQL type of a chain that may pass its end; ``None`` if it cannot."""
        kinds, largest = set(), []
        for operand in chain.operands:
            kind = "int64" if self._is_number(operand) else self._types.get(self._sql(operand), "")
            if kind not in _SQL:
                return None
            kinds.add(kind)
            if self._is_number(operand):
                largest.append(int(self._sql(operand).replace(" ", "").lstrip("+-")))
            else:
                largest.append(_end(kind))
        widest = max(kinds, key=_end)
        bound = prod(largest) if chain.operators[0] == "*" else sum(largest)
        is_mixed = len({kind[0] for kind in kinds}) > 1
        return _SQL[widest] if bound >= _end(widest) and not is_mixed else None

    # --- written

    def _cast(self, span: Span, kind: str, order: int) -> Cast:
        start, end = self._tokens[span[0]].start, self._tokens[span[1] - 1].end
        return Cast(start, end, (span[1] - span[0]) * ORDERS + order, "CAST(", f" AS {kind})")

    def _brought_back(self, span: Span, kind: str, order: int) -> Cast:
        cast = self._cast(span, kind, order)
        return replace(cast, before=f"greatest({cast.before}", behind=f"{cast.behind})")


def _end(kind: str) -> int:
    """Return the first number that a type has not."""
    bits = int(kind.lstrip("uint"))
    return int(2 ** (bits if kind.startswith("u") else bits - 1))


ASKED_MAX: Final = 50
"""How many operands are asked for one by one, where not all of them can be told together."""

ORDERS: Final = 8
"""How many casts may stand around the same text: sums are around products."""


def merged(casts: list[Cast]) -> Iterator[Edit]:
    """Yield one edit a place: what closes comes first, the inner one before, then what opens."""
    places: dict[int, tuple[list[Cast], list[Cast]]] = {}
    for cast in casts:
        places.setdefault(cast.end, ([], []))[0].append(cast)
        places.setdefault(cast.start, ([], []))[1].append(cast)
    for place, (closes, opens) in places.items():
        closes.sort(key=lambda cast: cast.rank)
        opens.sort(key=lambda cast: -cast.rank)
        written = [*(cast.behind for cast in closes), *(cast.before for cast in opens)]
        yield place, place, "".join(written)
