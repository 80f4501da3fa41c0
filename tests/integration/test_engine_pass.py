"""A pass: its requests, its records, and the remains of one that was cut off."""

from __future__ import annotations

import itertools

import pytest
import trio
from tests.integration.house import M1, M5, NOW, check_whole, held, key, open_house, runs, truth, wait_asked

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import MARGIN_SLOTS
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.store.members import member_of
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue

pytestmark = pytest.mark.contract(cluster_by_mark=True)


def span_of(record):
    return int(record.start), int(record.end)


# One pass goes over a cluster by default.
@pytest.mark.contract
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
        result = await house.run_pass(400, (M1, M5))
        # the range is 400 bars of 5m, so 2,000 of 1m
        assert result.requests == 7 + 2 == len(house.asked())
        assert (result.filled, result.unresolved) == (2_400, 0)
        assert (result.scanned_symbols, result.scanned_timeframes) == (2, 2)
        await check_whole(house, 2_000)
        await check_whole(house, 400, M5)
        again = await house.run_pass(400, (M1, M5))
        assert (again.missing, again.requests) == (0, 0)


async def test_live_pages_go_before_what_is_left_of_a_deep_pass(redis_url, monkeypatch):
    enqueue = TaskQueue.enqueue
    asked_before = 0

    async def enqueue_and_count(queue, run, lane, tasks):
        nonlocal asked_before
        await enqueue(queue, run, lane, tasks)
        if lane is Lane.LIVE:
            asked_before = len(house.asked())

    monkeypatch.setattr(TaskQueue, "enqueue", enqueue_and_count)
    async with open_house(redis_url, rate=25) as house:
        await house.start_worker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.run_pass, 15 * 300, (M1,))
            await wait_asked(house, 2)
            await house.run_pass(10, (M5,), Lane.LIVE)
            when = [record.product for record in house.asked()].index("ETH-USD")
            # and those that were about to be asked for
            assert 0 < when <= asked_before + 3
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


async def test_what_no_reader_takes_heals_in_one_pass(redis_url):
    slots = 360
    async with open_house(redis_url) as house:
        bars = truth(M1, slots)
        members = {member_of(M1, bar): bar.timestamp for bar in bars}
        nan = {text.replace("}", ',"vwap":NaN}'): at for text, at in members.items()}
        await house.parts.client.zadd(key(M1), nan)
        await house.start_worker()
        result = await house.run_pass(slots)
        assert (result.missing, result.filled, result.unresolved) == (slots, slots, 0)
        await check_whole(house, slots)
        # beside good candles
        strays = {text.replace(str(at), str(at + 1)): at + 1 for text, at in list(members.items())[::2]}
        await house.parts.client.zadd(key(M1), {**strays, '{"vwap":NaN}': bars[7].timestamp})
        result = await house.run_pass(slots)
        assert (result.series[0].malformed, result.requests) == (slots // 2 + 1, 0)
        await check_whole(house, slots)


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
        expected = {candle.timestamp: candle for candle in truth(M1, slots)}
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
            assert [candle for candle in left if candle != expected.get(candle.timestamp)] == []
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


async def test_a_refusal_for_rate_sends_everybody_back_and_is_made_good(redis_url):
    rule = {"name": "slow down", "mode": "throttle", "product": "BTC-USD", "first": 2, "count": 2}
    async with open_house(redis_url, *parse_faults({"fault": [rule]})) as house:
        await house.start_worker()
        result = await house.run_pass(5 * 300)
        assert (result.unresolved, result.errors) == (0, ())
        assert result.requests == 5 + 2 == len(house.asked())
        assert [record.status for record in house.asked()].count(429) == 2
        await check_whole(house, 5 * 300)
        # More where one came too late to be used.
        assert (await house.parts.bucket.statistics()).granted >= 7


async def test_what_the_exchange_will_not_serve_stays_unresolved_with_its_reason(redis_url):
    async with open_house(redis_url, symbols="NONE-USD") as house:
        await house.start_worker()
        result = await house.run_pass(10, (Series("NONE-USD", Timeframe.M1), M1))
        gone, good = result.series
        assert (gone.missing, gone.filled, gone.unresolved, gone.requests) == (10, 0, 10, 1)
        assert "404" in gone.errors[0]
        assert (good.filled, good.unresolved, good.errors) == (10, 0, ())
        assert result.errors == (f"NONE-USD:1m: {gone.errors[0]}",)


async def test_a_slot_is_filled_only_if_readers_see_its_candle(redis_url):
    """Redis' own JSON parser takes 0x1 for a number; JavaScript does not."""
    async with open_house(redis_url) as house:
        candle = truth(M1, 1)[0]
        member = (
            f'{{"timestamp":{candle.timestamp},"open":0x1,"high":1,"low":1,"close":1,"volume":1,'
            '"symbol":"BTC-USD","timeframe":"1m"}'
        )
        await house.parts.client.zadd(key(M1), {member: candle.timestamp})
        await house.start_worker()
        result = await house.run_pass(1)
        assert (result.missing, result.filled, result.unresolved, result.errors) == (1, 1, 0, ())
        await check_whole(house, 1)
