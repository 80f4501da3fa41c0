"""Passes with workers and an exchange in this process, over a real server: what they ask, what they leave behind."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.chaos.proxy import Kind, Toxic, Way, open_proxy

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine import worker as worker_module
from reconciler_engine.engine.assembly import Parts, open_parts
from reconciler_engine.engine.messages import Keeping, PageTask, ScanTask, Span
from reconciler_engine.engine.reconcile import PassRequest
from reconciler_engine.engine.worker import Worker
from reconciler_engine.errors import ConfigError, RunClosed, StoreError, StoreUnavailable
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import MARGIN_SLOTS
from reconciler_engine.simulator.clock import SimulatedClock
from reconciler_engine.simulator.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.fault_file import parse_faults
from reconciler_engine.simulator.faults import Faults
from reconciler_engine.simulator.market import SeededMarket
from reconciler_engine.simulator.products import Product
from reconciler_engine.simulator.request_log import RequestLog
from reconciler_engine.simulator.server import serve_exchange
from reconciler_engine.store import tasks as tasks_module
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.server import wait_serving
from reconciler_engine.store.tasks import MAX_DELIVERIES, Lane, TaskQueue
from reconciler_engine.store.transport import TrioRedis

NOW = 1_767_225_600_000  # 2026-01-01
MINUTE = 60_000
M1 = Series("BTC-USD", Timeframe.M1)
M5 = Series("ETH-USD", Timeframe.M5)
MARKET = SeededMarket(5, [Product("BTC-USD", 65_000.0), Product("ETH-USD", 3_000.0)])


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
        stop = NOW - 6 * 3_600_000
        step = max(one.timeframe.step_ms for one in series)
        look = Interval(stop - slots * step, stop)
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
    """What the exchange has in a pass's range."""
    step = series.timeframe.step_ms
    stop = NOW - 6 * 3_600_000
    bars = MARKET.bars(series.symbol, series.timeframe, Interval(stop - slots * step, stop), NOW)
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
    return [key for key in await house.parts.client.keys("*") if b":run:" in key]


async def wait_asked(house, count) -> None:
    while len(house.asked()) < count:
        await trio.lowlevel.checkpoint()


def span_of(record):
    return int(record.start), int(record.end)


async def test_a_pass_asks_the_minimum_once_and_newest_first(redis_url):
    async with open_house(redis_url, rate=25) as house:
        slots = 2_000
        bars = truth(M1, slots)
        holes = {3, 4, 303, 304, 700, 999, 1_000, 1_299, *range(1_500, 1_801), 1_999}
        kept = [candle for number, candle in enumerate(bars) if number not in holes]
        assert len(bars) == slots
        await house.parts.store.merge(M1, kept, house.parts.retention)
        await house.start_worker()
        result = await house.run_pass(slots)
        await check_whole(house, slots)
        # {1999 .. 1700}, {1699 .. 1500}, {1299 .. 1000}, {999 .. 700}, {304 .. 5 -> 303, 304}, {4, 3}
        assert (result.requests, result.missing, result.filled, result.unresolved) == (6, len(holes), len(holes), 0)
        assert (result.gaps_found, result.gaps_filled, result.errors) == (7, 7, ())
        spans = [span_of(record) for record in house.asked()]
        assert len(spans) == 6
        assert spans == sorted(spans, reverse=True)
        assert all(end - start < 300 * 60 for start, end in spans)
        # but for neighbours: a page reaches over the cut in a run
        assert all(later[1] < earlier[0] + 2 * MARGIN_SLOTS * 60 for earlier, later in itertools.pairwise(spans))
        assert await runs(house) == []


async def test_two_workers_share_a_pass_over_two_series(redis_url):
    async with open_house(redis_url) as house:
        await house.start_worker("one")
        await house.start_worker("two")
        result = await house.run_pass(1_000, (M1, M5))
        # the range is 1,000 bars of 5m, so 5,000 of 1m
        assert result.requests == 17 + 4 == len(house.asked())
        assert (result.filled, result.unresolved) == (6_000, 0)
        assert (result.scanned_symbols, result.scanned_timeframes) == (2, 2)
        await check_whole(house, 5_000)
        await check_whole(house, 1_000, M5)
        again = await house.run_pass(1_000, (M1, M5))
        assert (again.missing, again.requests) == (0, 0)


