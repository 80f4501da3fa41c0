"""An hour of real time: the processes of `start` beside a feeder as bad as the real one, and a bad exchange.

The same promises as in simulated time, kept by real workers over a real Redis and real sockets.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
import trio
from tests.chaos.invariants import LATE_S, budget_excess
from tests.chaos.tree import Tree
from tests.worlds.fed_world import HOUR, MINUTE, keep_feeding, trouble
from tests.worlds.gate_watch import GateWatch
from tests.worlds.oracle import Oracle
from tests.worlds.test_fed_hours import MARKET, PER_S

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import scope_of
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.market.interval import Interval
from reconciler_engine.simulator.faults.rules import Faults
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.trio_redis import TrioRedis

MINUTES = 66


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["user", "exchange"])
async def test_an_hour_of_real_processes(own_server, tmp_path, tell_figure, layout):
    began = time.time_ns() // 1_000_000
    faults = (
        trouble("withholds a moment", "data", 0.1, 4.5, began, data="empty"),
        trouble("away", "status", 0.25, 5, began, status=503),
        trouble("withholds", "data", 0.4, 4, began, data="past", seconds=2_400),
    )
    exchange = Exchange(MARKET, SimulatedClock(), ExchangeRules(public_rate=0, cache_s=0), faults=Faults(faults))
    symbols = ",".join(MARKET.products)
    async with open_exchange(exchange) as base_url, TrioRedis.from_url(own_server.url) as redis:
        config = ReconciliationConfig.check({"base_url": base_url, "symbols": symbols, "layout": layout})
        scope, series = scope_of(config), config.series()
        flags = ("--symbols", symbols, "--layout", layout, "--base-url", base_url, "--listen", "off")
        tree = Tree(flags, tmp_path, RECONCILER_REDIS_URL=own_server.url)
        kept = FeederSettings(series, scope, ttl_s=config.life_s, earlier_ms=6 * HOUR)
        troubles = [Interval(began, began + 1), *(one.window for one in faults)]
        watch = GateWatch(redis, scope, series, Oracle(MARKET), troubles)
        await watch.begin()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_feeding, partial(Feeder, redis, MARKET, exchange.clock, kept))
                await tree.start()
                for minute in range(1, MINUTES):
                    due = began + minute * MINUTE + minute * 13_000 % MINUTE
                    await trio.sleep(max(0, due / 1_000 - time.time()))
                    await watch.look(exchange.clock.now())
                    tree.ensure_running()
                nursery.cancel_scope.cancel()
            assert await tree.stop() == 0
        finally:
            tree.kill_all()
    tell_figure(
        f"{MINUTES} minutes of real time, layout {layout}, {len(exchange.log.records)} requests: {watch.figures}"
    )
    figures = watch.figures
    assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
    assert figures.well > 0
    assert (figures.well_unready.total(), figures.well_wrong.total()) == (0, 0), figures.told
    times_s = [one.time_ms / 1_000 for one in exchange.log.records]
    assert budget_excess(times_s, PER_S, LATE_S) <= 1
