"""What is accepted is honoured (P19): a clause that a plan would not have is refused by name.

DataFusion 54.1 parses more than it plans: an optional clause that its planner does not look at
leaves the rows as if it were not there. So every text that it is given is first read as a tree by
the same parser, sqlparser-rs, and walked: a struct with something in a field that :data:`HONOURED`
does not list is refused. What is listed is planned, or refused by DataFusion itself.
``tests/engine/statement/test_honoured.py`` plans each optional clause with and without, so that a
version of DataFusion which honours one fails there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import sqloxide

from affidavit.catalog.sql.lexer import Cursor, tokenize
from affidavit.engine.statement.grammar import skip_group
from affidavit.engine.statement.limits import TOO_DEEP
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REMEMBERED_LENGTH_MAX: Final = 10_000
"""A longer text is walked whenever it comes."""

_LITERAL: Final = r"\s*(?:-?\d[\d.]*(?:[eE][+-]?\d+)?|'(?:[^']|'')*'|NULL|TRUE|FALSE)\s*"
_ROW: Final = rf"\({_LITERAL}(?:,{_LITERAL})*\)"
_MORE_ROWS: Final = re.compile(rf"(\bVALUES\s*{_ROW})(?:\s*,\s*{_ROW})+", re.IGNORECASE)
"""Rows of literals behind a first one: no clause can stand in them, so a long text goes without."""

Part = dict[str, Any]
"""A struct of the tree: its fields in the parser's order, each there even when it is empty."""

EMPTY: Final[tuple[object, ...]] = (None, False, "None", [], {})
"""What a field has for what was not written."""

GENERIC: Final = "generic"
"""DataFusion's dialect, unless it is told otherwise."""

DIALECTS: Final = (GENERIC, "postgresql", "duckdb", "ansi", "sqlite", "snowflake")
"""How a session's statements may be read: in those whose texts in quotes end where ours do."""

NODES: Final = (dict, list, tuple)
"""What a tree is made of, besides its words."""

LEAVES: Final = frozenset({"Value", "Identifier", "CompoundIdentifier"})
"""What has no clause in it, as is what has a place in the text of its own: words and names."""

HONOURED: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    # a struct is known by its first and last field
    ("with", "pipe_operators"): frozenset(
        {"with", "body", "order_by", "limit_clause", "fetch", "pipe_operators"}
    ),
    ("with_token", "cte_tables"): frozenset({"with_token", "recursive", "cte_tables"}),
    ("alias", "closing_paren_token"): frozenset({"alias", "query", "closing_paren_token"}),
    ("select_token", "flavor"): frozenset(
        {
            "select_token", "distinct", "top", "top_before_distinct", "projection", "into", "from",
            "lateral_views", "selection", "group_by", "cluster_by", "distribute_by", "sort_by",
            "having", "named_window", "qualify", "window_before_qualify", "value_table_mode",
            "flavor", "optimizer_hint",  # which stands in a comment
        }
    ),
    ("wildcard_token", "opt_rename"): frozenset(
        {"wildcard_token", "opt_exclude", "opt_except", "opt_replace", "opt_rename"}
    ),
    ("name", "index_hints"): frozenset({"name", "alias", "args", "json_path"}),
    ("args", "settings"): frozenset({"args"}),
    ("lateral", "sample"): frozenset({"lateral", "subquery", "alias"}),
    ("lateral", "alias"): frozenset({"lateral", "name", "args", "alias"}),
    ("alias", "with_ordinality"): frozenset({"alias", "array_exprs"}),
    ("relation", "join_operator"): frozenset({"relation", "join_operator"}),
    ("kind", "interpolate"): frozenset({"kind"}),
    ("expr", "with_fill"): frozenset({"expr", "options"}),
    ("limit", "limit_by"): frozenset({"limit", "offset"}),
    ("window_name", "window_frame"): frozenset({"partition_by", "order_by", "window_frame"}),
    ("name", "within_group"): frozenset(
        {"name", "args", "filter", "null_treatment", "over", "within_group", "uses_odbc_syntax"}
    ),
    ("expr", "collation"): frozenset({"expr"}),
    ("name", "characteristics"): frozenset(
        {
            "name", "index_name", "index_type", "columns", "index_options", "foreign_table",
            "referred_columns", "on_delete", "on_update", "match_kind",
        }
    ),
    ("name", "nulls_distinct"): frozenset(
        {"name", "index_name", "index_type_display", "index_type", "columns", "index_options"}
    ),
    ("insert_token", "format_clause"): frozenset(
        {
            "insert_token", "or", "ignore", "into", "table", "table_alias", "columns", "overwrite",
            "source", "assignments", "has_table_keyword", "on", "returning", "replace_into",
            "priority", "insert_alias", "optimizer_hint",
        }
    ),
}  # fmt: skip
"""The fields of each struct that a plan has, or whose use DataFusion refuses."""

