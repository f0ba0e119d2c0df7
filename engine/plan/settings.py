"""How DataFusion is set, and what it may be asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from datafusion import SessionConfig, SQLOptions

from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.engine.statement.limits import BRACKETS_MAX

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

NO_STATISTICS: Final = {"datafusion.execution.collect_statistics": "false"}

NO_LISTS_KEPT: Final = "SET datafusion.runtime.list_files_cache_limit = '0'"
"""A folder's files are those that are there now, and not those of the first statement."""

_SETTINGS: Final = {
    "datafusion.catalog.create_default_catalog_and_schema": "false",
    "datafusion.execution.time_zone": "UTC",  # else TIMESTAMPTZ has no zone, nor has now()
    "datafusion.sql_parser.parse_float_as_decimal": "true",
    "datafusion.sql_parser.recursion_limit": str(BRACKETS_MAX),
}


_CRATES: Final = (
    "arrow", "datafusion", "hyper", "object_store", "parquet", "reqwest", "sqlparser", *(
        f"datafusion_{each}" for each in (
            "catalog", "catalog_listing", "common", "common_runtime", "datasource",
            "datasource_arrow", "datasource_avro", "datasource_csv", "datasource_json",
            "datasource_parquet", "execution", "expr", "expr_common", "ffi", "functions",
            "functions_aggregate", "functions_aggregate_common", "functions_nested",
            "functions_table", "functions_window", "functions_window_common", "optimizer",
            "physical_expr", "physical_expr_adapter", "physical_expr_common", "physical_optimizer",
            "physical_plan", "proto", "proto_common", "pruning", "python", "session", "sql",
            "substrait",
        )
    ),
)  # fmt: skip
"""What logs in DataFusion: at DEBUG each prints plans, with the values that are bound."""


def hold_loggers() -> None:
    """Have DataFusion's loggers say warnings only, but those whose level the program has set."""
    for crate in _CRATES:
        logger = logging.getLogger(crate)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def config(settings: Mapping[str, str]) -> SessionConfig:
    """Return what a context of a lake begins with, and ``settings``."""
    return (
        SessionConfig({**_SETTINGS, **settings})
        .with_default_catalog_and_schema(CATALOG, MAIN_SCHEMA)
        .with_information_schema(enabled=True)
    )
