"""Waiting for permits, on a virtual clock over the in-memory bucket."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from tests.limiter_model.memory_bucket import MemoryBucket

from reconciler_engine.errors import PermitRefused, StoreUnavailable
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.permit_steps import Permit
from reconciler_engine.limiting.redis_bucket import TokenBucket

FIVE = Budget(burst=5, period_ms=1000)
EPOCH_US = 1_764_000_000_000_000


def redis_clock_us() -> int:
    return EPOCH_US + round(trio.current_time() * 1_000_000)


def bucket_in_memory(budget: Budget = FIVE) -> tuple[TokenBucket, MemoryBucket]:
    memory = MemoryBucket(redis_clock_us)
    return TokenBucket(memory, "bucket", budget), memory


def elapsed_ms(start: float) -> int:
    return round((trio.current_time() - start) * 1000)


@pytest.mark.usefixtures("autojump_clock")
async def test_permits_come_at_the_rate() -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    instants = []
    for _ in range(4):
        assert (await bucket.wait_permit()).is_valid()
        instants.append(elapsed_ms(start))
    assert instants == [200, 400, 600, 800]


@pytest.mark.usefixtures("autojump_clock")
async def test_waiters_are_served_in_the_order_they_asked() -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    served: list[tuple[int, int]] = []

    async def waiter(number: int) -> None:
        await bucket.wait_permit()
        served.append((number, elapsed_ms(start)))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(waiter, number)
            await trio.testing.wait_all_tasks_blocked()
    assert served == [(0, 200), (1, 400), (2, 600), (3, 800), (4, 1000)]


@pytest.mark.usefixtures("autojump_clock")
async def test_a_cancelled_waiter_wastes_its_slot_and_no_other() -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    with trio.move_on_after(0.1) as given_up:
        await bucket.wait_permit()
    assert given_up.cancelled_caught
    await bucket.wait_permit()
    assert elapsed_ms(start) == 400
    assert (await bucket.statistics()).granted == 1


@pytest.mark.usefixtures("autojump_clock")
async def test_a_wait_beyond_the_callers_is_refused_with_what_it_would_be() -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    with pytest.raises(PermitRefused, match="200 ms away") as caught:
        await bucket.wait_permit(max_wait_s=0.1)
    assert caught.value.wait_ms == 200
    assert caught.value.retryable
    assert elapsed_ms(start) == 0
    await bucket.wait_permit()
    assert elapsed_ms(start) == 200


@pytest.mark.usefixtures("autojump_clock")
async def test_a_pause_also_holds_those_who_wait_already() -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bucket.wait_permit)
        await trio.testing.wait_all_tasks_blocked()
        await bucket.converse(bucket.steps.push_back(3000))
    assert elapsed_ms(start) == 3000
    assert (await bucket.statistics()).voided == 1


async def test_a_process_that_overslept_asks_again(mock_clock: trio.testing.MockClock) -> None:
    bucket, _ = bucket_in_memory()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bucket.wait_permit)
        await trio.testing.wait_all_tasks_blocked()
        # The slot is 200 ms ahead and counts for 250 ms.
        mock_clock.jump(0.451)
        await trio.testing.wait_all_tasks_blocked()
    assert elapsed_ms(start) == 451
    # The second reservation was granted on the spot; the first was void.
    statistics = await bucket.statistics()
    assert (statistics.granted, statistics.voided) == (1, 1)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_slow_answer_voids_the_permit_it_brings() -> None:
    memory = MemoryBucket(redis_clock_us)
    delays = [0.0, 0.3, 0.0, 0.0]

    async def slow(*, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        reply = await memory(keys=keys, args=args)
        await trio.sleep(delays.pop(0))
        return reply

    start = trio.current_time()
    bucket = TokenBucket(slow, "bucket", FIVE)
    permit = await bucket.wait_permit()
    # 200 ms to the slot, 300 ms for the answer that it may be used: too late; the slot at 400 ms is used at 500.
    assert elapsed_ms(start) == 500
    assert permit.is_valid()


@pytest.mark.usefixtures("autojump_clock")
async def test_a_clock_that_runs_ahead_of_redis_waits_on() -> None:
    memory = MemoryBucket(lambda: EPOCH_US + round(trio.current_time() * 800_000))
    start = trio.current_time()
    await TokenBucket(memory, "bucket", FIVE).wait_permit()
    # Redis' 200 ms are 250 of ours.
    assert 250 <= elapsed_ms(start) <= 251


async def test_lateness_is_taken_off_a_permits_life(mock_clock: trio.testing.MockClock) -> None:
    bucket, _ = bucket_in_memory()
    permits: list[Permit] = []

    async def waiter() -> None:
        permits.append(await bucket.wait_permit())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.4)
    mock_clock.jump(0.0499)
    assert permits[0].is_valid()
    mock_clock.jump(0.001)
    assert not permits[0].is_valid()


@pytest.mark.usefixtures("autojump_clock")
async def test_without_redis_nothing_is_granted() -> None:
    memory = MemoryBucket(redis_clock_us)

    async def fails_at_confirm(*, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        if args[0] == "confirm":
            raise StoreUnavailable("gone")
        return await memory(keys=keys, args=args)

    with pytest.raises(StoreUnavailable):
        await TokenBucket(fails_at_confirm, "bucket", FIVE).wait_permit()


async def test_a_permit_expires(mock_clock: trio.testing.MockClock) -> None:
    bucket, _ = bucket_in_memory()
    await bucket.converse(bucket.steps.push_back(0))
    mock_clock.jump(10)
    permit = await bucket.wait_permit()
    mock_clock.jump(0.25)
    assert permit.is_valid()
    mock_clock.jump(0.001)
    assert not permit.is_valid()


async def test_statistics_show_the_queue(mock_clock: trio.testing.MockClock) -> None:
    bucket, memory = bucket_in_memory()
    unused = await bucket.statistics()
    assert (unused.available, unused.waiting, unused.granted) == (0, 0, 0)
    await bucket.converse(bucket.steps.push_back(0))
    mock_clock.jump(60)
    rested = await bucket.statistics()
    assert (rested.rate_per_s, rested.burst) == (5.0, 5)
    assert (rested.available, rested.waiting, rested.wait_ms) == (4, 0, 0)
    for _ in range(7):
        await memory(keys=["bucket", "breaker"], args=["reserve", 10_000_000, 200_000, 750_000])
    queued = await bucket.statistics()
    assert (queued.available, queued.waiting, queued.wait_ms, queued.granted) == (0, 3, 650, 4)
    await bucket.converse(bucket.steps.push_back(2000))
    paused = await bucket.statistics()
    assert (paused.waiting, paused.wait_ms, paused.paused_ms) == (0, 2000, 2000)