async def test_a_slow_redis_makes_a_pass_slower_and_nothing_else(redis_url):
    async with open_proxy(Path(redis_url.removeprefix("unix://"))) as (wire, where):
        for way in Way:
            wire.set(Toxic(Kind.LATENCY, way, delay_s=0.01, jitter_s=0.02))
        async with open_house(f"redis://{where}") as house:
            await house.start_worker("one")
            await house.start_worker("two")
            with trio.fail_after(60):
                result = await house.run_pass(5 * 300)
            assert (result.filled, result.unresolved, result.errors) == (5 * 300, 0, ())
            assert result.requests == 5 == len(house.asked())
            await check_whole(house, 5 * 300)


async def test_live_pages_go_before_what_is_left_of_a_deep_pass(redis_url):
    async with open_house(redis_url, rate=25) as house:
        await house.start_worker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.run_pass, 15 * 300, (M1,))
            await wait_asked(house, 2)
            await house.run_pass(10, (M5,), Lane.LIVE)
            when = [record.product for record in house.asked()].index("ETH-USD")
            assert when <= 12
        assert len(house.asked()) == 16
        await check_whole(house, 15 * 300)


async def test_a_scan_changes_nothing_and_asks_nothing(redis_url):
    async with open_house(redis_url) as house:
        await house.parts.client.zadd(key(M1), {b"{}": NOW - 7 * 3_600_000, b"[]": NOW - 7 * 3_600_000})
        await house.start_worker()
        result = await house.run_pass(500, repair=False)
        assert (result.missing, result.unresolved, result.filled, result.requests) == (500, 500, 0, 0)
        assert result.series[0].malformed == 2
        assert house.asked() == []
        assert await house.parts.client.zcard(key(M1)) == 2


class CancelAt(trio.abc.Instrument):
    """Cancel a scope when tasks have made so many steps since now: its own task's, or anybody's."""

    def __init__(self, scope, step, task=None) -> None:
        self._scope = scope
        self._task = task
        self._left = step

    def after_task_step(self, task) -> None:
        if self._task in (None, task):
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_a_pass_cancelled_anywhere_leaves_truth_and_no_record(redis_url, first):
    slots = 700
    async with open_house(redis_url) as house:
        await house.start_worker()
        expected = truth(M1, slots)
        for step in itertools.count(first, 4):
            await house.parts.client.execute_command("DEL", key(M1))
            result = None
            with trio.CancelScope() as scope:
                canceller = CancelAt(scope, step, trio.lowlevel.current_task())
                trio.lowlevel.add_instrument(canceller)
                try:
                    result = await house.run_pass(slots)
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            assert await runs(house) == []
            left = held(await house.members())
            assert [candle for candle in left if candle not in expected] == []
            assert len({candle.timestamp for candle in left}) == len(left)
            if result is not None:
                break
        assert step > 10
        assert (await house.run_pass(slots)).unresolved == 0
        await check_whole(house, slots)


async def test_a_worker_killed_anywhere_loses_and_doubles_nothing(redis_url):
    slots = 900
    async with open_house(redis_url) as house:
        await house.start_worker("two")
        ended = 0
        for step in range(3, 120, 23):
            await house.parts.client.execute_command("DEL", key(M1))
            asked = len(house.asked())
            _, alive = await house.start_worker(f"victim-{step}", mortal=True)
            canceller = CancelAt(alive, step)
            trio.lowlevel.add_instrument(canceller)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.bury, alive, f"victim-{step}")
                result = await house.run_pass(slots)
                alive.cancel()
            trio.lowlevel.remove_instrument(canceller)
            assert (result.missing, result.unresolved, result.errors) == (slots, 0, ())
            await check_whole(house, slots)
            assert 3 <= len(house.asked()) - asked <= 6
            ended += 1
        assert ended == 6


async def test_a_killed_redis_ends_the_pass_and_the_next_one_completes(own_server):
    slots = 20 * 300
    async with open_house(own_server.url, rate=50) as house:
        await house.start_worker()
        with pytest.RaisesGroup(StoreUnavailable):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.run_pass, slots)
                await wait_asked(house, 5)
                own_server.kill()
        own_server.start()
        await wait_serving(house.parts.client, 10)
        with trio.fail_after(30):
            result = await house.run_pass(slots)
        assert (result.unresolved, result.errors) == (0, ())
        await check_whole(house, slots)


