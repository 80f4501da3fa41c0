"""Servers whose primary is lost, killed or cut off from everybody, and a replica that lags takes its place.

Each stands behind doors, proxies by which clients and other servers reach it. It connects from a host of its own, so
that a door can tell the replica from clients. That takes servers of 7.0 and newer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import trio
from redis.crc import key_slot
from tests.chaos.proxy import Kind, Proxy, Toxic, Way, open_proxy
from tests.chaos.waiting import wait_until_so
from tests.cluster_servers import (
    ClusterNode,
    Front,
    RealCluster,
    end_migration,
    free_port,
    new_cluster,
    says,
    start_migration,
    wait_for,
)
from tests.sentinel_servers import REPLICATED, SERVICE, PortServer, sentinel_url, start_sentinel, wait_switched

LAG_S = 0.5
NODE_TIMEOUT_MS = DOWN_AFTER_MS = 60_000
"""Servers fail over when they are told to; a machine that is busy loses none by that alone."""
HOST = "127.0.0.1"


class Loss(StrEnum):
    """How a primary is lost."""

    KILLED = "killed"
    CUT_OFF = "cut off"
    """It lives on, and nothing reaches it or comes from it until it is back."""


@dataclass
class Door:
    """A proxy before a server's port."""

    proxy: Proxy
    port: int

    def lead_to(self, port: int) -> None:
        """Lead to a port from now on."""
        self.proxy.lead_to((HOST, port))

    def close(self, source: str = "") -> None:
        """Let nothing through, of all or of those that come from a host."""
        for way in Way:
            self.proxy.set(Toxic(Kind.STALL, way), source)

    def lag(self, source: str) -> None:
        """Let what goes to a replica be late."""
        self.proxy.set(Toxic(Kind.LATENCY, Way.DOWN, delay_s=LAG_S), source)


async def open_door(nursery: trio.Nursery) -> Door:
    """Open a door that is still to lead somewhere."""
    proxy, where = await nursery.start(_keep_open)
    return Door(proxy, int(where.rpartition(":")[2]))


async def _keep_open(*, task_status: Any) -> None:
    async with open_proxy((HOST, 1)) as found:
        task_status.started(found)
        await trio.sleep_forever()


class Servers(ABC):
    """Some servers behind a URL."""

    url: str

    @abstractmethod
    async def ask(self, key: str, *command: object) -> Any:
        """Ask the primary of a key, by no door."""

    @abstractmethod
    async def fail_over(self, key: str, loss: Loss) -> None:
        """Lose the primary of a key; return as soon as its successor serves."""

    async def are_together(self, key: str, other: str) -> bool:
        """Whether two keys are lost together."""
        await trio.lowlevel.checkpoint()
        return bool(key and other)

    @abstractmethod
    async def heal(self) -> None:
        """Have the one that was lost follow its successor, late."""


@dataclass
class Member:
    """One of two servers, and how it is reached."""

    folder: Path
    port: int
    door: Door
    source: str
    _server: PortServer | None = None

    def start(self) -> None:
        """Start it, for itself; it tells others that it is at its door."""
        announced = ("--replica-announce-ip", HOST, "--replica-announce-port", str(self.door.port))
        options = (*REPLICATED, "--bind-source-addr", self.source, *announced)
        self._server = PortServer(self.folder, *options, port=self.port)

    def ask(self, *command: object) -> Any:
        """Send it one command."""
        assert self._server is not None
        return self._server.ask(*command)

    def end(self) -> None:
        """Kill it, where it lives."""
        if self._server is not None:
            self._server.end()
            self._server = None


@dataclass
class Pair(Servers):
    """A primary and its replica."""

    primary: Member
    replica: Member
    loss: Loss = Loss.KILLED

    async def ask(self, key: str, *command: object) -> Any:
        del key
        return await trio.to_thread.run_sync(self.primary.ask, *command)

    async def fail_over(self, key: str, loss: Loss) -> None:
        del key
        self.loss = loss
        if loss is Loss.CUT_OFF:
            self.primary.door.proxy.clear()
            self.primary.door.close()
        self.primary.door.proxy.lose(self.replica.source)
        if loss is Loss.KILLED:
            self.primary.end()
        await trio.to_thread.run_sync(self._promote)
        self.primary, self.replica = self.replica, self.primary

    @abstractmethod
    def _promote(self) -> None:
        """Have the replica be the primary for everybody."""

    async def heal(self) -> None:
        if self.loss is Loss.KILLED:
            await trio.to_thread.run_sync(self.replica.start)
        await trio.to_thread.run_sync(self.follow)
        self.replica.door.proxy.clear()
        self.primary.door.lag(self.replica.source)

    def follow(self) -> None:
        """Have the replica follow the primary; wait until it does."""
        self.replica.ask("REPLICAOF", HOST, self.primary.door.port)
        wait_for(lambda: self.replica.ask("ROLE")[3] == b"connected")


