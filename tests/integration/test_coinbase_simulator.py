"""The client and the simulated exchange, two readings of one document, must agree."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.symbol_selectors import Selector, choose
from reconciler_engine.errors import NotAuthorized, RateLimited, RequestRefused
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.candle_endpoint import CandleRules
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.throttle import ThrottleStyle
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock

NOW = 1_795_435_200_000
PRODUCTS = (
    ListedProduct("BTC-USD", 65_000.0),
    ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
    ListedProduct("OLD-USD", 1.0, 4, delisted=NOW - 86_400_000),
)
MARKET = SeededMarket(3, PRODUCTS)


@asynccontextmanager
async def exchange(rules: ExchangeRules) -> AsyncIterator[CoinbaseClient]:
    simulated = Exchange(MARKET, SimulatedClock(NOW, rate=0), rules)
    with trio.fail_after(20):
        async with open_exchange(simulated) as url, CoinbaseClient(url) as client:
            yield client


def free(candles: CandleRules | None = None) -> ExchangeRules:
    return ExchangeRules(candles or CandleRules(), public_rate=0, private_rate=0, cache_s=0)


READINGS = [
    CandleRules(span_limit=limit, end_inclusive=inclusive, covers_start=covers)
    for limit, inclusive, covers in itertools.product((349, 350), (False, True), (False, True))
]


@pytest.mark.parametrize("rules", READINGS, ids=str)
async def test_a_full_page_is_the_markets_bars_on_every_reading_of_a_range(rules: CandleRules) -> None:
    async with exchange(free(rules)) as client:
        for symbol, timeframe in itertools.product(("BTC-USD", "DASH-USD"), (Timeframe.M1, Timeframe.H6)):
            stop = timeframe.floor(NOW)
            interval = Interval(stop - PAGE_SLOTS * timeframe.step_ms, stop)
            page = await client.fetch_candles(Series(symbol, timeframe), interval)
            bars = MARKET.bars(symbol, timeframe, interval, NOW)
            assert [(c.timestamp, c.open, c.high, c.low, c.close, c.volume) for c in page.candles] == [
                (bar.start, *(float(text) for text in bar[1:])) for bar in bars
            ]
            assert bars
            assert page.covering


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_each_timeframe_is_served(timeframe: Timeframe) -> None:
    stop = timeframe.floor(NOW)
    async with exchange(free()) as client:
        page = await client.fetch_candles(Series("BTC-USD", timeframe), Interval(stop - timeframe.step_ms, stop))
    assert [candle.timestamp for candle in page.candles] == [stop - timeframe.step_ms]


async def test_the_clock() -> None:
    async with exchange(free()) as client:
        assert await client.fetch_time() == NOW


async def test_the_products() -> None:
    async with exchange(free()) as client:
        products = await client.fetch_products()
    assert choose([Selector.parse("all:USD")], products) == ("BTC-USD", "DASH-USD")
    assert "OLD-USD" in {product.symbol for product in products}


async def test_an_unknown_product_is_refused() -> None:
    async with exchange(free()) as client:
        with pytest.raises(RequestRefused, match="HTTP 404 NOT_FOUND: valid product_id is required"):
            await client.fetch_candles(Series.parse("NOPE-USD:1m"), Interval(NOW - 60_000, NOW))


@pytest.mark.parametrize(("style", "asked"), [("none", False), ("seconds", True), ("date", True)])
async def test_a_refusal_for_rate(style: str, asked: bool) -> None:
    throttled = {name: ThrottleStyle(retry_after=name) for name in ("none", "seconds", "date")}[style]
    rules = ExchangeRules(public_rate=0.1, public_burst=1, throttled=throttled)
    async with exchange(rules) as client:
        await client.fetch_time()
        with pytest.raises(RateLimited) as refused:
            await client.fetch_time()
    assert (refused.value.retry_after_ms is not None) == asked
    assert refused.value.retry_after_ms != 0


async def test_the_private_path_wants_a_token() -> None:
    async with exchange(free()) as client:
        with pytest.raises(NotAuthorized, match="HTTP 401 Unauthorized"):
            await client._get("/api/v3/brokerage/products/BTC-USD/candles", {}, bytes)
