"""Tables of files as they are meant, where DataFusion would read them otherwise.

Rules:
    - CSV files are read by the names in their first lines. What a NULL is, or a value that is bad,
      is decided for the rows as it is for the guess of their types.
    - A float of Parquet may be NaN, which the file's statistics leave out: DataFusion 54 takes a
      column whose least and greatest are one for that one, and skips what is NaN. So nothing is
      concluded from them of a table with floats, and a float is asked as what hides it from them.
    - A folder of a partition stands for the value that is written in its name, or for NULL.
    - Parquet files whose integers or floats differ in width are read by the widest.
    - A pattern over several folders is a table for each, one behind the other; a folder with marks
      of who wrote it is one for each file.
    - What DataFusion says of many files is said of the one, and of the column.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt
from datafusion import SessionConfig, SessionContext, col, functions, lit

from affidavit.catalog.sources.buckets.location import is_remote
from affidavit.catalog.sources.files.headers import headers_of, where_stands
from affidavit.catalog.sources.files.listed import (
    NULL_FOLDER,
    PLACES_MAX,
    data_files,
    folder_type,
    folder_value,
    has_marks,
    partition_of,
    places_of,
)
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.plan.errors import PREFIXES
from affidavit.engine.plan.files.widths import common, has_floats, wider
from affidavit.engine.plan.settings import NO_STATISTICS
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from datafusion import DataFrame, Expr

    from affidavit.catalog.sources.files.external import ExternalTable

FILES_TOLD_MAX: Final = 1_000
"""Of so many files it is found out which one differs."""

_FOLDER: Final = pa.dictionary(pa.uint16(), pa.string())
"""What DataFusion 54 makes of a partition's folders."""

_TEXT: Final = pa.string()
_DIFFER: Final = "Fail to merge schema field"
"""What DataFusion 54 says of files whose columns have other types."""

_CELL: Final = re.compile(
    r"Error while parsing value '(?P<value>.*)' as type '(?P<type>\w+).*' for column (?P<at>\d+) "
    r"at line \d+"
)

_FIELDS: Final = re.compile(
    r"incorrect number of fields for line \d+, expected (?P<expected>\d+) got (?P<got>\d+)"
)


