"""The engine beside a feeder at full speed: no live candle is lost, none gives way to a poorer one."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from tests.integration.engines import DENSE, MARKET, MINUTE, T0, THIN, Engine, engine, span, truth, with_volume

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedLosses
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention

SLOTS = 40
UNLIMITED = Retention(0, 0)
FIVE = Series(DENSE.symbol, Timeframe.M5)


def candle(at: int, values: tuple[float, ...], share: float = 1.0, sequence: int | None = None) -> Candle:
    """A candle with a share of its volume."""
    open_, high, low, close, volume = values
    return Candle(at, open_, high, low, close, volume * share, sequence)


async def write(client: TrioRedis, key: str, one: Candle) -> None:
    """As the real feeder writes: remove, then add, each its own round trip."""
    await client.zremrangebyscore(key, one.timestamp, one.timestamp)
    await client.zadd(key, {member_of(DENSE, one): one.timestamp})


def updates(known: dict[int, tuple[float, ...]], lost: set[int]) -> Iterator[Candle]:
    """Many updates of every slot but the lost ones: volumes grow, the last update is what the exchange has."""
    draw = random.Random(11)
    left = {at: draw.randrange(2, 12) for at in known if at not in lost}
    sequence = 0
    while left:
        at = draw.choice(sorted(left))
        left[at] -= 1
        yield candle(at, known[at], 1 / (1 + left[at]), sequence)
        sequence += 1
        if not left[at]:
            del left[at]


async def sequences(run: Engine, within: Interval | None = None, series: Series = DENSE) -> dict[int, int | None]:
    """Sequence number by slot; fails on two members in one slot, of all or of those of a range."""
    await run.held(series, within)
    (found,) = await run.parts.client.pipe([("ZRANGE", run.key(series), 0, -1)])
    members = [json.loads(member) for member in found]
    return {member["timestamp"]: member.get("sequenceNum") for member in members}


async def beside(feed: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[None]]) -> None:
    """Do some work over and over while the feed runs."""
    ended = trio.Event()

    async def run_feed() -> None:
        await feed()
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_feed)
        while not ended.is_set():
            await work()


@pytest.mark.parametrize("way", ["merge", "pass"])
async def test_the_last_live_candle_of_every_slot_stays(redis_url, way):
    """`merge` writes the exchange's candles into the feeder's slots without looking, which is worse than any pass."""
    known = truth(DENSE, span(SLOTS))
    lost = {T0 + slot * MINUTE for slot in range(0, SLOTS, 5)}
    rest = [candle(at, values) for at, values in sorted(known.items())]
    last: dict[int, int | None] = {}
    async with engine(redis_url) as run, TrioRedis.from_url(redis_url) as feeder:

        async def feed() -> None:
            for one in updates(known, lost):
                await write(feeder, run.key(DENSE), one)
                last[one.timestamp] = one.sequence_num

        async def work() -> None:
            if way == "merge":
                await run.parts.store.merge(DENSE, rest, UNLIMITED)
            else:
                await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [DENSE], span(SLOTS)))

        await beside(feed, work)
        count = len(run.exchange.log.records)
        result = await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [DENSE], span(SLOTS)))
        if way == "merge":
            # duplicates that the feeder's holes let in are cleaned, and that asks nobody
            assert len(run.exchange.log.records) == count
        held = await sequences(run)
        assert {at: number for at, number in held.items() if number is not None} == last
        assert {at for at, number in held.items() if number is None} == lost
        assert await run.held(DENSE) == known
        assert (result.unresolved, result.errors) == (0, ())


async def test_a_truncated_live_candle_gives_way_to_the_whole_one_it_shares_its_slot_with(redis_url):
    known = truth(DENSE, span(3))
    async with engine(redis_url) as run:
        live = [
            candle(at, values, share, 7)
            for (at, values), share in zip(sorted(known.items()), (0.5, 1.0, 2.0), strict=True)
        ]
        await run.put(DENSE, *(candle(at, values) for at, values in known.items()), *live)
        result = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(3)))
        assert (result.series[0].duplicates, result.requests, run.asked()) == (3, 0, [])
        assert list((await sequences(run)).values()) == [None, 7, 7]


class Recorder:
    """A client that remembers the last live candle of every slot, and when the pass beside the last cut began."""

    def __init__(self, client: TrioRedis) -> None:
        self._client = client
        self.written: dict[int, bytes | str] = {}
        self.pass_began = self.merged_since = T0

    async def execute_command(self, *args: Any) -> Any:
        if args[0] == "ZREMRANGEBYRANK":
            self.merged_since = self.pass_began
        reply = await self._client.execute_command(*args)
        if args[0] == "ZADD":
            self.written.update(zip(args[2::2], args[3::2], strict=True))
        return reply


@pytest.mark.parametrize("series", [DENSE, pytest.param(FIVE, marks=pytest.mark.slow)], ids=str)
async def test_beside_the_simulations_feeder_its_cap_and_life_hold(redis_url, series):
    """Some hours of the simulated feed in seconds: outages, snapshots full of holes, bars lost and cut."""
    cap, minutes = 90, 240
    clock = SimulatedClock(T0, rate=0)
    losses = FeedLosses(seed=4, disconnects_per_hour=8, outage_ms=(60_000, 140_000), lost_share=0.05, twin_share=0)
    window_ms = 60 * MINUTE
    async with (
        engine(redis_url, max_candles=cap, ttl=86_400, full_reconcile_window_ms=window_ms) as run,
        TrioRedis.from_url(redis_url) as client,
    ):
        recorder = Recorder(client)
        settings = FeederSettings([series], run.parts.scope, losses, max_candles=cap)
        feeder = Feeder(recorder, MARKET, clock, settings)

        async def show_time() -> None:
            skew = clock.now() - await run.parts.clock.redis_now()
            await client.set(run.parts.scope.key("clock:skew_ms"), skew)

        async def feed() -> None:
            for half_minute in range(2 * minutes):
                clock.set(T0 + half_minute * MINUTE // 2)
                await show_time()
                # never more than the feeder kept, but for the windows of the passes since it cut
                added = (clock.now() - recorder.merged_since + window_ms) // MINUTE
                assert await client.zcard(run.key(series)) <= cap + added
                await feeder.step()

        async def work() -> None:
            recorder.pass_began = clock.now()
            await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [series], window_ms))
            assert 0 < await client.pttl(run.key(series)) <= 86_400_000

        await show_time()
        # The snapshot's holes, before streamed bars move them out of the window.
        await feeder.step()
        await work()
        await beside(feed, work)
        await show_time()
        result = await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [series], window_ms))
        assert (result.unresolved, result.errors) == (0, ())
        newest = series.timeframe.floor(clock.now() - 15_000)
        window = Interval(newest - window_ms, newest)
        # In older slots no pass looks any more for two members that a merge beside the feeder left.
        held = await run.held(series, window)
        assert held.keys() == set(window.grid(series.timeframe.step_ms))
        there = truth(series, window)
        numbers = await sequences(run, window, series)
        live = 0
        for at, values in held.items():
            member = recorder.written.get(at)
            if member is None:
                assert values == there[at]
                continue
            last = json.loads(member)
            assert values[4] >= last["volume"]
            live += values[4] == last["volume"]
            assert values[4] > last["volume"] or numbers[at] == last.get("sequenceNum")
        assert live > len(held) / 2
        assert run.asked()


async def test_the_engine_adds_no_life_to_a_key_that_has_none_and_trims_nothing(redis_url):
    async with engine(redis_url, ttl=100, max_candles=0) as run:
        await run.put(DENSE, *(with_volume(slot) for slot in range(1_500) if slot % 7))
        result = await run.backfill([DENSE, THIN], span(1_500))
        assert result.errors == ()
        assert await run.parts.client.zcard(run.key(DENSE)) == 1_500
        assert await run.parts.client.pttl(run.key(DENSE)) == -1
        assert 0 < await run.parts.client.pttl(run.key(THIN)) <= 100_000
