"""The messages of DataFusion that decide something here, each provoked: an upgrade may reword one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from datafusion import SessionContext
from datafusion.catalog import Table

import affidavit
from affidavit import errors
from affidavit.catalog.lake.memory import Memory
from affidavit.catalog.sql.scan import ArrowDataset
from affidavit.engine.plan.errors import (
    CONSTANT_FILTER,
    NO_FIELD,
    NO_TABLE,
    PANIC,
    PREFIXES,
    asks_for_whole_tables,
    engine_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = pa.table({"a": [1, 2, 3], "s": ["x", "y", "z"], "Big": [True, False, None]})


@pytest.fixture
def raised() -> Callable[[str], BaseException]:
    """What DataFusion raises for a query of ``d``, which we scan, and ``m``, which it does."""
    context = SessionContext()
    context.register_table("d", Table(ArrowDataset(ROWS, lambda _: None)))
    context.register_record_batches("m", [ROWS.to_batches()])

    def run(query: str) -> BaseException:
        with pytest.raises(BaseException) as caught:
            list(context.sql(query).execute_stream())
        return caught.value

    return run


def failing(snapshot: Any, error: BaseException, kind=errors.ExecutionError) -> BaseException:
    """Return what a statement's caller is told of ``error``."""
    with pytest.raises(BaseException) as caught, engine_errors(snapshot, kind):
        raise error
    return caught.value


def statement(**told: Any) -> Any:
    """Return as much of a snapshot as an error is told by."""
    held = {
        "failure": None, "hide": str, "others": {}, "missing": [], "tellers": [], "reader": None,
        "catalog": SimpleNamespace(
            tables=lambda _: [SimpleNamespace(name="t")], lake=SimpleNamespace(memory=Memory())
        ),
    }  # fmt: skip
    return SimpleNamespace(**{**held, **told})


# --- the texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("a BETWEEN NULL AND 3", "unsupported operand type(s) for &"),
        ('"Big" AND a IN (NULL, 1)', "unsupported operand type(s) for |"),
        ("a IN (NULL, NULL) AND s IN (NULL)", "bit_wise_and"),
    ],
)  # fmt: skip
def test_filters_with_constants_cannot_be_handed_to_a_table(raised, condition, text) -> None:
    error = raised(f"SELECT * FROM d WHERE {condition}")
    assert text in str(error)
    assert CONSTANT_FILTER.search(str(error))
    assert asks_for_whole_tables(error, None)


