"""Scheduled passes while Redis is slow, killed, emptied, full, read-only, or lets nobody in."""

from __future__ import annotations

import logging
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.chaos.proxy import Kind, Toxic, Way, open_proxy
from tests.integration.conftest import wait_until
from tests.integration.house import M1, check_whole, enqueue_pages, open_house, runs, truth, wait_asked

from reconciler_engine.engine.tasks.redis_retry import RedisRetry
from reconciler_engine.errors import ConfigError, RunClosed, StoreError, StoreFull, StoreUnavailable
from reconciler_engine.store import tasks as queue_module
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.protocol import at_work
from reconciler_engine.store.rights import check_rights
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import EngineFacts
from reconciler_engine.store.task_streams import Lane


async def test_a_slow_redis_makes_a_pass_slower_and_nothing_else(redis_url):
    async with open_proxy(Path(redis_url.removeprefix("unix://"))) as (wire, where):
        for way in Way:
            wire.set(Toxic(Kind.LATENCY, way, delay_s=0.01, jitter_s=0.02))
        async with open_house(f"redis://{where}") as house:
            await house.start_worker("one")
            await house.start_worker("two")
            with trio.fail_after(60):
                result = await house.run_pass(3 * 300)
            assert (result.filled, result.unresolved, result.errors) == (3 * 300, 0, ())
            assert result.requests == 3 == len(house.asked())
            await check_whole(house, 3 * 300)


async def test_a_killed_redis_ends_the_pass_and_the_next_one_completes(own_server):
    slots = 10 * 300
    async with open_house(own_server.url, rate=50) as house:
        await house.start_worker()
        with pytest.RaisesGroup(StoreUnavailable):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.run_pass, slots)
                await wait_asked(house, 5)
                own_server.kill()
        own_server.start()
        await wait_serving(house.parts.client, 10)
        with trio.fail_after(30):
            result = await house.run_pass(slots)
        assert (result.unresolved, result.errors) == (0, ())
        await check_whole(house, slots)


async def test_a_flushed_redis_ends_the_pass_as_closed_and_the_next_one_completes(redis_url, monkeypatch):
    monkeypatch.setattr(queue_module, "WAIT_S", 0.1)
    async with open_house(redis_url, rate=50) as house:
        await house.start_worker()
        with trio.fail_after(30):
            with pytest.RaisesGroup(RunClosed):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(house.run_pass, 10 * 300)
                    await wait_asked(house, 2)
                    await house.parts.client.pipe([("FLUSHALL",), ("SCRIPT", "FLUSH")])
            assert (await house.run_pass(10 * 300)).unresolved == 0
        await check_whole(house, 10 * 300)
        assert await runs(house) == []


async def test_a_full_redis_leaves_slots_unresolved_with_its_words(redis_url, monkeypatch):
    # The first permit is a second away: memory is full before anything can be asked or merged.
    async with open_house(redis_url, rate=1) as house:
        client = house.parts.client
        await house.start_worker()
        rows = truth(M1, 10)
        await house.parts.store.merge(M1, rows[:5], house.parts.retention)
        queue = house.parts.queue
        enqueue = queue.enqueue

        async def fill_up(run, lane, tasks):
            """Let the pages be enqueued, then let memory be full."""
            await enqueue(run, lane, tasks)
            if lane is Lane.DEEP:
                await client.execute_command("CONFIG SET", "maxmemory", "1")

        monkeypatch.setattr(queue, "enqueue", fill_up)
        try:
            with trio.fail_after(30):
                result = await house.run_pass(10)
        finally:
            await client.execute_command("CONFIG SET", "maxmemory", "0")
        monkeypatch.undo()
        assert (result.missing, result.filled, result.unresolved) == (5, 0, 5)
        assert "OOM" in result.errors[0]
        assert (await house.run_pass(10)).unresolved == 0
        await check_whole(house, 10)


ENDS = {
    "OOM": ("CONFIG", "SET", "maxmemory", "0"),
    "READONLY": ("REPLICAOF", "NO", "ONE"),
    "MISCONF": ("CONFIG", "SET", "stop-writes-on-bgsave-error", "no"),
}
"""Commands that make a server take writes again."""


async def refuse_writes(server, client, word) -> None:
    """Bring a server to refuse writes with this word."""
    if word == "OOM":
        await client.execute_command("CONFIG", "SET", "maxmemory", "1")
    elif word == "READONLY":
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    else:
        await client.execute_command("CONFIG", "SET", "save", "3600 1")
        shutil.rmtree(server.plan.data_directory)
        await client.execute_command("BGSAVE")
    with trio.fail_after(20):
        while True:
            (reply,) = await client.pipe([("SET", "probe", "x")])
            if getattr(reply, "code", None) == word:
                break
            await trio.sleep(0.01)


@pytest.mark.parametrize("word", [*ENDS])
async def test_nothing_is_asked_while_its_answer_could_not_be_stored(own_server, word):
    async with open_house(own_server.url) as house:
        client, queue = house.parts.client, house.parts.queue
        run, tasks = await enqueue_pages(queue, 4)
        await refuse_writes(own_server, client, word)
        fetcher = house.parts.worker(house.source)._fetcher
        assert fetcher is not None
        for task in tasks:
            with pytest.raises(StoreError, match=word):
                await fetcher._claim(task, trio.Event())
        await client.execute_command(*ENDS[word])
        statistics = await house.parts.bucket.statistics()
        assert (statistics.granted, house.asked()) == (0, [])
        await house.start_worker()
        with trio.fail_after(20):
            await queue.wait_finished(run, Lane.DEEP)
        await check_whole(house, 3)
        assert len(house.asked()) == 1


