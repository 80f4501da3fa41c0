"""The clock of simulated worlds: the server's scripts, the lives of keys and blocking reads follow it."""

from __future__ import annotations

import trio
from tests.worlds.simulated_time import SimulatedRedis, SimulatedTime

from reconciler_engine.store.client.scripts import Script

START = 1_768_496_550_000
NOW = Script("local t = redis.call('TIME') return { t[1], t[2] }", "now.lua")
PUSH = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])", "push.lua")


async def test_scripts_and_clients_see_one_instant(redis_url, mock_clock):
    time = SimulatedTime(mock_clock, START)
    async with time.passing(), SimulatedRedis(redis_url, time) as redis:
        for seconds in (0.0, 0.25, 3_600.0):
            await trio.sleep(seconds)
            told = await NOW.run(redis, keys=[])
            assert int(told[0]) * 1_000 + int(told[1]) // 1_000 == time.now()
            assert divmod(time.now() * 1_000, 1_000_000) == await redis.time()
        assert time.now() == START + 3_600_250


async def test_keys_of_the_engine_live_in_simulated_time(redis_url, mock_clock):
    time = SimulatedTime(mock_clock, START)
    async with time.passing(), SimulatedRedis(redis_url, time) as redis:
        await redis.set("recon:lease", "mine", ex=15)
        await redis.set("candles:1:1:A-USD:1m", "long", ex=86_400)
        await trio.sleep(13)
        assert await redis.get("recon:lease") == b"mine"
        await trio.sleep(3)
        assert await redis.get("recon:lease") is None
        assert await redis.ttl("candles:1:1:A-USD:1m") > 86_000


async def test_a_blocking_read_ends_with_the_write_that_it_waits_for(redis_url, mock_clock):
    time = SimulatedTime(mock_clock, START)
    async with time.passing(), SimulatedRedis(redis_url, time) as redis, trio.open_nursery() as nursery:

        async def push() -> None:
            await trio.sleep(4)
            await PUSH.run(redis, keys=["list"], args=["one"])

        nursery.start_soon(push)
        assert await redis.execute_command("BLPOP", "list", 2.0) == (b"list", b"one")
        assert time.now() == START + 4_000
        assert await redis.execute_command("BLPOP", "list", 2.0) is None
        assert time.now() == START + 34_000
