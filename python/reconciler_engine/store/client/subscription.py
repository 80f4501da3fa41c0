"""A subscription: a connection of its own, on which the server speaks unasked."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.errors import StoreError
from reconciler_engine.store.client.connection import Connection, pack


class Subscription:
    """Brings word that something was published; its owner closes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hear(self) -> None:
        """Wait for a message; those that came with it are taken, too.

        Raises:
            StoreUnavailable: The connection broke, and messages may be lost.
            StoreError: The server speaks in another protocol.
        """
        await self._connection.hear()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def subscribe(connection: Connection, channels: Sequence[str]) -> Subscription:
    """Subscribe a connection to channels; it is closed where this raises or is cancelled.

    Raises:
        StoreDenied: The user may not listen to one of them.
        StoreError: The server does not answer as asked.
    """
    try:
        for reply in await connection.exchange(pack(("SUBSCRIBE", *channels)), len(channels)):
            if isinstance(reply, StoreError):
                raise reply
    except BaseException:
        connection.close()
        raise
    return Subscription(connection)
