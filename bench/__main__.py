"""Run benchmarks, print one table and write one JSON file."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from bench.acknowledged import acknowledge
from bench.audit import audit, statements, threads
from bench.data import data
from bench.digest import digest
from bench.erasure import erasure
from bench.federation import aggregate, federate, tpch
from bench.found import ends, lately, listing, slope
from bench.growing import growing
from bench.harness import Plan
from bench.jammi_peer import jammi
from bench.journal import journal, journaled, past, seal
from bench.keyed import keyed
from bench.large import attached, gathered, large, slopes, wide
from bench.ledger import prove, verify
from bench.memory import stream
from bench.page import PAGE, shown, write
from bench.reads import reads
from bench.records import records
from bench.search import recall, search
from bench.searches import searches
from bench.sessions import light, load, mix
from bench.shared import shared
from bench.stopping import cancel
from bench.sub_trees import beside, keys, one_server
from bench.tables import batch, change, changed, insert, scan, select
from bench.tenants import tenants
from bench.topics import deliver, predicate, publish, replay, subscribers, trigger
from bench.tpcds import tpcds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.harness import Figure

    Benchmark = Callable[[Plan], Iterator[Figure]]

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "search": search,
    "recall": recall,
    "searches": searches,
    "audit": audit,
    "threads": threads,
    "statements": statements,
    "verify": verify,
    "prove": prove,
    "digest": digest,
    "data": data,
    "reads": reads,
    "erasure": erasure,
    "records": records,
    "journaled": journaled,
    "seal": seal,
    "journal": journal,
    "past": past,
    "ends": ends,
    "lately": lately,
    "slope": slope,
    "listing": listing,
    "publish": publish,
    "replay": replay,
    "acknowledge": acknowledge,
    "deliver": deliver,
    "predicate": predicate,
    "subscribers": subscribers,
    "trigger": trigger,
    "federate": federate,
    "aggregate": aggregate,
    "tpch": tpch,
    "tpcds": tpcds,
    "one_server": one_server,
    "beside": beside,
    "keys": keys,
    "select": select,
    "change": change,
    "insert": insert,
    "keyed": keyed,
    "batch": batch,
    "scan": scan,
    "changed": changed,
    "large": large,
    "gathered": gathered,
    "wide": wide,
    "attached": attached,
    "slopes": slopes,
    "jammi": jammi,
    "growing": growing,
    "stream": stream,
    "mix": mix,
    "load": load,
    "light": light,
    "cancel": cancel,
    "tenants": tenants,
    "shared": shared,
}
OUT: Final = Path(__file__).parent / "out" / "bench.json"
PLAIN_WIDTH: Final = 170
"""How many characters a line may have where there is no terminal to ask."""

LIBRARIES: Final = ("affidavit", "datafusion", "lancedb", "numpy", "pyarrow", "pylance")


def run(names: Sequence[str], *, quick: bool, console: Console) -> tuple[list[Figure], list[str]]:
    """Run benchmarks, each in an empty folder of its own.

    Returns:
        Their figures, and the names of those that failed.
    """
    figures: list[Figure] = []
    failed: list[str] = []
    for name in names:
        started = perf_counter()
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
            try:
                figures += BENCHMARKS[name](Plan(Path(folder), quick=quick))
            except Exception:  # noqa: BLE001 - the others are measured nevertheless
                console.print_exception()
                failed.append(name)
        console.print(f"{name}: {perf_counter() - started:.0f} s", style="dim")
    return figures, failed


def as_json(figures: Sequence[Figure], *, quick: bool) -> str:
    """Return the figures, and what they were made with, as JSON."""
    report = {
        "quick": quick,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "figures": [
            {**asdict(f), "ratio": f.ratio, "target": f.target, "met": f.met} for f in figures
        ],
    }
    return json.dumps(report, indent=2) + "\n"


def as_table(figures: Sequence[Figure]) -> Table:
    """Return the figures as a table."""
    table = Table("figure")
    for heading in ("measured", "baseline", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("against", "target", "met"):
        table.add_column(heading)
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}
    for figure in figures:
        table.add_row(
            figure.name, shown(figure.measured, figure.unit), shown(figure.baseline, figure.unit),
            f"{figure.ratio:.2f}x", figure.against, figure.target, words[figure.met],
        )  # fmt: skip
    return table


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--full", action="store_true", help="ten times the sizes")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} of the last run")
    arguments = parser.parse_args()
    if arguments.page:
        write(json.loads(OUT.read_text()))
        return
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {list(BENCHMARKS)}")
    names = list(dict.fromkeys(arguments.names)) or list(BENCHMARKS)
    figures, failed = run(names, quick=not arguments.full, console=Console(stderr=True))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(as_json(figures, quick=not arguments.full))
    console = Console()
    console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
    console.print(as_table(figures))
    console.print(f"written to {OUT}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
