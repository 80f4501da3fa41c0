"""Parts that the benches share: the tests' real server, and rounds that alternate between the ways to do one thing.

`pytest benches` runs every bench once over a small workload, as a test of its checks. `pytest benches
--benchmark-enable` runs the full workloads, times them and ends with a table. No bench asserts a time.
"""

from __future__ import annotations

import gc
import inspect
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest
from tests.conftest import redis_server, redis_url

from reconciler_engine import _native
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.supervisor.running_child import ChildSpec, SpecMaker

__all__ = ["redis_server", "redis_url"]

REPORT = pytest.StashKey[list[str]]()

Way = Callable[[], Awaitable[object] | object]


class Comparison:
    """Times ways to do the same work, in rounds that alternate between them."""

    def __init__(self, report: list[str], *, is_timed: bool) -> None:
        self._report = report
        self.is_timed = is_timed

    async def run(
        self,
        title: str,
        ways: Mapping[str, Way],
        *,
        rounds: int,
        prepare: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Run every way once a round, the order turned each round; the first way is the measure of the others.

        `prepare` goes before each, untimed. Where benches only run as tests, there is one round and no report.
        """
        took: dict[str, list[float]] = {name: [] for name in ways}
        order = list(ways)
        for number in range(rounds + 1 if self.is_timed else 1):
            for name in order:
                if prepare is not None:
                    await prepare()
                if self.is_timed:
                    gc.collect()
                began = time.perf_counter()
                result = ways[name]()
                if inspect.isawaitable(result):
                    await result
                took[name].append(time.perf_counter() - began)
            if number == 0:
                # The first round warms up.
                took = {name: took[name][1:] if self.is_timed else took[name] for name in ways}
            order = order[1:] + order[:1]
        if self.is_timed:
            self._tell(title, took)

    def tell(self, line: str) -> None:
        """Add a line to the report of a timed run."""
        if self.is_timed:
            self._report.append(line)

    def _tell(self, title: str, took: Mapping[str, list[float]]) -> None:
        medians = {name: statistics.median(times) * 1e3 for name, times in took.items()}
        base = next(iter(medians.values()))
        self._report.append(title)
        for name, times in took.items():
            spread = f"{min(times) * 1e3:.1f}..{max(times) * 1e3:.1f}"
            self._report.append(f"  {name:<58} {medians[name]:9.1f} ms  x{medians[name] / base:5.2f}  ({spread})")


@pytest.fixture(scope="session")
def is_timed(pytestconfig: pytest.Config) -> bool:
    """Whether benches run in full, for their times."""
    timed = bool(pytestconfig.getoption("benchmark_enable"))
    if timed and _native.DEBUG_BUILD:
        pytest.fail("a debug build of the native module is of no use for measuring: pip install -e .")
    return timed


@pytest.fixture
def comparison(pytestconfig: pytest.Config, is_timed: bool) -> Comparison:
    """The report's next section."""
    return Comparison(pytestconfig.stash.setdefault(REPORT, []), is_timed=is_timed)


@pytest.fixture
def make_worker_spec() -> Callable[[str, ReconciliationConfig, str], ChildSpec]:
    """Makes the spec of a worker process as the supervisor starts it: from name, settings and the cache's URL."""
    maker = SpecMaker(dict(os.environ), "json", "WARNING")

    def make(name: str, config: ReconciliationConfig, redis_url: str) -> ChildSpec:
        message = {
            "config": config.model_dump(mode="json"),
            "redis_url": redis_url,
            "owns_server": False,
            "consumer": name,
        }
        return maker.make(name, "reconciler_engine.engine.roles.worker:run_worker", **message)

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the report of a timed run: medians, ratios to each section's first line, fastest and slowest round."""
    lines = config.stash.get(REPORT, [])
    if lines:
        terminalreporter.section("medians of interleaved rounds")
        for line in lines:
            terminalreporter.write_line(line)
