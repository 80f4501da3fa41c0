"""Bounds of the pool, refusals of the server, transactions and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.integration.fake_redis import GREETING, answering, expect_unavailable, fake_server

from reconciler_engine.errors import ConfigError, StoreDenied, StoreRefused, StoreUnavailable
from reconciler_engine.store.client.scripts import Script, run_batch
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis

if TYPE_CHECKING:
    from tests.conftest import OwnServer


async def test_callers_beyond_the_pool_wait_their_turn_and_not_for_ever() -> None:
    async with fake_server(answering(GREETING, b"")) as url:
        client = TrioRedis.from_url(url, timeout_s=0.3, max_connections=1)
        async with client, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(expect_unavailable, client.ping())


async def test_the_pool_opens_no_more_connections_than_it_may(redis: TrioRedis, redis_url: str) -> None:
    async with TrioRedis.from_url(redis_url, max_connections=2) as client:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(client.set, f"k{number}", number)
        clients = await redis.client_list()
        assert len(clients) == 3
        assert await redis.dbsize() == 10


async def test_closing_ends_calls_under_way_and_refuses_later_ones(redis_url: str) -> None:
    client = TrioRedis.from_url(redis_url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_unavailable, client.blpop("list", timeout=50))
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
    with pytest.raises(StoreUnavailable, match="is closed"):
        await client.ping()
    await client.aclose()


async def test_passwords(own_server: OwnServer) -> None:
    secret = "s3cret/with@odd#signs"
    encoded = "s3cret%2Fwith%40odd%23signs"
    path = own_server.plan.socket
    async with TrioRedis.from_url(own_server.url) as client:
        await client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">" + secret, "~*", "+@all", "-info", "-set", "-client"
        )
        await client.config_set("requirepass", secret)
    async with TrioRedis.from_url(f"unix://:{encoded}@{path}") as client:
        assert await client.ping()
        await check_server(client)
        assert secret not in repr(client) + str(client.address) + repr(client.address)
    async with TrioRedis.from_url(f"unix://reader:{encoded}@{path}") as client:
        assert await client.ping()
        with pytest.raises(StoreDenied, match="NOPERM") as denied:
            await client.set("k", "v")
        assert denied.value.code == "NOPERM"
        with pytest.raises(ConfigError, match="may not do what is needed"):
            await check_server(client)
    async with TrioRedis.from_url(own_server.url) as client:
        with pytest.raises(StoreDenied, match="NOAUTH"):
            await client.ping()
        with pytest.raises(ConfigError, match="asks for a password and none is set"):
            await check_server(client)
    async with TrioRedis.from_url(f"unix://:wrong-{encoded}@{path}") as client:
        with pytest.raises(ConfigError, match="user or password is wrong") as caught:
            await check_server(client)
        assert secret not in str(caught.value) + str(caught.value.__cause__)


async def test_a_server_full_of_clients_is_unavailable(own_server: OwnServer) -> None:
    async with TrioRedis.from_url(own_server.url) as first, TrioRedis.from_url(own_server.url) as second:
        await first.config_set("maxclients", 1)
        # Its words are lost at times: it may close before they are out.
        with pytest.raises(StoreUnavailable, match=r"max number of clients|broke: |closed the connection"):
            await second.ping()


async def test_a_database_the_server_does_not_have_is_refused(redis_url: str) -> None:
    async with TrioRedis.from_url(f"{redis_url}?db=99999") as client:
        with pytest.raises(StoreRefused, match="DB index is out of range"):
            await client.ping()


async def test_databases_are_apart(redis: TrioRedis, redis_url: str) -> None:
    async with TrioRedis.from_url(f"{redis_url}?db=1") as other:
        await other.set("k", "v")
        assert await redis.get("k") is None


async def test_refusals_of_a_full_and_of_a_read_only_server(own_server: OwnServer) -> None:
    async with TrioRedis.from_url(own_server.url) as client:
        await client.config_set("maxmemory", 1)
        with pytest.raises(StoreRefused, match="OOM") as full:
            await client.set("k", "v")
        assert (full.value.code, full.value.retryable) == ("OOM", False)
        await client.config_set("maxmemory", 0)
        await client.execute_command("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(StoreUnavailable, match="READONLY") as read_only:
            await client.set("k", "v")
        assert (read_only.value.code, read_only.value.retryable) == ("READONLY", True)


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (b"redis_version:6.0.16\r\nredis_mode:standalone", "is Redis 6.0.16; Redis 6.2 or newer"),
        (b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nserver_mode:sentinel", "is a Sentinel"),
        (b"redis_version:7.2.4\r\nredis_mode:cluster", "is a node of a cluster"),
    ],
)
async def test_a_server_that_cannot_serve_us_is_a_fault_of_the_configuration(info: bytes, fault: str) -> None:
    reply = b"$%d\r\n%s\r\n" % (len(info), info)
    async with fake_server(answering(GREETING, reply * 2)) as url, TrioRedis.from_url(url) as client:
        with pytest.raises(ConfigError, match=fault):
            await check_server(client)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (("SUBSCRIBE", "c"), "SUBSCRIBE changes the connection"),
        (("CLIENT", "REPLY", "OFF"), "CLIENT REPLY changes the connection"),
        (("MULTI",), "send the transaction by pipe"),
        (("BLPOP", "k", 0), "would block for 0 s"),
        (("XREAD", "BLOCK", 60_001, "STREAMS", "s", "$"), r"would block for 60\.001 s"),
    ],
)
async def test_what_would_harm_the_next_caller_is_refused(
    redis: TrioRedis, command: tuple[str | int, ...], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        await redis.execute_command(*command)
    assert await redis.ping()


async def test_a_transaction_goes_whole_or_not_at_all(redis: TrioRedis) -> None:
    replies = await redis.pipe([("MULTI",), ("SET", "k", 1), ("INCR", "k"), ("EXEC",)])
    assert replies == [b"OK", b"QUEUED", b"QUEUED", [b"OK", 2]]
    for half in ([("MULTI",), ("SET", "k", 1)], [("SET", "k", 1), ("EXEC",)], [("MULTI",), ("MULTI",), ("EXEC",)]):
        with pytest.raises(ValueError, match="same batch"):
            await redis.pipe(half)
    with pytest.raises(ValueError, match="XREAD blocks"):
        await redis.pipe([("PING",), ("XREAD", "BLOCK", 5, "STREAMS", "s", "$")])


async def test_arguments_of_other_types_are_named_by_place_not_by_value(redis: TrioRedis) -> None:
    with pytest.raises(TypeError, match="argument 2 of 'SET' is NoneType"):
        await redis.execute_command("SET", "k", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="argument 1 of 'GET' is list"):
        await redis.pipe([("GET", ["secret"])])  # type: ignore[list-item]


ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])", "add")
FAIL = Script("return redis.error_reply('MINE went wrong')", "fail")


async def test_a_script_the_server_forgot_is_sent_again(redis: TrioRedis) -> None:
    for total in (2, 4):
        await redis.script_flush()
        assert await ADD.run(redis, keys=["n"], args=[2]) == total
    assert await ADD.run(redis, keys=["n"], args=[2]) == 6
    with pytest.raises(StoreRefused, match="MINE went wrong") as caught:
        await FAIL.run(redis, keys=["n"])
    assert caught.value.code == "MINE"


async def test_a_batch_of_scripts_the_server_forgot(redis: TrioRedis) -> None:
    calls = [ADD.call(["a"], [1]), FAIL.call(["b"]), ADD.call(["c"], [3]), ADD.call(["a"], [5])]
    for round_ in (1, 2):
        replies = await run_batch(redis, calls)
        assert [replies[0], replies[2], replies[3]] == [6 * round_ - 5, 3 * round_, 6 * round_]
        assert isinstance(replies[1], StoreRefused)
