"""The feeder against a real server: what a newcomer finds in the cache."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import trio

from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedLosses
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

NOW = 1_795_424_417_000
MARKET = SeededMarket(5, [ListedProduct("BTC-USD", 65_000.0)])
M5 = Series("BTC-USD", Timeframe.M5)
SETTINGS = FeederSettings([M5, Series("BTC-USD", Timeframe.H4)], Scope(1, 1, "test"))
KEY = "candles:1:1:BTC-USD:5m"


async def test_first_step_leaves_holes_a_first_scan_can_see(redis: TrioRedis) -> None:
    await Feeder(redis, MARKET, SimulatedClock(NOW, rate=0), SETTINGS).step()
    newest = Timeframe.M5.floor(NOW)
    held: Any = await redis.zrange(KEY, newest - 30 * 300_000, newest - 300_000, byscore=True, withscores=True)
    assert 0 < len(held) < 30
    for member, score in held:
        candle = json.loads(member)
        assert (candle["timestamp"], candle["symbol"], candle["timeframe"]) == (score, "BTC-USD", "5m")
    assert 0 < await redis.ttl(KEY) <= 86_400


async def test_key_is_cut_to_its_newest_members_and_a_slot_holds_one(redis: TrioRedis) -> None:
    clock = SimulatedClock(NOW, rate=0)
    losses = FeedLosses(disconnects_per_hour=0, lost_share=0)
    feeder = Feeder(redis, MARKET, clock, replace(SETTINGS, losses=losses, max_candles=20))
    await feeder.step()
    for elapsed in range(30_000, 1_500_000, 30_000):
        clock.set(NOW + elapsed)
        await feeder.step()
    held: Any = await redis.zrange(KEY, 0, -1, withscores=True)
    scores = [int(score) for _, score in held]
    assert len(scores) == len(set(scores)) == 20
    assert scores[-1] == Timeframe.M5.floor(NOW + 1_470_000)


async def test_only_an_empty_cache_begins_with_the_candles_of_earlier(redis: TrioRedis) -> None:
    settings = replace(SETTINGS, earlier_ms=8 * 3_600_000)
    hours = "candles:1:1:BTC-USD:4h"
    for _ in range(2):
        await Feeder(redis, MARKET, SimulatedClock(NOW, rate=0), settings).step()
        assert await redis.zcard(hours) == 2
        await redis.zremrangebyrank(hours, 0, 0)
        await redis.zadd(hours, {"repaired": 0})
    held: Any = await redis.zrange(hours, 0, 0)
    assert held == [b"repaired"]


async def test_run_feeds_until_cancelled(redis: TrioRedis) -> None:
    feeder = Feeder(redis, MARKET, SimulatedClock(NOW, rate=600), replace(SETTINGS, interval_ms=1))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feeder.run)
            newest = NOW
            while newest < NOW + 600_000:
                found: Any = await redis.zrange(KEY, -1, -1, withscores=True)
                newest = int(found[0][1]) if found else 0
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
