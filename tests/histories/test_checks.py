"""The checks find planted faults: each is a rule taken out of a script, and real calls of it on a real server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.histories.checks import (
    Request,
    check_answers,
    check_authority,
    check_budget,
    check_claims,
    check_epochs,
    check_slots,
)
from tests.histories.history import History
from tests.histories.planted import (
    BUDGET_WITHOUT_LIMIT,
    COMPARE_AND_SET_REMOVED,
    EPOCH_NOT_RAISED,
    FAULTS,
    FENCE_REMOVED,
    SLOT_CLAIMED_TWICE,
    SUPERSEDED_RUN_OPEN,
)

from reconciler_engine.errors import LeaseLost
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer
from reconciler_engine.store import bucket_script, claims, leases, tasks
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
ALL = Retention(0, 0)
SLOT = Interval(T0, T0 + MINUTE)


@pytest.fixture
def history(monkeypatch):
    """A history of what this process asks."""
    found = History()
    with found.recording(monkeypatch):
        yield found


@pytest.fixture
def plant(monkeypatch):
    """Take rules out of a script."""
    return lambda name: FAULTS[name].plant(monkeypatch.setattr)


def found_in(check: Callable[..., Any], *arguments: Any) -> list[str]:
    return list(check(*arguments))


def candle(volume: float) -> Candle:
    return Candle(T0, 1.0, 1.0, 1.0, 1.0, volume)


async def taken(owner: leases.JobLeases) -> leases.Lease:
    lease = await owner.take("job")
    assert lease is not None
    return lease


async def supersede(redis) -> str:
    """Have one director's run superseded by another's, and the first one go on with it."""
    (first, second) = (leases.JobLeases(redis, SCOPE, name, life_ms=60_000) for name in ("a", "b"))
    old = await taken(first)
    queue = tasks.TaskQueue(redis, SCOPE, "a").under(old.epoch)
    run = await queue.open_run("job", 0)
    await redis.delete(SCOPE.key("lease:job"))
    new = await taken(second)
    await tasks.TaskQueue(redis, SCOPE, "b").under(new.epoch).open_run("job", 1)
    with suppress(LeaseLost):
        await queue.keep_run(run)
    return run


async def test_a_fence_that_is_removed_is_found(redis, history, plant):
    await supersede(redis)
    assert found_in(check_authority, history) == []
    plant(FENCE_REMOVED)
    await redis.flushall()
    await supersede(redis)
    (fault,) = found_in(check_authority, history)
    assert "superseded by" in fault


async def test_a_merge_for_a_run_that_was_superseded_is_found(redis, history, plant):
    run = await supersede(redis)
    queue = tasks.TaskQueue(redis, SCOPE, "a")
    assert not await queue.is_open(run)
    plant(SUPERSEDED_RUN_OPEN)
    assert await queue.is_open(run)
    await SeriesWrite(BTC, ALL, [candle(1.0)], by=run).run(redis, SCOPE)
    (fault,) = found_in(check_authority, history)
    assert "had superseded" in fault


async def test_a_merge_that_asked_nobody_is_found(redis, history):
    lease = await taken(leases.JobLeases(redis, SCOPE, "a"))
    run = await tasks.TaskQueue(redis, SCOPE, "a").under(lease.epoch).open_run("job", 0)
    await SeriesWrite(BTC, ALL, [candle(1.0)], by=run).run(redis, SCOPE)
    (fault,) = found_in(check_authority, history)
    assert "without having asked" in fault


async def take_twice(redis) -> None:
    for name in ("a", "b"):
        owner = leases.JobLeases(redis, SCOPE, name)
        await owner.release(await taken(owner))


async def test_an_epoch_that_is_not_raised_is_found(redis, history, plant):
    await take_twice(redis)
    assert found_in(check_epochs, history) == []
    plant(EPOCH_NOT_RAISED)
    await redis.flushall()
    await take_twice(redis)
    assert found_in(check_epochs, history)


async def race(redis, history) -> None:
    """Have the feeder write between our look and our merge."""
    key = SCOPE.candle_key(BTC)
    old, new = (member_of(BTC, candle(volume)).encode() for volume in (1.0, 3.0))
    for member in (old, new):

        async def write(member: bytes = member) -> None:
            await redis.zremrangebyscore(key, T0, T0)
            await redis.zadd(key, {member: T0})

        await history.feed(key, T0, member, write)
    await SeriesWrite(BTC, ALL, [candle(2.0)], yielding={T0: old}, by="run").run(redis, SCOPE)


async def test_a_compare_and_set_that_is_removed_is_found(redis, history, plant):
    await race(redis, history)
    assert found_in(check_slots, history) == []
    plant(COMPARE_AND_SET_REMOVED)
    await redis.flushall()
    await race(redis, history)
    (fault,) = found_in(check_slots, history)
    assert "replaced" in fault


async def test_a_slot_claimed_twice_is_found(redis, history, plant):
    async def claim_twice() -> None:
        for token in ("run/a", "run/b"):
            await claims.Claims(redis, SCOPE).take(BTC, SLOT, token)

    await claim_twice()
    assert found_in(check_claims, history) == []
    plant(SLOT_CLAIMED_TWICE)
    await redis.flushall()
    await claim_twice()
    assert found_in(check_claims, history)


async def test_evidence_without_an_answer_is_found(redis, history):
    answer = Answer(Interval(T0, T0 + 10 * MINUTE), T0 + 86_400_000, Intervals.of_slots([T0], MINUTE))
    await CandleStore(redis, SCOPE).merge_answer(BTC, [candle(1.0)], ALL, answer, NOTHING)
    assert found_in(check_answers, history, [Request("BTC-USD", "1m", answer.at / 1_000)]) == []
    assert found_in(check_answers, history, [Request("BTC-USD", "5m", answer.at / 1_000)])


async def test_permits_beyond_the_budget_are_found(redis, history, plant):
    budget = Budget(burst=5, period_ms=1_000)
    limits = [number for limit in budget.limits for number in (limit.interval_us, limit.tolerance_us)]

    async def spend() -> None:
        for _ in range(30):
            await bucket_script.bucket_script(redis)(keys=("b", "b:breaker"), args=["reserve", 0, *limits])

    await spend()
    assert found_in(check_budget, history, 5, 0.5) == []
    plant(BUDGET_WITHOUT_LIMIT)
    await redis.flushall()
    await spend()
    assert found_in(check_budget, history, 5, 0.5)
