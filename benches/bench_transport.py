"""Our client against redis-py in a thread, over the same unix socket, interleaved in one run.

`pytest benches/bench_transport.py --benchmark-only -s` prints the ratios; as a test each side runs once.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any

import pytest
import redis as redis_py
import trio
from pytest_benchmark.fixture import BenchmarkFixture

from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import TokenBucket, script_text
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis

ROUNDS = 9
KEYS, MEMBERS = 500, 30
FIRST, STEP = 1_764_000_000_000, 60_000
MEMBER = (
    '{"timestamp":%d,"open":88000.5,"high":88100.25,"low":87900.0,"close":88050.75,"volume":12.5,'
    '"symbol":"BTC-USD","timeframe":"1m","exchange":"coinbase","exchangeTimestamp":1764000012345,"sequenceNum":7}'
)

Work = Callable[[TrioRedis, "redis_py.Redis"], Awaitable[Any]]


async def our_round_trips(client: TrioRedis, _: redis_py.Redis, *, count: int) -> object:
    answer = None
    for _number in range(count):
        answer = await client.get("k")
    return answer


async def their_round_trips(_: TrioRedis, peer: redis_py.Redis, *, count: int) -> object:
    answer = None
    for _number in range(count):
        answer = await trio.to_thread.run_sync(peer.get, "k")
    return answer


async def our_scan(client: TrioRedis, _: redis_py.Redis) -> int:
    commands = [("ZRANGEBYSCORE", f"z{key}", FIRST, FIRST + MEMBERS * STEP, "WITHSCORES") for key in range(KEYS)]
    return sum(len(reply) // 2 for reply in await client.pipe(commands))


async def their_scan(_: TrioRedis, peer: redis_py.Redis) -> int:
    def scan() -> int:
        pipeline = peer.pipeline(transaction=False)
        for key in range(KEYS):
            pipeline.zrangebyscore(f"z{key}", FIRST, FIRST + MEMBERS * STEP, withscores=True)
        return sum(len(reply) for reply in pipeline.execute())

    return await trio.to_thread.run_sync(scan)


async def permits(client: TrioRedis, _: redis_py.Redis, *, count: int) -> int:
    bucket = TokenBucket(
        functools.partial(Script(script_text(), "token_bucket.lua").run, client),
        "recon:{bucket:bench}",
        Budget(burst=1_000_000, period_ms=1000),
    )
    await bucket.converse(bucket.steps.push_back(0))
    await trio.sleep(0.01)
    granted = [await bucket.wait_permit() for _number in range(count)]
    return len(granted)


@asynccontextmanager
async def both(url: str, protocol: int | None) -> Any:
    with redis_py.Redis.from_url(url, protocol=protocol) as peer:
        async with TrioRedis.from_url(url) as client:
            yield client, peer


async def measured(
    url: str, works: Sequence[Work], rounds: int, protocol: int | None = None
) -> tuple[list[object], list[list[float]]]:
    """Run the works in turn, `rounds` times after one to warm up; return their answers and times (s)."""
    connect: AbstractAsyncContextManager[tuple[TrioRedis, redis_py.Redis]] = both(url, protocol)
    times: list[list[float]] = [[] for _ in works]
    async with connect as (client, peer):
        answers = [await work(client, peer) for work in works]
        for _ in range(rounds):
            for work, mine in zip(works, times, strict=True):
                start = perf_counter()
                await work(client, peer)
                mine.append(perf_counter() - start)
    return answers, times


@pytest.fixture
def filled_url(redis_url: str) -> Iterator[str]:
    with redis_py.Redis.from_url(redis_url) as client:
        client.set("k", "v")
        pipeline = client.pipeline(transaction=False)
        for key in range(KEYS):
            pipeline.zadd(f"z{key}", {MEMBER % time: time for time in range(FIRST, FIRST + MEMBERS * STEP, STEP)})
        pipeline.execute()
        yield redis_url


@pytest.mark.parametrize(
    ("name", "works", "protocol", "goal"),
    [
        ("round_trip_500", (our_round_trips, their_round_trips), None, 0.6),
        ("scan_500x30", (our_scan, their_scan), None, 0.5),
        # By default redis-py speaks RESP3 and reshapes it to RESP2; over RESP2 it is at its quickest.
        ("scan_500x30_resp2", (our_scan, their_scan), 2, None),
    ],
)
def test_beside_redis_py_in_a_thread(
    benchmark: BenchmarkFixture,
    filled_url: str,
    name: str,
    works: tuple[Any, Any],
    protocol: int | None,
    goal: float | None,
) -> None:
    ours, theirs = (functools.partial(work, count=500) if name == "round_trip_500" else work for work in works)
    (our_answer, their_answer), _ = trio.run(measured, filled_url, [ours, theirs], 0, protocol)
    assert our_answer == their_answer
    if not benchmark.disabled:
        _, times = trio.run(measured, filled_url, [ours, theirs], ROUNDS, protocol)
        mine, peers = map(statistics.median, times)
        benchmark.extra_info.update(ratio=mine / peers, goal=goal)
        print(
            f"\n{name}: {mine * 1e3:.2f} ms; redis-py in a thread {peers * 1e3:.2f} ms; "
            f"ratio {mine / peers:.2f}, goal {goal}"
        )
    benchmark.pedantic(trio.run, args=(measured, filled_url, [ours], 1), rounds=3)


def test_permits(benchmark: BenchmarkFixture, redis_url: str) -> None:
    count = 50 if benchmark.disabled else 1_000
    work: Work = functools.partial(permits, count=count)
    (granted,), _ = trio.run(measured, redis_url, [work], 0)
    assert granted == count
    if not benchmark.disabled:
        _, (times,) = trio.run(measured, redis_url, [work], ROUNDS)
        print(f"\npermits_{count}: {count / statistics.median(times):,.0f} permits/s from one task")
    benchmark.pedantic(trio.run, args=(measured, redis_url, [work], 1), rounds=3)