class Meant:
    """One table of files.

    Args:
        table: What it says.
        make: Has DataFusion make a table of a statement; with ``statistics=False`` one of which
            it concludes nothing.
        frame: Selects all of a table that was made.
    """

    def __init__(
        self,
        table: ExternalTable,
        make: Callable[..., Any],
        frame: Callable[[Any], DataFrame],
    ) -> None:
        self._table = table
        self._make = make
        self._frame = frame
        self._is_local = not is_remote(table.location)

    def provider(self) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads the table through.

        Raises:
            SourceError: Its files differ, or one of them cannot be read.
        """
        table = self._table
        bad_is_null = table.bad_is_null
        files = data_files(table.location) if self._is_local else []
        places = places_of(table.location) if self._is_local else []
        is_odd = self._is_local and (has_marks(table.location) or self._is_told_twice(files))
        if not places and is_odd and len(files) <= PLACES_MAX:
            places = [str(path) for path in files]
        if places:
            return self._of_places(places, files)
        if table.kind == "CSV":
            headers = self._headers(files)
            if headers is not None and len(set(headers.values())) > 1:
                return self._by_name(headers, bad_is_null=bad_is_null)
            if bad_is_null or "format.null_regex" in table.given or self._has_typed_folders(files):
                return self._read_as_text(files, bad_is_null=bad_is_null)
        made = self._made(files)
        return self._changed(made, files)

    def told(self, text: str) -> str | None:
        """Return what went wrong with a file, by its name, if a message is about one of these."""
        if self._table.kind != "CSV" or not self._is_local:
            return None
        cell, fields = _CELL.search(text), _FIELDS.search(text)
        if fields is not None:
            return self._told_of_fields(int(fields["expected"]), int(fields["got"]))
        return None if cell is None else self._told_of_cell(cell)

    def _told_of_fields(self, expected: int, got: int) -> str | None:
        files = data_files(self._table.location)
        found = where_stands(files, self._table.given, lambda row: len(row) == got)
        if found is None:
            return None
        return f"{str(found[0])!r} has {got} fields in line {found[1]}, and {expected} columns"

    def _told_of_cell(self, cell: re.Match[str]) -> str | None:
        files, place = data_files(self._table.location), int(cell["at"])
        found = where_stands(
            files,
            self._table.given,
            lambda row: len(row) > place and row[place] == cell["value"],
        )
        if found is None:
            return None
        path, line = found
        headers = self._headers(files)
        name = f"{place + 1}" if headers is None else repr(headers[path][place])
        return (
            f"{str(path)!r} has {cell['value']!r} in column {name} of line {line}, which "
            f"is no {cell['type']}: attached with on_bad_value='null' it is read as NULL"
        )

    # --- several folders -------------------------------------------------------------------------

    def _of_places(self, places: Sequence[str], files: Sequence[Path]) -> Any:  # noqa: ANN401 - DataFusion's
        """Return the files of several folders, each read by itself, as one table.

        Raises:
            SourceError: A column is of another kind in one of them; it is named.
        """
        headers = self._headers(files) if self._table.kind == "CSV" else None
        if headers is not None and len(set(headers.values())) > 1:
            return self._by_name(headers, bad_is_null=self._table.bad_is_null)
        parts = {
            each: Meant(self._table.moved(each), self._make, self._frame).provider()
            for each in places
        }
        types: dict[str, pa.DataType] = {}
        for place, part in parts.items():
            for field in part.schema:
                kind = wider(types.get(field.name), field.type)
                if kind is None and headers is not None:
                    return self._by_name(headers, bad_is_null=self._table.bad_is_null)
                if kind is None:
                    raise _differs(field, types[field.name], place, places[0])
                types[field.name] = kind
        whole: DataFrame | None = None
        for place, part in parts.items():
            there = set(part.schema.names)
            columns = [
                (col(quoted(name)) if name in there else lit(None)).cast(kind).alias(name)
                for name, kind in types.items()
            ]
            columns += self._said(Path(place), types)
            frame = self._frame(part).select(*columns)
            whole = frame if whole is None else whole.union(frame)
        assert whole is not None
        return whole.into_view()

    def _is_told_twice(self, files: Sequence[Path]) -> bool:
        """Whether files have a column that their folders say too: it is theirs."""
        is_said = self._table.parted or self._table.declares
        if not self._parted_by or is_said:
            return False
        own = self._make(self._table.of(str(files[0]))).schema.names
        return not self._parted_by.keys().isdisjoint(own)

    @cached_property
    def _parted_by(self) -> dict[str, pa.DataType]:
        """What the folders of every file say something of, and its type."""
        location = self._table.location
        said = [partition_of(path, location) for path in data_files(location)]
        names = [each for each in (said[0] if said else ()) if all(each in told for told in said)]
        return {name: folder_type(told[name] for told in said) for name in names}

    def _said(self, path: Path, columns: Collection[str]) -> list[Expr]:
        """Return what a file's folders say of its rows beside the columns that it has itself."""
        said = partition_of(path, self._table.location)
        return [
            lit(folder_value(value)).cast(self._parted_by[name]).alias(name)
            for name, value in said.items()
            if name not in columns and name in self._parted_by
        ]

    def _headers(self, files: Sequence[Path]) -> dict[Path, tuple[str, ...]] | None:
        return None if self._table.declares else headers_of(files, self._table.given)

    # --- CSV -------------------------------------------------------------------------------------

    def _by_name(self, headers: Mapping[Path, tuple[str, ...]], *, bad_is_null: bool) -> Any:  # noqa: ANN401 - DataFusion's
        """Return files whose columns stand in another order, each read by its own."""
        types: dict[str, pa.DataType] = {}
        for path in headers:
            for field in self._make(self._table.of(str(path))).schema:
                types[field.name] = common(types.get(field.name), field.type)
        names = next(iter(headers.values()))
        whole: DataFrame | None = None
        for path, header in headers.items():
            frame = self._frame(self._make(self._table.of(str(path), header)))
            columns = [self._value(name, types[name], bad_is_null=bad_is_null) for name in names]
            columns += self._said(path, names)
            part = frame.select(*columns)
            whole = part if whole is None else whole.union(part)
        assert whole is not None
        return whole.into_view()

    def _read_as_text(self, files: Sequence[Path], *, bad_is_null: bool) -> Any:  # noqa: ANN401 - as above
        """Return files of which each value is read as text, and made what it is then."""
        made, written = self._make(self._table.sql), self._folders(files)
        folders = [
            name
            for name in made.schema.names
            if files and name in partition_of(files[0], self._table.location)
        ]
        plain = [field for field in made.schema if field.name not in folders]
        text = self._table.of(self._table.location, [each.name for each in plain], folders)
        columns = [self._value(each.name, each.type, bad_is_null=bad_is_null) for each in plain]
        columns += [
            self._folder(name, written.get(name, set()), self._told_type(made.schema.field(name)))
            for name in folders
        ]
        return self._frame(self._make(text)).select(*columns).into_view()

    def _value(self, name: str, kind: pa.DataType, *, bad_is_null: bool) -> Expr:
        value = col(quoted(name))
        regex = self._table.given.get("format.null_regex")
        if regex:
            is_null = functions.regexp_like(value, lit(regex))
            value = functions.when(is_null, lit(None)).otherwise(value)
        if not pt.is_string(kind):
            value = value.try_cast(kind) if bad_is_null else value.cast(kind)
        return value.alias(name)

    # --- folders and floats ----------------------------------------------------------------------

    def _changed(self, made: Any, files: Sequence[Path]) -> Any:  # noqa: ANN401 - DataFusion's
        """Return a table with those of its columns changed that are not read as they are meant."""
        written = self._folders(files)
        if self._table.kind == "PARQUET" and self._has_typed_folders(files):
            typed, names = made.schema, partition_of(files[0], self._table.location)
            plain = pa.schema([field for field in typed if field.name not in names])
            frame = self._frame(self._widened(plain, files[0]))
            columns = [self._column(field, written) or col(quoted(field.name)) for field in plain]
            columns += [
                self._folder(name, written.get(name, set()), typed.field(name).type)
                for name in names
            ]
            return frame.select(*columns).into_view()
        columns = [self._column(field, written) for field in made.schema]
        if not any(columns):
            return made
        fields = zip(columns, made.schema, strict=True)
        chosen = [each or col(quoted(field.name)) for each, field in fields]
        return self._frame(made).select(*chosen).into_view()

    def _folders(self, files: Iterable[Path]) -> dict[str, set[str]]:
        """Return what is written in the names of the folders, where it is not the value itself."""
        found: dict[str, set[str]] = {}
        for path in files:
            for name, value in partition_of(path, self._table.location).items():
                if folder_value(value) != value:
                    found.setdefault(name, set()).add(value)
        return found

    def _column(self, field: pa.Field, written: Mapping[str, set[str]]) -> Expr | None:
        column = col(quoted(field.name))
        if pt.is_floating(field.type) and self._table.kind == "PARQUET":
            return functions.nanvl(column, column).alias(field.name)
        if field.type != _FOLDER:
            return None
        if not self._is_local:
            return self._folder(field.name, {NULL_FOLDER})
        values, kind = written.get(field.name, set()), self._parted_by.get(field.name, _TEXT)
        return self._folder(field.name, values, kind) if values or kind != _TEXT else None

    def _told_type(self, field: pa.Field) -> pa.DataType:
        """Return the type of a partition's column: as it was declared, or what its folders say."""
        return self._parted_by.get(field.name, _TEXT) if field.type == _FOLDER else field.type

    def _has_typed_folders(self, files: Sequence[Path]) -> bool:
        """Whether a partition's column is no text, and a folder is not called as its value is."""
        return self._table.parted and bool(self._folders(files))

    def _folder(self, name: str, written: Iterable[str], kind: pa.DataType = _TEXT) -> Expr:
        """Return a partition's column, with what some of its folders stand for in their place."""
        text = col(quoted(name)).cast(pa.string())
        to = pa.string() if kind == _FOLDER else kind
        if not written:
            return text.cast(to).alias(name)
        first, *rest = sorted(written)
        cases = functions.when(text == lit(first), lit(folder_value(first)))
        for each in rest:
            cases = cases.when(text == lit(each), lit(folder_value(each)))
        return cases.otherwise(text).cast(to).alias(name)

    # --- files that differ -----------------------------------------------------------------------

    def _made(self, files: Sequence[Path]) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion makes; where it fails, of files that differ only in width."""
        try:
            made = self._make(self._table.sql)
            if self._table.kind == "PARQUET" and any(map(has_floats, made.schema.types)):
                made = self._make(self._table.sql, statistics=False)
            return made
        except Exception as error:
            if not files:
                raise
            if len(files) == 1:
                raise _unread(files[0], error) from error
            schema = self._merged(files, error)
            if self._table.kind != "PARQUET" or _DIFFER not in str(error):
                raise
            return self._widened(schema, files[0])

    def _merged(self, files: Sequence[Path], error: Exception) -> pa.Schema:
        """Return the columns of all files.

        Raises:
            SourceError: One cannot be read, or has a column of another kind; it is named.
        """
        fields: dict[str, pa.Field] = {}
        seen: dict[str, Path] = {}
        for path in files[:FILES_TOLD_MAX]:
            try:
                schema = self._make(self._table.of(str(path))).schema
            except Exception as broken:  # noqa: BLE001 - whatever DataFusion raises of a file
                raise _unread(path, broken) from error
            for field in schema:
                known = fields.get(field.name)
                kind = wider(None if known is None else known.type, field.type)
                if kind is None:
                    assert known is not None
                    there = str(path), str(seen[field.name])
                    raise _differs(field, known.type, *there) from error
                fields[field.name] = pa.field(field.name, kind)
                seen.setdefault(field.name, path)
        return pa.schema(list(fields.values()))

    def _widened(self, schema: pa.Schema, first: Path) -> Any:  # noqa: ANN401 - DataFusion's
        """Return Parquet files that are read by columns that all of them fit."""
        place = self._table.location.removeprefix("file://")
        folders = [(name, _FOLDER) for name in partition_of(first, self._table.location)]
        context = SessionContext(SessionConfig(NO_STATISTICS))
        context.register_listing_table("t", place, folders, "", schema)
        return context.table_provider("t")


def _differs(field: pa.Field, known: pa.DataType, place: str, first: str) -> SourceError:
    return SourceError(
        f"column {field.name!r} is {field.type} in {place!r}, and {known} in {first!r}: the files "
        "of one table have the same types"
    )


def _unread(path: Path, error: Exception) -> SourceError:
    told = PREFIXES.sub("", str(error))
    return SourceError(f"{str(path)!r} cannot be read: {told}")
