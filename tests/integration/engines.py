"""An engine over a real server and a simulated exchange on a real socket, all in one trio run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.products import Product
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine import cache_inspection, evidence_edits
from reconciler_engine.engine.backfill import run as backfill_run
from reconciler_engine.engine.backfill.director import BackfillProgress
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.passes import pass_plan, survey
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.verification import Verify
from reconciler_engine.simulator.faults.rules import FaultRule, Faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar, Market
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.members import member_of
from reconciler_engine.store.tasks import TaskQueue

MINUTE = 60_000
T0 = 1_735_689_600_000
"""2025-01-01T00:00Z"""
DENSE = Series("BTC-USD", Timeframe.M1)
THIN = Series("DASH-USD", Timeframe.M1)
UNKNOWN = Series("NOPE-USD", Timeframe.M1)
MARKET = SeededMarket(
    3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)]
)


REFERENCE = SeededMarket(5, [ListedProduct("REF-USD", 900_000.0)])
"""A product that always trades, for the references of thin ones."""


@dataclass(frozen=True)
class WithReference:
    """A market and, beside it, the product that references are asked for."""

    market: Market

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        return {**self.market.products, **REFERENCE.products}

    def bars(self, symbol: str, *asked: Any) -> list[Bar]:
        return self._of(symbol).bars(symbol, *asked)

    def rows(self, symbol: str, *asked: Any) -> list[str]:
        return self._of(symbol).rows(symbol, *asked)

    def _of(self, symbol: str) -> Market:
        return REFERENCE if symbol in REFERENCE.products else self.market


def span(slots: int, first: int = 0) -> Interval:
    return Interval(T0 + first * MINUTE, T0 + (first + slots) * MINUTE)


def truth(series: Series, interval: Interval) -> dict[int, tuple[float, ...]]:
    """Return the exchange's bars: values by open time."""
    bars = MARKET.bars(series.symbol, series.timeframe, interval, interval.stop)
    return {bar.start: tuple(map(float, bar[1:])) for bar in sorted(bars)}


def with_volume(slot: int, volume: float = 1.0) -> Candle:
    """The dense product's candle of a minute, with another volume than the exchange has."""
    ((at, values),) = truth(DENSE, span(1, slot)).items()
    open_, high, low, close, _ = values
    return Candle(at, open_, high, low, close, volume)


CONFIRM_MS = 10
"""Pause before the second look at a gap (ms). No feeder replaces candles here; unit tests and worlds wait all 250."""


def shorten_second_looks(patch: pytest.MonkeyPatch, pause_ms: int = CONFIRM_MS) -> None:
    """Have each part of this process that looks at a gap twice pause only so long between the looks."""
    for module in (backfill_run, cache_inspection, evidence_edits, pass_plan, survey):
        patch.setattr(module, "CONFIRM_MS", pause_ms)


@dataclass
class Engine:
    """One engine and the exchange it asks."""

    parts: Parts
    exchange: Exchange
    nursery: trio.Nursery
    sources: list[CoinbaseClient]
    seen: list[BackfillProgress] = field(default_factory=list)

    async def start_workers(self) -> None:
        """Start a worker for each exchange client; they run until the engine is left."""
        for number, source in enumerate(self.sources):
            queue = TaskQueue(self.parts.client, self.parts.scope, f"worker-{number}")
            await self.nursery.start(replace(self.parts, queue=queue).worker(source).run)

    async def backfill(
        self, series: Sequence[Series], interval: Interval, *, verify: bool = True
    ) -> ReconciliationResult:
        return await self.parts.history.backfill(series, interval, self.seen.append, verify=verify)

    async def turn_to(self, instant: int) -> None:
        """Let the exchange's clock, and with it the engine's, show `instant` (ms UTC, not after now) and go on."""
        self.exchange.clock.set(instant)
        clock, skew = self.parts.clock, self.parts.scope.key("clock:skew_ms")
        await self.parts.client.execute_command("SET", skew, instant - await clock.redis_now())

    async def held(self, series: Series, within: Interval | None = None) -> dict[int, tuple[float, ...]]:
        """Values by open time, of all slots or those of a range; fails on two members in one of them."""
        first, last = ("-inf", "+inf") if within is None else (within.start, f"({within.stop}")
        (found,) = await self.parts.client.pipe([("ZRANGEBYSCORE", self.key(series), first, last)])
        members = [json.loads(member) for member in found]
        values = {m["timestamp"]: tuple(float(m[n]) for n in _VALUES) for m in members}
        assert len(values) == len(members)
        return values

    async def put(self, series: Series, *candles: Candle) -> None:
        if candles:
            await self.parts.client.zadd(self.key(series), {member_of(series, one): one.timestamp for one in candles})

    def key(self, series: Series) -> str:
        return self.parts.scope.candle_key(series)

    def asked(self, series: Series | None = None, since: int = 0) -> list[Interval]:
        """The pages asked for after the first `since` requests, ascending."""
        step = DENSE.timeframe.step_ms
        records = [
            one
            for one in list(self.exchange.log.records)[since:]
            if one.path.endswith("/candles") and one.product not in REFERENCE.products
        ]
        return sorted(
            Interval(int(one.start) * 1_000, (int(one.end) + 1) * 1_000 // step * step)
            for one in records
            if one.start is not None
            and one.end is not None
            and (series is None or (one.product, one.granularity) == (series.symbol, series.timeframe.granularity))
        )


_VALUES = ("open", "high", "low", "close", "volume")


def verify_of(run: Engine) -> Verify:
    """Return how a full pass of an engine verifies."""
    return Verify.ALL if run.parts.config.full_reconcile_verify == "all" else Verify.SUSPECTS


def disjoint(pages: Sequence[Interval]) -> bool:
    """Whether no slot is in two pages."""
    return all(before.stop <= after.start for before, after in pairwise(sorted(pages)))


@asynccontextmanager
async def engine(
    redis_url: str,
    *,
    market: Market = MARKET,
    workers: int = 1,
    faults: Sequence[FaultRule] = (),
    patience_s: float = 60,
    reference: bool = True,
    confirm_ms: int = CONFIRM_MS,
    **settings: object,
) -> AsyncIterator[Engine]:
    """Run an engine, by default of the market above; its budget lifted, the cache unlimited.

    Without a `reference` the product list is empty: none can be had.
    """
    rules = ExchangeRules(public_rate=0, cache_s=0)
    exchange = Exchange(WithReference(market), SimulatedClock(), rules, faults=Faults(faults))
    with trio.fail_after(patience_s):
        async with AsyncExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            shorten_second_looks(patch, confirm_ms)
            url = await stack.enter_async_context(open_exchange(exchange))
            defaults = {"max_candles": 0, "ttl": 0, "batch_size": 1_000, "batch_delay_ms": 1_000}
            config = ReconciliationConfig.check({"base_url": url, **defaults, **settings})
            parts = await stack.enter_async_context(open_parts(config, redis_url, owns_server=False))
            if reference:
                await parts.products.keep([Product("REF-USD", "USD", tradable=True, quote_volume=1e9)], T0)
            clients = [CoinbaseClient(url, connections=PAGES_IN_FLIGHT) for _ in range(workers)]
            sources = [await stack.enter_async_context(client) for client in clients]
            nursery = await stack.enter_async_context(trio.open_nursery())
            running = Engine(parts, exchange, nursery, sources)
            await running.start_workers()
            yield running
            nursery.cancel_scope.cancel()
