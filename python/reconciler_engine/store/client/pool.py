"""A pool of connections to one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from reconciler_engine.errors import StoreUnavailable
from reconciler_engine.observe.metrics import REDIS_CONNECTIONS
from reconciler_engine.store.client.connection import Connection


class Pool:
    """At most `limit` connections, each used by one task at a time; waiting tasks are served in order.

    The connection that was used last is lent first, so that the others of a burst stay idle until the server's timeout
    closes them. A connection that the server has closed is noticed before anything is sent on it.
    """

    def __init__(self, opener: Callable[[], Awaitable[Connection]], limit: int, address: str) -> None:
        """Make a pool of at most `limit` connections that `opener` opens; `address` names the server in messages."""
        self._open = opener
        self._address = address
        self._slots = trio.Semaphore(limit, max_value=limit)
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._outdated: set[Connection] = set()
        self._closed = False

    async def acquire(self) -> Connection:
        """Lend a connection, a new one if no idle one is fresh.

        Raises:
            StoreUnavailable: The pool is closed.
            StoreError: As `opener`.
        """
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()
        try:
            connection = await self._take()
        except BaseException:
            self._slots.release()
            raise
        self._lent.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Take back a connection on which every reply was read."""
        self._lent.discard(connection)
        if self._closed or connection in self._outdated:
            connection.close()
        else:
            self._idle.append(connection)
        self._outdated.discard(connection)
        self._slots.release()

    def discard(self, connection: Connection) -> None:
        """Close a lent connection instead of taking it back: a reply may still be under way on it."""
        self._lent.discard(connection)
        self._outdated.discard(connection)
        connection.close()
        self._slots.release()

    def renew(self) -> None:
        """Stop reusing the connections that are open now: close idle ones at once, lent ones when they come back."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self._outdated |= self._lent

    def close(self) -> None:
        """Close all connections, also lent ones; calls under way raise StoreUnavailable."""
        self._closed = True
        for connection in (*self._idle, *self._lent):
            connection.close()
        self._idle.clear()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()
        self._check_open()
        connection = await self._open()
        REDIS_CONNECTIONS.add(1)
        if self._closed:
            connection.close()
        self._check_open()
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the client of {self._address} is closed")
