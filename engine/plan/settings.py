"""How DataFusion is set, and what it may be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datafusion import SessionConfig, SQLOptions

from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

QUERIES_ONLY: Final = (
    SQLOptions()
    .with_allow_ddl(allow=False)
    .with_allow_dml(allow=False)
    .with_allow_statements(allow=False)
)
ONE_PARTITION: Final = {
    "datafusion.execution.target_partitions": "1",
    "datafusion.optimizer.enable_round_robin_repartition": "false",
}
"""A statement over the rows of one table is planned in two thirds of the time without anything to
spread over partitions."""

_SETTINGS: Final = {"datafusion.catalog.create_default_catalog_and_schema": "false"}


def config(settings: Mapping[str, str]) -> SessionConfig:
    """Return what a context of a lake begins with, and ``settings``."""
    return (
        SessionConfig({**_SETTINGS, **settings})
        .with_default_catalog_and_schema(CATALOG, MAIN_SCHEMA)
        .with_information_schema(enabled=True)
    )
