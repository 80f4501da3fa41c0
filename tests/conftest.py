"""Hooks every test shares: coroutine tests run under trio, clocks can be virtual."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    """A clock that stands still until the test moves it."""
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline when all tasks wait; for in-memory fakes only."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Run `async def` tests with trio, under the clock fixture they ask for."""
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        clocks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, trio.abc.Clock)]
        body = pyfuncitem.obj

        @functools.wraps(body)
        def run(**arguments: object) -> None:
            trio.run(functools.partial(body, **arguments), clock=clocks[0] if clocks else None)

        pyfuncitem.obj = run
    yield


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real candle files; see tests/README.md."""
    folder = Path(os.environ.get("RECONCILER_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "coinbase" / "MANIFEST.csv").is_file():
        pytest.skip(
            f"no candle files in {folder} (set RECONCILER_TEST_DATA); synthetic twins assert the same"
        )
    return folder / "coinbase"
