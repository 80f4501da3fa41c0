"""Sentinels: who is a service's primary is asked at each connect, and their word of another one is heeded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reconciler_engine.errors import StoreDenied, StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.cluster_address import SentinelAddress
from reconciler_engine.store.client.connection import Command, Connection, open_connection, pack
from reconciler_engine.store.client.first_answer import first_answer
from reconciler_engine.store.client.reply_shapes import text, understanding, whole

_SWITCHES = "+switch-master"


class SentinelDoor:
    """Opens connections to the primary of a service.

    One connection to a Sentinel stays open, and brings nothing but word of a switch: any byte on it, and its end, means
    that the primary has to be asked for again.
    """

    def __init__(self, address: SentinelAddress) -> None:
        """Take the address. Raises: ValueError where its certificates cannot be used."""
        self._address = address
        self._tls = None if address.tls is None else address.tls.context()
        self._news: Connection | None = None

    async def open(self) -> Connection:
        """Connect to the primary.

        Raises:
            StoreUnavailable: No Sentinel answers, or the server that they name cannot be reached or is a replica.
            StoreRefused: They know of no such service.
            StoreError: As `open_connection`.
        """
        primary = await first_answer(self._address.sentinels, self._ask)
        connection = await open_connection(primary, self._tls)
        with _closed_on_error(connection):
            (role,) = await _exchange(connection, ("ROLE",))
            # A user who may not ask for the role meets READONLY at the first write.
            if not isinstance(role, StoreDenied):
                _check_primary(role, primary)
        return connection

    def has_news(self) -> bool:
        """Whether a Sentinel has told of a switch, or the connection that would tell is gone."""
        if self._news is None or self._news.is_fresh():
            return False
        self.close()
        return True

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
            return self._address.primary((text(host), whole(port, 1, 65_535)))


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
