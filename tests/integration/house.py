"""Workers and an exchange whose clock stands still in this process, over a real server."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.tasks.messages import PageTask, SeriesSpan
from reconciler_engine.engine.tasks.worker import Worker
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.faults.rules import Faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.request_log import RequestLog
from reconciler_engine.simulator.serving import serve_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue

NOW = 1_767_225_600_000
"""2026-01-01T00:00Z, what the exchange's clock shows."""
STOP = NOW - 6 * 3_600_000
"""Where every pass ends: old enough for a slot without a candle to be final."""
MINUTE = 60_000
M1 = Series("BTC-USD", Timeframe.M1)
M5 = Series("ETH-USD", Timeframe.M5)
MARKET = SeededMarket(5, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0)])


@dataclass
class House:
    """An engine's parts, an exchange, and a scope in which workers live."""

    parts: Parts
    source: CoinbaseClient
    log: RequestLog
    nursery: trio.Nursery

    async def start_worker(self, consumer="one", *, mortal=False) -> tuple[Worker, trio.CancelScope]:
        """Start a worker; return it and what cancels it: as SIGKILL would if it is mortal, handing nothing back."""
        queue = TaskQueue(self.parts.client, self.parts.scope, consumer)
        alive = trio.CancelScope()

        async def live(*, task_status) -> None:
            with alive:
                await worker.run(task_status=task_status)

        worker = replace_queue(self.parts.worker(self.source), queue)
        if mortal:
            worker._hand_back = keep_what_it_has
        await self.nursery.start(live)
        return worker, alive

    async def bury(self, alive, consumer) -> None:
        """Do what the supervisor does for a dead worker, as soon as it is dead."""
        while not alive.cancelled_caught:
            await trio.lowlevel.checkpoint()
        await self.parts.queue.redeliver(consumer)

    def run_pass(self, slots, series=(M1,), lane=Lane.DEEP, *, repair=True):
        step = max(one.timeframe.step_ms for one in series)
        look = Interval(STOP - slots * step, STOP)
        return self.parts.reconciler.run_pass(PassRequest("test", series, look, repair=repair, lane=lane))

    async def members(self, series=M1):
        found: Any = await self.parts.client.zrange(key(series), 0, -1)
        return [json.loads(member) for member in found]

    def asked(self):
        return [record for record in self.log.records if record.product is not None]


async def keep_what_it_has(**_):
    await trio.lowlevel.checkpoint()


def replace_queue(worker, queue):
    worker._queue = queue
    return worker


def key(series):
    return Scope(1, 1, "").candle_key(series)


@asynccontextmanager
async def open_house(redis_url, *rules, rate=1_000, **settings):
    """An exchange whose clock stands at NOW, and parts against it."""
    log = RequestLog()
    exchange = Exchange(
        MARKET, SimulatedClock(NOW, rate=0), ExchangeRules(public_rate=0), log=log, faults=Faults(rules)
    )
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(partial(serve_exchange, exchange, port=0))
        given = {"base_url": base_url, "max_candles": 0, "batch_size": rate, "symbols": "BTC-USD,ETH-USD"}
        config = ReconciliationConfig.check({**given, **settings})
        async with (
            open_parts(config, redis_url, owns_server=False) as parts,
            CoinbaseClient(base_url, connections=16) as source,
            trio.open_nursery() as workers,
        ):
            yield House(parts, source, log, workers)
            workers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


def truth(series, slots):
    """Return the exchange's candles in a pass's range."""
    step = series.timeframe.step_ms
    bars = MARKET.bars(series.symbol, series.timeframe, Interval(STOP - slots * step, STOP), NOW)
    return [
        Candle(bar.start, float(bar.open), float(bar.high), float(bar.low), float(bar.close), float(bar.volume))
        for bar in bars
    ]


def held(members):
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return [Candle(**{name: member[name] for name in names}) for member in members]


async def check_whole(house, slots, series=M1):
    assert held(await house.members(series)) == truth(series, slots)


async def runs(house):
    # Of a cluster, that node which has the keys of the scope.
    found = await house.parts.client.execute_command("KEYS", "*", keys=[house.parts.scope.key("x")])
    return [key for key in found if b":run:" in key]


async def wait_asked(house, count) -> None:
    while len(house.asked()) < count:
        await trio.lowlevel.checkpoint()


async def enqueue_pages(queue, count):
    """Open a run of so many tasks for the same page; return it and them."""
    run = await queue.open_run("test", 0)
    keeping = Retention(max_candles=0, ttl_s=0, trim=False)
    span = SeriesSpan.of(M1, Interval(STOP - 3 * MINUTE, STOP))
    tasks = [
        PageTask(
            run=run,
            id=f"page-{number}",
            span=span,
            asked=(span.start, span.stop),
            gaps=((span.start, 3),),
            keeping=keeping,
        )
        for number in range(count)
    ]
    await queue.enqueue(run, Lane.DEEP, [(task.id, task.model_dump_json()) for task in tasks])
    return run, tasks