INSTEAD: Final[Mapping[str, tuple[str, str]]] = {
    "prewhere": ("PREWHERE", "write WHERE"),
    "sample": ("TABLESAMPLE", "write WHERE random() < 0.1 for a tenth of the rows"),
    "connect_by": ("CONNECT BY", "write WITH RECURSIVE"),
    "locks": ("FOR UPDATE", "what a transaction writes is its own until it commits"),
    "for_clause": ("FOR", "a result is Arrow: to_pylist() gives what becomes JSON"),
    "settings": ("SETTINGS", "write SET name = value before"),
    "format_clause": ("FORMAT", "a result is Arrow, and COPY ... TO writes files"),
    "with_hints": ("WITH", "leave the hint out"),
    "partitions": ("PARTITION", "write WHERE"),
    "with_ordinality": ("WITH ORDINALITY", "write row_number() OVER ()"),
    "with_offset": ("WITH OFFSET", "write row_number() OVER () - 1"),
    "global": ("GLOBAL", "leave it out"),
    "interpolate": ("INTERPOLATE", "join what generate_series() gives"),
    "with_fill": ("WITH FILL", "join what generate_series() gives"),
    "limit_by": ("LIMIT ... BY", "write QUALIFY row_number() OVER (PARTITION BY ...) <= n"),
    "opt_ilike": ("ILIKE", "name the columns"),
    "parameters": ("f(...)(...)", "write the arguments in one pair of brackets"),
    "window_name": ("OVER (window ...)", "write OVER window, or all of the window"),
    "collation": ("COLLATE", "texts are compared by their code points: write lower(text)"),
    "characteristics": ("DEFERRABLE", "a constraint is checked at once"),
    "nulls_distinct": ("NULLS NOT DISTINCT", "any number of rows may have NULL there"),
}
"""What a field is called where it is written, and what to write instead."""

MODIFIERS: Final[Mapping[str, tuple[str, str]]] = {
    "Rollup": ("WITH ROLLUP", "write GROUP BY ROLLUP (...)"),
    "Cube": ("WITH CUBE", "write GROUP BY CUBE (...)"),
    "Totals": ("WITH TOTALS", "write GROUP BY GROUPING SETS ((...), ())"),
    "GroupingSets": ("GROUPING SETS", "write GROUP BY GROUPING SETS (...)"),
}
"""What may stand behind GROUP BY's columns, and where it belongs."""

COLUMN_OPTIONS: Final = frozenset(
    {"Null", "NotNull", "Default", "PrimaryKey", "Unique", "Check", "ForeignKey"}
)
"""What a column's definition may say; DataFusion refuses the last two."""

COLUMN_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "Generated": ("GENERATED", "files have their values: compute it in a view"),
    "Identity": ("IDENTITY", "files have their values: compute it in a view"),
    "DialectSpecific": ("AUTO_INCREMENT", "files have their values: compute it in a view"),
    "Collation": ("COLLATE", "texts are compared by their code points"),
    "CharacterSet": ("CHARACTER SET", "every text is UTF-8"),
    "Comment": ("COMMENT", "leave it out"),
    "OnUpdate": ("ON UPDATE", "set the column in the UPDATE"),
}
"""What a column's option is called, and what to write instead."""

