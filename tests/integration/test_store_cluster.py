"""The client against a real cluster: slots that move, nodes that are gone, addresses that cannot be reached."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby

import pytest
import trio
from redis.crc import key_slot
from tests.chaos.waiting import wait_until_so
from tests.cluster_servers import (
    SLOTS,
    ClusterNode,
    RealCluster,
    end_migration,
    free_port,
    migrating,
    move_keys,
    new_cluster,
)
from tests.integration.test_store_tls import AUTHORITY, tls_door
from tests.integration.virtual_address import virtual_address

from reconciler_engine.errors import ConfigError, NodeAway, NodeUnavailable, StoreError, StoreUnavailable
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client import away as away_module
from reconciler_engine.store.client.cluster import Cluster
from reconciler_engine.store.client.scripts import Script, run_batch
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.members import member_of
from reconciler_engine.store.scope import Scope

KEYS = [f"k{number}" for number in range(40)]
SLOT = key_slot(b"k")
PATIENCE_S = 30
ECHO = Script("return {KEYS[1], redis.call('GET', KEYS[1])}", "echo.lua")
BOTH = Script("return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}", "both.lua")


@pytest.fixture
def cluster(redis_cluster: RealCluster) -> RealCluster:
    """The session's cluster, empty."""
    redis_cluster.clear()
    return redis_cluster


@pytest.fixture
def own_cluster(tmp_path) -> Iterator[RealCluster]:
    """A cluster with replicas, for one test alone, which may kill its nodes."""
    with new_cluster(tmp_path, replicas=True) as cluster:
        yield cluster


async def has_said(node: ClusterNode, word: str) -> bool:
    """Whether a node has given this error to anybody."""
    return f"errorstat_{word}" in node.ask("INFO", "errorstats")


async def serves(client: TrioRedis, key: str) -> bool:
    """Whether a key can be read."""
    (reply, _) = await client.pipe([("GET", key), ("PING",)])
    return not isinstance(reply, StoreError)


