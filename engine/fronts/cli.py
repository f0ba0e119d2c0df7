"""The command line: ``affidavit verify``, ``affidavit export`` and ``affidavit key``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Optional

import typer

from affidavit.catalog.checking.data import Asked
from affidavit.catalog.checking.verifying import Wanted, verified
from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.lake.elsewhere.moving import move_store
from affidavit.catalog.lake.lake import Lake, LakeOptions, open_lake
from affidavit.catalog.ledger.bundle import export_bundle
from affidavit.catalog.ledger.verifier import (
    ORIGIN_PREFIX,
    LedgerProblem,
    PublicKey,
    check_bundle,
    shown,
)
from affidavit.catalog.ledger.witness import FileWitness
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.sql.names import SHARED, check_tenant
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, NODES, RESULTS
from affidavit.catalog.store.transactions import Transactions
from affidavit.errors import AffidavitError, LedgerCorruptError, NoTenantError, WitnessError
from affidavit.screen import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Check what a lake's ledger says, with nothing but public keys.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

LakePath = Annotated[Path, typer.Argument(help="The lake's folder.")]
Tenant = Annotated[str, typer.Option(help="Whose ledger; '-' for the shared scope.")]


@app.callback()
def main() -> None:
    """Check what a lake's ledger says, with nothing but public keys."""


def _fail(message: object) -> typer.Exit:
    typer.echo(printable(message), err=True)
    return typer.Exit(2)


def _public_key(text: str | None) -> PublicKey | None:
    if text is None:
        return None
    try:
        return PublicKey.parse(text)
    except LedgerProblem as problem:
        raise _fail(problem) from None


@app.command()
def verify(
    lake: Annotated[Optional[Path], typer.Argument(help="The lake's folder.")] = None,  # noqa: UP045 - typer reads it
    bundle: Annotated[
        Optional[Path], typer.Option(help="An exported bundle instead of a lake.")  # noqa: UP045
    ] = None,
    public_key: Annotated[
        Optional[str], typer.Option(help="The public key that it must be signed by.")  # noqa: UP045
    ] = None,
    witness: Annotated[
        Optional[Path], typer.Option(help="A file of checkpoints that was kept elsewhere.")  # noqa: UP045
    ] = None,
    signatures: Annotated[  # noqa: FBT002 - typer makes two flags of it
        bool, typer.Option(help="Check each record's signature, and not only the heads'.")
    ] = True,
    data: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            help="Read every file of the vector tables too, or leave the data out. By default "
            "rows are checked, and files are looked for."
        ),
    ] = None,
) -> None:
    """Verify every ledger of a lake, and its data; or a bundle. The exit status is 1 if not."""
    if (lake is None) == (bundle is None):
        raise _fail("give a lake or --bundle, and not both")
    if bundle is not None:
        verdict = check_bundle(bundle, public_key)
        typer.echo(str(verdict))
        raise typer.Exit(0 if verdict else 1)
    assert lake is not None
    if (lake / "manifest.json").exists():
        raise _fail(f"{str(lake)!r} is a bundle: pass it as --bundle {lake}")
    trusted = _public_key(public_key)
    try:
        seen = _newest_notes(witness)
        opened = open_lake(lake, LakeOptions(read_only=True))
    except LedgerCorruptError as error:
        typer.echo(f"CORRUPT: {printable(error)}")
        raise typer.Exit(1) from None
    except AffidavitError as error:
        raise _fail(error) from None
    whole = True
    try:
        asked = None if data is False else Asked(reads_files=data is True)
        wanted = Wanted(signatures, data=asked)
        for said in _verdicts(opened, trusted, seen, wanted):
            typer.echo(said.text)
            whole = whole and said.ok
    except AffidavitError as error:
        typer.echo(f"CORRUPT: {printable(error)}")
        whole = False
    finally:
        opened.close()
    raise typer.Exit(0 if whole else 1)


def _newest_notes(witness: Path | None) -> dict[str, str] | None:
    if witness is None:
        return None
    if not witness.exists():
        msg = f"there is no witness at {str(witness)!r}"
        raise WitnessError(msg)
    return FileWitness(witness).newest()


class _Said(NamedTuple):
    ok: bool
    text: str


