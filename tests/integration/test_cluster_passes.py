"""Passes over a cluster whose slots move and whose nodes die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import trio
from redis.crc import key_slot
from tests.chaos.waiting import wait_until_so
from tests.cluster_servers import ClusterNode, RealCluster, end_migration, migrating
from tests.integration.house import M1, M5, House, check_whole, key, open_house

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.client import away as away_module
from reconciler_engine.store.client.trio_redis import TrioRedis

SLOTS = 60


@pytest.fixture
def cluster(redis_cluster: RealCluster) -> Iterator[RealCluster]:
    """The session's cluster, empty; a test may take its nodes away, and it is whole again after that."""
    redis_cluster.clear()
    yield redis_cluster
    redis_cluster.mend()


async def has_sent_away(node: ClusterNode) -> bool:
    """Whether a node has sent somebody to where a slot goes, or away to come again."""
    return bool({"errorstat_ASK", "errorstat_TRYAGAIN"} & node.ask("INFO", "errorstats").keys())


async def serves(client: TrioRedis, key: str) -> bool:
    """Whether a key can be read."""
    return not isinstance((await client.pipe([("EXISTS", key)]))[0], StoreError)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.soak)])
async def test_slots_that_move_under_passes_lose_nothing(cluster, tell_figure, rounds):
    async with open_house(cluster.url) as house:
        await house.start_worker()
        for number in range(1, rounds + 1):
            slots, moving = number * SLOTS, (M1, M5)[number % 2]

            async def run(slots: int = slots) -> None:
                result = await house.run_pass(slots, (M1, M5))
                assert (result.unresolved, result.errors) == (0, ())

            with migrating(cluster, key(moving)) as (source, target):
                slot = key_slot(key(moving).encode())
                source.ask("CONFIG RESETSTAT")
                # The candles go first: the keys beside them are half here and half there while the pass merges.
                source.ask("MIGRATE", "127.0.0.1", target.port, key(moving), 0, 5_000)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run)
                    await wait_until_so(partial(has_sent_away, source))
                    end_migration(cluster, source, target, slot)
            await check_whole(house, slots * 5)
            await check_whole(house, slots, M5)
    tell_figure(f"{rounds} slots moved under passes over up to {rounds * SLOTS * 5:,} slots of a series: none lost")


async def test_series_of_living_nodes_go_on_beside_a_dead_one(cluster, monkeypatch):
    monkeypatch.setattr(away_module, "FAILOVER_S", 0.0)
    async with open_house(cluster.url) as house:
        await house.start_worker()
        lost, living, dead = lost_and_living(cluster, house)
        dead.kill()
        result = await house.run_pass(1, (*lost, *living))
        for one in living:
            await check_whole(house, slots_of_pass(one, lost + living), one)
        assert len(result.errors) == len(lost)
        assert all("away for" in str(error) for error in result.errors)
        # Unknown is never complete.
        assert {row.expected == 0 for row in result.series if Series(row.symbol, Timeframe(row.timeframe)) in lost} == {
            True
        }
        dead.start()
        await wait_until_so(partial(serves, house.parts.client, key(lost[0])))
        again = await house.run_pass(1, (*lost, *living))
        assert (again.unresolved, again.errors) == (0, ())
        for one in lost:
            await check_whole(house, slots_of_pass(one, lost + living), one)


def kill(node: ClusterNode) -> Callable[[], None]:
    """Kill a node; return what brings it back."""
    node.kill()
    return node.start


def silence(node: ClusterNode) -> Callable[[], None]:
    """Stop a node, whose connections stay open; return what brings it back."""
    os.kill(node.pid, signal.SIGSTOP)
    return partial(os.kill, node.pid, signal.SIGCONT)


@pytest.mark.parametrize("take_away", [kill, pytest.param(silence, marks=pytest.mark.cluster)])
async def test_series_of_living_nodes_do_not_wait_for_a_node_that_may_be_back(cluster, take_away):
    async with open_house(cluster.url) as house:
        await house.start_worker()
        lost, living, dead = lost_and_living(cluster, house)
        bring_back = take_away(dead)
        results = []

        async def run() -> None:
            results.append(await house.run_pass(1, (*lost, *living)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for one in living:
                slots = slots_of_pass(one, lost + living)
                await wait_until_so(partial(has_members, house, one, slots))
                await check_whole(house, slots, one)
            assert not results
            bring_back()
        (result,) = results
        assert (result.unresolved, result.errors, result.degraded) == (0, (), None)
        assert len(result.series) == len(lost + living)
        assert all(row.expected for row in result.series)
        for one in lost:
            await check_whole(house, slots_of_pass(one, lost + living), one)


async def has_members(house: House, one: Series, count: int) -> bool:
    return len(await house.members(one)) == count


def lost_and_living(cluster: RealCluster, house: House) -> tuple[list[Series], list[Series], ClusterNode]:
    """Two series of a node without which all else goes on, two of other nodes, and that node."""
    scope = house.parts.scope
    # Tasks, leases and the budget: without them nothing goes on.
    needed = {cluster.owner(scope.key("x")), cluster.owner(scope.shared_key("x"))}
    dead = next(node for node in cluster.primaries if node not in needed)
    series = [Series(symbol, frame) for symbol in ("BTC-USD", "ETH-USD") for frame in Timeframe]
    lost = [one for one in series if cluster.owner(key(one)) is dead][:2]
    return lost, [one for one in series if cluster.owner(key(one)) is not dead][:2], dead


def slots_of_pass(one: Series, series: Sequence[Series]) -> int:
    """The slots of a series in a pass over one bar of the longest of some."""
    return max(each.timeframe.step_ms for each in series) // one.timeframe.step_ms