@dataclass
class ByAddress(Pair):
    """Both behind one address, which leads to the primary."""

    address: Proxy | None = None

    def _promote(self) -> None:
        assert self.address is not None
        self.replica.ask("REPLICAOF", "NO", "ONE")
        self.address.lead_to((HOST, self.replica.door.port))


@dataclass
class BySentinel(Pair):
    """Both watched by a Sentinel, which promotes the replica."""

    sentinel: PortServer | None = None

    def _promote(self) -> None:
        assert self.sentinel is not None
        wait_for(partial(self.sentinel.ask, "SENTINEL FAILOVER", SERVICE))
        wait_switched(self.sentinel, self.replica.door.port)

    async def heal(self) -> None:
        await super().heal()
        await trio.to_thread.run_sync(wait_for, self._is_usable)

    def _is_usable(self) -> bool:
        """Whether the Sentinel takes the replica for one that it may promote."""
        assert self.sentinel is not None
        (seen,) = self.sentinel.ask("SENTINEL REPLICAS", SERVICE)
        return bool(seen[b"flags"] == b"slave")


@asynccontextmanager
async def _open_pair(folder: Path) -> AsyncIterator[tuple[Member, Member]]:
    with ExitStack() as stack:
        async with trio.open_nursery() as doors:
            members = []
            for number in (11, 12):
                door, port = await open_door(doors), free_port()
                door.lead_to(port)
                member = Member(folder, port, door, f"127.0.0.{number}")
                stack.callback(member.end)
                await trio.to_thread.run_sync(member.start)
                members.append(member)
            yield members[0], members[1]
            doors.cancel_scope.cancel()


@asynccontextmanager
async def servers_by_address(folder: Path) -> AsyncIterator[Servers]:
    """Run both behind an address."""
    async with _open_pair(folder) as (primary, replica), open_proxy((HOST, primary.door.port)) as (address, where):
        pair = ByAddress(primary, replica, address=address)
        pair.url = f"redis://{where}"
        await trio.to_thread.run_sync(pair.follow)
        primary.door.lag(replica.source)
        yield pair


@asynccontextmanager
async def servers_by_sentinel(folder: Path) -> AsyncIterator[Servers]:
    """Run both and their Sentinel."""
    async with _open_pair(folder) as (primary, replica):
        pair = BySentinel(primary, replica)
        await trio.to_thread.run_sync(pair.follow)
        sentinel = await trio.to_thread.run_sync(start_sentinel, folder, primary.door.port, DOWN_AFTER_MS)
        try:
            pair.sentinel, pair.url = sentinel, sentinel_url(sentinel)
            primary.door.lag(replica.source)
            yield pair
        finally:
            sentinel.end()


