"""Thin products scanned every five minutes for an hour: the cost of knowing that nothing traded.

Time is the exchange's, put forward from scan to scan. The candles are in the cache as they close, as a feeder leaves
them; absent ones never existed. An oracle follows the exchange's log by the rules of evidence alone, and knows so which
slots are settled. Beside it, as the naive one, the same engine with its ledger deleted before each scan: it covers
every absent slot by the fewest pages, each time. Ends with what both asked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
import trio
from tests.integration.engines import MINUTE, engine

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.sightings import APART_MS, RIPE_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.seeded import SeededMarket

T0 = 1_767_225_600_000 + 12 * 3_600_000
"""2026-01-01T12:00Z"""
SERIES = [Series(f"THIN{number:02}-USD", Timeframe.M1) for number in range(50)]
MARKET = SeededMarket(
    11,
    [
        ListedProduct(series.symbol, 5.0 + number, 4, 2_000.0, 6, 500, dense=False)
        for number, series in enumerate(SERIES)
    ],
)
SCANS = [T0 + number * 5 * MINUTE + 30_000 for number in range(13)]


@dataclass
class Oracle:
    """Slots settled by the answers so far, under the rules of evidence."""

    rows: dict[str, set[int]]
    settled: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    first_seen: defaultdict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, symbol: str, asked: Interval, now: int) -> None:
        closed = [at for at in asked.grid(MINUTE) if at + MINUTE + DEFAULT_GRACE_MS <= now]
        told = [at for at in closed if at in self.rows[symbol]]
        for at in closed:
            if at in self.rows[symbol]:
                continue
            flanked = bool(told) and told[0] < at < told[-1] and at + MINUTE + RIPE_MS <= now
            if flanked or now - self.first_seen[symbol].setdefault(at, now) >= APART_MS:
                self.settled[symbol].add(at)

    def absent(self, symbol: str, window: Interval) -> set[int]:
        return set(window.grid(MINUTE)) - self.rows[symbol]

    def unsettled(self, symbol: str, window: Interval, now: int) -> list[int]:
        """Slots of which another answer would say more, ascending."""
        return sorted(
            at
            for at in self.absent(symbol, window) - self.settled[symbol]
            if now - self.first_seen[symbol].get(at, 0) >= APART_MS
        )


@dataclass
class Figures:
    requests: list[int] = field(default_factory=list)
    fewest: list[int] = field(default_factory=list)
    for_settled: list[int] = field(default_factory=list)


def fewest(slots: list[int]) -> int:
    """The least number of pages: lay one at the oldest slot left, again and again."""
    pages, reach = 0, -1
    for at in slots:
        if at >= reach:
            pages, reach = pages + 1, at + PAGE_SLOTS * MINUTE
    return pages


def candle_of(bar: Bar) -> Candle:
    opened, high, low, close, volume = map(float, bar[1:])
    return Candle(bar.start, opened, high, low, close, volume)


async def feed(run, series_fed: list[Series], rows: dict[str, set[int]], interval: Interval, now: int) -> None:
    for series in series_fed:
        bars = MARKET.bars(series.symbol, series.timeframe, interval, now)
        rows[series.symbol].update(bar.start for bar in bars)
        await run.put(series, *map(candle_of, bars))


async def scan_for_an_hour(
    redis_url: str, products: list[Series], look_back: int, *, forgets: bool
) -> tuple[Figures, float]:
    """Scan at every instant of `SCANS`, and at the last one once more; also return the share of empty minutes."""
    oracle, figures = Oracle({series.symbol: set() for series in products}), Figures()
    fed = SCANS[0] - look_back - 3_600_000
    async with engine(redis_url, market=MARKET, patience_s=240, exchange_id=1 + forgets) as run:
        for now in (*SCANS, SCANS[-1]):
            await run.turn_to(now)
            closed = Timeframe.M1.floor(now)
            await feed(run, products, oracle.rows, Interval(Timeframe.M1.floor(fed), closed), now)
            fed = closed
            window = Interval(closed - look_back, closed)
            unsettled = {one.symbol: oracle.unsettled(one.symbol, window, now) for one in products}
            if forgets:
                await run.parts.client.pipe([("DEL", run.parts.scope.evidence_key(series)) for series in products])
            before = len(run.exchange.log.records)
            done = await run.parts.reconciler.run_pass(PassRequest("scan", products, look_back))
            assert done.errors == ()
            pages = {one.symbol: run.asked(one, before) for one in products}
            assert sum(map(len, pages.values())) == done.requests
            figures.requests.append(done.requests)
            figures.fewest.append(sum(map(fewest, unsettled.values())))
            figures.for_settled.append(
                sum(not any(at in page for at in unsettled[symbol]) for symbol in pages for page in pages[symbol])
            )
            for symbol, asked in pages.items():
                for page in asked:
                    oracle.note(symbol, page, now)
        everything = Interval(SCANS[0] - look_back, closed)
        absent = sum(len(oracle.absent(series.symbol, everything)) for series in products)
    return figures, absent / (len(products) * len(everything.grid(MINUTE)))


async def compare(redis_url: str, products: int, look_back: int, tell_figure) -> None:
    runs: dict[str, tuple[Figures, float]] = {}

    async def scan_all(name: str) -> None:
        forgets = name == "naive"
        runs[name] = await scan_for_an_hour(redis_url, SERIES[:products], look_back, forgets=forgets)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan_all, "mindful")
        nursery.start_soon(scan_all, "naive")
    (mindful, empty_share), (naive, _) = runs["mindful"], runs["naive"]
    tell_figure(
        f"{products} products, {empty_share:.0%} of minutes empty, {len(SCANS)} scans of {look_back // MINUTE} minutes "
        "each, the last one twice:"
    )
    for name, figures in (("with its ledger", mindful), ("ledger deleted before each scan", naive)):
        tell_figure(
            f"  {name}: {sum(figures.requests)} requests {figures.requests}, fewest for unsettled slots "
            f"{sum(figures.fewest)}; for settled slots alone {sum(figures.for_settled)}, after the second scan "
            f"{sum(figures.for_settled[2:])}"
        )
    assert 0.55 <= empty_share <= 0.65
    assert mindful.requests == mindful.fewest
    assert sum(mindful.for_settled) == 0
    assert mindful.requests[-1] == 0
    # the oracle tells one that forgets from one that does not
    assert sum(naive.for_settled) > 0
    assert sum(naive.requests) > sum(mindful.requests)


@pytest.mark.parametrize("look_back", [90 * MINUTE, pytest.param(360 * MINUTE, marks=pytest.mark.slow)])
async def test_a_thin_market_is_asked_for_what_is_unsettled_by_the_fewest_pages(redis_url, tell_figure, look_back):
    await compare(redis_url, 2, look_back, tell_figure)


@pytest.mark.soak
@pytest.mark.parametrize("look_back", [30 * MINUTE, 360 * MINUTE])
async def test_fifty_thin_products_are_asked_for_what_is_unsettled(redis_url, tell_figure, look_back):
    await compare(redis_url, 50, look_back, tell_figure)
