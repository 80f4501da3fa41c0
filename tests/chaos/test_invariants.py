"""Every invariant of a world at rest can fail: each sees the damage it is there for."""

from __future__ import annotations

from random import Random

import pytest
from tests.chaos.invariants import check_ledger, check_live, differ, end, settle
from tests.chaos.world import Plan, World, open_world

from reconciler_engine.engine.evidence_edits import mark_slots
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import State
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention

SERIES = Series("P1-USD", Timeframe.M1)
PLAN = Plan((SERIES,), slots=60, requests_per_s=50, workers=1, pages=False)


async def put(world: World, at: int, share: float) -> None:
    """Write a candle of the truth with a share of its volume, beside what is there."""
    values = world.truth(SERIES, world.plan.window(SERIES, world.exchange.clock.now()))[at]
    await world.client.zadd(world.scope.candle_key(SERIES), {member_of(SERIES, world.candle(at, values, share)): at})


@pytest.mark.slow
async def test_each_sees_its_damage(own_server, tmp_path):
    async with open_world(PLAN, tmp_path, own_server) as world:
        await settle(world)
        await world.feed(Random(1), 5, 0.1)
        now = world.exchange.clock.now()
        await settle(world)
        await check_live(world)
        # A lease is left. Nobody repairs from here on.
        lease = world.scope.key("lease:test")
        await world.client.set(lease, "somebody")
        with pytest.raises(AssertionError, match="lease:test"):
            await end(world)
        await world.client.delete(lease)
        # No bar closes either, which nobody would fill in.
        world.exchange.clock = SimulatedClock(now, rate=0)
        assert await differ(world) == ""
        key = world.scope.candle_key(SERIES)
        window = world.plan.window(SERIES, world.exchange.clock.now())
        lost, twice, *_ = (at for at in window.grid(60_000)[10:] if (SERIES, at) not in world.live)

        await put(world, twice, 0.5)
        assert "1 more than once" in await differ(world)
        await world.client.zremrangebyscore(key, twice, twice)
        await put(world, twice, 0.5)
        assert await differ(world) == f"{SERIES}: 1 of other values"
        await world.client.zremrangebyscore(key, twice, twice)
        await put(world, twice, 1.0)
        await world.client.zadd(key, {'{"no candle"': lost})
        assert await differ(world) == f"{SERIES}: 1 no candle"
        await world.client.zremrangebyscore(key, lost, lost)
        assert await differ(world) == f"{SERIES}: 1 missing"

        # The ledger says of the lost candle that the exchange never had it.
        await check_ledger(world)
        store = CandleStore(world.client, world.scope)
        evidence = EvidenceStore(world.client, world.scope)
        slot, kept = Interval(lost, lost + 60_000), Retention(0, 0)
        at = world.exchange.clock.now()
        await mark_slots(store, evidence, SERIES, slot, State.EMPTY, kept, at, by="test")
        with pytest.raises(AssertionError, match=str(lost)):
            await check_ledger(world)

        # A live candle gave way to a poorer one.
        (_, fed), *_ = world.live
        await world.client.zremrangebyscore(key, fed, fed)
        await put(world, fed, 0.5)
        with pytest.raises(AssertionError, match=str(fed)):
            await check_live(world)