@dataclass
class ByCluster(Servers):
    """A cluster whose nodes reach each other by doors, too: two a node, of which the second is for the nodes alone."""

    cluster: RealCluster
    doors: dict[int, tuple[Door, Door]]
    lost: ClusterNode | None = None
    loss: Loss = Loss.KILLED

    @property
    def _doors(self) -> list[Door]:
        return [door for doors in self.doors.values() for door in doors]

    async def ask(self, key: str, *command: object) -> Any:
        owner = await trio.to_thread.run_sync(self.cluster.owner, key)
        return await trio.to_thread.run_sync(owner.ask, *command)

    async def are_together(self, key: str, other: str) -> bool:
        owners = [await trio.to_thread.run_sync(self.cluster.owner, one) for one in (key, other)]
        return owners[0] is owners[1]

    async def arrange(self, keys: Sequence[str]) -> None:
        """Have the first key at a node of its own, and all others together."""
        alone, *others = keys
        home = await trio.to_thread.run_sync(self.cluster.owner, others[-1])
        for key in others:
            await self._move(key, home)
        await self._move(alone, next(node for node in self.cluster.primaries if node is not home))

    async def fail_over(self, key: str, loss: Loss) -> None:
        lost = await trio.to_thread.run_sync(self.cluster.owner, key)
        place = self.cluster.primaries.index(lost)
        successor = self.cluster.replicas[place]
        self.lost, self.loss = lost, loss
        if loss is Loss.CUT_OFF:
            self._cut_off(lost)
        self.doors[lost.port][0].proxy.lose(successor.front.source)
        if loss is Loss.KILLED:
            lost.kill()
        await trio.to_thread.run_sync(self._take_over, key, successor, lost)
        self.cluster.primaries[place], self.cluster.replicas[place] = successor, lost

    def _take_over(self, key: str, successor: ClusterNode, lost: ClusterNode) -> None:
        """Have a replica take over at once, as operators do; return when all nodes know."""
        tellers = [node for node in self.cluster.nodes if node is not lost]
        successor.ask("CLUSTER FAILOVER", "TAKEOVER")

        def is_known() -> bool:
            return says(successor, state="ok") and all(
                self.cluster.find_owner(key, one) is successor for one in tellers
            )

        wait_for(is_known)

    def _cut_off(self, node: ClusterNode) -> None:
        """Let nothing through to a node, nor from it to others."""
        for door in self.doors[node.port]:
            door.proxy.clear()
            door.close()
        for door in self._doors:
            door.close(node.front.source)

    async def heal(self) -> None:
        assert self.lost is not None
        # Nothing is late while it takes over what there is.
        for door in self._doors:
            door.proxy.clear()
        if self.loss is Loss.KILLED:
            await trio.to_thread.run_sync(self.lost.start)
        await trio.to_thread.run_sync(wait_for, partial(_follows, self.lost))
        self.lag()

    def lag(self) -> None:
        """Let what goes to replicas be late."""
        for primary, replica in zip(self.cluster.primaries, self.cluster.replicas, strict=True):
            self.doors[primary.port][0].lag(replica.front.source)

    async def _move(self, key: str, target: ClusterNode) -> None:
        """Move a slot to another node, with all its keys, at once."""
        source = await trio.to_thread.run_sync(self.cluster.owner, key)
        if source is not target:
            await trio.to_thread.run_sync(start_migration, source, target, key_slot(key.encode()))
            await trio.to_thread.run_sync(end_migration, self.cluster, source, target, key_slot(key.encode()))

    async def reshard(self, key: str, keys: Sequence[str], is_followed: Callable[[], Awaitable[object]]) -> None:
        """Move a key's slot to the node with the fewest of some keys; before its end wait until one is sent there."""
        slot, source = key_slot(key.encode()), await trio.to_thread.run_sync(self.cluster.owner, key)
        owners = Counter([id(await trio.to_thread.run_sync(self.cluster.owner, one)) for one in keys])
        others = (node for node in self.cluster.primaries if node is not source)
        target = min(others, key=lambda node: owners[id(node)])
        await trio.to_thread.run_sync(start_migration, source, target, slot)
        for name in await trio.to_thread.run_sync(source.ask, "CLUSTER GETKEYSINSLOT", slot, 100):
            await trio.to_thread.run_sync(source.ask, "MIGRATE", HOST, target.port, name, 0, 5_000)
        await wait_until_so(is_followed)
        await trio.to_thread.run_sync(end_migration, self.cluster, source, target, slot)


def _follows(node: ClusterNode) -> bool:
    role = node.ask("ROLE")
    return bool(role[0] == b"slave" and role[3] == b"connected")


@asynccontextmanager
async def servers_by_cluster(folder: Path) -> AsyncIterator[ByCluster]:
    """Run three primaries and their replicas."""
    with ExitStack() as nodes:
        async with trio.open_nursery() as nursery:
            free = [(await open_door(nursery), await open_door(nursery)) for _ in range(6)]
            doors: dict[int, tuple[Door, Door]] = {}

            def make_front(port: int, bus: int) -> Front:
                doors[port] = mine = free[len(doors)]
                for door, target in zip(mine, (port, bus), strict=True):
                    door.lead_to(target)
                return Front(mine[0].port, mine[1].port, f"127.0.0.{10 + len(doors)}")

            running = new_cluster(
                folder / "cluster", replicas=True, make_front=make_front, node_timeout_ms=NODE_TIMEOUT_MS
            )
            cluster = await trio.to_thread.run_sync(nodes.enter_context, running)
            servers = ByCluster(cluster, doors)
            servers.url = cluster.url
            servers.lag()
            yield servers
            nursery.cancel_scope.cancel()