async def test_a_refusal_for_rate_sends_everybody_back_and_is_made_good(redis_url):
    rule = {"name": "slow down", "mode": "throttle", "product": "BTC-USD", "first": 2, "count": 2}
    async with open_house(redis_url, *parse_faults({"fault": [rule]})) as house:
        await house.start_worker()
        result = await house.run_pass(5 * 300)
        assert (result.unresolved, result.errors) == (0, ())
        assert result.requests == 5 + 2 == len(house.asked())
        assert [record.status for record in house.asked()].count(429) == 2
        await check_whole(house, 5 * 300)
        assert (await house.parts.bucket.statistics()).granted == 7


async def test_what_the_exchange_will_not_serve_stays_unresolved_with_its_reason(redis_url):
    async with open_house(redis_url, symbols="NONE-USD") as house:
        await house.start_worker()
        result = await house.run_pass(10, (Series("NONE-USD", Timeframe.M1), M1))
        gone, good = result.series
        assert (gone.missing, gone.filled, gone.unresolved, gone.requests) == (10, 0, 10, 1)
        assert "404" in gone.errors[0]
        assert (good.filled, good.unresolved, good.errors) == (10, 0, ())
        assert result.errors == (f"NONE-USD:1m: {gone.errors[0]}",)


def garbage(slots=10_000):
    span: dict[str, object] = {"symbol": "BTC-USD", "timeframe": "1m", "start": 0, "stop": 180_000}
    page: dict[str, object] = {
        "kind": "page", "run": "x", "id": "page-0", "gaps": [[0, 3]], "asked": [0, 180_000],
        "span": span, "keeping": {"max_candles": 0, "ttl_s": 0, "trim": False},
    }  # fmt: skip
    yield b"\xff"
    yield b""
    yield b"{}"
    yield json.dumps({**page, "kind": "other"}).encode()
    yield json.dumps({**page, "gaps": [[0, slots]], "span": {**span, "stop": slots * MINUTE}}).encode()
    yield json.dumps({**page, "gaps": []}).encode()
    yield json.dumps({**page, "span": {**span, "symbol": "../../x"}}).encode()
    yield json.dumps({**page, "gaps": [[60_000, 1], [0, 1]]}).encode()
    yield json.dumps({**page, "gaps": [[1, 1]]}).encode()


async def test_entries_that_are_no_tasks_are_dropped_and_nobody_dies(redis_url):
    async with open_house(redis_url) as house:
        await house.parts.queue.create_groups()
        for lane, body in itertools.product(Lane, garbage()):
            stream = house.parts.scope.key(f"tasks:{lane}")
            await house.parts.client.xadd(stream, {"body": body, "deliveries": "many"})
        await house.parts.client.xadd(house.parts.scope.key("tasks:scan"), {"nothing": "here"})
        await house.start_worker()
        result = await house.run_pass(10)
        assert (result.filled, result.requests, result.errors) == (10, 1, ())
        for lane in Lane:
            assert await house.parts.client.xlen(house.parts.scope.key(f"tasks:{lane}")) == 0


async def test_a_count_that_is_no_number_does_not_stop_redelivery(redis_url):
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        await queue.create_groups()
        stream = house.parts.scope.key("tasks:deep")
        for body in ("a", "b"):
            await house.parts.client.xadd(stream, {"body": body, "deliveries": "many"})
            await TaskQueue(house.parts.client, house.parts.scope, "dead").take(Lane.DEEP)
        assert await queue.redeliver("dead") == 2
        again = [(await queue.take(Lane.DEEP))[0] for _ in range(2)]
        assert [(one.body, one.deliveries) for one in again] == [(b"a", 2), (b"b", 2)]
        assert await house.parts.client.xinfo_consumers(stream, "workers") != []


