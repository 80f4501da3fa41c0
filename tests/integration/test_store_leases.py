"""Leases of jobs in a real Redis."""

from __future__ import annotations

from functools import partial

import pytest
import redis as redis_py
from tests.conftest import server_urls

from reconciler_engine.errors import LeaseLost
from reconciler_engine.store.leases import LEASE_MS, JobLeases
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue

pytestmark = pytest.mark.contract

SCOPE = Scope(1, 1, "exchange")
KEY = SCOPE.key("lease:gap_scan")


@pytest.fixture
def owners(redis):
    return JobLeases(redis, SCOPE, "one"), JobLeases(redis, SCOPE, "other")


async def test_one_owner_at_a_time_has_a_lease(owners):
    one, other = owners
    assert not await one.is_held("gap_scan")
    lease = await one.take("gap_scan")
    assert lease
    assert not await other.take("gap_scan")
    assert await other.is_held("gap_scan")
    assert await other.take("full_reconcile")
    await one.release(lease)
    assert await other.take("gap_scan")


async def test_an_owner_takes_anew_what_it_could_not_release(owners):
    one, other = owners
    lost = await one.take("gap_scan")
    lease = await one.take("gap_scan")
    assert lease.epoch > lost.epoch
    # the word of the first taking comes late: it is void
    await one.release(lost)
    assert not await one.refresh(lost)
    assert not await other.take("gap_scan")
    await one.release(lease)
    assert await other.take("gap_scan")


async def test_an_owner_that_leaves_gives_back_what_it_does_not_know_to_hold(owners):
    one, other = owners
    await one.take("gap_scan")
    await other.leave("gap_scan")
    assert await one.is_held("gap_scan")
    await one.leave("gap_scan")
    assert await other.take("gap_scan")


async def test_a_lease_ends_by_itself_unless_it_is_refreshed(owners, redis):
    one, _ = owners
    lease = await one.take("gap_scan")
    assert 0 < await redis.pttl(KEY) <= LEASE_MS
    await redis.pexpire(KEY, 50)
    assert await one.refresh(lease)
    assert await redis.pttl(KEY) > 50


async def test_nobody_refreshes_or_releases_what_another_holds(owners, redis):
    one, other = owners
    lease = await one.take("gap_scan")
    assert not await other.refresh(lease)
    await other.release(lease)
    assert await redis.get(KEY) == b"one"


async def test_a_named_tick_is_run_once_among_all(owners):
    one, other = owners
    await one.release(await one.take("gap_scan", "300000:0"))
    assert not await other.take("gap_scan", "300000:0")
    assert not await one.is_held("gap_scan")
    assert await other.take("gap_scan", "600000:0")


async def test_a_tick_that_found_the_lease_held_is_not_used_up(owners):
    one, other = owners
    lease = await one.take("gap_scan")
    assert not await other.take("gap_scan", "300000:0")
    await one.release(lease)
    assert await other.take("gap_scan", "300000:0")


async def test_leases_of_those_known_to_be_dead_are_freed_and_no_others(owners):
    one, other = owners
    await one.take("gap_scan")
    await other.free(["gap_scan", "full_reconcile"], lambda _: False)
    assert not await other.take("gap_scan")
    await other.free(["gap_scan", "full_reconcile"], lambda name: name == "one")
    assert await other.take("gap_scan")


async def test_epochs_grow_over_an_emptied_redis_and_a_clock_set_back(owners, redis, redis_url):
    one, other = owners
    first = await one.take("gap_scan")
    for url in server_urls(redis_url):
        with redis_py.Redis.from_url(url) as server:
            server.flushall()
    second = await other.take("gap_scan")
    assert second.epoch > first.epoch
    # as left by a server whose clock was ahead
    await redis.hset(SCOPE.fence_key("gap_scan"), "epoch", second.epoch + 3_600_000_000)
    await redis.delete(KEY)
    assert (await one.take("gap_scan")).epoch == second.epoch + 3_600_000_001


async def test_a_lease_that_ran_out_is_ours_again_unless_somebody_took_it(owners, redis):
    one, other = owners
    lease = await one.take("gap_scan")
    await redis.delete(KEY)
    assert await one.refresh(lease)
    assert not await other.take("gap_scan")
    await redis.delete(KEY)
    taken = await other.take("gap_scan")
    assert not await one.refresh(lease)
    await other.release(taken)
    # free again, and still not ours: somebody was there in between
    assert not await one.refresh(lease)


async def test_what_a_stale_director_does_is_refused_and_his_run_goes_on_under_the_next(owners, redis):
    one, other = owners
    queue = TaskQueue(redis, SCOPE, "worker")
    stale = queue.under((await one.take("gap_scan")).epoch)
    run = await stale.open_run("gap_scan", 0)
    await stale.enqueue(run, Lane.SCAN, [("a", "x"), ("b", "y")])
    await redis.delete(KEY)
    lease = await other.take("gap_scan")
    assert lease.open_run == run
    before = await dump(redis)
    for attempt in (
        partial(stale.enqueue, run, Lane.SCAN, [("c", "z")]),
        partial(stale.open_run, "gap_scan", 1),
        partial(stale.keep_run, run),
        partial(stale.wait_finished, run, Lane.SCAN),
        partial(stale.outcomes, run),
        partial(stale.close_run, run),
    ):
        with pytest.raises(LeaseLost):
            await attempt()
    assert await dump(redis) == before
    assert await queue.is_open(run)
    fresh = queue.under(lease.epoch)
    for delivery in [*await queue.take(Lane.SCAN), *await queue.take(Lane.SCAN)]:
        await queue.finish(delivery, run, "a" if delivery.body == b"x" else "b", "{}")
    await fresh.wait_finished(run, Lane.SCAN)
    assert len(await fresh.outcomes(run)) == 2
    await fresh.close_run(run)
    assert not await queue.is_open(run)


async def test_a_run_gives_way_to_its_jobs_next_one(owners, redis):
    one, _ = owners
    queue = TaskQueue(redis, SCOPE, "worker").under((await one.take("gap_scan")).epoch)
    first = await queue.open_run("gap_scan", 0)
    second = await queue.open_run("gap_scan", 0)
    assert [await queue.is_open(run) for run in (first, second)] == [False, True]
    other_job = await TaskQueue(redis, SCOPE, "worker").open_run("reconcile", 0)
    assert await queue.is_open(other_job)


async def dump(redis):
    """Everything in Redis."""
    keys = sorted(await redis.keys())
    return keys, await redis.pipe([("DUMP", key) for key in keys])


async def test_a_close_that_comes_late_leaves_the_run_after_it_open(owners, redis):
    one, _ = owners
    queue = TaskQueue(redis, SCOPE, "worker").under((await one.take("gap_scan")).epoch)
    before, after = [await queue.open_run("gap_scan", at) for at in range(2)]
    await queue.close_run(before)
    assert await queue.is_open(after)
    assert not await queue.is_open(before)