@pytest.mark.parametrize("word", [*ENDS])
async def test_an_answer_that_redis_does_not_take_is_kept_and_not_asked_for_again(own_server, monkeypatch, word):
    """The exchange has answered, then the server refuses writes, and takes them again later."""
    async with open_house(own_server.url) as house:
        client, queue = house.parts.client, house.parts.queue
        run, _ = await enqueue_pages(queue, 1)
        worker, _ = await house.start_worker()
        answered, may_merge, refused = trio.Event(), trio.Event(), trio.Event()
        assert worker._fetcher is not None
        merge = worker._fetcher._merge

        async def merge_or_tell(*args):
            answered.set()
            await may_merge.wait()
            try:
                return await merge(*args)
            except StoreError:
                refused.set()
                raise

        monkeypatch.setattr(worker._fetcher, "_merge", merge_or_tell)
        with trio.fail_after(30):
            await answered.wait()
            await refuse_writes(own_server, client, word)
            may_merge.set()
            await refused.wait()
            assert await house.members() == []
            await client.execute_command(*ENDS[word])
            await queue.wait_finished(run, Lane.DEEP)
        await check_whole(house, 3)
        assert len(house.asked()) == 1


async def test_what_waits_is_told_of_once_whatever_is_done_meanwhile(caplog):
    refusals = [StoreFull("redis refused the command: OOM", code="OOM") for _ in range(3)]

    async def be_refused() -> None:
        await trio.lowlevel.checkpoint()
        if refusals:
            raise refusals.pop()

    retry = RedisRetry().retry_while_redis_is_away
    with caplog.at_level(logging.INFO):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retry, be_refused)
            while refusals:
                await retry(partial(trio.sleep, 0.01))
    assert [text for text in caplog.messages if "Redis" in text] == ["waiting for Redis", "Redis serves again"]


async def test_a_worker_that_starts_while_redis_is_away_waits_for_it(own_server):
    async with open_house(own_server.url) as house:
        own_server.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.start_worker)
            with trio.move_on_after(0.05):
                await trio.sleep_forever()
            own_server.start()
            await wait_serving(house.parts.client, 10)
            result = await house.run_pass(10)
        assert (result.filled, result.errors) == (10, ())


LAPSES = {
    "user deleted": (("ACL", "DELUSER", "engine"), ("ACL", "SETUSER", "engine", "on", ">pw", "~*", "&*", "+@all")),
    "no commands": (("ACL", "SETUSER", "engine", "-@all"), ("ACL", "SETUSER", "engine", "+@all")),
    "no reading of tasks": (("ACL", "SETUSER", "engine", "-xreadgroup"), ("ACL", "SETUSER", "engine", "+xreadgroup")),
    "no keys": (("ACL", "SETUSER", "engine", "resetkeys"), ("ACL", "SETUSER", "engine", "~*")),
    "another password": (
        ("ACL", "SETUSER", "engine", "resetpass", ">other"),
        ("ACL", "SETUSER", "engine", "resetpass", ">pw"),
    ),
}
"""Ways to lose rights, and how they come back."""


@pytest.mark.parametrize("way", LAPSES)
async def test_rights_that_lapse_under_a_worker_are_waited_for(own_server, way, caplog):
    lapse, back = LAPSES[way]
    async with TrioRedis.from_url(own_server.url) as admin:
        await admin.execute_command(*LAPSES["user deleted"][1])
        async with open_house(own_server.url.replace("unix://", "unix://engine:pw@")) as house:
            await house.start_worker()
            await admin.execute_command(*lapse)
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await trio.to_thread.run_sync(wait_until, lambda: "waiting for Redis" in caplog.text)
            # A second one, as a supervisor starts it in place of one that died meanwhile.
            house.nursery.start_soon(house.start_worker, "two")
            await trio.sleep(0.3)
            await admin.execute_command(*back)
            with trio.fail_after(20):
                result = await house.run_pass(10)
            assert (result.filled, result.errors) == (10, ())
    assert caplog.text.count("waiting for Redis") <= 2


@pytest.mark.parametrize("rule", ["-xreadgroup", "-hgetall", "-evalsha", "-@stream", "resetkeys"])
async def test_rights_that_lack_at_a_start_are_a_fault_of_the_settings(own_server, rule):
    async with TrioRedis.from_url(own_server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", rule)
    async with TrioRedis.from_url(own_server.url.replace("unix://", "unix://poor:pw@")) as client:
        with pytest.raises(ConfigError, match=r"the user may not do what is needed .*NOPERM"):
            async with at_work(client, Scope(1, 1, "test"), "a", EngineFacts("test")):
                pytest.fail("it began")


async def test_looking_at_rights_leaves_nothing_behind(own_server):
    async with TrioRedis.from_url(own_server.url) as client:
        await check_rights(client, Scope(1, 1, "test"))
        assert await client.keys("*") == []


async def test_a_worker_whose_stream_is_another_programs_key_names_it_and_ends(redis_url):
    async with open_house(redis_url) as house:
        key = house.parts.scope.key("tasks:deep")
        await house.parts.client.set(key, "no stream")
        with (
            trio.fail_after(20),
            pytest.raises(ConfigError, match=f"WRONGTYPE .*asked of {re.escape(key)}; the engine"),
        ):
            await house.parts.worker(house.source).run()