async def test_a_task_that_failed_its_workers_too_often_is_given_up(redis_url):
    async with open_house(redis_url) as house:
        queue, scope = house.parts.queue, house.parts.scope
        run = await queue.open_run("test", 0)
        stop = NOW - 6 * 3_600_000
        task = PageTask(
            run=run,
            id="page-0",
            span=Span.of(M1, Interval(stop - 3 * MINUTE, stop)),
            asked=(stop - 3 * MINUTE, stop),
            gaps=((stop - 3 * MINUTE, 3),),
            keeping=Keeping(max_candles=0, ttl_s=0, trim=False),
        )
        await queue.enqueue(run, Lane.DEEP, [(task.id, task.model_dump_json())])
        for _ in range(MAX_DELIVERIES):
            assert len(await TaskQueue(house.parts.client, scope, "dying").take(Lane.DEEP)) == 1
            await queue.redeliver("dying")
        await house.start_worker()
        with trio.fail_after(10):
            await queue.wait_finished(run, Lane.DEEP)
        (outcome,) = map(json.loads, await queue.outcomes(run))
        assert outcome["error"] == f"given up after {MAX_DELIVERIES} workers failed on it"
        assert (outcome["unresolved"], outcome["requests"]) == (None, 0)
        assert house.asked() == []


@pytest.mark.parametrize("end", ["drained", "cancelled"])
async def test_a_page_that_was_handed_back_however_often_is_not_given_up(redis_url, end):
    """A rolling restart hands pages back that wait for their permit: here it is minutes away."""
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        await house.parts.bucket.push_back(600_000)
        with trio.fail_after(30):
            for life in range(MAX_DELIVERIES + 1):
                worker, alive = await house.start_worker(f"life-{life}")
                while not worker._held:
                    await trio.lowlevel.checkpoint()
                if end == "drained":
                    worker.drain()
                else:
                    alive.cancel()
                while await consumers(house, Lane.DEEP):
                    await trio.lowlevel.checkpoint()
            (again,) = await queue.take(Lane.DEEP)
        assert (again.deliveries, await queue.outcomes(run)) == (1, [])


async def consumers(house, lane):
    found = await house.parts.client.xinfo_consumers(house.parts.scope.key(f"tasks:{lane}"), "workers")
    return [one["name"].decode() for one in found]


class Panic(BaseException):
    """As those of native code: no Exception."""


@pytest.mark.parametrize("error", [Panic, ZeroDivisionError])
async def test_an_error_nobody_foresaw_is_the_end_of_its_task_alone(redis_url, monkeypatch, caplog, error):
    async def fail(*_):
        await trio.lowlevel.checkpoint()
        raise error("details")

    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 3)
        worker, _ = await house.start_worker()
        monkeypatch.setattr(worker_module, "perform_scan", fail)
        stop = NOW - 6 * 3_600_000
        scan = ScanTask(
            run=run,
            id="scan-0",
            now=NOW,
            spans=(Span.of(M1, Interval(stop - 3 * MINUTE, stop)),),
            confirm_ms=0,
            repair=False,
            keeping=Keeping(max_candles=0, ttl_s=0, trim=False),
        )
        await queue.enqueue(run, Lane.SCAN, [(scan.id, scan.model_dump_json())])
        with trio.fail_after(20):
            await queue.wait_finished(run, *Lane)
        outcomes = {one["id"]: one["error"] for one in map(json.loads, await queue.outcomes(run))}
        failed = f"failed with {error.__name__}; the log says where"
        assert outcomes == {"page-0": None, "page-1": None, "page-2": None, "scan-0": failed}
        for step in ("admit", "ask", "store"):
            await house.parts.client.delete(key(M1))
            monkeypatch.setattr(worker._backfill, step, fail)
            run, _ = await enqueue_pages(queue, 1)
            with trio.fail_after(20):
                await queue.wait_finished(run, Lane.DEEP)
            assert [json.loads(one)["error"] for one in await queue.outcomes(run)] == [failed]
            # its claim holds nobody up from then on
            await queue.close_run(run)
            monkeypatch.undo()
    told = [record for record in caplog.records if record.message == "task failed"]
    assert [record.exc_info[0] for record in told] == [error] * 4


