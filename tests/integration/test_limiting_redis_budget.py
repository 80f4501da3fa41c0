"""One budget in a real Redis, shared by several clients."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
import trio

from reconciler_engine.errors import PermitRefused, StoreRefused, StoreUnavailable
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import TokenBucket, script_text
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis

if TYPE_CHECKING:
    from tests.conftest import OwnServer

BUDGET = Budget(burst=5, period_ms=25)
SCRIPT = Script(script_text(), "token_bucket.lua")


def bucket_of(client: TrioRedis, budget: Budget = BUDGET) -> TokenBucket:
    return TokenBucket(functools.partial(SCRIPT.run, client), "recon:{bucket:test}", budget)


async def test_several_clients_share_one_budget(redis_url: str) -> None:
    instants: list[float] = []

    async def spend(bucket: TokenBucket, count: int) -> None:
        for _ in range(count):
            await bucket.wait_permit()
            instants.append(trio.current_time())

    with trio.fail_after(20):
        async with TrioRedis.from_url(redis_url) as one, TrioRedis.from_url(redis_url) as two:
            async with trio.open_nursery() as nursery:
                for client in (one, two):
                    for _ in range(3):
                        nursery.start_soon(spend, bucket_of(client), 10)
            statistics = await bucket_of(one).statistics()
    assert len(instants) == 60
    assert statistics.granted >= 60
    for window_s in (0.01, 0.05, 0.2):
        most = max(sum(first <= instant < first + window_s for instant in instants) for first in instants)
        assert most <= BUDGET.burst + BUDGET.rate_per_s * window_s + 1


async def test_the_budget_holds_over_a_killed_and_a_flushed_server(own_server: OwnServer) -> None:
    budget = Budget(burst=4, period_ms=80)
    instants: list[float] = []
    progress = trio.Event()

    async def spend(bucket: TokenBucket) -> None:
        while True:
            try:
                await bucket.wait_permit()
            except StoreUnavailable:
                await trio.sleep(0.005)
                continue
            instants.append(trio.current_time())
            progress.set()

    async def wait_more(count: int) -> None:
        nonlocal progress
        goal = len(instants) + count
        while len(instants) < goal:
            progress = trio.Event()
            await progress.wait()

    with trio.fail_after(30):
        async with TrioRedis.from_url(own_server.url) as client, trio.open_nursery() as nursery:
            # Permits granted before it is killed are known after it, however slow the disk is.
            await client.config_set("appendfsync", "always")
            for _ in range(6):
                nursery.start_soon(spend, bucket_of(client, budget))
            await wait_more(10)
            own_server.kill()
            own_server.start()
            await wait_more(10)
            for _ in range(3):
                await client.flushall()
                await wait_more(5)
            nursery.cancel_scope.cancel()
    for window_s in (0.001, 0.02, 0.1, 0.5):
        most = max(sum(first <= instant < first + window_s for instant in instants) for first in instants)
        assert most <= budget.burst + budget.rate_per_s * window_s + 1


async def test_a_flushed_server_starts_the_budget_empty(redis: TrioRedis) -> None:
    slow = bucket_of(redis, Budget(burst=5, period_ms=5000))
    with pytest.raises(PermitRefused) as caught:
        await slow.wait_permit(max_wait_s=0.1)
    assert caught.value.wait_ms == 1000
    await redis.flushall()
    await redis.script_flush()
    with pytest.raises(PermitRefused) as caught:
        await slow.wait_permit(max_wait_s=0.1)
    assert caught.value.wait_ms == 1000


async def test_the_bucket_is_one_key_that_expires(redis: TrioRedis) -> None:
    bucket = bucket_of(redis)
    await bucket.converse(bucket.steps.push_back(1))
    assert await redis.keys() == [b"recon:{bucket:test}"]
    assert await redis.pttl("recon:{bucket:test}") > 0


async def test_a_foreign_key_in_its_place_is_an_error_not_a_permit(redis: TrioRedis) -> None:
    await redis.set("recon:{bucket:test}", "x")
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        await bucket_of(redis).wait_permit()