_CLAUSES: Final = dict([*INSTEAD.values(), *COLUMN_WORDS.values()])
"""What to write instead of a clause."""

AGGREGATES: Final = frozenset(
    {
        "approx_distinct", "approx_median", "approx_percentile_cont",
        "approx_percentile_cont_with_weight", "array_agg", "avg", "bit_and", "bit_or",
        "bit_xor", "bool_and", "bool_or", "corr", "count", "covar", "covar_pop",
        "covar_samp", "cume_dist", "dense_rank", "first_value", "grouping", "lag",
        "last_value", "lead", "max", "mean", "median", "min", "nth_value", "ntile",
        "percent_rank", "percentile_cont", "quantile_cont", "rank", "regr_avgx",
        "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx",
        "regr_sxy", "regr_syy", "row_number", "stddev", "stddev_pop", "stddev_samp",
        "string_agg", "sum", "var", "var_pop", "var_population", "var_samp", "var_sample",
    }
)  # fmt: skip
"""DataFusion's aggregate and window functions; of any other it drops what only those can have."""


def unexpected(cursor: Cursor, expected: str) -> SqlError:
    """Return the error for what stands where a statement's ``expected`` parts could."""
    word = cursor.peek()
    for words in (f"{word} {cursor.peek(1)}", word):
        if words in _CLAUSES:
            return SqlError(f"{words} is not supported: {_CLAUSES[words]}")
    if word.isidentifier():
        return SqlError(f"{word} is not supported here: expected {expected}")
    return SqlError(f"expected {expected}, found {cursor.found()}")


def check_honoured(text: str, dialect: str = GENERIC) -> None:
    """Refuse a statement, read in a dialect, with a clause that no plan has.

    Raises:
        SqlError: It has one, or cannot be read.
    """
    if len(text) <= REMEMBERED_LENGTH_MAX:
        _remembered(text, dialect)
    else:
        _check(_MORE_ROWS.sub(r"\1", text), dialect)


@lru_cache(maxsize=1024)
def _remembered(text: str, dialect: str) -> None:
    _check(text, dialect)


def _check(text: str, dialect: str) -> None:
    text, tree = read(text, dialect)
    left: list[Any] = list(tree)
    while left:
        node = left.pop()
        if isinstance(node, dict):
            first = next(iter(node))
            if first in LEAVES or "span" in node:
                continue
            shape = first, next(reversed(node))
            listed, look = HONOURED.get(shape), _LOOKS.get(shape)
            if listed is not None:
                _refuse_unlisted(text, node, listed)
            if look is not None:
                look(text, node)
            node = node.values()
        left += [each for each in node if each and isinstance(each, NODES)]


def _refuse_unlisted(text: str, part: Part, listed: frozenset[str]) -> None:
    for field in part.keys() - listed:
        if part[field] not in EMPTY:
            words, instead = INSTEAD.get(field, (field.replace("_", " ").upper(), ""))
            _refuse(text, words, instead)


def read(text: str, dialect: str = GENERIC) -> tuple[str, list[Part]]:
    """Return what the parser reads of a text, and its tree: a struct a statement.

    Raises:
        SqlError: It does not parse; the message has the place.
    """
    try:
        return text, sqloxide.parse_sql(sql=text, dialect=dialect)
    except ValueError as error:
        own = _without_datafusions(text)
        if own is None:
            message = str(error).partition("sql parser error: ")[2] or str(error)
            if "recursion limit exceeded" in message:
                raise SqlError(TOO_DEEP) from None
            raise SqlError(message.strip()) from None
    return read(own, dialect) if own else (own, [])


def _without_datafusions(text: str) -> str | None:
    """Return a text without what DataFusion's parser reads itself; ``None`` if there is none."""
    cursor = Cursor(text, tokenize(text))
    if cursor.accept("EXPLAIN"):
        while cursor.peek() in {"ANALYZE", "VERBOSE", "FORMAT"}:
            cursor.skip(1 + (cursor.peek() == "FORMAT"))
        if cursor.accept("PREPARE"):
            cursor.skip()
            if cursor.peek() == "(":
                skip_group(cursor)
            cursor.accept("AS")
        return cursor.rest() or None
    if "EXTERNAL" in {cursor.peek(at) for at in range(4)}:
        return ""  # a table of files has no query
    if cursor.accept("COPY"):
        if cursor.peek() == "(":
            skip_group(cursor)
        while not cursor.done and cursor.peek() != "TO":
            cursor.skip()
        cursor.skip(2)
        if not cursor.done:
            return cursor.spaced(0, cursor.at)
    return None


