"""Leases of jobs in a real Redis."""

from __future__ import annotations

import pytest

from reconciler_engine.store.leases import LEASE_MS, JobLeases
from reconciler_engine.store.scope import Scope

SCOPE = Scope(1, 1, "exchange")
KEY = SCOPE.key("lease:gap_scan")


@pytest.fixture
def owners(redis):
    return JobLeases(redis, SCOPE, "one"), JobLeases(redis, SCOPE, "other")


async def test_one_owner_at_a_time_has_a_lease(owners):
    one, other = owners
    assert not await one.is_held("gap_scan")
    assert await one.take("gap_scan")
    assert not await other.take("gap_scan")
    assert not await one.take("gap_scan")
    assert await other.is_held("gap_scan")
    assert await other.take("full_reconcile")
    await one.release("gap_scan")
    assert await other.take("gap_scan")


async def test_a_lease_ends_by_itself_unless_it_is_refreshed(owners, redis):
    one, _ = owners
    await one.take("gap_scan")
    assert 0 < await redis.pttl(KEY) <= LEASE_MS
    await redis.pexpire(KEY, 50)
    assert await one.refresh("gap_scan")
    assert await redis.pttl(KEY) > 50


async def test_nobody_refreshes_or_releases_what_another_holds(owners, redis):
    one, other = owners
    await one.take("gap_scan")
    assert not await other.refresh("gap_scan")
    await other.release("gap_scan")
    assert await redis.get(KEY) == b"one"


async def test_a_named_tick_is_run_once_among_all(owners):
    one, other = owners
    assert await one.take("gap_scan", "300000:0")
    await one.release("gap_scan")
    assert not await other.take("gap_scan", "300000:0")
    assert not await one.is_held("gap_scan")
    assert await other.take("gap_scan", "600000:0")


async def test_a_tick_that_found_the_lease_held_is_not_used_up(owners):
    one, other = owners
    await one.take("gap_scan")
    assert not await other.take("gap_scan", "300000:0")
    await one.release("gap_scan")
    assert await other.take("gap_scan", "300000:0")


async def test_leases_of_the_dead_are_cleared(owners):
    one, other = owners
    await one.take("gap_scan")
    await other.clear(["gap_scan", "full_reconcile"])
    assert await other.take("gap_scan")