async def test_a_pass_whose_tasks_were_lost_never_says_complete(redis_url):
    """Redis killed between two syncs can keep the run's record and lose the tasks enqueued after it."""
    async with open_house(redis_url) as house:
        client, stream = house.parts.client, house.parts.scope.key("tasks:scan")

        async def lose(*keys) -> None:
            while not await client.xlen(stream):
                await trio.lowlevel.checkpoint()
            await client.delete(stream, *keys, *[one for one in await runs(house) if one.endswith(keys)])

        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(10))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await lose(b":unfinished")
        (result,) = results
        assert result.errors == ("BTC-USD:1m: the outcome of its task was lost; nothing is known until the next pass",)
        assert (result.series[0].expected, result.scanned_symbols, result.missing) == (0, 0, 0)
        with trio.fail_after(20), pytest.RaisesGroup(RunClosed):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.run_pass, 10)
                await lose()
        assert await runs(house) == []


async def test_an_outcome_that_is_none_counts_as_lost(redis_url):
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(10))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await queue.create_groups()
                (delivery,) = await queue.take(Lane.SCAN)
                task = json.loads(delivery.body)
                foreign = {"symbol": "ETH-USD", "timeframe": "1m", "gaps": [[0, 1]]}
                outcome = {"kind": "scan", "id": task["id"], "findings": [foreign]}
                await queue.finish(delivery, task["run"], task["id"], json.dumps(outcome))
        assert "was lost" in results[0].errors[0]
        assert results[0].series[0].expected == 0


async def test_a_slot_is_filled_only_if_readers_see_its_candle(redis_url):
    """Redis' JSON parser takes 0x1 for a number; JavaScript and the scan do not."""
    async with open_house(redis_url) as house:
        candle = truth(M1, 1)[0]
        member = (
            f'{{"timestamp":{candle.timestamp},"open":0x1,"high":1,"low":1,"close":1,"volume":1,'
            '"symbol":"BTC-USD","timeframe":"1m"}'
        )
        await house.parts.client.zadd(key(M1), {member: candle.timestamp})
        await house.start_worker()
        result = await house.run_pass(1)
        assert (result.missing, result.filled, result.unresolved) == (1, 0, 1)
        assert "1 slots hold a member that Redis takes for a candle" in result.errors[0]


async def test_a_worker_that_starts_while_redis_is_away_waits_for_it(own_server):
    async with open_house(own_server.url) as house:
        own_server.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.start_worker)
            with trio.move_on_after(0.05):
                await trio.sleep_forever()
            own_server.start()
            await wait_serving(house.parts.client, 10)
            result = await house.run_pass(10)
        assert (result.filled, result.errors) == (10, ())


async def test_a_long_push_back_does_not_end_the_clocks_duty(redis_url, caplog):
    async with open_house(redis_url) as house:
        await house.parts.bucket.push_back(600_000)
        await house.parts.clock.measure_when_due(house.source, house.parts.bucket)
        assert "the exchange's clock could not be read" in caplog.text
        assert await house.parts.clock.skew_ms() is None
        assert [record.path for record in house.log.records] == []


async def test_an_offset_that_is_no_number_is_not_used(redis_url):
    async with open_house(redis_url) as house:
        await house.parts.client.set(house.parts.scope.key("clock:skew_ms"), "soon")
        assert await house.parts.clock.skew_ms() is None
        await house.parts.client.set(house.parts.scope.key("clock:skew_ms"), "-3600000")
        late = await house.parts.clock.redis_now() - await house.parts.clock.now()
        assert 3_590_000 < late <= 3_600_000


async def test_a_drained_worker_finishes_its_pages_and_hands_the_others_back(redis_url):
    async with open_house(redis_url, rate=50) as house:
        first, _ = await house.start_worker("first")
        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(20 * 300))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await wait_asked(house, 3)
                first.drain()
                await house.start_worker("second")
        assert (results[0].unresolved, results[0].errors) == (0, ())
        # a page is in hand or it is not: none was asked twice
        assert results[0].requests == 20 == len(house.asked())
        await check_whole(house, 20 * 300)


async def test_a_cancelled_worker_hands_back_what_it_took(redis_url):
    """Ctrl-C in a command whose worker helped a running engine."""
    async with open_house(redis_url, rate=25) as house:
        _, alive = await house.start_worker("first")
        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(20 * 300))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await wait_asked(house, 3)
                alive.cancel()
                await house.start_worker("second")
        assert (results[0].unresolved, results[0].errors) == (0, ())
        await check_whole(house, 20 * 300)
        for lane in Lane:
            found = await house.parts.client.xinfo_consumers(house.parts.scope.key(f"tasks:{lane}"), "workers")
            assert [one["name"] for one in found if one["name"] == b"first"] == []