# --- what a list of fields cannot say ------------------------------------------------------------


def _look_at_select(text: str, select: Part) -> None:
    for given in select["group_by"].values():
        for modifier in given[-1] if given and isinstance(given[-1], NODES) else given:
            name = modifier if isinstance(modifier, str) else next(iter(modifier), "")
            if name in MODIFIERS:
                _refuse(text, *MODIFIERS[name])


def _look_at_table(text: str, table: Part) -> None:
    alias = table["alias"]
    if alias and not alias["explicit"] and _word(alias["name"]) == "FINAL":
        _refuse(text, "FINAL", "rows are merged already: leave it out, or write AS final")


def _word(name: Part) -> str:
    """Return a name in upper case, if it is written without quotes."""
    return "" if name["quote_style"] else str(name["value"]).upper()


def _look_at_function(text: str, function: Part) -> None:
    name = function["name"][-1].get("Identifier", {}).get("value", "").lower()
    if name in AGGREGATES or len(function["name"]) > 1:
        return
    arguments = function["args"].get("List", {}) if isinstance(function["args"], dict) else {}
    said = {
        "FILTER": function["filter"],
        "WITHIN GROUP": function["within_group"],
        "IGNORE NULLS": function["null_treatment"],
        "DISTINCT": arguments.get("duplicate_treatment") == "Distinct",
        "ORDER BY": arguments.get("clauses"),
    }
    for words, value in said.items():
        if value not in EMPTY and function["over"] is None:
            _refuse(text, words, f"{name}() is no aggregate function")


def _look_at_option(text: str, column: Part) -> None:
    option = column["option"]
    name = option if isinstance(option, str) else next(iter(option))
    if name not in COLUMN_OPTIONS:
        words, instead = COLUMN_WORDS.get(
            name, (re.sub(r"(?<=.)([A-Z])", r" \1", name).upper(), "")
        )
        _refuse(text, words, instead)


def _look_at_operator(text: str, operation: Part) -> None:
    if operation.get("op") == "Spaceship":
        sides = (operation["left"], operation["right"])
        if not any(_is_plain(side) for side in sides):
            _refuse(text, "<=>", "write IS NOT DISTINCT FROM, or vector_search() for a distance")


def _is_plain(side: object) -> bool:
    """Whether an operand is a literal number, text or truth value: no vector."""
    return isinstance(side, dict) and "Value" in side


_LOOKS: Final[Mapping[tuple[str, str], Callable[[str, Part], None]]] = {
    ("select_token", "flavor"): _look_at_select,
    ("name", "index_hints"): _look_at_table,
    ("name", "within_group"): _look_at_function,
    ("name", "option"): _look_at_option,
    ("left", "right"): _look_at_operator,
}


def _refuse(text: str, words: str, instead: str) -> NoReturn:
    """Raise, and point at the first place where the words stand."""
    told = f": {instead}" if instead else ""
    raise SqlError(f"{words} is not supported{told}{pointed(text, words)}")


def pointed(text: str, words: str) -> str:
    """Return the line of ``text`` where ``words`` stand, and a caret below; empty if nowhere."""
    wanted = re.findall(r"\b[A-Z_]+\b", words)
    tokens = tokenize(text)
    for sought in (wanted, wanted[:1]):
        for at in range(len(tokens) - len(sought) + 1):
            if sought and [each.keyword for each in tokens[at : at + len(sought)]] == sought:
                return _caret(text, tokens[at].start)
    return ""


def _caret(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    line = text[start:].partition("\n")[0]
    at = place - start
    return f"\n  {line[max(at - 40, 0) : at + 40]}\n  {' ' * min(at, 40)}^"
