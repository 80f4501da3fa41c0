"""The servers behind an address, each with its own description, and the number of slots without a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.store.client.cluster import Cluster
from reconciler_engine.store.client.cluster_address import ClusterAddress, Place
from reconciler_engine.store.client.redis_py import REDIS_CLUSTER_HASH_SLOTS
from reconciler_engine.store.client.reply_shapes import MOST_MS, text, understanding, whole
from reconciler_engine.store.client.server_check import ServerInfo, info_fields, server_info
from reconciler_engine.store.client.slots import SlotRange
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served

# Asks for INFO as the engine's scripts do.
_HISTORY: Final = ("EVAL", "return redis.call('INFO', 'replication')", 0)


@dataclass(frozen=True, slots=True)
class NodeState:
    """State of one server.

    Attributes:
        client: Client of this server alone; it lives as long as the topology is open.
        name: Host and port as the cluster announces them; of one server its address.
        slots: Slots that it has as a primary.
        primary: Host and port of the primary that it follows; empty for a primary.
        error: Error in place of its description; None without one.
        server: Product, version, mode and eviction policy; None with an error.
        offset: Replication offset, the bytes of the write stream that it has made or received.
        lag: Bytes by which it is behind its primary; None for a primary, or if not known.
        min_replicas: Fewest replicas with which it takes writes (min-replicas-to-write); None if not told.
        needs_all_slots: Whether it stops serving while a slot has no node (cluster-require-full-coverage); None if not
            told.
        followers: Number of connected replicas.
        tells_history: Whether a script may run INFO, and so identify the server's history of writes.
    """

    client: TrioRedis
    name: str
    slots: int = 0
    primary: str = ""
    error: StoreError | None = None
    server: ServerInfo | None = None
    offset: int = 0
    lag: int | None = None
    min_replicas: int | None = None
    needs_all_slots: bool | None = None
    followers: int = 0
    tells_history: bool = True


@dataclass(frozen=True, slots=True)
class Topology:
    """The servers behind an address.

    Attributes:
        nodes: Servers, primaries first; outside a cluster only one.
        uncovered: Number of slots without a node; 0 outside a cluster.
    """

    nodes: Sequence[NodeState]
    uncovered: int = 0

    @property
    def primaries(self) -> list[NodeState]:
        """The nodes that take writes."""
        return [node for node in self.nodes if not node.primary]

    @property
    def replicas(self) -> list[NodeState]:
        """The nodes that follow others."""
        return [node for node in self.nodes if node.primary]


@asynccontextmanager
async def open_topology(client: TrioRedis, timeout_s: float) -> AsyncIterator[Topology]:
    """Ask all servers behind a client for their states at the same time; clients opened for that are closed at the end.

    Raises:
        StoreError: No node of the cluster sent the slot map.
    """
    async with AsyncExitStack() as stack:
        if isinstance(client.servers, Cluster) and isinstance(client.address, ClusterAddress):
            await client.split([])
            found = []
            for state in _announced(client.servers.ranges, client.address, timeout_s):
                await stack.enter_async_context(state.client)
                found.append(state)
        else:
            found = [NodeState(client, str(client.address))]
        answers: dict[str, NodeState] = {}

        async def ask(state: NodeState) -> None:
            answers[state.name] = await _asked(state)

        async with trio.open_nursery() as nursery:
            for state in found:
                nursery.start_soon(ask, state)
        nodes = [_with_lag(answers[state.name], answers) for state in found]
        covered = sum(state.slots for state in nodes)
        uncovered = REDIS_CLUSTER_HASH_SLOTS - covered if isinstance(client.servers, Cluster) else 0
        yield Topology(nodes, uncovered)


def _announced(ranges: Sequence[SlotRange], address: ClusterAddress, timeout_s: float) -> list[NodeState]:
    """Return the nodes in a slot map, primaries first."""
    slots: dict[Place, int] = {}
    followed: dict[Place, Place] = {}
    for one in ranges:
        primary, *replicas = one.nodes
        slots[primary] = slots.get(primary, 0) + one.last + 1 - one.first
        followed |= dict.fromkeys(replicas, primary)
    names = {place: f"{place[0]}:{place[1]}" for place in (*slots, *followed)}
    return [
        NodeState(
            TrioRedis(address.reached(place), timeout_s=timeout_s),
            name,
            slots.get(place, 0),
            names[followed[place]] if place in followed else "",
        )
        for place, name in names.items()
    ]


async def _asked(state: NodeState) -> NodeState:
    """Ask a node for its state, and return it; an error takes the place of the description."""
    sections = [("INFO", section) for section in ("server", "memory", "replication")]
    options = [("CONFIG", "GET", name) for name in ("min-replicas-to-write", "cluster-require-full-coverage")]
    try:
        *infos, least, whole_only, history = await state.client.pipe([*sections, *options, _HISTORY])
        server, memory, replication = map(info_fields, all_served(infos))
    except StoreError as error:
        return replace(state, error=error)
    offset = replication.get("slave_repl_offset") or replication.get("master_repl_offset") or 0
    with understanding("the state of a server"):
        return replace(
            state,
            primary=state.primary or _followed(replication),
            server=server_info(server, memory),
            offset=whole(offset, -1, MOST_MS),
            min_replicas=None if (value := _option(least)) is None else whole(value),
            needs_all_slots=None if (value := _option(whole_only)) is None else value == "yes",
            followers=whole(replication.get("connected_slaves", 0)),
            tells_history=not isinstance(history, StoreError),
        )


def _followed(replication: Mapping[str, str]) -> str:
    """Return the primary that a server says it follows, as host and port; empty for a primary."""
    is_replica = replication.get("role") == "slave"
    return f"{replication.get('master_host', '')}:{replication.get('master_port', '')}" if is_replica else ""


def _option(reply: Any) -> str | None:
    """Return the value in a reply to CONFIG GET; None if it was refused, or the server has no such option."""
    return text(reply[1]) if isinstance(reply, list) and len(reply) > 1 else None


def _with_lag(state: NodeState, others: dict[str, NodeState]) -> NodeState:
    primary = others.get(state.primary)
    if primary is None or primary.error is not None or state.error is not None:
        return state
    # They answered at different instants: a replica may have reported more than its primary.
    return replace(state, lag=max(0, primary.offset - state.offset))