async def test_a_consumer_with_more_than_one_call_moves_keeps_the_rest(redis_url):
    async with open_house(redis_url) as house:
        client, stream = house.parts.client, house.parts.scope.key("tasks:deep")
        await house.parts.queue.create_groups()
        await client.pipe([("XADD", stream, "*", "body", "x", "deliveries", "1")] * 1_001)
        await client.execute_command("XREADGROUP", "GROUP", "workers", "dead", "COUNT", 2_000, "STREAMS", stream, ">")
        assert await house.parts.queue.redeliver("dead") == 1_000
        assert await house.parts.queue.redeliver("dead") == 1
        assert await client.xinfo_consumers(stream, "workers") == []
        assert await client.xlen(stream) == 1_001
        again = await client.execute_command(
            "XREADGROUP", "GROUP", "workers", "new", "COUNT", 2_000, "STREAMS", stream, ">"
        )
        assert len(again[0][1]) == 1_001


async def test_a_flushed_redis_ends_the_pass_as_closed_and_the_next_one_completes(redis_url):
    async with open_house(redis_url, rate=50) as house:
        await house.start_worker()
        with trio.fail_after(30):
            with pytest.RaisesGroup(RunClosed):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(house.run_pass, 20 * 300)
                    await wait_asked(house, 2)
                    await house.parts.client.pipe([("FLUSHALL",), ("SCRIPT", "FLUSH")])
            assert (await house.run_pass(20 * 300)).unresolved == 0
        await check_whole(house, 20 * 300)
        assert await runs(house) == []


async def test_a_full_redis_leaves_slots_unresolved_with_its_words(redis_url, monkeypatch):
    # The first permit is a second away: memory is full before anything can be asked or merged.
    async with open_house(redis_url, rate=1) as house:
        client = house.parts.client
        await house.start_worker()
        rows = truth(M1, 10)
        await house.parts.store.merge(M1, rows[:5], house.parts.retention)
        queue = house.parts.queue
        enqueue = queue.enqueue

        async def fill_up(run, lane, tasks):
            """Let the pages be enqueued, then let memory be full."""
            await enqueue(run, lane, tasks)
            if lane is Lane.DEEP:
                await client.execute_command("CONFIG SET", "maxmemory", "1")

        monkeypatch.setattr(queue, "enqueue", fill_up)
        try:
            with trio.fail_after(30):
                result = await house.run_pass(10)
        finally:
            await client.execute_command("CONFIG SET", "maxmemory", "0")
        monkeypatch.undo()
        assert (result.missing, result.filled, result.unresolved) == (5, 0, 5)
        assert "OOM" in result.errors[0]
        assert (await house.run_pass(10)).unresolved == 0
        await check_whole(house, 10)


ENDS = {
    "OOM": ("CONFIG", "SET", "maxmemory", "0"),
    "READONLY": ("REPLICAOF", "NO", "ONE"),
    "MISCONF": ("CONFIG", "SET", "stop-writes-on-bgsave-error", "no"),
}
"""What makes a server take writes again."""


async def refuse_writes(server, client, word) -> None:
    """Bring a server to refuse writes with this word."""
    if word == "OOM":
        await client.execute_command("CONFIG", "SET", "maxmemory", "1")
    elif word == "READONLY":
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    else:
        await client.execute_command("CONFIG", "SET", "save", "3600 1")
        shutil.rmtree(server.plan.data_directory)
        await client.execute_command("BGSAVE")
    with trio.fail_after(20):
        while True:
            (reply,) = await client.pipe([("SET", "probe", "x")])
            if getattr(reply, "code", None) == word:
                break
            await trio.sleep(0.01)


