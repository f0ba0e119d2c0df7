"""A pytest plugin: what each folder of tests takes, and how long a run may take.

``--budget SECONDS`` fails a run that takes longer by the clock on the wall, and names the folders that
took most; 0 is no limit. A folder's seconds are summed over all workers.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOWEST = 3


class Budget:
    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.took_s = 0.0
        self._began = time.perf_counter()
        self._seconds: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folder = report.nodeid.partition("::")[0].rpartition("/")[0] or "."
        self._seconds[folder] += report.duration
        self._tests[folder] += report.when == "call"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.took_s = time.perf_counter() - self._began
        if self.is_over and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._seconds:
            return
        terminalreporter.section("seconds a folder")
        for line in self.lines():
            terminalreporter.write_line(line)

    @property
    def is_over(self) -> bool:
        return 0 < self.limit_s < self.took_s

    def lines(self) -> Iterator[str]:
        for folder, seconds in self._seconds.most_common():
            yield f"{seconds:8.1f}  {folder} ({self._tests[folder]} tests)"
        yield f"{self._seconds.total():8.1f}  in all"
        if self.is_over:
            slowest = ", ".join(folder for folder, _ in self._seconds.most_common(SLOWEST))
            yield (
                f"OVER BUDGET: the run took {self.took_s:.0f} s of {self.limit_s:g} s; "
                f"the slowest folders: {slowest}"
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--budget", type=float, default=0, metavar="SECONDS", help="fail a run that takes longer"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of xdist report to the one who sums
        config.pluginmanager.register(Budget(config.getoption("--budget")), "budget")
