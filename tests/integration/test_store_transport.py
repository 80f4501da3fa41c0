"""The client against a real server."""

from __future__ import annotations

import re

import pytest
from redis.exceptions import ResponseError

from reconciler_engine.errors import StoreRefused
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis

pytestmark = pytest.mark.contract


async def test_commands_come_back_in_the_shapes_of_redis_py(redis: TrioRedis) -> None:
    assert await redis.set("k", "v") is True
    assert await redis.get("k") == b"v"
    assert await redis.zadd("z", {"a": 1, "b": 2.5}) == 2
    assert await redis.zrange("z", 0, -1, withscores=True) == [(b"a", 1.0), (b"b", 2.5)]
    info = await redis.info("memory")
    assert info["maxmemory"] == 0
    entry = await redis.xadd("s", {"f": "v"})
    await redis.xgroup_create("s", "g", id="0")
    assert await redis.xreadgroup("g", "c", {"s": ">"}, count=1) == [[b"s", [(entry, {b"f": b"v"})]]]
    claimed = await redis.xautoclaim("s", "g", "d", 0)
    assert claimed[1] == [(entry, {b"f": b"v"})]


async def test_an_error_reply_keeps_its_word_and_redis_pys_exception(redis: TrioRedis) -> None:
    await redis.set("k", "v")
    with pytest.raises(StoreRefused, match="WRONGTYPE") as caught:
        await redis.zadd("k", {"a": 1})
    assert caught.value.code == "WRONGTYPE"
    assert isinstance(caught.value.__cause__, ResponseError)


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("LPUSH", "text", "member"), "text"),
        (("XGROUP CREATE", "text", "g", "0"), "text"),
        (("XREAD", "COUNT", 1, "STREAMS", "{text}none", "text", "0", "0"), "{text}none, text"),
        (("EVAL", "return redis.call('LPUSH', KEYS[2], 'x')", 2, "{text}none", "text", "argument"), "{text}none, text"),
    ],
)
async def test_a_key_of_another_type_is_named(redis, command, keys):
    await redis.set("text", "no list")
    with pytest.raises(StoreRefused, match=f"WRONGTYPE .*; asked of {re.escape(keys)}$"):
        await redis.execute_command(*command)
    (refused,) = await redis.pipe([command])
    assert str(refused).endswith(f"; asked of {keys}")


async def test_pipe_gives_raw_replies_and_errors_in_place(redis: TrioRedis) -> None:
    replies = await redis.pipe([("SET", "k", 1), ("ZCARD", "k"), ("GET", "k"), ("GET", "none")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], StoreRefused)
    assert replies[2:] == [b"1", None]


async def test_check_server_says_what_it_is(redis: TrioRedis) -> None:
    info = await check_server(redis)
    assert info.compatible >= (6, 2, 0)
    assert info.maxmemory_policy == "noeviction"
    assert not info.may_evict
