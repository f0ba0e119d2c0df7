"""CREATE, DROP and ALTER: DataFusion would run them at once, so they are taken apart here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.model.definition import Index, MutableDefinition, SqlDefinition
from affidavit.catalog.sources.buckets.location import checked_location
from affidavit.catalog.sources.files.external import NAMES_FILES, parse_external, plain_location
from affidavit.catalog.sql.names import CATALOG, check_schema_name, check_table_name
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.tables.columns import (
    add_column,
    drop_column,
    rename_column,
)
from affidavit.catalog.tables.indexes import (
    add_index,
    drop_index,
)
from affidavit.catalog.tables.mutable import create_mutable, define_mutable, drop_mutable
from affidavit.catalog.tables.renames import rename_table
from affidavit.catalog.tables.row_writing import insert_rows
from affidavit.catalog.tables.vector import VectorTable
from affidavit.catalog.tables.vector_making import drop_vector
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.engine.statement.assignments import Name, parse_name, refuse_reserved
from affidavit.errors import (
    InvalidQueryError,
    SourceError,
    SqlError,
    TableExistsError,
    TableNotFoundError,
)
from affidavit.triggers.rules.trigger import checked_actions, drop_trigger, find_trigger
from affidavit.triggers.triggers import make_trigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.expression import Statements
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.run.paths import AllowedPaths

_CONSTRAINTS: Final = ("PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK")
_AFTER_DEFAULT: Final = (
    "NOT NULL",
    "NULL",
    "PRIMARY",
    "UNIQUE",
    "CONSTRAINT",
    "CHECK",
    "REFERENCES",
    "COMMENT",
    ",",
)


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a CREATE TABLE says besides names and types."""

    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    defaults: Mapping[str, str]


def parse_constraints(cursor: Cursor) -> Constraints:
    """Read the column list at ``cursor``, if there is one."""
    primary_key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = []
    defaults: dict[str, str] = {}
    if not cursor.accept("("):
        return Constraints((), (), {})
    while cursor.peek() != ")" and not cursor.done:
        if cursor.peek() in _CONSTRAINTS:
            if cursor.accept("CONSTRAINT"):
                cursor.name("a constraint's name")
            if cursor.accept("PRIMARY", "KEY"):
                primary_key = cursor.names("a column")
            elif cursor.accept("UNIQUE"):
                unique.append(cursor.names("a column"))
        else:
            column = cursor.name("a column")
            cursor.until("PRIMARY KEY", "UNIQUE", "DEFAULT", ",", depth=1)
            while cursor.peek() not in {",", ")", ""}:
                if cursor.accept("PRIMARY", "KEY"):
                    primary_key = (*primary_key, column)
                elif cursor.accept("UNIQUE"):
                    unique.append((column,))
                elif cursor.accept("DEFAULT"):
                    defaults[column] = cursor.until(*_AFTER_DEFAULT, depth=1)
                cursor.until("PRIMARY KEY", "UNIQUE", "DEFAULT", ",", depth=1)
        cursor.until(",", depth=1)
        cursor.accept(",")
    return Constraints(primary_key, tuple(unique), defaults)


