"""A simulated exchange, a feeder, a real Redis and the engine, in simulated time; the gate's word held to the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import pytest
import trio
from tests.chaos.invariants import budget_excess
from tests.worlds.bulk_feed import BulkFeed
from tests.worlds.gate_watch import GateWatch
from tests.worlds.oracle import Figures, Oracle
from tests.worlds.simulated_time import SimulatedRedis, SimulatedTime
from trio.testing import MockClock

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine import service, service_schedule, status_writer
from reconciler_engine.engine.backfill import run as backfill_run
from reconciler_engine.engine.parts import Parts, scope_of
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.engine.service import ReconciliationService
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.engine.tasks import worker
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.faults.modes import MODES
from reconciler_engine.simulator.faults.rules import FaultRule, Faults, Value
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.request_log import RequestLog, RequestRecord
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.protocol import at_work
from reconciler_engine.store.scope import Scope

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
START: Final = 1_768_496_550_000
"""2026-01-15T17:02:30Z: in ten hours from here on every timeframe has a boundary."""

HELD_BARS: Final = 300
"""Bars of each series that a cache holds which is full: as many as are watched."""

_RESTART_S: Final = 600.0
"""A feeder that has given up is started again so much later."""


def trouble(name: str, mode: str, after_h: float, minutes: float, start: int = START, **values: Value) -> FaultRule:
    """Return a fault of the whole venue, some hours after the start."""
    begins = start + round(after_h * HOUR)
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
    watch: GateWatch

    @property
    def scope(self) -> Scope:
        """The scope of the cache."""
        return scope_of(self.config)

    @property
    def parts(self) -> Parts:
        """The parts of the engine."""
        return self.service._open_engine().parts

    def excess(self) -> float:
        """Return the most requests in any time beyond a burst and the rate."""
        unit_s, size = self.config.batch_delay_ms / 1_000, self.config.batch_size
        times = [one.time_ms / 1_000 / unit_s for one in self.log.all]
        return budget_excess(times, size, 0.0)

    @property
    def figures(self) -> Figures:
        """Figures of the gate so far."""
        return self.watch.figures

    @property
    def series(self) -> Sequence[Series]:
        """Every series."""
        return self.config.series()

    def feed(self, losses: FeedLosses | None = None, step_ms: int = 15_000, earlier_ms: int = 6 * HOUR) -> None:
        """Feed as the real feeder does, its bad habits included."""
        kept = FeederSettings(
            self.series,
            self.scope,
            losses or FeedLosses(),
            step_ms,
            self.config.max_candles,
            self.config.life_s,
            earlier_ms,
        )
        make = partial(Feeder, self.redis, self.exchange.market, self.exchange.clock, kept)
        self.nursery.start_soon(keep_feeding, make)

    async def feed_in_bulk(self, bars: int = HELD_BARS, **habits: Any) -> BulkFeed:
        """Fill the cache with right bars, and feed many series from now on."""
        feed = BulkFeed(self.redis, self.scope, self.exchange.market, self.series, self.time, **habits)
        await feed.fill(bars)
        self.nursery.start_soon(feed.run)
        return feed

    async def start(self, every_minutes: int = 1) -> None:
        """Start the engine, and ask the gate so often."""
        await self.watch.begin(self.redis.translate)
        await self.service.start()
        self.nursery.start_soon(self._keep_sampling, every_minutes)

    async def pass_time(self, hours: float) -> None:
        """Let so much time pass since the start."""
        await self.time.sleep_until(START + round(hours * HOUR))

    async def after(self, hours: float) -> None:
        """Let so much time pass from now on."""
        await self.time.sleep_until(self.time.now() + round(hours * HOUR))

    async def strike(self, blow: Callable[[FedWorld], Awaitable[None]]) -> None:
        """Do something to the cache, which is not well until that is made up for."""
        begins = self.time.now()
        self.watch.troubles.append(Interval(begins, begins + 1))
        await blow(self)
        self.watch.troubles.append(Interval(begins, self.time.now() + 1))

    async def _keep_sampling(self, every_minutes: int) -> None:
        # Each time at another second of the minute.
        for minute in range(every_minutes, 100_000, every_minutes):
            await self.time.sleep_until(START + minute * MINUTE + minute * 13_000 % MINUTE)
            await self.sample()

    async def sample(self) -> None:
        """Look at every series now."""
        await self.watch.look(self.time.now())


async def keep_feeding(make: Callable[[Callable[[FeedEvent], None]], Feeder]) -> None:
    """Feed; where a feeder gives up, start another one some minutes later."""
    while True:
        given_up = trio.Event()

        def hear(event: FeedEvent, given_up: trio.Event = given_up) -> None:
            if event.kind == "gave_up":
                given_up.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make(hear).run)
            await given_up.wait()
            await trio.sleep(_RESTART_S)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def fed_world(
    url: str,
    clock: MockClock,
    market: Market,
    *,
    faults: Sequence[FaultRule] = (),
    watched: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[FedWorld]:
    """Open a world whose cache is empty; feeder and engine are to be started.

    Args:
        url: Address of a server of its own.
        clock: Clock of the trio run.
        market: Bars of the exchange; the engine keeps all its products, if the settings do not say which.
        faults: Faults of the exchange.
        watched: Products that the gate is asked about; all of them without.
        settings: Settings of the engine.
    """
    time = SimulatedTime(clock, START)
    async with (
        time.passing(),
        SimulatedRedis(url, time) as redis,
        trio.open_nursery() as nursery,
    ):
        log, rules = SimulatedLog(time), ExchangeRules(public_rate=0, cache_s=0)
        exchange = Exchange(
            market,
            SimulatedClock(read_real_ms=time.now),
            rules,
            log=log,
            faults=Faults(faults),
            read_s=trio.current_time,
        )
        async with open_exchange(exchange) as base_url:
            config = ReconciliationConfig.check({"base_url": base_url, "symbols": tuple(market.products), **settings})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(service, "wall_clock", time.now)
                # Nobody reads a status, meets another engine or dies here: steps only for that come more seldom.
                patch.setattr(status_writer, "WRITE_S", 60.0)
                patch.setattr(service_schedule, "FEEDER_LOOK_S", 600)
                patch.setattr(service, "at_work", partial(at_work, life_ms=20 * MINUTE))
                patch.setattr(service, "ScheduledPasses", partial(ScheduledPasses, lease_ms=20 * MINUTE))
                patch.setattr(worker, "_TOUCH_S", 25.0)
                patch.setattr(backfill_run, "_BEAT_S", 20.0)
                async with ReconciliationService(None, None, redis, config) as engine:
                    troubles = [Interval(START, START + 1), *(one.window for one in faults)]
                    series = config.with_symbols(tuple(watched) or config.symbols).series()
                    watch = GateWatch(redis, scope_of(config), series, Oracle(exchange.market), troubles)
                    yield FedWorld(time, redis, exchange, log, config, engine, nursery, watch)
                    nursery.cancel_scope.cancel()
