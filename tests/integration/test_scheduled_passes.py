"""Scheduled passes of one engine and its jobs' leases, over a real Redis."""

from __future__ import annotations

import itertools
import logging

import pytest
import trio
from tests.chaos.waiting import wait_until, wait_until_so
from tests.integration.engines import DENSE, MINUTE, engine

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.scheduled_passes import GAP_SCAN, ScheduledPasses
from reconciler_engine.errors import LeaseLost
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.scheduling.ticks import Tick
from reconciler_engine.store.leases import JobLeases
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue

ENDLESS_MS = 3_600_000
SLOTS = 30


async def test_a_release_that_was_lost_does_not_keep_the_job_from_its_own_engine(redis_url):
    async with engine(redis_url, quick_scan_window_ms=SLOTS * MINUTE) as run:
        passes = ScheduledPasses(run.parts, [DENSE], now=lambda: 0, lease_ms=ENDLESS_MS)
        lost = JobLeases(run.parts.client, run.parts.scope, run.parts.queue.consumer, life_ms=ENDLESS_MS)
        assert await lost.take(GAP_SCAN)
        assert (await passes.perform(GAP_SCAN)).filled == SLOTS
        assert not await lost.is_held(GAP_SCAN)


async def test_a_tick_whose_record_redis_lost_is_repeated_at_once(redis_url, caplog):
    # Redis loses the record in the pause before the second look, so that nothing is filled yet.
    async with engine(redis_url, confirm_ms=500, quick_scan_window_ms=SLOTS * MINUTE) as run:
        passes = ScheduledPasses(run.parts, [DENSE], now=lambda: 0)
        (job,) = [one for one in passes.jobs() if one.name == GAP_SCAN]
        client, tick = run.parts.client, Tick(GAP_SCAN, 0)
        async with passes.claim(tick) as is_ours:
            assert is_ours
            async with trio.open_nursery() as nursery:
                nursery.start_soon(job.run, tick)
                await wait_until_so(lambda: client.hexists(run.parts.scope.fence_key(GAP_SCAN), "run"))
                await client.flushall()
        assert "pass repeated" in caplog.messages
        assert passes.last[GAP_SCAN].result.filled == SLOTS
        assert not await client.exists(run.parts.scope.key(f"lease:{GAP_SCAN}"))


async def test_a_tick_is_not_repeated_where_somebody_else_has_taken_over(redis_url):
    async with engine(redis_url, quick_scan_window_ms=SLOTS * MINUTE) as run:
        passes = ScheduledPasses(run.parts, [DENSE], now=lambda: 0)
        (job,) = [one for one in passes.jobs() if one.name == GAP_SCAN]
        tick = Tick(GAP_SCAN, 0)
        other = JobLeases(run.parts.client, run.parts.scope, "other", life_ms=ENDLESS_MS)
        async with passes.claim(tick):
            await run.parts.client.flushall()
            assert await other.take(GAP_SCAN)
            with pytest.raises(LeaseLost):
                await job.run(tick)
        assert await other.is_held(GAP_SCAN)


async def test_passes_of_a_kind_that_one_engine_is_asked_for_run_one_after_the_other(redis_url):
    results: list[ReconciliationResult] = []
    async with engine(redis_url, quick_scan_window_ms=SLOTS * MINUTE) as run:
        passes = ScheduledPasses(run.parts, [DENSE], now=lambda: 0)

        async def perform() -> None:
            results.append(await passes.perform(GAP_SCAN))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(perform)
    # A minute may close between two of them.
    stops = [result.series[0].stop for result in results]
    closed = [(stop - before) // MINUTE for before, stop in itertools.pairwise(stops)]
    assert [result.missing for result in results] == [SLOTS, *closed]


async def test_a_run_left_open_that_outlasts_its_adopter_is_not_adopted_again(redis_url, caplog):
    async with (
        engine(redis_url, workers=0, quick_scan_window_ms=SLOTS * MINUTE) as run,
        CoinbaseClient(run.parts.config.base_url) as source,
    ):
        client, scope = run.parts.client, run.parts.scope
        leases = JobLeases(client, scope, "dead")
        lease = await leases.take(GAP_SCAN)
        assert lease is not None
        dead = TaskQueue(client, scope, "dead").under(lease.epoch)
        left = await dead.open_run(GAP_SCAN, 0)
        await dead.enqueue(left, Lane.LIVE, [("page", "never to be finished")])
        await dead.take(Lane.LIVE)
        await leases.release(lease)

        passes = ScheduledPasses(run.parts, [DENSE], now=lambda: 0)
        with caplog.at_level(logging.INFO):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(passes.perform, GAP_SCAN)
                await wait_until(lambda: "run adopted" in caplog.messages)
                nursery.cancel_scope.cancel()
        assert not await dead.is_open(left)
        await run.nursery.start(run.parts.worker(source).run)
        assert (await passes.perform(GAP_SCAN)).filled == SLOTS
