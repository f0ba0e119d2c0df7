"""The command line: ``affidavit verify``, ``affidavit export`` and ``affidavit key``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from affidavit.catalog.lake import Lake
from affidavit.catalog.ledger import CHECKPOINTS, HEADS, LEDGER
from affidavit.catalog.names import check_tenant
from affidavit.catalog.verification import verify_ledger
from affidavit.catalog.verifier import LedgerProblem, PublicKey, check_bundle
from affidavit.catalog.witness import FileWitness
from affidavit.engine.export import export_bundle
from affidavit.errors import AffidavitError

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
    typer.echo(str(message), err=True)
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
) -> None:
    """Verify every ledger of a lake, or a bundle; the exit status is 1 if something is wrong."""
    if (lake is None) == (bundle is None):
        raise _fail("give a lake or --bundle, and not both")
    if bundle is not None:
        verdict = check_bundle(bundle, public_key)
        typer.echo(str(verdict))
        raise typer.Exit(0 if verdict else 1)
    trusted = _public_key(public_key)
    seen = None if witness is None else FileWitness(witness)
    assert lake is not None
    whole = True
    try:
        opened = Lake(lake, read_only=True)
    except AffidavitError as error:
        raise _fail(error) from None
    try:
        for tenant in _tenants(opened):
            ledger = opened.ledgers.of(tenant)
            mine = trusted if trusted is not None and trusted.name == ledger.origin else None
            note = None if seen is None else seen.latest(ledger.origin)
            with opened.store.read(tenant) as reader:
                found = verify_ledger(
                    reader, ledger, signatures=signatures, trusted=mine,
                    witnessed=[] if note is None else [note],
                )  # fmt: skip
            typer.echo(f"{found}\n  key: {found.key}")
            whole = whole and found.ok
        if trusted is not None and trusted.name not in _origins(opened):
            typer.echo(f"CORRUPT: no ledger of this lake is called {trusted.name}")
            whole = False
    except AffidavitError as error:
        typer.echo(f"CORRUPT: {error}")
        whole = False
    finally:
        opened.close()
    raise typer.Exit(0 if whole else 1)


def _tenants(lake: Lake) -> list[str]:
    return sorted({t for table in (LEDGER, HEADS, CHECKPOINTS) for t in lake.store.tenants(table)})


def _origins(lake: Lake) -> set[str]:
    return {lake.ledgers.of(tenant).origin for tenant in _tenants(lake)}


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
        opened = Lake(lake, read_only=True)
        try:
            owner = check_tenant(None if tenant == "-" else tenant)
            with opened.store.read(owner) as reader:
                typer.echo(export_bundle(reader, opened.ledgers.of(owner), path, from_seq, to_seq))
        finally:
            opened.close()
    except AffidavitError as error:
        raise _fail(error) from None


@app.command()
def key(lake: LakePath, tenant: Tenant = "default") -> None:
    """Print the public keys of a ledger, the newest last."""
    try:
        opened = Lake(lake, read_only=True)
        try:
            owner = check_tenant(None if tenant == "-" else tenant)
            with opened.store.read(owner) as reader:
                for each in opened.ledgers.of(owner).keys(reader):
                    typer.echo(str(each))
        finally:
            opened.close()
    except (AffidavitError, LedgerProblem) as error:
        raise _fail(error) from None
