"""A subscription to channels, over a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.errors import StoreError
from reconciler_engine.store.client.connection import Connection, pack


class Subscription:
    """Tells that something was published, but not its content. Its owner closes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hear(self) -> None:
        """Wait for a message; drop it and all that came with it.

        Raises:
            StoreUnavailable: The connection broke, and messages may be lost.
            StoreError: The peer does not speak RESP.
        """
        await self._connection.hear()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def subscribe(connection: Connection, channels: Sequence[str]) -> Subscription:
    """Subscribe a connection to channels. If this raises or is cancelled, the connection is closed.

    Raises:
        StoreDenied: The user may not subscribe to one of them.
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