def _verdicts(
    lake: Lake, trusted: PublicKey | None, seen: dict[str, str] | None, wanted: Wanted
) -> Iterator[_Said]:
    """Yield what is to be said of each ledger of a lake, and of those that should be there."""
    origins = set()
    for tenant in _tenants(lake):
        if not _is_tenant(tenant):
            yield _Said(ok=False, text=f"CORRUPT: rows of {shown(tenant)}, which is no tenant")
            continue
        ledger = lake.ledgers.of(tenant)
        origins.add(ledger.origin)
        mine = trusted if trusted is not None and trusted.name == ledger.origin else None
        note = None if seen is None else seen.get(ledger.origin)
        try:
            catalog = Catalog(lake, Identity(tenant), Transactions(lake.store))
            asked = replace(wanted, trusted=mine, witnessed=[] if note is None else [note])
            with catalog.read() as reader:
                found = verified(catalog, reader, asked)
        except AffidavitError as error:  # a damaged file is a finding too
            yield _Said(ok=False, text=f"CORRUPT {ledger.origin}: {printable(error)}")
            continue
        text = f"{found}\n  key: {found.key}"
        if seen is not None and note is None:
            text += "\n  the witness has no checkpoint of it"
        yield _Said(found.ok, text)
    if not origins:
        yield _Said(ok=True, text=f"EMPTY {ORIGIN_PREFIX}/{lake.lake_id}: there is no ledger")
    if trusted is not None and trusted.name not in origins:
        text = f"CORRUPT: no ledger of this lake is called {trusted.name}"
        yield _Said(ok=False, text=text)
    if seen is not None:
        own = {each for each in seen if each.startswith(f"{ORIGIN_PREFIX}/{lake.lake_id}/")}
        for origin in sorted(own - origins):
            text = f"CORRUPT {printable(origin)}: checkpoints were signed, and every entry is gone"
            yield _Said(ok=False, text=text)
        if not own:
            yield _Said(ok=False, text="CORRUPT: the witness has no checkpoint of this lake")


def _tenants(lake: Lake) -> list[str]:
    tables = (LEDGER, HEADS, CHECKPOINTS, NODES, RESULTS)
    return sorted({tenant for table in tables for tenant in lake.store.tenants(table)})


def _is_tenant(name: str) -> bool:
    """Return whether ``name``, which stands in the store, can be a tenant's or the shared scope."""
    try:
        return name == SHARED or check_tenant(name) == name
    except NoTenantError:
        return False


@app.command()
def export(
    lake: LakePath,
    path: Annotated[Path, typer.Argument(help="The new folder.")],
    tenant: Tenant = "default",
    from_seq: Annotated[int, typer.Option(help="The first entry.")] = 0,
    to_seq: Annotated[Optional[int], typer.Option(help="The last entry.")] = None,  # noqa: UP045
) -> None:
    """Write a bundle that a stranger can verify."""
    try:
        opened = open_lake(lake, LakeOptions(read_only=True))
        try:
            owner = check_tenant(None if tenant == "-" else tenant)
            with opened.store.read(owner) as reader:
                typer.echo(export_bundle(reader, opened.ledgers.of(owner), path, from_seq, to_seq))
        finally:
            opened.close()
    except AffidavitError as error:
        raise _fail(error) from None


@app.command("migrate-store")
def migrate_store(
    lake: LakePath,
    store: Annotated[str, typer.Argument(help="postgresql://user@host/database?schema=name")],
) -> None:
    """Move a lake's store to PostgreSQL; every ledger and its data is verified before and after."""
    try:
        before = _whole(lake, None)
        rows = move_store(lake, store)
        if _whole(lake, store) != before:
            raise _fail("the ledgers are not what they were: drop the schema and restore the lake")
    except AffidavitError as error:
        raise _fail(error) from None
    typer.echo(f"moved {rows:,} rows of {len(before)} ledgers; every one verifies as before")
    typer.echo("open the lake with store= from now on, and its master key in the environment")


def _whole(lake: Path, store: str | None) -> list[str]:
    """Return what is to be said of each ledger; exit where one is not what was signed."""
    opened = open_lake(lake, LakeOptions(read_only=True, store=store))
    try:
        said = list(_verdicts(opened, None, None, Wanted(data=Asked())))
    finally:
        opened.close()
    wrong = [each.text for each in said if not each.ok]
    if wrong:
        raise _fail(wrong[0])
    return [each.text for each in said]


@app.command()
def key(lake: LakePath, tenant: Tenant = "default") -> None:
    """Print the public keys of a ledger, the newest last."""
    try:
        opened = open_lake(lake, LakeOptions(read_only=True))
        try:
            owner = check_tenant(None if tenant == "-" else tenant)
            with opened.store.read(owner) as reader:
                ledger = opened.ledgers.of(owner)
                ledger.head(reader)  # which says whether these are all of its keys
                found = ledger.keys(reader)
                if not found:
                    raise _fail(f"there is no ledger {ledger.origin}")
                for each in found:
                    typer.echo(str(each))
        finally:
            opened.close()
    except (AffidavitError, LedgerProblem) as error:
        raise _fail(error) from None