def test_a_filter_that_no_table_can_be_asked_asks_for_whole_tables(raised) -> None:
    error = raised('SELECT * FROM d WHERE (a > 1) IS NULL AND "Big" IS TRUE')
    assert not CONSTANT_FILTER.search(str(error))
    assert not asks_for_whole_tables(error, None)
    assert asks_for_whole_tables(error, errors.UnsupportedPredicateError("is_null"))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("SELECT nope FROM d", "nope"),
        ("SELECT d.nope FROM d", "nope"),
        ('SELECT "Nope" FROM d', "Nope"),
        ('SELECT d."Nope" FROM d', "Nope"),
        ("SELECT 1 FROM d JOIN m USING (nope)", "nope"),
        ("SELECT a AS b FROM d HAVING nope > 1", "nope"),
        ("SELECT nope", "nope"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_named(raised, query, field) -> None:
    found = NO_FIELD.search(str(raised(query)))
    assert found is not None
    assert found[1] == field


@pytest.mark.parametrize("name", ["nope", "public.nope", "datafusion.public.nope"])
def test_a_table_that_is_not_there_is_named_in_full(raised, name) -> None:
    found = NO_TABLE.search(str(raised(f"SELECT * FROM {name}")))
    assert found is not None
    assert found[1] == "datafusion.public.nope"


@pytest.mark.parametrize(
    ("query", "prefix", "text"),
    [
        ("SELEC 1", "SQL error: ", "ParserError("),
        ("SELECT * FROM nope", "Error during planning: ", "table 'datafusion.public.nope'"),
        ("SELECT a / 0 FROM m", "DataFusion error: Arrow error: ", "Divide by zero error"),
        (
            "SELECT * FROM d WHERE a BETWEEN NULL AND 3",
            "DataFusion error: External error: ",
            "Python error PyErr {",
        ),
    ],
)
def test_the_layers_that_a_message_went_through_are_not_told(raised, query, prefix, text) -> None:
    told = str(raised(query))
    assert told.startswith(prefix + text)
    assert PREFIXES.sub("", told).startswith(text)


def test_a_panic_is_no_exception_and_is_told_as_one(raised) -> None:
    panic = raised("SELECT array_repeat(1, 9223372036854775807)")
    assert not isinstance(panic, Exception)
    assert type(panic).__name__ == PANIC
    told = failing(statement(), panic)
    assert type(told) is errors.ExecutionError
    assert "capacity overflow" in str(told)


# --- what a caller is told -----------------------------------------------------------------------


def test_what_a_provider_raised_is_told_and_not_its_text(raised) -> None:
    error = raised("SELECT a / 0 FROM m")
    ours = errors.SourceError("the server is away")
    assert failing(statement(failure=ours), error) is ours
    interrupt = KeyboardInterrupt()
    assert failing(statement(failure=interrupt), error) is interrupt


def test_an_error_of_this_tree_and_an_interrupt_pass_as_they_are() -> None:
    ours, interrupt = errors.SqlError("no"), KeyboardInterrupt()
    assert failing(statement(failure=errors.SourceError("x")), ours) is ours
    assert failing(None, interrupt) is interrupt


def test_another_error_of_a_provider_is_the_cause(raised) -> None:
    cause = ValueError("deep down")
    told = failing(statement(failure=cause), raised("SELECT a / 0 FROM m"))
    assert type(told) is errors.ExecutionError
    assert str(told) == "Divide by zero error"
    assert told.__cause__ is cause


def test_a_message_with_a_secret_has_no_cause_that_repeats_it(raised) -> None:
    hide = lambda text: text.replace("zero", "***")  # noqa: E731 - a stand-in
    told = failing(statement(hide=hide), raised("SELECT a / 0 FROM m"))
    assert str(told) == "Divide by *** error"
    assert told.__cause__ is None
    assert told.__suppress_context__


def test_a_table_that_was_looked_up_in_vain_is_not_found(raised) -> None:
    told = failing(statement(missing=["x", "nope"]), raised("SELECT * FROM nope"), errors.SqlError)
    assert isinstance(told, errors.TableNotFoundError)
    assert told.name == "nope"
    assert "this session sees 't'" in str(told)
    other = failing(statement(), raised("SELECT * FROM nope"), errors.SqlError)
    assert type(other) is errors.SqlError


def test_what_a_table_of_files_knows_of_a_message_is_told(raised) -> None:
    tellers = [lambda _: None, lambda text: "a.csv has it" if "no FROM" not in text else None]
    told = failing(statement(tellers=tellers), raised("SELECT d.no FROM d"), errors.SqlError)
    assert str(told) == "a.csv has it"
    told = failing(statement(), raised("SELECT d.no FROM d"), errors.SqlError)
    assert str(told) == 'Schema error: No field named d.no. Valid fields are d.a, d.s, d."Big".'


def test_a_vector_file_of_another_lake_is_told_with_its_source(tmp_path: Path) -> None:
    """Lance has a file's path in its message, with a slash before it or without."""
    with affidavit.connect(tmp_path / "other", durability="normal") as other:
        rows = [{"id": at, "vector": [float(at), 1.0]} for at in range(4)]
        other.create_vector_table("docs", rows)
    with affidavit.connect(tmp_path / "lake", durability="normal") as session:
        session.attach("far", f"lake:///{tmp_path / 'other'}")
        result = session.sql("SELECT id, vector FROM far.main.docs")
        for file in (tmp_path / "other" / "vectors").rglob("data/*"):
            file.unlink()
        with pytest.raises(errors.SourceError, match=r"^source 'far': .*Not found"):
            result.to_arrow()


def test_what_a_pool_or_a_disk_refuses_is_of_memory(tmp_path) -> None:
    """A pool that is full names the limit; a folder that is full or gone, where it is."""
    full = Exception("DataFusion error: Resources exhausted: Failed to allocate 8 MB")
    for memory, told in (
        (Memory(2**25), "memory_limit of 33,554,432"),
        (Memory(), "than there is"),
    ):
        held = statement(catalog=SimpleNamespace(lake=SimpleNamespace(memory=memory)))
        error = failing(held, full)
        assert type(error) is errors.MemoryLimitError
        assert told in str(error)
    memory = Memory(2**25, tmp_path)
    held = statement(catalog=SimpleNamespace(lake=SimpleNamespace(memory=memory)))
    disk = Exception("IO error: No space left on device (os error 28)")
    assert "spill_to=" in str(failing(held, disk))
    out = Exception("Generic LocalFileSystem error: No space left on device (os error 28)")
    assert "spill_to=" not in str(failing(held, out)), "that is what COPY writes"
    memory.close()
