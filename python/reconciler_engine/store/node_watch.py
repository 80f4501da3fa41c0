"""Detection of cluster nodes that are away, and of the number of series that cannot be examined therefore."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.status import EngineStatus, NodeStatus, SeriesCoverage
from reconciler_engine.store.client.cluster import Cluster
from reconciler_engine.store.client.cluster_address import Place
from reconciler_engine.store.client.slots import slot_of
from reconciler_engine.store.client.trio_redis import TrioRedis, each_apart
from reconciler_engine.store.coverage import unknown_at
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import scope_of

_PATIENCE_S: Final = 1.0
_CAUSE: Final = 300


class _Held(NamedTuple):
    """The series' candle keys in one hash slot: one of the keys, and their number."""

    key: str
    series: int


class NodeWatch:
    """Checks each node that holds keys of a scope by a request for one of those keys."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope
        self._series: Sequence[Series] = ()
        self._held: Mapping[int, _Held] = {}
        self._since: dict[Place | None, float] = {}

    async def look(self, series: Sequence[Series]) -> tuple[NodeStatus, ...]:
        """Return the nodes that are away among those that hold keys of these series or the engine's own keys.

        Raises:
            StoreError: No node returned the map of the cluster.
        """
        cluster = self._client.servers
        if not isinstance(cluster, Cluster):
            return ()
        await self._client.split([])
        own = [self._scope.key("x"), self._scope.shared_key("x")]
        if series is not self._series or not self._held:
            self._series, self._held = series, _held(self._scope, series)
        parts = defaultdict[Place | None, list[_Held]](list)
        for slot, held in self._held.items():
            parts[cluster.owner_of(slot)].append(held)
        for key in own:
            parts[cluster.owner_of(slot_of(key))].insert(0, _Held(key, 0))
        commands = [("EXISTS", part[0].key) for part in parts.values()]
        replies = await each_apart(self._client.pipe(commands, timeout_s=_PATIENCE_S), len(commands))
        errors = {place: one for place, one in zip(parts, replies, strict=True) if isinstance(one, StoreError)}
        now = trio.current_time()
        self._since = {place: self._since.get(place, now) for place in errors}
        return tuple(
            NodeStatus(
                address="" if place is None else f"{place[0]}:{place[1]}",
                slots=tuple(cluster.slots_of(place)),
                series=sum(held.series for held in parts[place]),
                has_own_keys=parts[place][0].key in own,
                away_ms=round((now - self._since[place]) * 1_000),
                error=str(error.__cause__ or error)[:_CAUSE],
            )
            for place, error in errors.items()
        )


def _held(scope: Scope, series: Sequence[Series]) -> Mapping[int, _Held]:
    found: dict[int, _Held] = {}
    for one in series:
        key = scope.candle_key(one)
        slot = slot_of(key)
        found[slot] = _Held(key, found[slot].series + 1 if slot in found else 1)
    return found


def hide_unreachable(series: Mapping[str, SeriesCoverage], engine: EngineStatus) -> Mapping[str, SeriesCoverage]:
    """Return the coverage by `symbol:timeframe`, with the series on nodes that the engine reports away as unknown."""
    away = [slots for node in engine.nodes_away for slots in node.slots]
    if not away:
        return series
    start = scope_of(engine).candles
    told = {}
    for name, one in series.items():
        slot = slot_of(f"{start}:{name}")
        is_away = any(first <= slot <= last for first, last in away)
        told[name] = unknown_at(one.checked_at) if is_away else one
    return told
