"""Deliveries of tasks: dropped, handed back, handed out again, given up, lost."""

from __future__ import annotations

import itertools
import json
import signal
from functools import partial

import pytest
import redis as redis_py
import trio
from tests.chaos.waiting import wait_until_so
from tests.conftest import server_urls
from tests.integration.house import (
    M1,
    MINUTE,
    NOW,
    STOP,
    check_whole,
    enqueue_pages,
    key,
    open_house,
    replace_queue,
    runs,
    wait_asked,
)

from reconciler_engine.engine.tasks import worker as worker_module
from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan
from reconciler_engine.errors import RunClosed
from reconciler_engine.market.interval import Interval
from reconciler_engine.store import task_streams as tasks_module
from reconciler_engine.store import tasks as queue_module
from reconciler_engine.store.claims import Claims
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.task_streams import MAX_DELIVERIES, Lane
from reconciler_engine.store.tasks import TaskQueue

pytestmark = pytest.mark.contract(cluster_by_mark=True)


def garbage(slots=10_000):
    span: dict[str, object] = {"symbol": "BTC-USD", "timeframe": "1m", "start": 0, "stop": 180_000}
    page: dict[str, object] = {
        "kind": "page", "run": "x", "id": "page-0", "gaps": [[0, 3]], "asked": [0, 180_000],
        "span": span, "keeping": {"max_candles": 0, "ttl_s": 0, "trim": False},
    }  # fmt: skip
    yield b"\xff"
    yield b""
    yield b"{}"
    yield json.dumps({**page, "kind": "other"}).encode()
    yield json.dumps({**page, "gaps": [[0, slots]], "span": {**span, "stop": slots * MINUTE}}).encode()
    yield json.dumps({**page, "gaps": []}).encode()
    yield json.dumps({**page, "span": {**span, "symbol": "../../x"}}).encode()
    yield json.dumps({**page, "gaps": [[60_000, 1], [0, 1]]}).encode()
    yield json.dumps({**page, "gaps": [[1, 1]]}).encode()


async def test_a_task_its_worker_never_heard_of_is_done_once_redis_is_back(redis_url):
    """So are those that it has finished, and a failover has brought back."""
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        assert await TaskQueue(house.parts.client, house.parts.scope, "one").take(Lane.DEEP)
        await house.start_worker("one")
        clients = [redis_py.Redis.from_url(url) for url in server_urls(redis_url)]
        await wait_until_so(partial(are_blocked, clients))
        for client in clients:
            client.client_kill_filter(_type="normal", skipme=True)
            client.close()
        with trio.fail_after(20):
            await queue.wait_finished(run, Lane.DEEP)
        assert await queue.lengths() == dict.fromkeys(Lane, 0)


async def are_blocked(clients) -> bool:
    """Whether both loops of a worker wait for tasks."""
    return bool(sum(client.info("clients")["blocked_clients"] for client in clients) >= 2)


async def test_entries_that_are_no_tasks_are_dropped_and_nobody_dies(redis_url):
    async with open_house(redis_url) as house:
        await house.parts.queue.create_groups()
        for lane, body in itertools.product(Lane, garbage()):
            stream = house.parts.scope.key(f"tasks:{lane}")
            await house.parts.client.xadd(stream, {"body": body, "deliveries": "many"})
        await house.parts.client.xadd(house.parts.scope.key("tasks:scan"), {"nothing": "here"})
        await house.start_worker()
        result = await house.run_pass(10)
        assert (result.filled, result.requests, result.errors) == (10, 1, ())
        for lane in Lane:
            assert await house.parts.client.xlen(house.parts.scope.key(f"tasks:{lane}")) == 0


async def test_a_count_that_is_no_number_does_not_stop_redelivery(redis_url):
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        await queue.create_groups()
        stream = house.parts.scope.key("tasks:deep")
        for body in ("a", "b"):
            await house.parts.client.xadd(stream, {"body": body, "deliveries": "many"})
            await TaskQueue(house.parts.client, house.parts.scope, "dead").take(Lane.DEEP)
        assert await queue.redeliver("dead") == 2
        again = [(await queue.take(Lane.DEEP))[0] for _ in range(2)]
        assert [(one.body, one.deliveries) for one in again] == [(b"a", 2), (b"b", 2)]
        assert await house.parts.client.xinfo_consumers(stream, "workers") != []


async def test_a_task_that_failed_its_workers_too_often_is_given_up(redis_url):
    async with open_house(redis_url) as house:
        queue, scope = house.parts.queue, house.parts.scope
        run, _ = await enqueue_pages(queue, 1)
        for _ in range(MAX_DELIVERIES):
            assert len(await TaskQueue(house.parts.client, scope, "dying").take(Lane.DEEP)) == 1
            await queue.redeliver("dying")
        await house.start_worker()
        with trio.fail_after(10):
            await queue.wait_finished(run, Lane.DEEP)
        (outcome,) = map(json.loads, await queue.outcomes(run))
        assert outcome["error"] == f"given up after {MAX_DELIVERIES} workers failed on it"
        assert (outcome["unresolved"], outcome["requests"]) == (None, 0)
        assert house.asked() == []


