"""Connections to one server, at a fixed address or named by Sentinels, and exchanges over them."""

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
"""Silence after which a new connection is tried (s), added to the time that a command may block. The server behind a
host name or a virtual address may be cut off while its successor answers there."""

_PING: Final = pack(("PING",))


class Door(Protocol):
    """Opens connections to a server, which may have to be found first."""

    async def open(self) -> Connection:
        """Connect. Raises: as `open_connection`."""

    async def has_moved(self) -> bool:
        """Whether another server than that of the open connections is known to be the right one now."""

    def close(self) -> None:
        """Close the resources that the door itself holds open."""


class FixedDoor:
    """Opens connections to a server at a fixed address."""

    def __init__(self, address: Address) -> None:
        """Take the address. Raises: ValueError if its certificates cannot be used."""
        self._address = address
        self._tls = None if address.tls is None else address.tls.context()

    async def open(self) -> Connection:
        """Connect to the address."""
        return await open_connection(self._address, self._tls)

    async def has_moved(self) -> bool:
        """Return False: a change of the server behind an address is not announced."""
        return False

    def close(self) -> None:
        """Do nothing: nothing is held open."""


async def _never() -> bool:
    return False


class Node:
    """Connections to one server: at most `max_connections`, and `max_blocking` more for commands that block.

    If the server is silent, a new connection is tried. If the server answers there, or `is_replaced` tells that another
    server has taken its place, the exchanges that wait for replies fail at once.
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
        """Close every connection. Exchanges under way and later ones raise StoreUnavailable."""
        self._pool.close()
        self._blocking_pool.close()
        self._door.close()

    def renew(self) -> None:
        """Stop reusing the connections that are open now; commands under way finish on theirs."""
        self._pool.renew()
        self._blocking_pool.renew()

    async def split(self, keys: Sequence[str | bytes]) -> list[list[int]]:
        """Return the indexes of all keys as one group: one server has them all."""
        await trio.lowlevel.checkpoint()
        return [[*range(len(keys))]]

    async def open(self, bound_s: float) -> Connection:
        """Open a connection outside the limits; the caller closes it.

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
            commands: Commands, which are not checked.
            bound_s: Timeout (s), which includes waiting for a free connection.
            blocks_s: How long the commands may block (s); None if they do not. Blocking commands have their own
                connections.

        Raises:
            StoreUnavailable: Not all replies came; it is unknown which commands took effect.
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
        """Send batches over one connection, at most two of them unanswered at a time; `reader` parses the replies.

        Raises:
            StoreUnavailable: Not all replies came; `bound_s` (s) limits each batch.
            StoreError: The replies do not have the shape that `reader` expects.
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
        """Stop reusing the connections to a silent server, as all would be silent; return the error to raise."""
        self.renew()
        return StoreUnavailable(f"{self._address} did not answer within {bound_s:g} s")

    async def _acquire(self, pool: Pool) -> Connection:
        if await self._door.has_moved():
            self.renew()
        return await pool.acquire()

    def _take_back(self, pool: Pool, connection: Connection, answers: Sequence[object]) -> None:
        """Take a connection back; if its server refuses writes or has changed its role, stop reusing all connections.

        After a failover, a host name, a service or a virtual address leads to another server, while the old one keeps
        its connections open.
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
        """Whether the server answers on a new connection or was replaced. Concurrent callers share a successful try."""
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
            # A server that replies with an error may be busy with the very command that is waited for.
            return not isinstance(answer, StoreError)
        return False


def _count(error: StoreError) -> None:
    REDIS_ERRORS.add(1, "unavailable" if isinstance(error, StoreUnavailable) else "other")
