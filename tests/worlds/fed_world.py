"""A simulated exchange, a feeder, a real Redis and the engine, in simulated time; the gate's word held to the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import pytest
import trio
from tests.chaos.invariants import budget_excess
from tests.worlds.bulk_feed import BulkFeed
from tests.worlds.oracle import MAX_UNVERIFIED_MS, Figures, Oracle
from tests.worlds.simulated_time import SimulatedRedis, SimulatedTime
from trio.testing import MockClock

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine import service, service_schedule, status_writer
from reconciler_engine.engine.parts import scope_of
from reconciler_engine.engine.service import ReconciliationService
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.faults.modes import MODES
from reconciler_engine.simulator.faults.rules import FaultRule, Faults, Value
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.request_log import RequestLog, RequestRecord
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.ready_script import READY_TEXT
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
START: Final = 1_768_496_550_000
"""2026-01-15T17:02:30Z: in ten hours from here on every timeframe has a boundary."""

BARS: Final = 200
"""Newest bars that the gate is asked about: as many as indicators read."""

LENIENT: Final = (15_000, MAX_UNVERIFIED_MS, 10 * MINUTE)
"""Grace, longest time without verification, and the age up to which a slot may be without a candle (ms)."""

_RESTART_S: Final = 600.0
"""A feeder that has given up is started again so much later."""

_PASS_MS: Final = 6 * MINUTE
"""The next pass after a change is over so much later."""


def trouble(name: str, mode: str, after_h: float, minutes: float, **values: Value) -> FaultRule:
    """Return a fault of the whole venue, some hours after the start."""
    begins = START + round(after_h * HOUR)
    defaults = {key: one.default for key, one in MODES[mode].items()}
    window = Interval(begins, begins + round(minutes * MINUTE))
    return FaultRule(name, mode, window=window, values=MappingProxyType({**defaults, **values}))


class SimulatedLog(RequestLog):
    """A log of every request, with simulated instants."""

    def __init__(self, time: SimulatedTime) -> None:
        super().__init__()
        self._time = time
        self.all: list[RequestRecord] = []

    def add(self, record: RequestRecord) -> None:
        """Keep a record."""
        self.all.append(replace(record, time_ms=self._time.now()))

    def count(self, within: Interval) -> int:
        """Return the number of requests in an interval (ms UTC)."""
        return sum(one.time_ms in within for one in self.all)

    def excess(self, per_s: int) -> float:
        """Return the most requests in any time beyond a burst and the rate."""
        return budget_excess([one.time_ms / 1_000 for one in self.all], per_s, 0.0)


@dataclass
class FedWorld:
    """Everything there is, and what was seen of it."""

    time: SimulatedTime
    redis: SimulatedRedis
    exchange: Exchange
    log: SimulatedLog
    config: ReconciliationConfig
    service: ReconciliationService
    nursery: trio.Nursery
    oracle: Oracle
    figures: Figures = field(default_factory=Figures)
    feed_events: Counter[str] = field(default_factory=Counter)
    _gate: str = ""

    @property
    def scope(self) -> Scope:
        """The scope of the cache."""
        return scope_of(self.config)

    @property
    def series(self) -> Sequence[Series]:
        """Every series."""
        return self.config.series()

    def feed(self, losses: FeedLosses | None = None, step_ms: int = 15_000) -> None:
        """Feed as the real feeder does, its bad habits included."""
        kept = FeederSettings(
            self.series,
            self.scope,
            losses or FeedLosses(),
            step_ms,
            self.config.max_candles,
            self.config.life_s,
            earlier_ms=6 * HOUR,
        )
        make = partial(Feeder, self.redis, self.exchange.market, self.exchange.clock, kept)
        self.nursery.start_soon(self._keep_feeding, make)

    async def _keep_feeding(self, make: Callable[[Callable[[FeedEvent], None]], Feeder]) -> None:
        while True:
            given_up = trio.Event()

            def hear(event: FeedEvent, given_up: trio.Event = given_up) -> None:
                self.feed_events[event.kind] += 1
                if event.kind == "gave_up":
                    given_up.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(make(hear).run)
                await given_up.wait()
                await trio.sleep(_RESTART_S)
                nursery.cancel_scope.cancel()

    async def feed_in_bulk(self, bars: int) -> BulkFeed:
        """Fill the cache with right bars, and feed many series from now on."""
        feed = BulkFeed(self.redis, self.scope, self.exchange.market, self.series, self.time)
        await feed.fill(bars)
        self.nursery.start_soon(feed.run)
        return feed

    async def start(self, every_minutes: int = 1) -> None:
        """Start the engine, and ask the gate so often."""
        self._gate = str(await self.redis.execute_command("SCRIPT LOAD", self.redis.translate(READY_TEXT)))
        await self.service.start()
        self.nursery.start_soon(self._keep_sampling, every_minutes)

    async def pass_time(self, hours: float) -> None:
        """Let so much time pass since the start."""
        await self.time.sleep_until(START + round(hours * HOUR))

    def is_well(self, now: int) -> bool:
        """Whether nothing was wrong with the exchange in the time within which all must be verified."""
        since = now - MAX_UNVERIFIED_MS - _PASS_MS
        windows = [state.rule.window for state in self.exchange.faults.states]
        return since > START and not any(one.start < now and one.stop > since for one in windows)

    async def _keep_sampling(self, every_minutes: int) -> None:
        # Each time at another second of the minute.
        for minute in range(every_minutes, 100_000, every_minutes):
            await self.time.sleep_until(START + minute * MINUTE + minute * 13_000 % MINUTE)
            await self.sample()

    async def sample(self) -> None:
        """Ask the gate about every series, and hold its answers and the digests to the truth at that instant."""
        now = self.time.now()
        commands: list[tuple[Any, ...]] = [("MULTI",)]
        for one in self.series:
            key, window = self.scope.candle_key(one), self.oracle.window(one, now)
            commands += [
                ("EVALSHA", self._gate, 1, key, BARS),
                ("EVALSHA", self._gate, 1, key, BARS, *LENIENT),
                ("ZRANGEBYSCORE", key, window.start, f"({window.stop}", "WITHSCORES"),
                ("HMGET", self.scope.evidence_key(one), *block_fields(window, one.timeframe.step_ms)),
            ]
        *_, replies = all_served(await self.redis.pipe([*commands, ("EXEC",)]))
        asked = zip(self.series, *(replies[first::4] for first in range(4)), strict=True)
        for one, yes, leniently, members, bodies in asked:
            look = self.oracle.look(one, now, members, bodies)
            self.figures.add(look, is_ready=yes == 1, is_ready_leniently=leniently == 1, is_well=self.is_well(now))


@asynccontextmanager
async def fed_world(
    url: str,
    clock: MockClock,
    products: Sequence[ListedProduct],
    *,
    faults: Sequence[FaultRule] = (),
    **settings: Any,
) -> AsyncIterator[FedWorld]:
    """Open a world whose cache is empty; feeder and engine are to be started.

    Args:
        url: Address of a server of its own.
        clock: Clock of the trio run.
        products: Products that trade; the engine keeps all of them.
        faults: Faults of the exchange.
        settings: Settings of the engine.
    """
    time = SimulatedTime(clock, START)
    async with (
        time.passing(url),
        SimulatedRedis(url, time) as redis,
        trio.open_nursery() as nursery,
    ):
        log, rules = SimulatedLog(time), ExchangeRules(public_rate=0, cache_s=0)
        exchange = Exchange(
            SeededMarket(11, products),
            SimulatedClock(read_real_ms=time.now),
            rules,
            log=log,
            faults=Faults(faults),
            read_s=trio.current_time,
        )
        symbols = tuple(one.symbol for one in products)
        async with open_exchange(exchange) as base_url:
            config = ReconciliationConfig.check({"base_url": base_url, "symbols": symbols, **settings})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(service, "wall_clock", time.now)
                patch.setattr(service_schedule, "wall_clock", time.now)
                # Nobody reads it here.
                patch.setattr(status_writer, "WRITE_S", 60.0)
                async with ReconciliationService(None, None, redis, config) as engine:
                    oracle = Oracle(exchange.market, BARS)
                    yield FedWorld(time, redis, exchange, log, config, engine, nursery, oracle)
                    nursery.cancel_scope.cancel()
