"""Two live feeders on the same slots, written as the real one writes, beside passes and merges: nothing is lost."""

from __future__ import annotations

from random import Random

import pytest
import trio
from tests.chaos.invariants import check, end, settle
from tests.chaos.world import Plan, World, open_world

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.retention import Retention

PLAN = Plan((Series("P1-USD", Timeframe.M1),), slots=300, requests_per_s=50, workers=1, pages=False)
SLOTS = 80


async def merge_blindly(world: World, seed: int) -> None:
    """Write the exchange's candles into slots of the feeders without looking, which is worse than any pass."""
    random = Random(seed)
    store = CandleStore(world.client, world.scope)
    (series,) = world.plan.series
    truth = world.truth(series, world.plan.window(series, world.exchange.clock.now()))
    while True:
        some = sorted(random.sample(sorted(truth), 20))
        await store.merge(series, [world.candle(at, truth[at]) for at in some], Retention(0, 0))
        await trio.lowlevel.checkpoint()


async def live(world: World, seed: int, lasts_s: float) -> int:
    """Two feeders at once, each over most slots, until both are done; return how often they wrote."""
    before = world.writes
    async with trio.open_nursery() as merging:
        merging.start_soon(merge_blindly, world, seed)
        async with trio.open_nursery() as feeding:
            for number in range(2):
                feeding.start_soon(world.feed, Random(seed * 2 + number), SLOTS, lasts_s, number * 1_000_000)
        merging.cancel_scope.cancel()
    return world.writes - before


@pytest.mark.parametrize(
    "lasts_s", [pytest.param(1.0, marks=pytest.mark.slow), pytest.param(120.0, marks=pytest.mark.soak)]
)
async def test_two_feeders_and_our_merges_on_the_same_slots_lose_nothing(own_server, tmp_path, lasts_s, tell_figure):
    async with open_world(PLAN, tmp_path, own_server) as world:
        await settle(world)
        began, written, seed = trio.current_time(), 0, 0
        while trio.current_time() - began < lasts_s:
            seed += 1
            written += await live(world, seed, 1.0)
            await settle(world)
            await check(world)
        await end(world)
    tell_figure(f"two feeders, {written} writes on {SLOTS} of {PLAN.slots} slots: 0 losses at rest")
