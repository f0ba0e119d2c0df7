"""Giving a table another definition, and saying so in the same commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.tables.files import list_files
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.vector_rows import locked
from affidavit.errors import ConstraintError, ReadOnlyError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import Definition, TableInfo
    from affidavit.catalog.store.protocol import Writer


def mutable_definition(info: TableInfo) -> MutableDefinition:
    """Return what a mutable table is.

    Raises:
        ReadOnlyError: It is another kind of table.
    """
    if not isinstance(info.definition, MutableDefinition):
        msg = f"{info.name!r} is a {info.kind}: drop it and create it anew"
        raise ReadOnlyError(msg)
    return info.definition


def redefine(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    definition: Definition,
    detail: str,
    *,
    action: str = "alter",
    name: str | None = None,
    loses: tuple[str, ...] = (),
    version_before: int | None = None,
) -> None:
    """Let ``info`` be what ``definition`` says, and announce it in the same transaction."""
    catalog.redefine(writer, info, definition, name=name)
    change = catalog.change(
        info, action, detail=detail, definition=definition.to_json(), loses=loses,
        version_before=version_before,
        version_after=None if version_before is None else version_before + 1,
    )  # fmt: skip
    catalog.announce(writer, change)


def current(catalog: Catalog, writer: Writer, info: TableInfo) -> TableInfo:
    """Return ``info`` as this transaction sees it.

    Raises:
        TableNotFoundError: It was dropped meanwhile.
    """
    catalog.refuse_shared(info)
    now = catalog.by_id(writer, info.table_id)
    if now is None:
        raise TableNotFoundError(info.name)
    return now


def alter_dataset(
    catalog: Catalog,
    info: TableInfo,
    definition: VectorDefinition,
    detail: str,
    change: Callable[[lance.LanceDataset], None],
    *,
    loses: tuple[str, ...] = (),
) -> None:
    """Alter a vector table: ``change`` commits to Lance, once, what ``definition`` says.

    Raises:
        ConstraintError: It was altered meanwhile.
    """
    with locked(catalog, info, "altering a vector table") as (now, shared):
        if now.definition != info.definition:
            msg = f"vector table {info.name!r} was altered meanwhile: look again, then try again"
            raise ConstraintError(msg)
        dataset = shared.checkout_version(shared.version)
        told = catalog.change(now, "alter", detail=detail, definition=definition.to_json())
        with intended(catalog, now, shared, [told]) as intent, catalog.write() as writer:
            before = int(shared.version)
            redefine(
                catalog, writer, now, definition, detail, loses=loses, version_before=before
            )  # fmt: skip
            catalog.show(writer, now, before + 1)
            intent.finish(writer)
            with lance_errors(f"altering vector table {info.name!r}"):
                change(dataset)
            assert dataset.version == before + 1  # one commit of Lance's, as was announced
            list_files(catalog, writer, now, range(before + 1, before + 2))
