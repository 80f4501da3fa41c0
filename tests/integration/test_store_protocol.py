"""The list of who works on a scope: engines of two protocols never do at a time, and no crash locks anybody out."""

from __future__ import annotations

import socket
import time

import pytest
import trio
from tests.conftest import plain_client

from reconciler_engine.errors import OtherProtocol
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.protocol import PROTOCOL, at_work, check_protocol
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import RECORD_LIFE_MS, EngineFacts, StatusBoard

pytestmark = pytest.mark.contract

SCOPE = Scope(1, 1, "test")
KEY = SCOPE.key("at_work")
FACTS = EngineFacts("reconciler-engine start", host="here", version="9.9")
LATER = PROTOCOL + 1
NEVER = 99_999_999_999_999


async def enter_other(redis, life_s: int = 10) -> None:
    """Put somebody of another protocol into the list."""
    seconds, _ = await redis.time()
    await redis.hset(
        KEY, "there:1:x", f"{(seconds + life_s) * 1_000}:{LATER}:there, version 8.8, reconciler-engine backfill"
    )


def old_status(**changes) -> EngineStatus:
    """The record of an engine from before there was a protocol."""
    facts = {
        "node": "old-host:7:00000000.00000000", "command": "reconciler-engine start", "version": "0.1",
        "simulated": False, "user_id": SCOPE.user_id, "exchange_id": SCOPE.exchange_id, "source": SCOPE.source,
        "started_at": 0, "written_at": 0, "processes": (), "jobs": (), "budget": None, **changes,
    }  # fmt: skip
    return EngineStatus.model_validate(facts)


async def test_any_number_of_one_protocol_work_at_a_time(redis):
    async with at_work(redis, SCOPE, "a", FACTS), at_work(redis, SCOPE, "b", FACTS):
        assert sorted(await redis.hkeys(KEY)) == [b"a", b"b"]
        await check_protocol(redis, SCOPE)
    assert await redis.exists(KEY) == 0


async def test_who_comes_second_names_the_first_of_another_protocol(redis):
    await enter_other(redis)
    words = f"protocol {LATER}, and this one has protocol {PROTOCOL}: there, version 8.8, reconciler-engine backfill"
    with pytest.raises(OtherProtocol, match=words):
        async with at_work(redis, SCOPE, "a", FACTS):
            pytest.fail("it began")
    assert await redis.hkeys(KEY) == [b"there:1:x"]
    # another scope is another matter
    async with at_work(redis, Scope(2, 1, "test"), "a", FACTS):
        pass


async def test_a_crash_leaves_no_lock_for_longer_than_a_lease(redis):
    await enter_other(redis)
    async with at_work(redis, Scope(3, 1, "test"), "a", FACTS, life_ms=300):
        assert 0 < await redis.pttl(Scope(3, 1, "test").key("at_work")) <= 300
    await redis.hset(KEY, "there:1:x", f"1:{LATER}:over long ago")
    await redis.hset(KEY, "there:2:x", f"{NEVER}:{LATER}:beyond any life")
    async with at_work(redis, SCOPE, "a", FACTS):
        assert await redis.hkeys(KEY) == [b"a"]


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"1:2", b"x:y:z", b"9" * 400 + b":2:x", b"-1:2:x"])
async def test_entries_that_are_none_are_taken_out(redis, value):
    await redis.hset(KEY, "odd", value)
    async with at_work(redis, SCOPE, "a", FACTS):
        assert await redis.hkeys(KEY) == [b"a"]


async def test_an_engine_without_a_number_is_known_by_its_status(redis):
    board = StatusBoard(redis)
    await board.write(old_status())
    await board.announce(old_status())
    with pytest.raises(OtherProtocol, match=r"an earlier protocol, .* old-host, version 0.1, reconciler-engine start"):
        await check_protocol(redis, SCOPE)
    await board.write(old_status(protocol=PROTOCOL))
    await check_protocol(redis, SCOPE)
    await board.write(old_status())
    assert await redis.pttl(SCOPE.key(f"status:{old_status().node}")) <= RECORD_LIFE_MS
    await redis.delete(SCOPE.key(f"status:{old_status().node}"))
    await check_protocol(redis, SCOPE)


async def test_who_was_cut_off_ends_where_another_protocol_took_its_place(redis):
    with pytest.RaisesGroup(OtherProtocol), trio.fail_after(10):
        async with at_work(redis, SCOPE, "a", FACTS, life_ms=300):
            # Its entry was lost with a server that failed over.
            await redis.delete(KEY)
            await enter_other(redis)
            await trio.sleep_forever()


@pytest.mark.parametrize("command", ["start", "reconcile", "scan"])
def test_a_command_of_another_protocol_ends_with_75(run_inside, start_exchange, redis_url, command, tmp_path):
    exchange = start_exchange()
    scope = Scope.of(1, 1, exchange.url)
    with plain_client(redis_url) as client:
        stop = time.time_ns() // 1_000_000 + 9_000
        client.hset(scope.key("at_work"), "x", f"{stop}:{LATER}:{socket.gethostname()}, version 9, engine")
        client.set(scope.key("listings"), "{}")
    # A folder of its own: an engine of this machine may hold the default one.
    where = ("--redis-url", redis_url, "--base-url", exchange.url, "--data-dir", tmp_path / "data")
    done = run_inside(command, "--symbols", "BTC-USD", *where)
    assert done.code == 75
    words = f"protocol {LATER}, and this one has protocol {PROTOCOL}: {socket.gethostname()}, version 9, engine"
    assert words in done.err
    assert "Traceback" not in done.err
    with plain_client(redis_url) as client:
        # Nothing of the other one's was touched.
        assert client.get(scope.key("listings")) == b"{}"
