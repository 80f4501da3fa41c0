"""Failover by address: the primary is demoted and lives on, and the address leads to another server."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import redis as redis_py
import trio
from tests.chaos.waiting import wait_until_so
from tests.conftest import OwnServer, new_server
from tests.integration.conftest import wait_until
from tests.integration.test_supervision import ready_worker, start_engine
from tests.integration.virtual_address import VirtualAddress, virtual_address

from reconciler_engine.errors import StoreRefused, StoreUnavailable
from reconciler_engine.observe import metrics
from reconciler_engine.store.client import connection as connection_module
from reconciler_engine.store.client import node as node_module
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.task_streams import Lane

__all__ = ["start_engine"]

DEMOTE = ("REPLICAOF", "127.0.0.1", "1")
PATIENCE_S = 30


@pytest.fixture
def other_server(tmp_path) -> Iterator[OwnServer]:
    """The server that is to be the primary."""
    folder = tmp_path / "other"
    folder.mkdir()
    with new_server(folder) as server:
        yield server


@pytest.fixture
def address(own_server) -> Iterator[VirtualAddress]:
    """An address that leads to `own_server`."""
    with virtual_address(own_server.plan.socket) as address:
        yield address


def fail_over(address: VirtualAddress, old: OwnServer, new: OwnServer) -> None:
    """Demote the old server, which keeps its connections, and let new ones go to the new server."""
    address.target = new.plan.socket
    with redis_py.Redis.from_url(old.url) as client:
        client.execute_command(*DEMOTE)


async def wait_in_vain(client: TrioRedis) -> None:
    """Wait on a connection of the other pool until the server, demoted, sends everybody away."""
    with pytest.raises(StoreUnavailable, match="UNBLOCKED"):
        await client.execute_command("BLPOP", "list", 30)


async def has_blocked(server: OwnServer) -> bool:
    """Whether a server holds a connection back."""
    with redis_py.Redis.from_url(server.url) as client:
        return bool(client.info("clients")["blocked_clients"])


def unavailable() -> float:
    """The exchanges that failed since the server could not serve."""
    return metrics.figures().get("redis_errors_total|unavailable", [0])[0]


async def test_a_refused_write_drops_every_connection(own_server, other_server, address):
    async with TrioRedis.from_url(address.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain, client)
        # Three that are idle.
        async with trio.open_nursery() as burst:
            for number in range(3):
                burst.start_soon(client.set, f"k{number}", "old")
        await wait_until_so(lambda: has_blocked(own_server))
        counted = unavailable()
        fail_over(address, own_server, other_server)
        with pytest.raises(StoreUnavailable, match="READONLY"):
            await client.set("k", "new")
        for number in range(4):
            await client.set(f"k{number}", "new")
    assert unavailable() == counted + 2
    with redis_py.Redis.from_url(other_server.url) as client:
        assert sorted(client.keys()) == [b"k0", b"k1", b"k2", b"k3"]


async def test_a_server_that_falls_silent_costs_one_wait_and_not_one_a_connection(own_server, other_server, address):
    async with TrioRedis.from_url(address.url, timeout_s=0.5) as client:
        async with trio.open_nursery() as burst:
            for number in range(4):
                burst.start_soon(client.set, f"k{number}", "old")
        own_server.signal(signal.SIGSTOP)
        address.target = other_server.plan.socket
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await client.set("k", "new")
        assert await client.set("k", "new")
        # Each was open, and is not used any more.
        assert address.opened > 2


@pytest.mark.parametrize("command", [("SET", "k", "new"), ("BLPOP", "list", 0.1)])
async def test_a_silent_connection_is_given_up_once_a_new_one_is_answered(own_server, other_server, address, command):
    async with TrioRedis.from_url(address.url, timeout_s=PATIENCE_S) as client:
        await client.set("k", "old")
        await client.execute_command("BLPOP", "list", 0.01)
        own_server.signal(signal.SIGSTOP)
        address.target = other_server.plan.socket
        # The connections that are open lead to the server that was stopped.
        with pytest.raises(StoreUnavailable, match="was silent, and answers a new connection or was replaced"):
            await client.execute_command(*command)
        assert await client.set("k", "new")
    with redis_py.Redis.from_url(other_server.url) as other:
        assert other.get("k") == b"new"


async def test_a_busy_server_is_waited_for(own_server, monkeypatch):
    monkeypatch.setattr(node_module, "_SILENT_S", 0.05)
    tried: list[bool] = []
    answers = node_module.Node._answers

    async def try_it(node: node_module.Node) -> bool:
        tried.append(await answers(node))
        return tried[-1]

    async def is_tried() -> bool:
        return len(tried) > 3

    monkeypatch.setattr(node_module.Node, "_answers", try_it)
    async with TrioRedis.from_url(own_server.url, timeout_s=PATIENCE_S) as client, trio.open_nursery() as nursery:
        await client.config_set("busy-reply-threshold", 1)

        async def run() -> None:
            with pytest.raises(StoreRefused, match="killed"):
                await client.execute_command("EVAL", "while true do end", 0)

        nursery.start_soon(run)
        # Several new connections are told that the server is busy.
        await wait_until_so(is_tried)
        assert not any(tried)
        with redis_py.Redis.from_url(own_server.url) as other:
            other.script_kill()


async def test_a_refusal_within_a_script_or_a_pipeline_counts_as_well(own_server, other_server, address):
    async with TrioRedis.from_url(address.url) as client:
        for send in (
            lambda: client.execute_command("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, "k"),
            lambda: client.pipe([("GET", "k"), ("SET", "k", "x")]),
        ):
            address.target = own_server.plan.socket
            client.drop_connections()
            await client.ping()
            fail_over(address, own_server, other_server)
            try:
                (*_, refused) = await send()
            except StoreUnavailable as error:
                refused = error
            assert refused.code == "READONLY"
            await client.set("k", "new")
            with redis_py.Redis.from_url(own_server.url) as old:
                old.execute_command("REPLICAOF", "NO", "ONE")


async def test_who_only_reads_notices_that_the_role_changed(own_server, other_server, address, monkeypatch):
    monkeypatch.setattr(connection_module, "_FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(connection_module, "_LOOK_EVERY_S", 0.0)
    with redis_py.Redis.from_url(other_server.url) as other:
        other.set("k", "new")
    async with TrioRedis.from_url(address.url) as client:
        assert await client.get("k") is None
        assert await client.get("k") is None
        assert address.opened == 1
        fail_over(address, own_server, other_server)
        # This answer is still the old server's, the last one.
        assert await client.get("k") is None
        assert await client.get("k") == b"new"


async def test_a_server_that_tells_no_role_is_not_asked_for_it_again(own_server, monkeypatch):
    monkeypatch.setattr(connection_module, "_FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(connection_module, "_LOOK_EVERY_S", 0.0)
    async with TrioRedis.from_url(own_server.url) as client:
        await client.execute_command("ACL", "SETUSER", "plain", "on", ">pw", "~*", "+@all", "-info")
    async with TrioRedis.from_url(own_server.url.replace("unix://", "unix://plain:pw@")) as client:
        for _ in range(3):
            assert await client.ping()
    with redis_py.Redis.from_url(own_server.url) as other:
        assert other.info("commandstats")["cmdstat_info"]["rejected_calls"] == 1


@pytest.mark.slow
def test_an_engine_works_on_within_ten_seconds_of_a_failover(start_engine, own_server, other_server, address):
    engine, _ = start_engine(RECONCILER_REDIS_URL=address.url)
    ready_worker(engine)
    engine.wait_event("pass done")
    with redis_py.Redis.from_url(other_server.url) as new:
        fail_over(address, own_server, other_server)

        def is_at_work() -> bool:
            """The supervisor writes its status there, and a worker reads its tasks."""
            streams = new.scan_iter("*:tasks:*")
            read = [group["consumers"] for key in streams for group in new.xinfo_groups(key)]
            return bool(list(new.scan_iter("*:status:*"))) and len(read) == len(Lane) and all(read)

        wait_until(is_at_work)
    assert engine.stop() == 0