class Ddl:
    """Runs one statement that defines something."""

    def __init__(
        self,
        planner: Planner,
        catalog: Catalog,
        statements: Statements,
        paths: AllowedPaths,
        params: Mapping[str, Any],
    ) -> None:
        self._planner = planner
        self._catalog = catalog
        self._statements = statements
        self._paths = paths
        self._params = params

    # --- CREATE --------------------------------------------------------------------------------

    def create(self, cursor: Cursor) -> int:
        """Run CREATE ..., and return how many rows a CREATE TABLE AS put in."""
        cursor.expect("CREATE")
        replace_ = cursor.accept("OR", "REPLACE")
        if cursor.accept("TABLE"):
            return self._create_table(cursor, or_replace=replace_)
        if cursor.accept("VIEW"):
            return self._create_view(cursor, or_replace=replace_)
        if cursor.accept("TRIGGER"):
            return self._create_trigger(cursor, or_replace=replace_)
        unique = cursor.accept("UNIQUE")
        if cursor.accept("INDEX"):
            return self._create_index(cursor, unique=unique)
        unbounded = cursor.accept("UNBOUNDED")
        if cursor.accept("EXTERNAL", "TABLE"):
            return self._create_external(cursor, or_replace=replace_, unbounded=unbounded)
        if cursor.accept("SCHEMA"):
            exists = cursor.accept("IF", "NOT", "EXISTS")
            name = _parse_schema(cursor)
            _expect_end(cursor, "CREATE SCHEMA")
            self._catalog.create_schema(name, if_not_exists=exists)
            return 0
        raise SqlError(
            f"CREATE cannot make {cursor.found()}: expected a TABLE, VIEW, INDEX, TRIGGER or SCHEMA"
        )

    def _create_table(self, cursor: Cursor, *, or_replace: bool) -> int:
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        if if_not_exists and or_replace:
            msg = "OR REPLACE and IF NOT EXISTS contradict each other"
            raise SqlError(msg)
        name = parse_name(cursor)
        self._check_new(name)
        constraints = parse_constraints(cursor)
        with (
            self._catalog.write() as writer,
            Snapshot(self._catalog, writer, committed=False) as snapshot,
        ):
            existing = self._own(snapshot, name)
            if existing is not None and if_not_exists:
                return 0
            plan = partial(self._planner.plan_create, cursor.text, snapshot, self._params)
            data = self._planner.collect(plan, snapshot)
            if existing is not None:
                if not or_replace:
                    raise TableExistsError(name.table)
                self._drop(existing)
            definition = self._definition(name.table, data.schema, constraints)
            info = create_mutable(self._catalog, writer, name.table, definition, schema=name.schema)
            batches = data.combine_chunks().to_batches()
            return insert_rows(self._catalog, writer, info, batches)

    def select_into(self, cursor: Cursor) -> int:
        """Run SELECT ... INTO name FROM ..., and return how many rows that were."""
        cursor.until("INTO", depth=0)
        cursor.expect("INTO")
        return self._create_table(cursor, or_replace=False)

    def _check_new(self, name: Name) -> None:
        check_table_name(name.table, schema=name.schema)
        if (name.schema, name.table) in self._planner.frames:
            raise TableExistsError(name.table, kind="frame attached as")

    def _own(self, snapshot: Snapshot, name: Name) -> TableInfo | None:
        found = self._catalog.find(snapshot.reader, name.table, name.schema)
        return found if found is not None and found.tenant == self._catalog.tenant else None

    @staticmethod
    def _definition(table: str, schema: pa.Schema, constraints: Constraints) -> MutableDefinition:
        indexes = [
            Index(f"{table}_{'_'.join(columns)}_key", columns, unique=True)
            for columns in constraints.unique
        ]
        return define_mutable(
            table, schema, primary_key=constraints.primary_key, indexes=indexes,
            defaults=constraints.defaults,
        )  # fmt: skip

    def _create_view(self, cursor: Cursor, *, or_replace: bool) -> int:
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        name = parse_name(cursor, "a view")
        columns = cursor.names("a column") if cursor.peek() == "(" else ()
        cursor.expect("AS")
        query = cursor.rest()
        if columns:
            listed = ", ".join(map(quoted, columns))
            query = f"SELECT * FROM ({query}) AS view_ ({listed})"
        return self._define_sql(
            name, "view", query, (), or_replace=or_replace, if_not_exists=if_not_exists
        )

    def _define_sql(
        self,
        name: Name,
        kind: str,
        sql: str,
        paths: tuple[str, ...],
        *,
        or_replace: bool,
        if_not_exists: bool,
    ) -> int:
        self._check_new(name)

        def is_there(snapshot: Snapshot) -> bool:
            existing = self._own(snapshot, name)
            if existing is not None and not (if_not_exists or or_replace):
                raise TableExistsError(name.table, kind=kind)
            return existing is not None and if_not_exists

        if kind == "external":  # before other writers have to wait: files may be far away
            with self._planner.snapshot(self._catalog) as snapshot:
                if is_there(snapshot):
                    return 0
                self._planner.check_external(sql, paths[0], snapshot)
        with (
            self._catalog.write() as writer,
            Snapshot(self._catalog, writer, committed=False) as snapshot,
        ):
            if is_there(snapshot):
                return 0
            existing = self._own(snapshot, name)
            if kind == "view":
                columns = self._planner.plan(sql, {}, snapshot, read_only=True).schema().names
                if len(set(columns)) != len(columns):
                    raise SqlError(f"view {name.table!r} has two columns of one name: {columns}")
            if existing is not None:
                self._drop(existing)
            definition = SqlDefinition(new_table_id(), sql, paths)
            info = self._catalog.define(writer, name.table, kind, definition, schema=name.schema)
            self._catalog.announce(writer, self._catalog.change(info, "create", detail=sql))
        return 0

    def _create_external(self, cursor: Cursor, *, or_replace: bool, unbounded: bool) -> int:
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        name = parse_name(cursor)
        body = cursor.at
        cursor.until("LOCATION", depth=0)
        cursor.expect("LOCATION")
        location = self._paths.checked(checked_location(plain_location(cursor.token)))
        before, after = cursor.spaced(body, cursor.at), cursor.spaced(cursor.at + 1)
        kind = "UNBOUNDED EXTERNAL" if unbounded else "EXTERNAL"
        sql = f"CREATE {kind} TABLE external_ {before} {quoted_text(location)} {after}"
        if self._paths.limited and parse_external(sql).is_lake:
            msg = f"{location!r} cannot be attached by this session: {NAMES_FILES}"
            raise SourceError(msg)
        return self._define_sql(
            name, "external", sql, (location,), or_replace=or_replace, if_not_exists=if_not_exists
        )

    def _create_index(self, cursor: Cursor, *, unique: bool) -> int:
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        index = "" if cursor.peek() == "ON" else cursor.name("an index")
        cursor.expect("ON")
        name = parse_name(cursor)
        kind = cursor.name("an index type").upper() if cursor.accept("USING") else ""
        columns = cursor.names("a column")
        options = _parse_options(cursor)
        info = self._table(name)
        if info.kind == "vector":
            handle = VectorTable(self._catalog, self._statements, name.table, name.schema)
            if len(columns) != 1:
                raise InvalidQueryError(f"an index of a vector table has one column, got {columns}")
            chosen = kind or _default_kind(handle.schema, columns[0])
            handle.create_index(
                columns[0], chosen, name=index or None, replace=if_not_exists, **options
            )
            return 0
        made = Index(index or f"{name.table}_{'_'.join(columns)}_idx", columns, unique)
        add_index(self._catalog, info, made, if_not_exists=if_not_exists)
        return 0

    def _create_trigger(self, cursor: Cursor, *, or_replace: bool) -> int:
        """Run CREATE TRIGGER name AFTER action [OR ...] ON table [WHEN (...)] PUBLISH 'topic'."""
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        name = cursor.name("a trigger")
        cursor.expect("AFTER")
        actions = [cursor.name("an action")]
        while cursor.accept("OR"):
            actions.append(cursor.name("an action"))
        cursor.expect("ON")
        table = parse_name(cursor)
        cursor.accept("FOR", "EACH", "ROW")
        where = None
        if cursor.accept("WHEN"):
            cursor.expect("(")
            where = cursor.until(")", depth=0)
            cursor.expect(")")
        cursor.expect("PUBLISH")
        topic = cursor.literal("a topic in quotes")
        _expect_end(cursor, "CREATE TRIGGER")
        refuse_reserved(table.schema, table.table)
        with self._catalog.write() as writer:
            if or_replace:
                drop_trigger(self._catalog, name, if_exists=True)
            if if_not_exists and find_trigger(writer, self._catalog, name) is not None:
                return 0
            make_trigger(
                self._catalog, f"{table.schema}.{table.table}", checked_actions(actions), where,
                topic, name=name,
            )  # fmt: skip
        return 0

    # --- DROP ----------------------------------------------------------------------------------

    def drop(self, cursor: Cursor) -> None:
        """Run DROP TABLE, VIEW, INDEX, TRIGGER or SCHEMA."""
        cursor.expect("DROP")
        kind = cursor.peek()
        if kind not in {"TABLE", "VIEW", "INDEX", "SCHEMA", "TRIGGER"}:
            raise SqlError(
                f"DROP cannot drop {cursor.found()}: expected TABLE, VIEW, INDEX, TRIGGER or SCHEMA"
            )
        cursor.accept(kind)
        if_exists = cursor.accept("IF", "EXISTS")
        if kind == "TRIGGER":
            trigger = cursor.name("a trigger")
            _expect_end(cursor, "DROP TRIGGER")
            drop_trigger(self._catalog, trigger, if_exists=if_exists)
            return
        if kind == "SCHEMA":
            schema = _parse_schema(cursor)
            cascade = cursor.accept("CASCADE")
            cursor.accept("RESTRICT")
            _expect_end(cursor, "DROP SCHEMA")
            self._drop_schema(schema, if_exists=if_exists, cascade=cascade)
            return
        name = parse_name(cursor)
        on = parse_name(cursor) if kind == "INDEX" and cursor.accept("ON") else None
        _expect_end(cursor, f"DROP {kind}")
        if kind == "INDEX":
            drop_index(
                self._catalog,
                name.table,
                None if on is None else self._table(on),
                if_exists=if_exists,
            )
        else:
            self.drop_named(name, want_view=kind == "VIEW", if_exists=if_exists)

    def _drop_schema(self, schema: str, *, if_exists: bool, cascade: bool) -> None:
        check_schema_name(schema)
        with self._catalog.write() as writer:
            for info in self._catalog.tables(writer) if cascade else ():
                if info.schema == schema and info.tenant == self._catalog.tenant:
                    self._drop(info)
            self._catalog.drop_schema(schema, if_exists=if_exists)

    def drop_named(self, name: Name, *, want_view: bool = False, if_exists: bool = False) -> None:
        """Drop a table or view.

        Raises:
            TableNotFoundError: There is none of that name and kind.
            ReadOnlyError: It is shared.
        """
        refuse_reserved(name.schema, name.table)
        with self._catalog.read() as reader:
            info = self._catalog.find(reader, name.table, name.schema)
            known = [each.name for each in self._catalog.tables(reader)]
        if info is None or (info.kind == "view") != want_view:
            if if_exists:
                return
            raise TableNotFoundError(name.table, known=known)
        try:
            self._drop(info)
        except TableNotFoundError:
            if not if_exists:
                raise

    def _drop(self, info: TableInfo) -> None:
        if info.kind == "vector":
            drop_vector(self._catalog, info)
            return
        with self._catalog.write() as writer:
            if self._catalog.by_id(writer, info.table_id) is None:
                raise TableNotFoundError(info.name)
            if info.kind == "mutable":
                drop_mutable(self._catalog, writer, info)
                return
            self._catalog.forget(writer, info)
            self._catalog.announce(writer, self._catalog.change(info, "drop"))

    def _table(self, name: Name) -> TableInfo:
        refuse_reserved(name.schema, name.table)
        with self._catalog.read() as reader:
            return self._catalog.get(reader, name.table, name.schema)

    # --- ALTER ---------------------------------------------------------------------------------

    def alter(self, cursor: Cursor) -> None:
        """Run ALTER TABLE ... ADD, DROP or RENAME."""
        cursor.expect("ALTER")
        cursor.expect("TABLE")
        if_exists = cursor.accept("IF", "EXISTS")
        name = parse_name(cursor)
        try:
            info = self._table(name)
        except TableNotFoundError:
            if if_exists:
                return
            raise
        self._catalog.refuse_shared(info)
        if cursor.accept("ADD"):
            self._add_column(cursor, info)
        elif cursor.accept("DROP"):
            cursor.accept("COLUMN")
            missing_ok = cursor.accept("IF", "EXISTS")
            drop_column(self._catalog, info, cursor.name("a column"), if_exists=missing_ok)
        elif cursor.accept("RENAME", "TO"):
            rename_table(self._catalog, info, cursor.name("a table"))
        elif cursor.accept("RENAME"):
            cursor.accept("COLUMN")
            old = cursor.name("a column")
            cursor.expect("TO")
            rename_column(self._catalog, info, old, cursor.name("a column"))
        else:
            raise SqlError(f"ALTER TABLE cannot {cursor.found()}: expected ADD, DROP or RENAME")
        if not cursor.done:
            raise SqlError(f"expected the end of ALTER TABLE, found {cursor.found()}")

    def _add_column(self, cursor: Cursor, info: TableInfo) -> None:
        cursor.accept("COLUMN")
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        column = cursor.name("a column")
        kind = cursor.until("DEFAULT", "NOT NULL", "NULL", depth=0)
        not_null = default = None
        while not cursor.done:
            if cursor.accept("NOT", "NULL"):
                not_null = True
            elif cursor.accept("DEFAULT"):
                default = cursor.until("NOT NULL", "NULL", depth=0)
            elif not cursor.accept("NULL"):
                raise SqlError(f"ALTER TABLE ADD COLUMN cannot read {cursor.found()}")
        field = self._planner.column_type(self._catalog, column, kind).with_nullable(
            nullable=not not_null
        )
        value = None
        if default is not None:
            value = self._statements.defaults(pa.schema([field]), {column: default})[column]
        add_column(
            self._catalog, info, field, default=default, value=value, if_not_exists=if_not_exists
        )


def _parse_schema(cursor: Cursor) -> str:
    name = cursor.name("a schema")
    if cursor.accept("."):
        if name != CATALOG:
            raise SqlError(f"there is no catalog {name!r} to have a schema in")
        name = cursor.name("a schema")
    return name


def _expect_end(cursor: Cursor, what: str) -> None:
    if not cursor.done:
        raise SqlError(f"expected the end of {what}, found {cursor.found()}")


def _parse_options(cursor: Cursor) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if cursor.accept("WITH"):
        cursor.expect("(")
        while not cursor.accept(")"):
            option = cursor.name("an option")
            cursor.expect("=")
            token = cursor.token
            if token is None:
                msg = f"expected a value for option {option!r}"
                raise SqlError(msg)
            cursor.at += 1
            options[option] = int(token.text) if token.text.isdigit() else token.text.strip("'")
            cursor.accept(",")
    if not cursor.done:
        raise SqlError(f"CREATE INDEX cannot read {cursor.found()}")
    return options


def _default_kind(schema: pa.Schema, column: str) -> str:
    if column in schema.names and pt.is_fixed_size_list(schema.field(column).type):
        return "IVF_PQ"
    return "BTREE"
