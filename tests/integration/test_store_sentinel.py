"""A primary behind Sentinels: found at each connect, followed when they switch, and checked for its role."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from tests.cluster_servers import free_port
from tests.sentinel_servers import PASSWORD, SERVICE, Watched, watched_servers

from reconciler_engine.errors import ConfigError, StoreUnavailable
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis

SERIES = ("--symbols", "BTC-USD", "--timeframes", "1m")


@pytest.fixture
def watched(tmp_path) -> Iterator[Watched]:
    """A primary, a replica and their Sentinel."""
    with watched_servers(tmp_path) as servers:
        yield servers


async def test_a_switch_is_followed_although_the_old_primary_is_silent(watched):
    async with TrioRedis.from_url(watched.url) as client:
        await check_server(client)
        await client.set("k", "v")
        watched.primary.ask("WAIT", 1, 5_000)
        watched.primary.signal(signal.SIGSTOP)
        watched.wait_switched()
        # On the connection that is open this would wait in vain.
        assert await client.get("k") == b"v"
        assert await client.set("k", "new")
    assert watched.replica.ask("GET", "k") == b"new"


async def test_a_sentinel_that_is_gone_costs_no_connection(watched):
    async with TrioRedis.from_url(watched.url) as client:
        await client.set("k", "v")
        watched.sentinel.end()
        assert [await client.get("k") for _ in range(3)] == [b"v"] * 3
        # None is there to be asked.
        client.drop_connections()
        with pytest.raises(StoreUnavailable, match="cannot connect to"):
            await client.get("k")


async def test_one_sentinel_of_several_may_be_down(watched):
    url = watched.url.replace("://", f"://127.0.0.1:{free_port()},")
    async with TrioRedis.from_url(url) as client:
        assert await client.set("k", "v")
    async with TrioRedis.from_url(f"redis+sentinel://127.0.0.1:{free_port()}/{SERVICE}") as client:
        with pytest.raises(StoreUnavailable, match="cannot connect to"):
            await client.get("k")


async def test_a_server_that_is_no_primary_is_not_taken_for_one(watched):
    watched.primary.ask("REPLICAOF", "127.0.0.1", watched.replica.port)
    async with TrioRedis.from_url(watched.url) as client:
        with pytest.raises(
            StoreUnavailable, match=f":{watched.primary.port}/0, named as primary by its Sentinels, is still a slave"
        ):
            await client.get("k")


async def test_what_is_wrong_with_the_address_is_told(watched):
    place = f"127.0.0.1:{watched.sentinel.port}"
    for url, fault in (
        (watched.url.replace(f"/{SERVICE}/", "/other/"), f"Sentinel redis://{place}/0 knows no service 'other'"),
        (watched.url.partition("?")[0], "the server asks for a password and none is set"),
        (f"redis://:{PASSWORD}@{place}", rf"is a Sentinel; write redis\+sentinel://{place}/SERVICE"),
    ):
        async with TrioRedis.from_url(url) as client:
            with pytest.raises(ConfigError, match=fault):
                await check_server(client)


def test_a_pass_finds_its_redis_by_the_sentinel(watched, run_inside, start_exchange):
    url = watched.url.partition("?")[0]
    where = ("--redis-url", url, "--base-url", start_exchange(public_rate=0).url)
    done = run_inside("reconcile", *SERIES, *where, RECONCILER_REDIS_SENTINEL_PASSWORD=PASSWORD)
    assert done.code == 0, done.err
    assert watched.primary.ask("ZCARD", "candles:1:1:BTC-USD:1m") > 0