async def test_each_command_goes_to_its_node_and_answers_come_in_order(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        assert await client.pipe([("SET", key, key) for key in KEYS]) == [b"OK"] * len(KEYS)
        assert await client.pipe([("GET", key) for key in reversed(KEYS)]) == [key.encode() for key in reversed(KEYS)]
        assert [await client.get(key) for key in KEYS[:5]] == [key.encode() for key in KEYS[:5]]
    counts = [node.ask("DBSIZE") for node in cluster.primaries]
    assert sum(counts) == len(KEYS)
    assert all(counts)


async def test_a_transaction_stays_in_one_piece_among_others(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        replies = await client.pipe(
            [("SET", "a", 1), ("MULTI",), ("INCR", "b"), ("INCR", "b"), ("EXEC",), ("GET", "a")]
        )
        assert replies == [b"OK", b"OK", b"QUEUED", b"QUEUED", [1, 2], b"1"]
        with pytest.raises(StoreError, match="CROSSSLOT"):
            await client.execute_command("EVAL", BOTH.text, 2, "a", "b")


async def test_a_script_is_taught_to_each_node_that_does_not_know_it(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        replies = await run_batch(client, [ECHO.call([key]) for key in KEYS])
        assert replies == [[key.encode(), None] for key in KEYS]
        cluster.primaries[1].ask("SCRIPT FLUSH")
        assert await run_batch(client, [ECHO.call([key]) for key in KEYS]) == replies
        assert [await ECHO.run(client, keys=[key]) for key in KEYS] == replies


async def test_a_wait_for_work_ends_with_the_work(cluster):
    async with TrioRedis.from_url(cluster.url) as client, trio.open_nursery() as nursery:
        got: list[object] = []

        async def wait(key: str) -> None:
            got.append(await client.execute_command("BLPOP", key, PATIENCE_S))

        for key in KEYS[:3]:
            nursery.start_soon(wait, key)
            await client.rpush(key, "work")
    assert sorted(map(str, got)) == sorted(str((key.encode(), b"work")) for key in KEYS[:3])


async def test_a_node_has_the_ranges_of_the_map_and_one_that_lost_all_has_none(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        await client.split([])
        servers = client.servers
        assert isinstance(servers, Cluster)
        ranges = [servers.slots_of(("127.0.0.1", node.port)) for node in cluster.primaries]
        assert ranges == [[(SLOTS * part // 3, SLOTS * (part + 1) // 3 - 1)] for part in range(3)]
        assert servers.slots_of(("127.0.0.1", free_port())) == servers.slots_of(None) == []


async def test_one_node_of_several_may_be_down_at_the_start(cluster):
    url = cluster.url.replace("redis+cluster://", f"redis+cluster://127.0.0.1:{free_port()},")
    async with TrioRedis.from_url(url) as client:
        await check_server(client)
        assert await client.set("k", "v")
    async with TrioRedis.from_url(f"redis+cluster://127.0.0.1:{free_port()}") as client:
        with pytest.raises(StoreUnavailable, match=r"cannot connect to redis://127\.0\.0\.1"):
            await client.get("k")


async def test_a_slot_that_moved_is_followed_and_remembered(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        await client.set("k", "v")
        with migrating(cluster, "k") as (source, target):
            end_migration(cluster, source, target, SLOT)
            source.ask("CONFIG RESETSTAT")
            for _ in range(3):
                assert await client.get("k") == b"v"
            assert source.ask("INFO", "errorstats")["errorstat_MOVED"] == {"count": 1}
        assert await client.pipe([("GET", "k"), ("SET", "k", 1)]) == [b"v", b"OK"]


async def test_a_key_on_its_way_is_asked_for_where_it_is(cluster):
    scope, series = Scope(1, 1, "exchange"), [Series(f"C{number}-USD", Timeframe.M1) for number in range(12)]
    keys = [scope.candle_key(one) for one in series]
    async with TrioRedis.from_url(cluster.url) as client:
        for key, one in zip(keys, series, strict=True):
            await client.zadd(key, {candle(one): 60_000})
        wanted = [(one, Interval(60_000, 180_000)) for one in series]
        before = await CandleStore(client, scope).read(wanted)
        with migrating(cluster, keys[0]) as (source, target):
            move_keys(source, target, key_slot(keys[0].encode()))
            assert await client.zcard(keys[0]) == 1
            assert await client.pipe([("ZCARD", key) for key in keys]) == [1] * len(keys)
            during = await CandleStore(client, scope).read(wanted)
            # A key that is not there yet begins where the slot goes.
            assert await client.zadd(f"{{{keys[0]}}}:new", {"m": 1}) == 1
        after = await CandleStore(client, scope).read(wanted)
    assert [[*read.timestamps] for read in before] == [[60_000]] * len(series)
    assert [[*read.timestamps] for read in during] == [[*read.timestamps] for read in after] == [[60_000]] * len(series)


async def test_series_are_looked_at_node_by_node(cluster):
    scope, window = Scope(1, 1, "exchange"), Interval(60_000, 180_000)
    windows = [(Series(f"C{number}-USD", Timeframe.M1), window) for number in range(60)]
    async with TrioRedis.from_url(cluster.url) as client:
        ordered = await CandleKeys(client, scope).by_node(windows)
    owners = [cluster.owner(scope.candle_key(series)) for series, _ in ordered]
    assert sorted(map(str, ordered)) == sorted(map(str, windows))
    assert len([*groupby(owners)]) == len(cluster.primaries)


def candle(series: Series) -> str:
    return member_of(series, Candle(60_000, 1.0, 2.0, 1.0, 2.0, 5.0))


async def test_a_script_of_two_keys_waits_until_both_are_at_one_node(cluster):
    async with TrioRedis.from_url(cluster.url) as client:
        await client.pipe([("SET", "k", 1), ("SET", "{k}2", 2)])
        with trio.fail_after(PATIENCE_S), migrating(cluster, "k") as (source, target):
            source.ask("MIGRATE", "127.0.0.1", target.port, "k", 0, 5_000)
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    assert await BOTH.run(client, keys=["k", "{k}2"]) == [b"1", b"2"]

                nursery.start_soon(run)
                await wait_until_so(lambda: has_said(source, "TRYAGAIN"))
                end_migration(cluster, source, target, SLOT)


async def test_a_node_that_is_gone_costs_its_own_part_and_its_replica_takes_over(own_cluster):
    dead = own_cluster.owner("k0")
    async with TrioRedis.from_url(own_cluster.url) as client:
        await client.pipe([("SET", key, key) for key in KEYS])
        theirs = {key for key in KEYS if own_cluster.owner(key) is dead}
        dead.ask("WAIT", 1, 5_000)
        dead.kill()
        replies = dict(zip(KEYS, await client.pipe([("GET", key) for key in KEYS]), strict=True))
        assert {key for key, reply in replies.items() if isinstance(reply, StoreUnavailable)} == theirs
        assert all(replies[key] == key.encode() for key in KEYS if key not in theirs)
        with pytest.raises(StoreUnavailable) as caught:
            await client.get("k0")
        assert not isinstance(caught.value, NodeAway)
        own_cluster.replace(dead)
        await wait_until_so(lambda: serves(client, "k0"))
        assert await client.pipe([("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]


async def test_a_silent_node_is_not_waited_for_once_another_has_its_slots(own_cluster):
    silent = own_cluster.owner("k0")
    async with TrioRedis.from_url(own_cluster.url, timeout_s=PATIENCE_S) as client:
        await client.set("k0", "v")
        silent.ask("WAIT", 1, 5_000)
        os.kill(silent.pid, signal.SIGSTOP)
        own_cluster.replace(silent)
        with pytest.raises(StoreUnavailable, match="was silent, and answers a new connection or was replaced"):
            await client.get("k0")
        assert await client.get("k0") == b"v"


async def test_a_cluster_that_is_down_as_a_whole_is_an_outage_of_each_key_until_it_is_up(own_cluster):
    for node in own_cluster.nodes:
        node.ask("CONFIG SET", "cluster-require-full-coverage", "yes")
    async with TrioRedis.from_url(own_cluster.url) as client:
        await client.pipe([("SET", key, key) for key in KEYS])
        for node in own_cluster.nodes:
            node.ask("CLUSTER DELSLOTS", 0)

        async def is_down() -> bool:
            replies = await client.pipe([("GET", key) for key in KEYS])
            return all(isinstance(reply, NodeUnavailable) and reply.code == "CLUSTERDOWN" for reply in replies)

        await wait_until_so(is_down)
        own_cluster.primaries[0].ask("CLUSTER ADDSLOTS", 0)
        for key in KEYS:
            await wait_until_so(partial(serves, client, key))
        assert await client.pipe([("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]


async def test_an_absence_that_lasts_is_told_of_its_keys_alone(own_cluster, monkeypatch):
    monkeypatch.setattr(away_module, "FAILOVER_S", 0.0)
    dead = own_cluster.owner("k0")
    other = next(key for key in KEYS if own_cluster.owner(key) is not dead)
    async with TrioRedis.from_url(own_cluster.url) as client:
        await client.get("k0")
        for node in (*own_cluster.replicas, dead):
            node.kill()
        for _ in range(3):
            with pytest.raises(NodeAway, match=f"away for .* redis://{dead.address}/0"):
                await client.get("k0")
            refused, served = await client.pipe([("GET", "k0"), ("GET", other)])
            assert isinstance(refused, NodeAway)
            assert served is None
        dead.start()
        await wait_until_so(lambda: serves(client, "k0"))


async def test_addresses_that_cannot_be_reached_are_mapped_and_tls_goes_all_the_way(cluster):
    async with AsyncExitStack() as stack:
        doors = {
            node.address: await stack.enter_async_context(tls_door(f"redis://{node.address}"))
            for node in cluster.primaries
        }
        first, *_ = doors.values()
        mapped = ",".join(f"{announced}=localhost:{port}" for announced, port in doors.items())
        url = f"rediss+cluster://localhost:{first}?{AUTHORITY}&address_map={mapped}"
        client = await stack.enter_async_context(TrioRedis.from_url(url))
        assert await client.pipe([("SET", key, key) for key in KEYS]) == [b"OK"] * len(KEYS)


async def test_a_url_of_another_form_than_the_server_is_refused_with_the_right_one(cluster, own_server):
    address = cluster.primaries[0].address
    async with TrioRedis.from_url(f"redis://{address}") as client:
        with pytest.raises(ConfigError, match=rf"is a node of a cluster; write redis\+cluster://{address}$"):
            await check_server(client)
    with virtual_address(own_server.plan.socket) as plain:
        async with TrioRedis.from_url(plain.url.replace("redis://", "redis+cluster://")) as client:
            with pytest.raises(ConfigError, match=r"cluster support disabled; write redis://, for one server$"):
                await check_server(client)
