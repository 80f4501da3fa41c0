"""Sentinels: each connect asks them for a service's primary, and their word of another one is heeded."""

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

    One connection to a Sentinel stays open, and brings nothing but word of a switch. Any byte on it, and its end, means
    that a Sentinel has to be asked again. Where none answers, open connections stay: they may be right.
    """

    def __init__(self, address: SentinelAddress) -> None:
        """Take the address. Raises: ValueError where its certificates cannot be used."""
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
            StoreRefused: They know of no such service.
            StoreError: As `open_connection`.
        """
        primary = await self._find()
        connection = await open_connection(primary, self._tls)
        with _closed_on_error(connection):
            (role,) = await _exchange(connection, ("ROLE",))
            # Without the right to ask for the role, the first write meets READONLY.
            if not isinstance(role, StoreDenied):
                _check_primary(role, primary)
        return connection

    async def has_moved(self) -> bool:
        """Whether a Sentinel names another primary than the one that open connections lead to."""
        if not self._hears():
            async with self._asking:
                # Others waited for the same answer.
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
        """Ask the Sentinels for the primary, and note if it is another one than before."""
        primary = await first_answer(self._address.sentinels, self._ask)
        self._moved = self._moved or self._primary not in {None, primary}
        self._primary = primary
        return primary

    def _hears(self) -> bool:
        """Whether no Sentinel has anything to tell, and one could."""
        return self._primary is None or (self._news is not None and self._news.is_fresh())

    def close(self) -> None:
        """Close the connection that brings news."""
        if self._news is not None:
            self._news.close()
            self._news = None

    async def _ask(self, sentinel: Address) -> Address:
        """Ask a Sentinel for the primary; from before that on, hear of switches."""
        if self._news is None:
            news = await open_connection(sentinel, self._tls)
            with _closed_on_error(news):
                await _exchange(news, ("SUBSCRIBE", _SWITCHES))
            # Another Sentinel may have been asked meanwhile.
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
        raise StoreUnavailable(f"{primary}, the primary by its Sentinels, is a {name} so far")


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
