"""The objective, counted by verify runs over a real cache and kept in Redis beyond the life of an engine."""

from __future__ import annotations

from tests.integration.engines import DENSE, MINUTE, engine
from tests.integration.test_verify_run import Verified

from reconciler_engine.engine.scheduled_passes import VERIFY, ScheduledPasses
from reconciler_engine.market.interval import Interval
from reconciler_engine.observe.objective import COMPLETE_MS, BarCounts
from reconciler_engine.planning.timely_bars import Judged, Reached
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS
from reconciler_engine.store.objective_counts import FrameCounts, ObjectiveCounts


async def kept(world: Verified) -> FrameCounts:
    return (await ObjectiveCounts(world.run.parts.client, world.run.parts.scope).read())["1m"]


async def look(world: Verified) -> BarCounts:
    """Run the verify run and return all bars counted so far."""
    await world.passes.perform(VERIFY)
    return BarCounts.total(BarCounts(*part[1:]) for part in (await kept(world)).parts["30d"])


async def seen_from_outside(world: Verified, since: FrameCounts) -> BarCounts:
    """Count the bars whose time is over, by the keys of the cache as they are, without those that failed before."""
    limits = (since.complete, world.now - COMPLETE_MS), (since.verified, world.now - DEFAULT_MAX_UNVERIFIED_MS)
    complete, verified = (Interval(low // MINUTE * MINUTE, max(low, high) // MINUTE * MINUTE) for low, high in limits)
    held = await world.run.held(DENSE)
    noted = await world.run.parts.evidence.verified(DENSE, verified) if verified else {}
    late = [at for at in complete.grid(MINUTE) if at not in held]
    unverified = [at for at in verified.grid(MINUTE) if at in held and at not in noted]
    return BarCounts(complete.size(MINUTE), len(late), len(unverified))


async def test_bars_are_counted_once_beyond_restarts_and_late_ones_as_late(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(300)
        counted = await look(world)
        assert counted == BarCounts()
        for minutes, fed, late, unverified in ((10, 10, 0, 0), (31, 15, 11, 10), (30, 30, 0, 10), (5, 5, 0, 0)):
            # Another process goes on where the one before ended.
            world.passes = ScheduledPasses(run.parts, [DENSE], now=lambda: world.now)
            await world.turn(minutes)
            await world.put(fed)
            outside = await seen_from_outside(world, await kept(world))
            assert (outside.late, outside.unverified) == (late, unverified)
            after = await look(world)
            assert after == BarCounts.total([counted, outside])
            counted = after


async def test_nothing_is_counted_by_an_engine_that_lost_the_job(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await look(world)
        before = await kept(world)
        await world.turn(30)
        epoch = int(await run.parts.client.hget(run.parts.scope.fence_key(VERIFY), "epoch") or 0)
        counts = ObjectiveCounts(run.parts.client, run.parts.scope)
        judged = Judged({"1m": BarCounts(5)}, {"1m": Reached(world.now, world.now)})
        await counts.add({"1m": before}, judged, world.now, job=VERIFY, epoch=epoch + 1)
        assert await kept(world) == before
        await counts.add({"1m": before}, judged, world.now, job=VERIFY, epoch=epoch)
        assert (await kept(world)).parts["30d"][-1][1] == 5
