"""Task streams and run records on a real server."""

from __future__ import annotations

import pytest
import trio

from reconciler_engine.errors import RunClosed
from reconciler_engine.store import task_streams as tasks_module
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue

pytestmark = pytest.mark.contract

SCOPE = Scope(1, 1, "test")


@pytest.fixture
def queue(redis):
    return TaskQueue(redis, SCOPE, "one")


async def take(queue, *lanes):
    return await queue.take(*lanes, wait_s=0.01)


async def test_a_task_is_delivered_once_and_finished_once(queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.SCAN, [("a", "body a"), ("b", "body b")])
    (first,) = await take(queue, Lane.SCAN)
    (second,) = await take(queue, Lane.SCAN)
    assert [first.body, second.body] == [b"body a", b"body b"]
    assert await take(queue, Lane.SCAN) == []
    assert await queue.finish(first, run, "a", '"done a"')
    assert not await queue.finish(first, run, "a", '"again"')
    assert await queue.finish(second, run, "b", '"done b"')
    with trio.fail_after(5):
        await queue.wait_finished(run, Lane.SCAN)
    assert await queue.outcomes(run) == [b'"done a"', b'"done b"']
    assert await queue.outcomes(run) == []


async def test_live_pages_go_before_deep_ones(queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [("deep", "deep")])
    await queue.enqueue(run, Lane.LIVE, [("live", "live")])
    assert [one.body for one in await take(queue, Lane.LIVE, Lane.DEEP)] == [b"live"]
    assert [one.body for one in await take(queue, Lane.LIVE, Lane.DEEP)] == [b"deep"]


async def test_waiting_ends_with_the_last_task(queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.SCAN, [("a", "a"), ("b", "b")])
    ended = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                await queue.wait_finished(run, Lane.SCAN)
                ended.append("waiter")

            nursery.start_soon(wait)
            for name in ("a", "b"):
                (delivery,) = await take(queue, Lane.SCAN)
                ended.append(name)
                await queue.finish(delivery, run, name, "{}")
    assert ended == ["a", "b", "waiter"]


async def test_tasks_of_a_dead_consumer_are_handed_out_again(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [("a", "body a"), ("b", "body b")])
    dead = TaskQueue(redis, SCOPE, "dead")
    await take(dead, Lane.DEEP)
    await take(dead, Lane.DEEP)
    assert await queue.redeliver("dead") == 2
    again = [*await take(queue, Lane.DEEP), *await take(queue, Lane.DEEP)]
    assert sorted((one.body, one.deliveries) for one in again) == [(b"body a", 2), (b"body b", 2)]
    # later words of the dead one count for nothing
    groups = await redis.xinfo_consumers(SCOPE.key("tasks:deep"), "workers")
    assert [group["name"] for group in groups] == [b"one"]


async def test_tasks_of_all_who_are_known_to_be_dead_are_handed_out_again_and_no_others(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [(name, name) for name in "abc"])
    for name in ("dead:1", "alive", "dead:2"):
        await take(TaskQueue(redis, SCOPE, name), Lane.DEEP)
    assert await queue.redeliver_all(lambda name: name.startswith("dead")) == 2
    again = [*await take(queue, Lane.DEEP), *await take(queue, Lane.DEEP), *await take(queue, Lane.DEEP)]
    assert sorted(one.body for one in again) == [b"a", b"c"]


async def test_what_is_handed_back_counts_against_no_task(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [("a", "body a")])
    for life in ("two", "three"):
        one = TaskQueue(redis, SCOPE, life)
        await take(one, Lane.DEEP)
        assert await one.hand_back() == 1
    (again,) = await take(queue, Lane.DEEP)
    assert (again.body, again.deliveries) == (b"body a", 1)
    assert await consumers(redis) == ["one"]


async def consumers(redis, lane="deep"):
    return [one["name"].decode() for one in await redis.xinfo_consumers(SCOPE.key(f"tasks:{lane}"), "workers")]


async def test_consumers_of_nodes_that_died_are_forgotten_but_not_what_they_hold(redis, queue, monkeypatch):
    monkeypatch.setattr(tasks_module, "WATCH_MS", 0)
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [("a", "a")])
    holds, dead = TaskQueue(redis, SCOPE, "holds"), TaskQueue(redis, SCOPE, "dead")
    await take(holds, Lane.DEEP)
    # Before 7.2 a worker that asks for tasks and gets none is not listed.
    await redis.execute_command("XGROUP CREATECONSUMER", SCOPE.key("tasks:deep"), "workers", "dead")
    await queue.redeliver_idle()
    assert await consumers(redis) == ["dead", "holds"]
    monkeypatch.setattr(tasks_module, "FORGET_MS", 0)
    await queue.redeliver_idle()
    assert await consumers(redis) == ["holds"]
    # a worker that lives after all comes back with its next task
    await queue.enqueue(run, Lane.DEEP, [("b", "b")])
    assert len(await take(dead, Lane.DEEP)) == 1
    assert await consumers(redis) == ["dead", "holds"]


async def test_finishing_twice_after_redelivery_is_harmless(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.DEEP, [("a", "a")])
    slow = TaskQueue(redis, SCOPE, "slow")
    (first,) = await take(slow, Lane.DEEP)
    await queue.redeliver("slow")
    (second,) = await take(queue, Lane.DEEP)
    assert await queue.finish(second, run, "a", '"second"')
    assert not await slow.finish(first, run, "a", '"first"')
    assert await queue.outcomes(run) == [b'"second"']
    assert await redis.xlen(SCOPE.key("tasks:deep")) == 0


async def test_streams_that_vanish_come_back(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.SCAN, [("a", "a")])
    await redis.flushall()
    assert await take(queue, Lane.SCAN) == []
    with pytest.raises(RunClosed, match=run):
        await queue.enqueue(run, Lane.SCAN, [("b", "b")])
    with pytest.raises(RunClosed, match=run):
        await queue.wait_finished(run, Lane.SCAN)


async def test_a_closed_run_leaves_nothing_behind(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.SCAN, [("a", "a")])
    (delivery,) = await take(queue, Lane.SCAN)
    await queue.close_run(run)
    assert not await queue.is_open(run)
    assert not await queue.finish(delivery, run, "a", "{}")
    keys = await redis.keys("*")
    assert sorted(keys) == [SCOPE.key(f"tasks:{lane}").encode() for lane in ("deep", "live", "scan", "verify")]


async def test_every_key_of_a_run_dies_with_its_owner(redis, queue):
    run = await queue.open_run("job", 0)
    await queue.enqueue(run, Lane.SCAN, [("a", "a"), ("b", "b")])
    (delivery,) = await take(queue, Lane.SCAN)
    await queue.finish(delivery, run, "a", "{}")
    keys = [key for key in await redis.keys("*") if b":run:" in key]
    assert len(keys) == 3
    assert all([await redis.pttl(key) > 0 for key in keys])