@pytest.mark.parametrize("word", [*ENDS])
async def test_nothing_is_asked_while_its_answer_could_not_be_stored(own_server, word):
    async with open_house(own_server.url) as house:
        client, queue = house.parts.client, house.parts.queue
        run, tasks = await enqueue_pages(queue, 4)
        await refuse_writes(own_server, client, word)
        backfill = house.parts.worker(house.source)._backfill
        assert backfill is not None
        for task in tasks:
            with pytest.raises(StoreError, match=word):
                await backfill.admit(task)
        await client.execute_command(*ENDS[word])
        statistics = await house.parts.bucket.statistics()
        assert (statistics.granted, house.asked()) == (0, [])
        await house.start_worker()
        with trio.fail_after(20):
            await queue.wait_finished(run, Lane.DEEP)
        await check_whole(house, 3)
        assert len(house.asked()) == 1


async def test_an_answer_that_redis_does_not_take_is_kept_and_not_asked_for_again(own_server, monkeypatch):
    """The server turns read-only while the exchange answers, and takes writes again later."""
    rule = {"name": "slow", "mode": "slow_head", "seconds": 0.5}
    async with open_house(own_server.url, *parse_faults({"fault": [rule]})) as house:
        client, queue = house.parts.client, house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        worker, _ = await house.start_worker()
        refused = trio.Event()
        assert worker._backfill is not None
        monkeypatch.setattr(worker._backfill, "store", tell_refusals(worker._backfill.store, refused))
        with trio.fail_after(20):
            while not (await house.parts.bucket.statistics()).granted:
                await trio.lowlevel.checkpoint()
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")
            await refused.wait()
            assert await house.members() == []
            await client.execute_command("REPLICAOF", "NO", "ONE")
            await queue.wait_finished(run, Lane.DEEP)
        await check_whole(house, 3)
        assert len(house.asked()) == 1


def tell_refusals(store, refused):
    async def store_or_tell(*args):
        try:
            return await store(*args)
        except StoreError:
            refused.set()
            raise

    return store_or_tell


async def enqueue_pages(queue, count):
    """Open a run of so many tasks for the same page; return it and them."""
    run = await queue.open_run("test", 0)
    stop = NOW - 6 * 3_600_000
    keeping = Keeping(max_candles=0, ttl_s=0, trim=False)
    span = Span.of(M1, Interval(stop - 3 * MINUTE, stop))
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


@pytest.mark.parametrize("change", ["password", "permissions"])
async def test_a_worker_that_redis_lets_in_no_more_says_so_and_ends(own_server, change):
    async with open_house(own_server.url) as house:
        client = house.parts.client

        async def work_until_denied() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(house.parts.worker(house.source).run)
                if change == "password":
                    await client.execute_command("CONFIG", "SET", "requirepass", "another")
                    async with TrioRedis.from_url(own_server.url.replace("unix://", "unix://:another@")) as other:
                        await other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                else:
                    await client.execute_command("ACL", "SETUSER", "default", "-xreadgroup")

        with trio.fail_after(20), pytest.raises(BaseExceptionGroup) as ended:
            await work_until_denied()
        assert ended.value.split(ConfigError)[1] is None
        assert "redis_url: redis denied the command: " in leaf(ended.value)


async def test_pages_of_living_workers_are_not_handed_out_again_after_a_long_outage(own_server, monkeypatch):
    """Every task is idle then; whoever is back first must not take the others' pages for lost."""
    async with open_house(own_server.url) as house:
        client, queue = house.parts.client, house.parts.queue
        run = await queue.open_run("test", 0)
        await queue.enqueue(run, Lane.DEEP, [("a", "x")])
        living = TaskQueue(client, house.parts.scope, "living")
        (held,) = await living.take(Lane.DEEP)
        assert await queue.redeliver_idle() == 0
        own_server.signal(signal.SIGSTOP)
        monkeypatch.setattr(tasks_module, "REDELIVER_IDLE_MS", 300)
        monkeypatch.setattr(tasks_module, "WATCH_MS", 300)
        await trio.sleep(0.6)
        own_server.signal(signal.SIGCONT)
        await wait_serving(client, 10)
        # Idle for long enough, and yet:
        assert await queue.redeliver_idle() == 0
        await living.touch([held])
        assert await queue.redeliver_idle() == 0
        moved = 0
        with trio.fail_after(20):
            while not moved:
                await trio.sleep(0.05)
                moved = await queue.redeliver_idle()
        assert moved == 1


def leaf(group) -> str:
    """The text of the first error in a group of groups."""
    return leaf(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else str(group)
