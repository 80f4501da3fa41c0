"""Connections to the primary that Sentinels name: they are asked at each connect, and announce another primary."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from reconciler_engine.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.steps import Command
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.cluster_address import SentinelAddress
from reconciler_engine.store.client.connection import Connection, open_connection, pack
from reconciler_engine.store.client.first_answer import first_answer
from reconciler_engine.store.client.reply_shapes import text, understanding, whole

_SWITCHES = "+switch-master"
_ASK_EVERY_S = 1.0
_ASK_TIMEOUT_S = 1.0
_logger = logging.getLogger(__name__)


class SentinelDoor:
    """Opens connections to the primary of a service.

    One connection to a Sentinel stays subscribed to switches of the primary. After any byte on it, or its end,
    Sentinels are asked again. If none answers, open connections stay in use: they may still lead to the primary.
    """

    def __init__(self, address: SentinelAddress) -> None:
        """Take the address. Raises: ValueError if its certificates cannot be used."""
        self._address = address
        self._tls = None if address.tls is None else address.tls.context()
        self._news: Connection | None = None
        self._primary: Address | None = None
        self._moved = False
        self._asking = trio.Lock()
        self._ask_at = 0.0

    async def open(self) -> Connection:
        """Connect to the primary.

        Raises:
            StoreUnavailable: No Sentinel answers, or the server that they name cannot be reached or is a replica.
            StoreRefused: They do not know the service.
            StoreError: As `open_connection`.
        """
        primary = await self._find()
        connection = await open_connection(primary, self._tls)
        with _closed_on_error(connection):
            (role,) = await _exchange(connection, ("ROLE",))
            # If the user may not ask for the role, a replica shows at the first write, by READONLY.
            if not isinstance(role, StoreDenied):
                _check_primary(role, primary)
        return connection

    async def has_moved(self) -> bool:
        """Whether a Sentinel has named another primary since the last call."""
        if not self._hears():
            async with self._asking:
                # Another task may have asked while this one waited.
                if not self._hears() and trio.current_time() >= self._ask_at:
                    await self._ask_again()
        moved, self._moved = self._moved, False
        return moved

    async def _ask_again(self) -> None:
        self.close()
        self._ask_at = trio.current_time() + _ASK_EVERY_S
        with trio.move_on_after(_ASK_TIMEOUT_S):
            try:
                await self._find()
            except StoreError as error:
                _logger.debug("no Sentinel answers", extra={"error": str(error)})

    async def _find(self) -> Address:
        """Ask the Sentinels for the primary, and note whether it has changed."""
        primary = await first_answer(self._address.sentinels, self._ask)
        self._moved = self._moved or self._primary not in {None, primary}
        self._primary = primary
        return primary

    def _hears(self) -> bool:
        """Whether the subscription is intact and has brought nothing, or no primary is known yet."""
        return self._primary is None or (self._news is not None and self._news.is_fresh())

    def close(self) -> None:
        """Close the subscription."""
        if self._news is not None:
            self._news.close()
            self._news = None

    async def _ask(self, sentinel: Address) -> Address:
        """Ask a Sentinel for the primary; subscribe to switches first, so that none is missed."""
        if self._news is None:
            news = await open_connection(sentinel, self._tls)
            with _closed_on_error(news):
                await _exchange(news, ("SUBSCRIBE", _SWITCHES))
            # Another task may have subscribed at another Sentinel meanwhile.
            self.close()
            self._news = news
        connection = await open_connection(sentinel, self._tls)
        try:
            (reply,) = await _exchange(connection, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service))
        finally:
            connection.close()
        if isinstance(reply, StoreError):
            raise reply
        if reply is None:
            raise StoreRefused(f"Sentinel {sentinel} knows no service {self._address.service!r}; correct redis_url")
        with understanding("the primary of a service"):
            host, port = reply
            return self._address.reached((text(host), whole(port, 1, 65_535)))


async def _exchange(connection: Connection, command: Command) -> list[Any]:
    return await connection.exchange(pack(command), 1)


def _check_primary(role: Any, primary: Address) -> None:
    if isinstance(role, StoreError):
        raise role
    with understanding("the role of a server"):
        name = text(role[0])
    if name != "master":
        raise StoreUnavailable(f"{primary}, named as primary by its Sentinels, is still a {name}")


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