@pytest.mark.parametrize("end", ["drained", "cancelled"])
async def test_a_page_that_was_handed_back_however_often_is_not_given_up(redis_url, end):
    """A rolling restart hands pages back that wait for their permit: here it is minutes away."""
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        await house.parts.bucket.converse(house.parts.bucket.steps.push_back(600_000))
        with trio.fail_after(30):
            for life in range(MAX_DELIVERIES + 1):
                worker, alive = await house.start_worker(f"life-{life}")
                while not worker._in_hand:
                    await trio.lowlevel.checkpoint()
                if end == "drained":
                    worker.drain()
                else:
                    alive.cancel()
                while await consumers(house, Lane.DEEP):
                    await trio.lowlevel.checkpoint()
            (again,) = await queue.take(Lane.DEEP)
        assert (again.deliveries, await queue.outcomes(run)) == (1, [])


async def test_a_drained_worker_gives_the_claims_of_waiting_pages_back(redis_url):
    async with open_house(redis_url) as house:
        _, (task,) = await enqueue_pages(house.parts.queue, 1)
        claims = Claims(house.parts.client, house.parts.scope)
        await house.parts.bucket.converse(house.parts.bucket.steps.push_back(600_000))
        with trio.fail_after(30):
            worker, _ = await house.start_worker("one")
            while await claims.take(M1, task.hull, "another/page-0") is None:
                await claims.release(M1, task.hull, "another/page-0")
            worker.drain()
            while await consumers(house, Lane.DEEP):
                await trio.lowlevel.checkpoint()
        assert await claims.take(M1, task.hull, "another/page-0") is None


async def consumers(house, lane):
    found = await house.parts.client.xinfo_consumers(house.parts.scope.key(f"tasks:{lane}"), "workers")
    return [one["name"].decode() for one in found]


class Panic(BaseException):
    """As those of native code: no Exception."""


@pytest.mark.parametrize("error", [Panic, ZeroDivisionError])
async def test_an_error_nobody_foresaw_is_the_end_of_its_task_alone(redis_url, monkeypatch, caplog, error):
    async def fail(*_, **__):
        await trio.lowlevel.checkpoint()
        raise error("details")

    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 3)
        worker, _ = await house.start_worker()
        monkeypatch.setattr(worker_module, "perform_scan", fail)
        scan = ScanTask(
            run=run,
            id="scan-0",
            now=NOW,
            spans=(SeriesSpan.of(M1, Interval(STOP - 3 * MINUTE, STOP)),),
            confirm_ms=0,
            repair=False,
            keeping=Retention(max_candles=0, ttl_s=0, trim=False),
        )
        await queue.enqueue(run, Lane.SCAN, [(scan.id, scan.model_dump_json())])
        with trio.fail_after(20):
            await queue.wait_finished(run, *Lane)
        outcomes = {one["id"]: one["error"] for one in map(json.loads, await queue.outcomes(run))}
        failed = f"failed with {error.__name__}; the log says where"
        assert outcomes == {"page-0": None, "page-1": None, "page-2": None, "scan-0": failed}
        pages = worker._fetcher
        for room, step in (
            (pages._claims, "take"),
            (pages._cache, "look"),
            (pages._requester, "ask"),
            (pages, "_merge"),
        ):
            await house.parts.client.delete(key(M1))
            monkeypatch.setattr(room, step, fail)
            run, _ = await enqueue_pages(queue, 1)
            with trio.fail_after(20):
                await queue.wait_finished(run, Lane.DEEP)
            assert [json.loads(one)["error"] for one in await queue.outcomes(run)] == [failed]
            # its claim holds nobody up from then on
            await queue.close_run(run)
            monkeypatch.undo()
    told = [record for record in caplog.records if record.message == "task failed"]
    assert [record.exc_info[0] for record in told] == [error] * 5


async def test_a_worker_that_finds_no_memory_ends_and_its_task_goes_to_another(redis_url, monkeypatch):
    async def find_no_memory(*_):
        await trio.lowlevel.checkpoint()
        raise MemoryError

    async with open_house(redis_url) as house:
        queue = house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        worker = replace_queue(
            house.parts.worker(house.source), TaskQueue(house.parts.client, house.parts.scope, "old")
        )
        monkeypatch.setattr(worker._fetcher._requester, "ask", find_no_memory)
        with pytest.RaisesGroup(MemoryError, allow_unwrapped=True, flatten_subgroups=True), trio.fail_after(20):
            await worker.run()
        await house.start_worker("new")
        with trio.fail_after(20):
            await queue.wait_finished(run, Lane.DEEP)
        assert [json.loads(one)["error"] for one in await queue.outcomes(run)] == [None]
        await check_whole(house, 3)


