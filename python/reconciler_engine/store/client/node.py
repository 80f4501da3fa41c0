"""One server, or the one that a Sentinel names: its connections, and exchanges over them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import trio

from reconciler_engine.errors import StoreError, StoreUnavailable
from reconciler_engine.observe.metrics import REDIS_ERRORS
from reconciler_engine.steps import Command
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.connection import Connection, ReplyReader, Silence, open_connection, pack
from reconciler_engine.store.client.pool import Pool
from reconciler_engine.store.client.redis_py import has_moved

_SILENT_S: Final = 1.0
"""After so long without a byte, blocking not counted, a new connection is tried. The server behind a name or a virtual
address may be cut off, and its successor answer there."""

_PING: Final = pack(("PING",))


class Door(Protocol):
    """Opens connections to a server that has to be found first, or not."""

    async def open(self) -> Connection:
        """Connect. Raises: as `open_connection`."""

    async def has_moved(self) -> bool:
        """Whether open connections lead to a server that is not the one to talk to any more, as far as is known."""

    def close(self) -> None:
        """Close the resources that the door itself holds open."""


class FixedDoor:
    """The door of a server at an address."""

    def __init__(self, address: Address) -> None:
        """Take the address. Raises: ValueError where its certificates cannot be used."""
        self._address = address
        self._tls = None if address.tls is None else address.tls.context()

    async def open(self) -> Connection:
        """Connect to the address."""
        return await open_connection(self._address, self._tls)

    async def has_moved(self) -> bool:
        """Whether the address is known to lead elsewhere: nobody tells."""
        return False

    def close(self) -> None:
        """Nothing is held open."""


async def _never() -> bool:
    return False


class Node:
    """One server's connections: `max_connections`, and `max_blocking` more for commands that wait.

    A server that is silent is tried on a new connection. If that is answered, or `is_replaced` says that another server
    has taken its place, the exchanges that wait for it fail at once.
    """

    def __init__(
        self,
        door: Door,
        address: str,
        max_connections: int,
        max_blocking: int,
        is_replaced: Callable[[], Awaitable[bool]] = _never,
    ) -> None:
        self._door = door
        self._address = address
        self._is_replaced = is_replaced
        self._trying = trio.Lock()
        self._answered_at = -math.inf
        self._pool = Pool(door.open, max_connections, address)
        self._blocking_pool = Pool(door.open, max_blocking, address)

    def close(self) -> None:
        """Close every connection; exchanges under way raise StoreUnavailable, later ones too."""
        self._pool.close()
        self._blocking_pool.close()
        self._door.close()

    def renew(self) -> None:
        """Use no connection any more that is open now; commands under way are finished on theirs."""
        self._pool.renew()
        self._blocking_pool.renew()

    async def split(self, keys: Sequence[str | bytes]) -> list[list[int]]:
        """Return the indexes of all keys as one part: one server has them all."""
        await trio.lowlevel.checkpoint()
        return [[*range(len(keys))]]

    async def open(self, bound_s: float) -> Connection:
        """Open a connection that is the caller's, beside the others.

        Raises:
            StoreUnavailable: The server cannot be reached.
            StoreError: As `open_connection`.
        """
        with trio.move_on_after(bound_s):
            return await self._door.open()
        raise StoreUnavailable(f"{self._address} did not answer within {bound_s:g} s")

    async def exchange(
        self, commands: Sequence[Command], bound_s: float, _keys: Sequence[str] = (), *, blocks_s: float | None = None
    ) -> list[Any]:
        """Send commands in one write and return their replies, with a StoreError in place of each that failed.

        Args:
            commands: Packed and sent as they are.
            bound_s: Bound of all of it, a wait for a free connection included.
            blocks_s: How long the server is to wait at most: such commands have connections of their own.

        Raises:
            StoreUnavailable: The replies did not all come; it is unknown which commands took effect.
            TypeError: An argument is not str, int, float or bytes.
        """
        pool = self._pool if blocks_s is None else self._blocking_pool
        silence = Silence(_SILENT_S + (blocks_s or 0), self._answers_anew)
        payload = b"".join(map(pack, commands))
        try:
            with trio.move_on_after(bound_s):
                connection = await self._acquire(pool)
                try:
                    answers = await connection.exchange(payload, len(commands), silence)
                except BaseException:
                    self._drop(pool, connection)
                    raise
                self._take_back(pool, connection, answers)
                return answers
            raise self._silent(bound_s)
        except StoreError as error:
            _count(error)
            raise

    async def converse(
        self, batches: Iterable[tuple[bytes, int]], reader: ReplyReader, bound_s: float, _key: str = ""
    ) -> None:
        """Send batches over one connection, two of them under way at most, and have `reader` read the replies.

        Raises:
            StoreUnavailable: The replies did not all come; the bound is a batch's.
            StoreError: The replies are not of the shape that the reader takes.
        """
        try:
            with trio.move_on_after(bound_s) as patience:

                def prolong() -> None:
                    patience.deadline = trio.current_time() + bound_s

                connection = await self._acquire(self._pool)
                try:
                    await connection.converse(batches, reader, prolong, Silence(_SILENT_S, self._answers_anew))
                except BaseException:
                    self._drop(self._pool, connection)
                    raise
                self._pool.release(connection)
                return
            raise self._silent(bound_s)
        except StoreError as error:
            _count(error)
            raise

    def _silent(self, bound_s: float) -> StoreUnavailable:
        """Return the error of a server that does not answer; its other connections would be as silent, one by one."""
        self.renew()
        return StoreUnavailable(f"{self._address} did not answer within {bound_s:g} s")

    async def _acquire(self, pool: Pool) -> Connection:
        if await self._door.has_moved():
            self.renew()
        return await pool.acquire()

    def _take_back(self, pool: Pool, connection: Connection, answers: Sequence[object]) -> None:
        """Take a connection back, unless its server is not the one to talk to any more: then drop all of them.

        A name, a service or a virtual address leads to another server after a failover; the old one stays on the line.
        """
        refusal = next((answer for answer in answers if has_moved(answer)), None)
        if isinstance(refusal, StoreError):
            _count(refusal)
        if refusal is None and not connection.has_moved:
            pool.release(connection)
            return
        connection.has_moved = True
        self._drop(pool, connection)

    def _drop(self, pool: Pool, connection: Connection) -> None:
        pool.discard(connection)
        if connection.has_moved:
            self.renew()

    async def _answers_anew(self) -> bool:
        """Whether the server answers a new connection or was replaced; one look serves all that ask together."""
        asked_at = trio.current_time()
        async with self._trying:
            if self._answered_at < asked_at and (await self._is_replaced() or await self._answers()):
                self._answered_at = trio.current_time()
        return self._answered_at >= asked_at

    async def _answers(self) -> bool:
        with trio.move_on_after(_SILENT_S), suppress(StoreError):
            connection = await self._door.open()
            try:
                (answer,) = await connection.exchange(_PING, 1)
            finally:
                connection.close()
            # A server that says it is busy may be so with the very command that is waited for.
            return not isinstance(answer, StoreError)
        return False


def _count(error: StoreError) -> None:
    REDIS_ERRORS.add(1, "unavailable" if isinstance(error, StoreUnavailable) else "other")
