"""Days of a market under an engine whose clock the test moves: scheduled passes, a feeder, the gate at each minute."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.engines import MINUTE, REFERENCE, T0, Engine, engine

from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN, ScheduledPasses
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, scan_window
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar, Market
from reconciler_engine.store.ready_question import READY_TEXT

QUICK_MS = 30 * MINUTE
FULL_MS = 360 * MINUTE
HISTORY = 430
"""Slots that exist before the first minute: the longest window and the neighbours that a page asks for."""

MIDNIGHT = T0 + 86_400_000
LOST = 7
"""Of so many candles the feeder loses one."""


def dense(symbol: str, price: float = 100.0) -> ListedProduct:
    return ListedProduct(symbol, price, 2, 9_000.0, 6)


def thin(symbol: str, trades: int = 2_000, listed: int | None = None) -> ListedProduct:
    """A product without trades in about a quarter of its minutes; with 500 trades a day in 60 % of them."""
    return ListedProduct(symbol, 35.0, 2, 9_000.0, 6, trades, dense=False, listed=listed)


@dataclass(frozen=True)
class Closing:
    """A market in which some products do not trade for some time; `*` names all of them."""

    market: Market
    spans: Mapping[str, Sequence[Interval]]

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        return self.market.products

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        closed = [*self.spans.get(symbol, ()), *self.spans.get("*", ())]
        found = self.market.bars(symbol, timeframe, interval, now)
        inside = [Interval(one.start, one.stop - timeframe.step_ms + 1) for one in closed]
        return [bar for bar in found if not any(bar.start in one for one in inside)]

    def rows(self, *asked: Any) -> list[str]:
        return [bar.write_row() for bar in self.bars(*asked)]


@dataclass
class MarketDay:
    """One stretch of time.

    Attributes:
        run: The engine, and the exchange that it asks.
        series: Series that the engine watches.
        now: The instant (ms UTC), half a minute after a minute.
        until: Last instant that matters.
        is_fed: Whether a feeder writes candles as they close, and loses some.
        passes: The results so far, with the instant of each.
    """

    run: Engine
    series: Sequence[Series]
    now: int
    until: int
    is_fed: bool
    passes: list[tuple[int, str, ReconciliationResult]] = field(default_factory=list)
    _bars: dict[Series, dict[int, Bar]] = field(default_factory=dict)

    def bars(self, series: Series) -> dict[int, Bar]:
        """The bars that exist once the day is over, by open time, ascending."""
        if series not in self._bars:
            step = series.timeframe.step_ms
            slots = Interval(series.timeframe.floor(self.now) - HISTORY * step, series.timeframe.floor(self.until))
            found = self.run.exchange.market.bars(series.symbol, series.timeframe, slots, self.until)
            self._bars[series] = {bar.start: bar for bar in found}
        return self._bars[series]

    def existing(self, series: Series, slots: Interval) -> list[int]:
        """The slots of some that have a bar at the exchange."""
        starts = list(self.bars(series))
        return starts[bisect_left(starts, slots.start) : bisect_left(starts, slots.stop)]

    def window(self, series: Series, look_back: int = FULL_MS) -> Interval:
        """The slots that a pass examines now."""
        return scan_window(self.now, series.timeframe, look_back, max_candles=0)

    async def fill(self, series: Series, slots: Sequence[int]) -> None:
        await self.run.put(series, *(_candle(self.bars(series)[at]) for at in slots))

    async def missing(self, series: Series, slots: Interval) -> list[int]:
        """The slots of some that have a bar at the exchange, and no candle in the cache."""
        held = await self.run.held(series, slots)
        return [at for at in self.existing(series, slots) if at not in held]

    async def go_on(self, minutes: int, *, samples: bool = True) -> None:
        """Let so many minutes pass: the feeder writes, scheduled passes run, the gate is asked."""
        for _ in range(minutes):
            before, self.now = self.now, self.now + MINUTE
            await self.turn()
            if self.is_fed:
                await self._feed(before)
            minute = self.now // MINUTE % 60
            if minute % 5 == 0:
                await self.do_pass(GAP_SCAN)
            if minute == 0:
                await self.do_pass(FULL_RECONCILE)
            if samples:
                await self.check_gate()

    async def turn(self) -> None:
        await self.run.turn_to(self.now)

    async def _feed(self, since: int) -> None:
        for series in self.series:
            step = series.timeframe.step_ms
            closed = Interval(series.timeframe.floor(since), series.timeframe.floor(self.now))
            await self.fill(series, [at for at in self.existing(series, closed) if at // step % LOST])

    async def do_pass(self, job: str) -> ReconciliationResult:
        """Run a scheduled pass, and hold what it tells and proves to what exists."""
        parts = self.run.parts
        request = await ScheduledPasses(parts, self.series, now=lambda: self.now)._request(job)
        await self.turn()
        done = await parts.reconciler.run_pass(request)
        self.passes.append((self.now, job, done))
        await self._check_result(done)
        await self._check_proofs()
        return done

    async def _check_result(self, done: ReconciliationResult) -> None:
        told = await self.run.parts.coverage.read()
        for row in done.series:
            series = Series(row.symbol, Timeframe.parse(row.timeframe))
            slots = Interval(row.start, row.stop)
            if row.expected and not row.unresolved:
                assert await self.missing(series, slots) == [], (self.now, str(series))
            known = told[str(series)]
            if known.complete_from is not None and known.complete_through is not None:
                complete = Interval(known.complete_from, known.complete_through + 1)
                assert await self.missing(series, complete) == [], (self.now, str(series))

    async def _check_proofs(self) -> None:
        """No slot that has a bar is proved to have none."""
        wanted = [(one, self.window(one)) for one in self.series]
        for (series, window), read in zip(wanted, await self.run.parts.evidence.read(wanted), strict=True):
            denied = read.ledger.confirmed(window)
            wrong = [at for at in self.existing(series, window) if denied.holds(at)]
            assert not wrong, (self.now, str(series), wrong, read.ledger.at(wrong[0]))

    async def ready(self, look_back: int = FULL_MS, at: int | None = None) -> list[Series]:
        """The series of which the gate says yes, verified or not, about a window that ends now, or at an instant."""
        instant = self.now if at is None else at
        grace = await self.run.parts.clock.redis_now() - instant + DEFAULT_GRACE_MS
        asked = []
        for one in self.series:
            window = scan_window(instant, one.timeframe, look_back, max_candles=0)
            bars = len(window.grid(one.timeframe.step_ms))
            asked.append(("EVAL", READY_TEXT, 1, self.run.key(one), bars, grace, "any"))
        answers = await self.run.parts.client.pipe(asked)
        assert set(answers) <= {0, 1}, answers
        return [one for one, answer in zip(self.series, answers, strict=True) if answer]

    async def check_gate(self) -> None:
        """A series that the gate calls ready lacks no bar that exists."""
        for look_back in (QUICK_MS, FULL_MS):
            for series in await self.ready(look_back):
                assert await self.missing(series, self.window(series, look_back)) == [], (self.now, str(series))


def _candle(bar: Bar) -> Candle:
    opened, high, low, close, volume = map(float, bar[1:])
    return Candle(bar.start, opened, high, low, close, volume)


@asynccontextmanager
async def market_day(
    redis_url: str,
    market: Market,
    series: Sequence[Series],
    *,
    begins: int,
    minutes: int,
    is_fed: bool = False,
    closed: Mapping[str, Sequence[Interval]] | None = None,
    **settings: Any,
) -> AsyncIterator[MarketDay]:
    """Open a day that begins at an instant and lasts some minutes; its caches are empty."""
    # The feeder writes between passes alone: no gap asks for a second look.
    async with engine(redis_url, market=market, patience_s=1_200, confirm_ms=0, **settings) as run:
        run.exchange.market = Closing(run.exchange.market, closed or {})
        day = MarketDay(run, series, begins, begins + minutes * MINUTE, is_fed)
        await day.turn()
        yield day


def reference_requests(day: MarketDay) -> int:
    """The requests sent for references."""
    return sum(one.product in REFERENCE.products for one in day.run.exchange.log.records)