async def test_a_pass_whose_tasks_were_lost_never_says_complete(redis_url, monkeypatch):
    """Redis killed between two syncs can keep the run's record and lose the tasks enqueued after it."""
    monkeypatch.setattr(queue_module, "WAIT_S", 0.1)
    async with open_house(redis_url) as house:
        client, stream = house.parts.client, house.parts.scope.key("tasks:scan")

        async def lose(*keys) -> None:
            while not await client.xlen(stream):
                await trio.lowlevel.checkpoint()
            await client.delete(stream, *[one for one in await runs(house) if one.endswith(keys)])

        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(10))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await lose(b":unfinished")
        (result,) = results
        assert result.errors == ("BTC-USD:1m: the outcome of its task was lost; nothing is known until the next pass",)
        assert (result.series[0].expected, result.scanned_symbols, result.missing) == (0, 0, 0)
        with trio.fail_after(20), pytest.RaisesGroup(RunClosed):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.run_pass, 10)
                await lose()
        assert await runs(house) == []


async def test_an_outcome_that_is_none_counts_as_lost(redis_url):
    async with open_house(redis_url) as house:
        queue = house.parts.queue
        results = []

        async def run_pass() -> None:
            results.append(await house.run_pass(10))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_pass)
                await queue.create_groups()
                (delivery,) = await queue.take(Lane.SCAN)
                task = json.loads(delivery.body)
                foreign = {"symbol": "ETH-USD", "timeframe": "1m", "gaps": [[0, 1]]}
                outcome = {"kind": "scan", "id": task["id"], "findings": [foreign]}
                await queue.finish(delivery, task["run"], task["id"], json.dumps(outcome))
        assert "was lost" in results[0].errors[0]
        assert results[0].series[0].expected == 0


async def pass_taken_over(house, end):
    """Run a pass of ten pages, end its worker in the middle of it and start another one; return the result."""
    results = []

    async def run_pass() -> None:
        results.append(await house.run_pass(10 * 300))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pass)
            await wait_asked(house, 3)
            end()
            await house.start_worker("second")
    return results[0]


async def test_a_drained_worker_finishes_its_pages_and_hands_the_others_back(redis_url):
    async with open_house(redis_url, rate=50) as house:
        first, _ = await house.start_worker("first")
        result = await pass_taken_over(house, first.drain)
        assert (result.unresolved, result.errors) == (0, ())
        # a page is in hand or it is not: none was asked twice
        assert result.requests == 10 == len(house.asked())
        await check_whole(house, 10 * 300)


async def test_a_cancelled_worker_hands_back_what_it_took(redis_url):
    """Ctrl-C in a command whose worker helped a running engine."""
    async with open_house(redis_url, rate=25) as house:
        _, alive = await house.start_worker("first")
        result = await pass_taken_over(house, alive.cancel)
        assert (result.unresolved, result.errors) == (0, ())
        await check_whole(house, 10 * 300)
        for lane in Lane:
            found = await house.parts.client.xinfo_consumers(house.parts.scope.key(f"tasks:{lane}"), "workers")
            assert [one["name"] for one in found if one["name"] == b"first"] == []


async def test_a_consumer_with_more_than_one_call_moves_keeps_the_rest(redis_url):
    async with open_house(redis_url) as house:
        client, stream = house.parts.client, house.parts.scope.key("tasks:deep")
        await house.parts.queue.create_groups()
        await client.pipe([("XADD", stream, "*", "body", "x", "deliveries", "1")] * 1_001)
        await client.execute_command("XREADGROUP", "GROUP", "workers", "dead", "COUNT", 2_000, "STREAMS", stream, ">")
        assert await house.parts.queue.redeliver("dead") == 1_000
        assert await house.parts.queue.redeliver("dead") == 1
        assert await client.xinfo_consumers(stream, "workers") == []
        assert await client.xlen(stream) == 1_001
        again = await client.execute_command(
            "XREADGROUP", "GROUP", "workers", "new", "COUNT", 2_000, "STREAMS", stream, ">"
        )
        assert len(again[0][1]) == 1_001


async def test_pages_of_living_workers_are_not_handed_out_again_after_a_long_outage(own_server, monkeypatch):
    """Every task is idle then; the first worker to be back must not take the others' pages for lost."""
    async with open_house(own_server.url) as house:
        client, queue = house.parts.client, house.parts.queue
        run = await queue.open_run("test", 0)
        await queue.enqueue(run, Lane.DEEP, [("a", "x")])
        living = TaskQueue(client, house.parts.scope, "living")
        (held,) = await living.take(Lane.DEEP)
        assert await queue.redeliver_idle() == 0
        own_server.signal(signal.SIGSTOP)
        monkeypatch.setattr(tasks_module, "REDELIVER_IDLE_MS", 300)
        monkeypatch.setattr(tasks_module, "WATCH_MS", 300)
        await trio.sleep(0.6)
        own_server.signal(signal.SIGCONT)
        await wait_serving(client, 10)
        # Idle for long enough, and yet:
        assert await queue.redeliver_idle() == 0
        await living.touch([held])
        assert await queue.redeliver_idle() == 0
        moved = 0
        with trio.fail_after(20):
            while not moved:
                await trio.sleep(0.05)
                moved = await queue.redeliver_idle()
        assert moved == 1
