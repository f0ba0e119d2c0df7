"""One SQL text, brought to whoever runs statements of its kind."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.result.result import Result
from affidavit.engine.run.ddl import Ddl
from affidavit.engine.run.dml import Dml
from affidavit.engine.run.outgoing import outgoing
from affidavit.engine.statement.statement import Kind, Statement, parse_statement
from affidavit.errors import ReadOnlyError, SqlError, TransactionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.run.paths import AllowedPaths

DML_KINDS = {Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.MERGE, Kind.TRUNCATE}
_LISTING_WORDS = {"information_schema", "show", "describe", "desc"}
COUNT_SCHEMA = pa.schema([pa.field("count", pa.uint64(), nullable=False)])


class Executor:
    """Runs statements for one identity."""

    def __init__(self, planner: Planner, catalog: Catalog, paths: AllowedPaths) -> None:
        self._planner = planner
        self._catalog = catalog
        self._paths = paths

    def execute(self, text: str, params: Mapping[str, Any]) -> Result:
        """Run one statement."""
        statement = parse_statement(text)
        if statement.kind is Kind.QUERY:
            return self._query(statement.text, params)
        if statement.kind in DML_KINDS:
            return self._dml(statement, params)
        if statement.kind is Kind.EXPLAIN:
            return self._explain(statement, params)
        if statement.kind in {Kind.CREATE, Kind.DROP, Kind.ALTER, Kind.SELECT_INTO}:
            return self._ddl(statement, params)
        if statement.kind in {Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK}:
            return self._transaction(statement)
        if statement.kind is Kind.COPY:
            return self._copy(statement, params)
        if statement.kind is Kind.EXECUTE:
            return self._execute_prepared(statement)
        if statement.kind is Kind.PREPARE:
            self._prepare(statement)
        elif statement.kind is Kind.DEALLOCATE:
            self._deallocate(statement)
        else:
            if self._paths.limited and "runtime" in statement.names():
                msg = "DataFusion's runtime settings name folders: this session may not change them"
                raise ReadOnlyError(msg)
            self._planner.set(statement.text)
        return _nothing()

    # --- what table handles need -----------------------------------------------------------------

    def run(self, text: str, params: Mapping[str, object]) -> int:
        """Run one DML statement and return how many rows it touched."""
        affected = self.execute(text, params).rows_affected
        assert affected is not None
        return affected

    def defaults(self, schema: pa.Schema, expressions: Mapping[str, str]) -> dict[str, pa.Scalar]:
        """Return the value of each column's default expression, as the column's type."""
        listed = ", ".join(f"({sql}) AS c{at}" for at, sql in enumerate(expressions.values()))
        row = self._query(f"SELECT {listed}", {}).to_arrow()
        return {
            name: row.column(at)[0].cast(schema.field(name).type)
            for at, name in enumerate(expressions)
        }

    def ddl(self, params: Mapping[str, Any]) -> Ddl:
        """Return what runs definitions."""
        return Ddl(self._planner, self._catalog, self, self._paths, params)

    # --- queries ---------------------------------------------------------------------------------

    def _query(self, text: str, params: Mapping[str, Any]) -> Result:
        stack = ExitStack()
        try:
            snapshot = stack.enter_context(self._planner.snapshot(self._catalog))
            names = parse_statement(text).names()
            plan = partial(self._planner.plan, text, params, read_only=True, names=names)
            if snapshot.committed:
                return self._planner.result(plan, snapshot, stack)
            # the transaction may have ended by the time a lazy result is read
            lists = names & _LISTING_WORDS
            collect = self._planner.collect_listing if lists else self._planner.collect
            rows = Result.of(collect(plan, snapshot))
        except BaseException:
            stack.close()
            raise
        stack.close()
        return rows

    def _now(self, text: str, params: Mapping[str, Any]) -> pa.Table:
        """Run what DataFusion runs by itself."""
        with self._planner.snapshot(self._catalog) as snapshot:
            plan = partial(self._planner.plan, text, params)
            return self._planner.collect(plan, snapshot)

    def _explain(self, statement: Statement, params: Mapping[str, Any]) -> Result:
        cursor = statement.cursor()
        cursor.expect("EXPLAIN")
        analyze = False
        while cursor.peek() in {"ANALYZE", "VERBOSE"} or cursor.peek() == "FORMAT":
            analyze = analyze or cursor.peek() == "ANALYZE"
            cursor.at += 2 if cursor.peek() == "FORMAT" else 1
        if cursor.done:
            msg = "EXPLAIN needs a statement to explain"
            raise SqlError(msg)
        inner = parse_statement(cursor.rest())
        if inner.kind is Kind.QUERY or inner.kind is Kind.EXPLAIN:
            return self._explain_query(statement.text, params)
        if analyze:
            msg = f"EXPLAIN ANALYZE would run a {inner.kind.value}: EXPLAIN it without ANALYZE"
            raise SqlError(msg)
        return self._explain_change(inner, statement, params)

    def _explain_query(self, text: str, params: Mapping[str, Any]) -> Result:
        """Return the plan of a query, and what it sends to each source."""
        with self._planner.snapshot(self._catalog) as snapshot:
            plan = partial(self._planner.plan, text, params, read_only=True)
            plans = self._planner.collect(plan, snapshot)
        sent = {
            "plan_type": [f"sent to {source}" for source, _ in snapshot.sent],
            "plan": [sql for _, sql in snapshot.sent],
        }
        if not snapshot.sent:
            return Result.of(plans)
        return Result.of(pa.concat_tables([plans, pa.table(sent, schema=plans.schema)]))

    def _explain_change(
        self, inner: Statement, statement: Statement, params: Mapping[str, Any]
    ) -> Result:
        """Return the plan of a statement that changes something, without planning it physically.

        DataFusion's in-memory tables delete rows when a DELETE is planned physically.
        """
        text = inner.text if inner.kind in DML_KINDS else statement.text
        with self._planner.snapshot(self._catalog) as snapshot:
            plan = self._planner.plan(text, params, snapshot).logical_plan()
        if inner.kind not in DML_KINDS:
            plan = plan.inputs()[0]
        plans = {"plan_type": ["logical_plan"], "plan": [plan.display_indent()]}
        return Result.of(pa.table(plans))

    # --- changes ---------------------------------------------------------------------------------

    def _refuse_read_only(self) -> None:
        self._catalog.refuse_past()
        if self._catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def _dml(self, statement: Statement, params: Mapping[str, Any]) -> Result:
        self._refuse_read_only()
        dml = Dml(self._planner, self._catalog, self._paths, statement, params)
        run = getattr(dml, statement.kind.value)
        outcome = run(statement.cursor())
        if outcome.returned is not None:
            return Result.of(outcome.returned, rows_affected=outcome.rows_affected)
        return _count(outcome.rows_affected)

    def _ddl(self, statement: Statement, params: Mapping[str, Any]) -> Result:
        if statement.cursor().peek(1) == "FUNCTION" or statement.cursor().peek(3) == "FUNCTION":
            self._now(statement.text, params)
            return _nothing()
        self._refuse_read_only()
        ddl = self.ddl(params)
        run = getattr(ddl, statement.kind.value)
        created = run(statement.cursor())
        return _nothing(rows_affected=created or 0)

    def _transaction(self, statement: Statement) -> Result:
        cursor = statement.cursor()
        words = {token.keyword for token in cursor.tokens[1:]}
        if not words <= {
            "TRANSACTION",
            "WORK",
            "READ",
            "WRITE",
            "IMMEDIATE",
            "DEFERRED",
            "EXCLUSIVE",
        }:
            msg = f"{cursor.text!r} is not supported: use BEGIN, COMMIT and ROLLBACK"
            raise TransactionError(msg)
        transactions = self._catalog.transactions
        if statement.kind is Kind.BEGIN:
            self._refuse_read_only()
            transactions.begin(self._catalog.tenant)
        elif statement.kind is Kind.COMMIT:
            transactions.commit(self._catalog.tenant)
        else:
            transactions.rollback(self._catalog.tenant)
        return _nothing()

    def _copy(self, statement: Statement, params: Mapping[str, Any]) -> Result:
        cursor = statement.cursor()
        cursor.until("TO", depth=0)
        cursor.expect("TO")
        token = cursor.token
        if token is None or token.kind != "string":
            raise SqlError(f"expected COPY ... TO 'path', found {cursor.found()}")
        location = self._paths.checked(token.text[1:-1].replace("''", "'"))
        quoted = "'" + location.replace("'", "''") + "'"
        # without comments, and checked against DataFusion's own reading: where the two readings of
        # a text differ, a path that was never checked could be written
        text = f"{cursor.spaced(0, cursor.at)} {quoted} {cursor.spaced(cursor.at + 1)}"
        stores = self._planner.stores
        with (
            self._planner.snapshot(self._catalog) as snapshot,
            stores.errors("", location),
            stores.reach(location),
        ):
            plan = partial(self._planner.plan, text, params)
            written = str(plan(snapshot).logical_plan().to_variant().output_url())
            if written != location:
                raise SqlError(f"COPY names {location!r} and would write {written!r}")
            with outgoing(self._catalog, "file", location) as entry:
                entry.begin("copy")
                table = self._planner.collect(plan, snapshot)
                entry.rows = int(table["count"][0].as_py())
        return Result.of(table, rows_affected=entry.rows)

    # --- prepared statements ---------------------------------------------------------------------

    def _prepare(self, statement: Statement) -> None:
        cursor = statement.cursor()
        cursor.expect("PREPARE")
        name = cursor.name("a name")
        types = []
        if cursor.accept("("):
            types.append(cursor.until(",", depth=1))
            while cursor.accept(","):
                types.append(cursor.until(",", depth=1))
            cursor.expect(")")
        cursor.expect("AS")
        inner = cursor.rest()
        # DataFusion checks the statement and its types; running it is done anew each time, since
        # its plan would go on reading the tables as they are now
        self._now(statement.text, {})
        self._planner.prepared[name] = (inner, tuple(types))

    def _execute_prepared(self, statement: Statement) -> Result:
        cursor = statement.cursor()
        cursor.expect("EXECUTE")
        name = cursor.name("a prepared statement")
        if name not in self._planner.prepared:
            msg = f"no prepared statement {name!r}; there are {sorted(self._planner.prepared)}"
            raise SqlError(msg)
        inner, types = self._planner.prepared[name]
        values: list[str] = []
        if cursor.accept("(") and cursor.peek() != ")":
            values.append(cursor.until(",", depth=1))
            while cursor.accept(","):
                values.append(cursor.until(",", depth=1))
        cursor.accept(")")
        if not cursor.done:
            raise SqlError(f"EXECUTE takes (values), found {cursor.found()}")
        taken = {token.text for token in tokenize(inner) if token.kind == "placeholder"}
        if len(values) != (len(types) or len(taken)):
            msg = f"{name!r} takes {len(types) or len(taken)} parameters, got {len(values)}"
            raise SqlError(msg)
        return self.execute(inner, self._evaluated(values, types))

    def _evaluated(self, values: list[str], types: tuple[str, ...]) -> dict[str, pa.Scalar]:
        if not values:
            return {}
        casts = [
            f"CAST({value} AS {types[at]}) AS c{at}" if types else f"({value}) AS c{at}"
            for at, value in enumerate(values)
        ]
        row = self._query(f"SELECT {', '.join(casts)}", {}).to_arrow()
        return {str(at + 1): row.column(at)[0] for at in range(len(values))}

    def _deallocate(self, statement: Statement) -> None:
        cursor = statement.cursor()
        cursor.expect("DEALLOCATE")
        cursor.accept("PREPARE")
        self._planner.prepared.pop(cursor.name("a prepared statement"), None)
        self._now(statement.text, {})


def _count(rows: int) -> Result:
    return Result.of(
        pa.table([pa.array([rows], pa.uint64())], schema=COUNT_SCHEMA), rows_affected=rows
    )


def _nothing(rows_affected: int | None = None) -> Result:
    return Result.of(pa.table({}), rows_affected=rows_affected)
