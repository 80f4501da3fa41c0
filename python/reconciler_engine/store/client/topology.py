"""The servers behind an address, each with its description of itself, and the slots that none of them has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
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

# As scripts ask it.
_HISTORY: Final = ("EVAL", "return redis.call('INFO', 'replication')", 0)


@dataclass(frozen=True, slots=True)
class NodeState:
    """One server and its standing.

    Attributes:
        client: Client of this server alone; it lives as long as the topology is open.
        name: Host and port as the cluster announces them; of one server its address.
        slots: Slots that it has as a primary.
        primary: Name of the primary that it follows; empty for a primary.
        error: Why it says nothing of itself; None where it does.
        server: Its version and the like; None with an error.
        offset: Bytes of the stream of writes that it has made or taken.
        lag: Bytes by which it is behind its primary; None for a primary, and where that is not known.
        min_replicas: Replicas without which it takes no writes; None where it does not tell.
        needs_all_slots: Whether it serves nothing while a slot has no node; None where it does not tell.
        followers: Number of replicas that follow it.
        tells_history: Whether a script may ask which history of writes it goes on with.
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
        nodes: Primaries first; one for a server of its own.
        uncovered: Number of slots that no node has; 0 for a server of its own.
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
    """Ask every server behind a client for its description, side by side; their own clients are closed at the end.

    Raises:
        StoreError: No node of a cluster says which others there are.
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
    """Return the nodes of a map, primaries first."""
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
    """Return a node with its description of itself."""
    sections = [("INFO", section) for section in ("server", "memory", "replication")]
    options = [("CONFIG", "GET", name) for name in ("min-replicas-to-write", "cluster-require-full-coverage")]
    try:
        *infos, least, whole_only, history = await state.client.pipe([*sections, *options, _HISTORY])
        server, memory, replication = map(info_fields, all_served(infos))
    except StoreError as error:
        return replace(state, error=error)
    offset = replication.get("slave_repl_offset") or replication.get("master_repl_offset") or 0
    with understanding("what a server is"):
        return replace(
            state,
            server=server_info(server, memory),
            offset=whole(offset, -1, MOST_MS),
            min_replicas=None if (value := _option(least)) is None else whole(value),
            needs_all_slots=None if (value := _option(whole_only)) is None else value == "yes",
            followers=whole(replication.get("connected_slaves", 0)),
            tells_history=not isinstance(history, StoreError),
        )


def _option(reply: Any) -> str | None:
    """Return the value of an option; None where the server does not tell, or has no such option."""
    return text(reply[1]) if isinstance(reply, list) and len(reply) > 1 else None


def _with_lag(state: NodeState, others: dict[str, NodeState]) -> NodeState:
    primary = others.get(state.primary)
    if primary is None or primary.error is not None or state.error is not None:
        return state
    # They were asked one after the other: a replica may have more by now.
    return replace(state, lag=max(0, primary.offset - state.offset))
