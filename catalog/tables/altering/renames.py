"""Another name for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, SEQUENCE, VECTOR, VIEW
from affidavit.catalog.sql.names import check_table_name
from affidavit.catalog.tables.altering.redefine import current, redefine
from affidavit.catalog.tables.constraints.sequences import refuse_asked
from affidavit.catalog.tables.vector_rows import locked
from affidavit.errors import OutcomeUnknownError, TableExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo


def rename_table(catalog: Catalog, info: TableInfo, new: str) -> None:
    """Give a table another name.

    Raises:
        TableExistsError: The name is taken.
        InvalidNameError: It cannot name a table.
    """
    check_table_name(new, schema=info.schema)
    RENAMES[info.kind](catalog, info, new, f"rename to {new}")


def _rename(catalog: Catalog, info: TableInfo, new: str, detail: str) -> None:
    with catalog.write() as writer:
        now = current(catalog, writer, info)
        redefine(catalog, writer, now, now.definition, detail, name=new)


def _rename_sequence(catalog: Catalog, info: TableInfo, new: str, detail: str) -> None:
    with catalog.write() as writer:
        refuse_asked(catalog, writer, info)
        _rename(catalog, info, new, detail)


def _rename_dataset(catalog: Catalog, info: TableInfo, new: str, detail: str) -> None:
    with locked(catalog, info, "renaming a vector table") as (now, _):
        old_home = catalog.lake.datasets.path(now)
        new_home = catalog.lake.folders.vector_table(now.tenant, new)
        moved = False
        try:
            with catalog.write() as writer:
                redefine(catalog, writer, now, now.definition, detail, name=new)
                _refuse_folder(new_home)
                old_home.rename(new_home)
                moved = True
        except OutcomeUnknownError:  # it may be called so by now
            raise
        except BaseException:
            if moved:
                new_home.rename(old_home)
            raise
        finally:
            catalog.lake.datasets.forget(now)


RENAMES: Final[Mapping[str, Callable[[Catalog, TableInfo, str, str], None]]] = {
    MUTABLE.name: _rename,
    VECTOR.name: _rename_dataset,
    VIEW.name: _rename,
    EXTERNAL.name: _rename,
    SEQUENCE.name: _rename_sequence,
}
"""How a table of each kind gets another name."""


def _refuse_folder(home: Path) -> None:
    if home.exists():
        raise TableExistsError(home.stem, kind="folder named")
