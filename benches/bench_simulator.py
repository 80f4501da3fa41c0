"""Cost of a page of 300 candles for the simulated exchange, without the network.

`pytest benches/bench_simulator.py --benchmark-enable` times it; as a test each runs once. A backfill of
50,000 candles a second asks for 167 pages a second: at 2 ms a page that is a third of a core.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.api_response import ApiRequest
from reconciler_engine.simulator.prices.listed_products import list_products
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.simulated_clock import SimulatedClock

NOW = 1_795_461_945_678
SLOTS = 300
PATH = "/api/v3/brokerage/market/products/BTC-USD/candles"


@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M5, Timeframe.H1], ids=str)
def test_rows_of_the_next_page(benchmark: BenchmarkFixture, timeframe: Timeframe) -> None:
    market = SeededMarket(1, list_products(NOW))
    span = SLOTS * timeframe.step_ms
    # Every page is one never asked for, as in a backfill.
    stops = itertools.count(timeframe.floor(NOW), -span)

    def page() -> list[str]:
        stop = next(stops)
        return market.rows("BTC-USD", timeframe, Interval(stop - span, stop), NOW)

    assert len(benchmark(page)) == SLOTS


def test_answer_of_the_next_page(benchmark: BenchmarkFixture) -> None:
    market = SeededMarket(1, list_products(NOW))
    exchange = Exchange(market, SimulatedClock(NOW, rate=0), ExchangeRules(public_rate=0))
    ends_s = itertools.count(NOW // 60_000 * 60 - 60, -SLOTS * 60)

    def page() -> int | None:
        end_s = next(ends_s)
        query = {"start": str(end_s - (SLOTS - 1) * 60), "end": str(end_s), "granularity": "ONE_MINUTE"}
        values = {name: [text] for name, text in query.items()}
        target = f"{PATH}?start={query['start']}"
        return exchange.respond(ApiRequest("GET", target, PATH, values, {}, "127.0.0.1")).answer.rows

    assert benchmark(page) == SLOTS


def test_read_a_file_of_20000_rows(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    path = tmp_path / "BTC-USD_1m.csv"
    rows = "".join(f"{start * 60_000},88000.5,88102.25,87990,88001.4,9.81234567\n" for start in range(20_000))
    path.write_text(f"start_ms,open,high,low,close,volume\n{rows}")
    assert benchmark(read_candle_file, path).rows == 20_000
