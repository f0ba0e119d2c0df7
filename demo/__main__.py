"""Run the tour: ``python -m demo [--lake PATH] [--quick]``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import affidavit
from demo import tour
from demo.observers import ChangeLog, SearchLog
from demo.show import Show


def main() -> None:
    """Take the tour, in a temporary lake unless the command line names one."""
    arguments = parse_arguments()
    if arguments.lake is not None:
        take_tour(arguments.lake, quick=arguments.quick)
        return
    with tempfile.TemporaryDirectory(prefix="affidavit-demo-") as folder:
        take_tour(Path(folder) / "lake", quick=arguments.quick)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=tour.__doc__)
    parser.add_argument("--lake", type=Path, help="a new folder for the lake, kept at the end")
    parser.add_argument("--quick", action="store_true", help="take a tenth of the texts")
    arguments = parser.parse_args()
    lake = arguments.lake
    if lake is not None and lake.exists() and not (lake.is_dir() and not any(lake.iterdir())):
        parser.error(f"{lake} is not an empty folder: name a new one")
    return arguments


def take_tour(lake: Path, *, quick: bool) -> None:
    """Fill ``lake``, ask, change, and print what happened."""
    started = perf_counter()
    show, searches, changes = Show(), SearchLog(), ChangeLog()
    corpus = tour.read_corpus(show, quick=quick)
    with affidavit.connect(lake, actor="demo") as session:
        session.hooks.add(searches)
        session.add_change_listener(changes)

        tour.load_docs(session, show, corpus)
        tour.attach_modules(session, show, corpus, lake / "modules.parquet")
        tour.write_notes(session, show)
        tour.ask(session, show)
        tour.ask_narrowly(session, show)
        tour.join(session, show)
        before = tour.change(session, show)
        tour.look_back(session, show, before)
        tour.roll_back(session, show)
        tour.be_told(session, show)
        tour.keep_tenants_apart(session, show)
        tour.read_the_past(session, show)
        tour.fail_helpfully(session, show)

        tour.show_searches(searches, show)
        tour.show_changes(changes, show)
        tour.show_records(session, show)
        tour.replay(session, show)
        tour.verify(session, show)
    with tempfile.TemporaryDirectory(prefix="affidavit-demo-") as folder:
        tour.tamper(lake, Path(folder), show)
    show.section(
        f"{len(corpus.docs):,} texts, {len(searches.searches)} searches, "
        f"{len(changes.changes)} changes, {perf_counter() - started:.1f} s after the imports"
    )


if __name__ == "__main__":
    main()
