"""The trio client: redis-py's commands over our own connections."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

import trio

from reconciler_engine.errors import NodeUnavailable, StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.steps import Command
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.cluster import Cluster
from reconciler_engine.store.client.cluster_address import ClusterAddress, SentinelAddress, parse_address
from reconciler_engine.store.client.commands import block_s, check_batch, check_single, keys_of, text_of
from reconciler_engine.store.client.connection import ReplyReader
from reconciler_engine.store.client.node import FixedDoor, Node
from reconciler_engine.store.client.redis_py import (
    EMPTY_RESPONSE,
    ENCODER,
    NO_EVENTS,
    RESPONSE_CALLBACKS,
    AsyncCoreCommands,
    Encoder,
    callback_options,
)
from reconciler_engine.store.client.sentinel import SentinelDoor
from reconciler_engine.store.client.subscription import Subscription, subscribe

# Most characters of an error that quotes a reply.
_SAID: Final = 300

DEFAULT_TIMEOUT_S: Final = 5.0
DEFAULT_MAX_CONNECTIONS: Final = 8

# Most connections for blocking commands, in addition to `max_connections`.
DEFAULT_MAX_BLOCKING: Final = 8


class TrioRedis(AsyncCoreCommands):
    """A client of a Redis or Valkey server, or of a cluster, for any number of tasks of one trio run.

    It has all commands of redis-py (`await client.zadd(...)`), with its arguments and RESP2 result shapes; keys and
    values come back as bytes. Connections are opened on use, and again after a failure. A command is sent once, over a
    connection that is not known to be dead. A call that fails or is cancelled closes its connection, so that no other
    call gets its late reply; its effect on the server is then unknown.

    Every call has a timeout, which includes waiting for a free connection and connecting. Blocking commands (XREADGROUP
    with BLOCK, BLPOP, ...) use connections of their own, and the time that they may block is added to the timeout.

    Errors are those of reconciler_engine.errors: StoreUnavailable (no connection, no answer in time, a server that
    cannot serve now), StoreDenied, StoreRefused (`code` is the server's error word), StoreError for the rest. For an
    error reply, redis-py's exception is the `__cause__`.

    In a cluster, each command goes to the node of its first key, which must have its other keys, too. A command without
    a key goes to any node, and to another one if that node fails. A node that is away fails only its own commands.
    """

    # redis-py's overloads choose awaitable results by this mark.
    _is_async_client: Literal[True] = True
    _event_dispatcher = NO_EVENTS

    def __init__(
        self,
        address: Address | ClusterAddress | SentinelAddress,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_blocking: int = DEFAULT_MAX_BLOCKING,
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s {timeout_s} must be more than 0")
        if max_connections < 1 or max_blocking < 1:
            raise ValueError(f"max_connections {max_connections} and max_blocking {max_blocking} must be at least 1")
        self._address = address
        self._timeout_s = timeout_s
        limits = (max_connections, max_blocking)
        self._servers: Node | Cluster
        match address:
            case ClusterAddress():
                self._servers = Cluster(address, *limits)
            case SentinelAddress():
                self._servers = Node(SentinelDoor(address), str(address), *limits)
            case Address():
                self._servers = Node(FixedDoor(address), str(address), *limits)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_blocking: int = DEFAULT_MAX_BLOCKING,
    ) -> Self:
        """Make a client of the server or the cluster at `url` (see `parse_address`); connects on first use.

        Raises:
            ValueError: The URL or a number is not allowed, or a certificate file cannot be used; the message never
                holds the password.
        """
        address = parse_address(url)
        return cls(address, timeout_s=timeout_s, max_connections=max_connections, max_blocking=max_blocking)

    @property
    def address(self) -> Address | ClusterAddress | SentinelAddress:
        """Address of the server; its `str()` is safe to show."""
        return self._address

    @property
    def is_cluster(self) -> bool:
        """Whether this is a client of a cluster."""
        return isinstance(self._servers, Cluster)

    @property
    def servers(self) -> Node | Cluster:
        """The connections to the server, or to the nodes of the cluster."""
        return self._servers

    def __repr__(self) -> str:
        return f"<TrioRedis {self._address}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. Calls under way and later ones raise StoreUnavailable."""
        self._servers.close()
        await trio.lowlevel.checkpoint()

    async def execute_command(
        self, *args: str | float | bytes, timeout_s: float | None = None, keys: Sequence[str] = (), **options: Any
    ) -> Any:
        """Send one command and return its reply in redis-py's shape.

        Args:
            args: The command's name and arguments.
            timeout_s: Timeout in place of the client's (s); the time that a blocking command may block is added.
            keys: Keys, the first of which determines the node of a command that names no key itself.
            options: Arguments of redis-py's response callback.

        Raises:
            StoreError: The reply is an error, or no reply came.
            ValueError: The command would change the connection for others, or block for longer than `MAX_BLOCK_S`.
            TypeError: An argument is not str, int, float or bytes.
        """
        check_single(args)
        waits_s = block_s(args)
        bound_s = self._bound_s(timeout_s) + (waits_s or 0)
        (reply,) = await self._servers.exchange((args,), bound_s, keys, blocks_s=waits_s)
        if isinstance(reply, StoreError):
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise _named(reply, args)
        callback = RESPONSE_CALLBACKS.get(str(args[0]).upper())
        if callback is None:
            return reply
        try:
            return callback(reply, **callback_options(options))
        except Exception as error:
            # redis-py's callbacks do not check the shapes of replies.
            raise StoreError(f"{self._address} does not answer {args[0]!r} as asked: {error!r}"[:_SAID]) from error

    async def pipe(self, commands: Sequence[Command], *, timeout_s: float | None = None) -> list[Any]:
        """Send commands in one write and return their raw replies, in order.

        Replies are bytes, int, None, lists of these, or a StoreError in place of the reply of a command that failed.
        The other commands are carried out all the same: only MULTI and EXEC make a transaction. The caller bounds the
        number of commands and the size of their replies. The nodes of a cluster get their parts at the same time, so
        only the commands of one node are carried out in order.

        Raises:
            StoreUnavailable: Not all replies came, or none from a cluster; it is unknown which commands took effect.
            ValueError: A command blocks, or changes the connection for others.
            TypeError: An argument is not str, int, float or bytes.
        """
        if not commands:
            await trio.lowlevel.checkpoint()
            return []
        check_batch(commands)
        replies = await self._servers.exchange(commands, self._bound_s(timeout_s))
        return [
            _named(reply, command) if isinstance(reply, StoreError) else reply
            for reply, command in zip(replies, commands, strict=True)
        ]

    async def split(self, keys: Sequence[str | bytes]) -> list[list[int]]:
        """Return the indexes of keys, grouped by node; `converse` takes the keys of one group.

        Raises:
            StoreError: The cluster did not send its slot map.
        """
        return await self._servers.split(keys)

    async def subscribe(self, channels: Sequence[str]) -> Subscription:
        """Subscribe to channels over a new connection, in a cluster to any node; the caller closes the subscription.

        Raises:
            StoreDenied: The user may not subscribe to one of them.
            StoreError: The server cannot be reached, or does not answer as asked.
        """
        bound_s = self._timeout_s
        connection = await self._servers.open(bound_s)
        with trio.move_on_after(bound_s):
            return await subscribe(connection, channels)
        raise StoreUnavailable(f"{self._address} did not answer within {bound_s:g} s")

    async def converse(
        self,
        batches: Iterable[tuple[bytes, int]],
        reader: ReplyReader,
        *,
        timeout_s: float | None = None,
        key: str = "",
    ) -> None:
        """Send batches over one connection, at most two of them unanswered at a time; `reader` parses the replies.

        For large reads, whose replies are faster parsed from their bytes than made into objects. The caller bounds the
        size of a batch, and packs only commands that neither block nor change the connection, all for keys of the node
        of `key`. The timeout is for each batch.

        Raises:
            StoreUnavailable: Not all replies came.
            StoreError: The replies do not have the shape that `reader` expects.
        """
        await self._servers.converse(batches, reader, self._bound_s(timeout_s), key)

    def get_encoder(self) -> Encoder:
        """Return redis-py's encoder of arguments, for which its commands ask."""
        return ENCODER

    def get_connection_kwargs(self) -> dict[str, Any]:
        """Return the options that redis-py's commands look up: replies are not decoded."""
        return {"decode_responses": False}

    def drop_connections(self) -> None:
        """Stop reusing the connections that are open now; commands under way finish on theirs."""
        self._servers.renew()

    def _bound_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


async def each_apart(replies: Awaitable[list[Any]], count: int) -> list[Any]:
    """Return the replies of a pipeline. If no node of its keys served, return the error of one of them `count` times.

    Raises:
        StoreUnavailable: The server did not answer, or the cluster did not send its slot map.
    """
    try:
        return await replies
    except NodeUnavailable as error:
        return [error] * count


def all_served(replies: Iterable[Any]) -> list[Any]:
    """Return the replies of a pipeline; raise the first error among them.

    Raises:
        StoreError: The server refused a command. With a redis-py client, redis-py's error is raised.
    """
    served = list(replies)
    for reply in served:
        if isinstance(reply, Exception):
            raise reply
    return served


def _named(error: StoreError, command: Command) -> StoreError:
    """Add the keys of a command to a WRONGTYPE error, which does not name them; return any other error unchanged."""
    if error.code != "WRONGTYPE":
        return error
    named = StoreRefused(f"{error}; asked of {', '.join(map(text_of, keys_of(command)))}", code=error.code)
    named.__cause__ = error.__cause__
    return named
