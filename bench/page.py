"""The page that shows the last figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
_GB: Final = 1 << 30

_HEAD: Final = """# Figures

Printed by `make bench`, and written to this page by `python -m bench --page`. Each figure stands
beside a baseline that was measured in turns with it, in the same run, since a machine is never as
fast twice. `make bench` takes tables of 100,000 rows where a figure is about a large one, `make
bench SIZE=full` a million; `make bench WHAT=keyed` is a part. What is not as the target has it is
said so.

"""


def write(report: Mapping[str, Any]) -> None:
    """Write the page of a report, as the JSON file has it."""
    libraries = ", ".join(f"{name} {number}" for name, number in report["libraries"].items())
    size = "a tenth of the full sizes" if report["quick"] else "the full sizes"
    lines = [
        f"Machine: {_machine()}. Python {report['python']}, {libraries}. Sizes: {size}.",
        "",
        "| figure | measured | baseline | ratio | against | target | kept |",
        "| --- | ---: | ---: | ---: | --- | --- | --- |",
    ]
    kept = {True: "yes", False: "**no**", None: ""}
    for each in report["figures"]:
        cells = (
            each["name"].replace("|", "\\|"), shown(each["measured"], each["unit"]),
            shown(each["baseline"], each["unit"]), f"{each['ratio']:.2f}x", each["against"],
            each["target"], kept[each["met"]],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    PAGE.write_text(_HEAD + "\n".join(lines) + "\n")


def shown(value: float, unit: str) -> str:
    """Return a value as a table shows it."""
    digits = 0 if value >= 1000 else 1 if value >= 100 else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


def _machine() -> str:
    """Return what is known of the machine without asking its owner."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
