"""Client of a Redis Cluster: each command goes to the node of its slot, and a failed node fails only its own slots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Final

import trio

from reconciler_engine.errors import NodeAway, StoreError, StoreUnavailable
from reconciler_engine.steps import Command
from reconciler_engine.store.client.away import Away
from reconciler_engine.store.client.cluster_address import ClusterAddress, Place
from reconciler_engine.store.client.connection import Connection, ReplyReader
from reconciler_engine.store.client.first_answer import first_answer
from reconciler_engine.store.client.node import FixedDoor, Node
from reconciler_engine.store.client.redis_py import REDIS_CLUSTER_HASH_SLOTS
from reconciler_engine.store.client.slots import (
    SlotRange,
    Unit,
    read_slot_ranges,
    redirection,
    slot_of,
    units_of,
)

REFRESH_EVERY_S: Final = 1.0
"""Shortest interval between two requests for a slot map that may be outdated (s). MOVED corrects its slot at once."""

_MAP_TIMEOUT_S: Final = 2.0
_MOST_REDIRECTIONS: Final = 5
TRY_AGAIN_S: Final = 0.05
"""Pause before commands for a slot under migration are sent again (s)."""


@dataclass
class _Batch:
    """Commands under way and their replies."""

    commands: Sequence[Command]
    deadline: float
    blocks_s: float | None
    replies: list[Any]
    failures: dict[int, StoreError] = field(default_factory=dict)
    again: list[Unit] = field(default_factory=list)
    redirections: int = 0
    pauses: bool = False

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline - trio.current_time())


class Cluster:
    """The nodes of a cluster, each with its own connections, and the slot map."""

    def __init__(self, address: ClusterAddress, max_connections: int, max_blocking: int) -> None:
        """Make a cluster; the slot map is requested on first use. Raises: ValueError if certificates cannot be used."""
        self._address = address
        self._limits = (max_connections, max_blocking)
        self._nodes: dict[Place, Node] = {}
        self._owners: list[Place | None] = []
        self._away = Away()
        self._refreshing = trio.Lock()
        self._is_stale = False
        self._refresh_at = 0.0
        self._closed = False
        self.ranges: Sequence[SlotRange] = ()
        for seed in address.seeds:
            self._node(seed)

    def close(self) -> None:
        """Close every connection. Exchanges under way and later ones raise StoreUnavailable."""
        self._closed = True
        for node in self._nodes.values():
            node.close()

    def renew(self) -> None:
        """Stop reusing the connections that are open now, and mark the slot map as outdated."""
        self._is_stale = True
        for node in self._nodes.values():
            node.renew()

    async def split(self, keys: Sequence[str | bytes]) -> list[list[int]]:
        """Return the indexes of keys, grouped by node."""
        await self._keep_map(trio.current_time() + _MAP_TIMEOUT_S)
        parts = defaultdict[Place | None, list[int]](list)
        for index, key in enumerate(keys):
            parts[self._owners[slot_of(key)]].append(index)
        return [*parts.values()]

    async def open(self, bound_s: float) -> Connection:
        """Open a connection to any node; the caller closes it. Raises: as `Node.open`."""
        await self._keep_map(trio.current_time() + bound_s)
        place, began = self._place_of(None), trio.current_time()
        try:
            return await self._node(place).open(bound_s)
        except StoreError as error:
            raise self._failure(place, error, began, bound_s) from error

    def owner_of(self, slot: int) -> Place | None:
        """Return the node of a slot by the slot map, which must be known; None if no node has it."""
        return self._owners[slot]

    def slots_of(self, place: Place | None) -> list[tuple[int, int]]:
        """Return the slot ranges of a node as (first, last), both included; for None, the ranges without a node."""
        ranges = (
            [*slots] for owner, slots in groupby(range(len(self._owners)), self._owners.__getitem__) if owner == place
        )
        return [(slots[0], slots[-1]) for slots in ranges]

    async def exchange(
        self, commands: Sequence[Command], bound_s: float, keys: Sequence[str] = (), *, blocks_s: float | None = None
    ) -> list[Any]:
        """Send commands to the nodes of their keys at the same time, and return their replies in order.

        A StoreError stands in place of a reply if the command or its node failed. MOVED and ASK redirects are followed;
        after TRYAGAIN, a command is sent again. A command without a key is sent to another node if its node fails. All
        of it takes at most `bound_s` seconds.

        Raises:
            StoreError: No command was answered, and not all of them failed by a `NodeAway`.
        """
        batch = _Batch(commands, trio.current_time() + bound_s, blocks_s, [None] * len(commands))
        await self._keep_map(batch.deadline)
        units = [*units_of(commands, keys)]
        while units and batch.left_s:
            await self._send_all(batch, units)
            units, batch.again = batch.again, []
            batch.redirections += 1
        failures = [error for error in batch.failures.values() if not isinstance(error, NodeAway)]
        if failures and len(batch.failures) == len(commands):
            raise failures[0]
        return batch.replies

    async def converse(
        self, batches: Iterable[tuple[bytes, int]], reader: ReplyReader, bound_s: float, key: str = ""
    ) -> None:
        """Send batches to the node of `key`, which must have all their keys; `reader` gets the redirects as replies.

        Raises:
            StoreUnavailable: Not all replies came.
            StoreError: The replies do not have the shape that `reader` expects.
        """
        await self._keep_map(trio.current_time() + bound_s)
        place, began = self._place_of(slot_of(key)), trio.current_time()
        try:
            await self._node(place).converse(batches, reader, bound_s)
        except StoreError as error:
            raise self._failure(place, error, began, bound_s) from error
        self._away.served(place)

    async def _send_all(self, batch: _Batch, units: Sequence[Unit]) -> None:
        parts = defaultdict[Place, list[Unit]](list)
        for unit in units:
            try:
                parts[unit.asked or self._place_of(unit.slot)].append(unit)
            except StoreError as error:
                self._fail(batch, unit, error)
        if len(parts) == 1:
            # The most frequent case needs no nursery.
            for place, part in parts.items():
                await self._send(batch, place, part)
        elif parts:
            async with trio.open_nursery() as nursery:
                for place, part in parts.items():
                    nursery.start_soon(self._send, batch, place, part)
        if batch.pauses:
            batch.pauses, batch.redirections = False, 0
            await trio.sleep(TRY_AGAIN_S)

    async def _send(self, batch: _Batch, place: Place, units: Sequence[Unit]) -> None:
        """Send a node its units, and record their replies, their failures and the units to send again."""
        commands: list[Command] = []
        for unit in units:
            commands += [("ASKING",)] if unit.asked else []
            commands += batch.commands[unit.start : unit.stop]
        began, left_s = trio.current_time(), batch.left_s
        try:
            answers = iter(await self._node(place).exchange(commands, left_s, blocks_s=batch.blocks_s))
        except StoreError as error:
            failure = self._failure(place, error, began, left_s)
            for unit in units:
                if unit.slot is None and not error.code and batch.redirections < _MOST_REDIRECTIONS and batch.left_s:
                    # A command without a key may go to any other node.
                    batch.again.append(unit)
                self._fail(batch, unit, failure)
            return
        served = False
        for unit in units:
            if unit.asked:
                next(answers)
            replies = [next(answers) for _ in range(unit.start, unit.stop)]
            batch.replies[unit.start : unit.stop] = replies
            for index in range(unit.start, unit.stop):
                batch.failures.pop(index, None)
            served |= self._sort(batch, place, unit, replies)
        if served:
            self._away.served(place)

    def _sort(self, batch: _Batch, place: Place, unit: Unit, replies: Sequence[Any]) -> bool:
        """Return whether a node carried out a unit.

        If not, follow its redirect, or record that the node or the slot does not serve.
        """
        refusal = next((reply for reply in replies if _is_turned_away(reply)), None)
        if refusal is None:
            if self._away and unit.slot is not None:
                self._away.served(unit.slot)
            return True
        self._is_stale = True
        error: StoreError = StoreUnavailable(str(refusal), code=refusal.code)
        told = redirection(refusal, place)
        unit.asked = None
        if told is not None and batch.redirections < _MOST_REDIRECTIONS:
            if told.is_for_good:
                self._owners[told.slot] = told.place
            else:
                unit.asked = told.place
            batch.again.append(unit)
        else:
            # The slot is being migrated, or the node does not serve. A unit that was not carried out may be sent again.
            is_on_its_way = unit.slot is not None and refusal.code in {"ASK", "MOVED", "TRYAGAIN"}
            where = unit.slot if is_on_its_way else None
            error = self._away.note(place if where is None else where, error)
            if is_on_its_way and batch.left_s > TRY_AGAIN_S:
                batch.again.append(unit)
                batch.pauses = True
        batch.replies[unit.start : unit.stop] = [error] * (unit.stop - unit.start)
        return False

    def _fail(self, batch: _Batch, unit: Unit, error: StoreError) -> None:
        for index in range(unit.start, unit.stop):
            batch.replies[index] = batch.failures[index] = error

    def _failure(self, place: Place, error: StoreError, began: float, bound_s: float) -> StoreError:
        """Record why a node, asked at `began` for at most `bound_s` seconds, did not answer; return the error."""
        self._is_stale = True
        waited_s = trio.current_time() - began
        return self._away.note(place, error, in_vain_s=waited_s if waited_s >= bound_s else 0.0)

    def _place_of(self, slot: int | None) -> Place:
        """Return the node of a slot; for None, any node, if possible one that serves.

        Raises:
            StoreUnavailable: No node has the slot, or its node must not be tried now (see `Away.refusal`).
        """
        if slot is None:
            places = dict.fromkeys(one.nodes[0] for one in self.ranges)
            return next((place for place in places if place not in self._away), next(iter(places)))
        place = self._owners[slot]
        if place is None:
            self._is_stale = True
            raise self._away.note(slot, StoreUnavailable(f"no node of {self._address} has hash slot {slot}"))
        refusal = self._away.refusal(place)
        if refusal is not None:
            self._is_stale = True
            raise refusal
        return place

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            address = self._address.reached(place)
            node = self._nodes[place] = Node(
                FixedDoor(address), str(address), *self._limits, partial(self._is_replaced, place)
            )
            if self._closed:
                node.close()
        return node

    async def _is_replaced(self, place: Place) -> bool:
        """Refresh the slot map; return whether a silent node has no slots in it any more."""
        self._is_stale = True
        await self._keep_map(trio.current_time() + _MAP_TIMEOUT_S)
        return all(one.nodes[0] != place for one in self.ranges)

    async def _keep_map(self, deadline: float) -> None:
        """Request the slot map if there is none, or if it may be outdated.

        Raises:
            StoreError: There is no slot map, and no node sent one.
        """
        if self._owners and (not self._is_stale or self._refreshing.locked() or trio.current_time() < self._refresh_at):
            return
        with trio.move_on_at(deadline):
            async with self._refreshing:
                if not self._owners or self._is_stale:
                    await self._refresh()
        if not self._owners:
            raise StoreUnavailable(f"{self._address} did not send its slot map in time")

    async def _refresh(self) -> None:
        self._refresh_at = trio.current_time() + REFRESH_EVERY_S
        primaries = [one.nodes[0] for one in self.ranges]
        announced = (place for one in self.ranges for place in one.nodes)
        known = dict.fromkeys([*primaries, *announced, *self._address.seeds])
        places = sorted(known, key=self._away.__contains__)
        try:
            ranges = await first_answer(places, self._ask_map)
        except StoreError:
            if not self._owners:
                raise
            return
        owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for one in ranges:
            owners[one.first : one.last + 1] = [one.nodes[0]] * (one.last + 1 - one.first)
        self.ranges, self._owners, self._is_stale = ranges, owners, False
        stay = {place for one in ranges for place in one.nodes} | {*self._address.seeds}
        self._away.keep(stay)
        for place in self._nodes.keys() - stay:
            # Its connections in use are closed when they come back.
            self._nodes.pop(place).renew()

    async def _ask_map(self, place: Place) -> list[SlotRange]:
        try:
            (reply,) = await self._node(place).exchange([("CLUSTER", "SLOTS")], _MAP_TIMEOUT_S)
        except StoreError as error:
            raise self._away.note(place, error) from error
        if isinstance(reply, StoreError):
            raise reply
        ranges = read_slot_ranges(reply, place)
        if not any(one.nodes for one in ranges):
            raise StoreUnavailable(f"{self._address.reached(place)} sent an empty slot map")
        return ranges


def _is_turned_away(reply: object) -> bool:
    return isinstance(reply, StoreError) and (isinstance(reply, StoreUnavailable) or reply.code in {"ASK", "MOVED"})
