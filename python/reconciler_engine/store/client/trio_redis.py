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

# Characters of an error that quotes a server's words.
_SAID: Final = 300

DEFAULT_TIMEOUT_S: Final = 5.0
DEFAULT_MAX_CONNECTIONS: Final = 8

# Blocking reads a client may have open at the same time, beside `max_connections`.
DEFAULT_MAX_BLOCKING: Final = 8


class TrioRedis(AsyncCoreCommands):
    """A client of a Redis or Valkey server, or of a cluster, for any number of tasks of one trio run.

    All commands of redis-py (`await client.zadd(...)`) with its arguments and RESP2 result shapes; keys and values
    come back as bytes. Connections are made on use and remade after a failure. A command is sent once: again only if a
    connection proved dead before the first byte went out. A call that fails or is cancelled closes its connection, so
    that its late reply meets nobody; its effect on the server is then unknown.

    Every call is bounded by a timeout, which includes waiting for a free connection and connecting. Blocking commands
    (XREADGROUP with BLOCK, BLPOP, ...) take connections of their own and are bounded by their wait plus the timeout.

    Errors are those of reconciler_engine.errors: StoreUnavailable (no connection, no answer in time, a server that
    cannot serve now), StoreDenied, StoreRefused (`code` is the server's error word), StoreError for the rest; for an
    error reply redis-py's exception is the `__cause__`.

    Of a cluster, each command goes to the node of its first key, and its other keys must be there too; one without a
    key goes to any node. A node that is away fails its own commands.
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
        """Where the server is; its `str()` is safe to show."""
        return self._address

    @property
    def is_cluster(self) -> bool:
        """Whether its keys lie at several nodes."""
        return isinstance(self._servers, Cluster)

    @property
    def servers(self) -> Node | Cluster:
        """The connections: of one server, or of a cluster's nodes."""
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
        """Close every connection; calls under way raise StoreUnavailable, later ones too."""
        self._servers.close()
        await trio.lowlevel.checkpoint()

    async def execute_command(
        self, *args: str | float | bytes, timeout_s: float | None = None, keys: Sequence[str] = (), **options: Any
    ) -> Any:
        """Send one command and return its reply in redis-py's shape.

        Args:
            args: The command's name and arguments.
            timeout_s: Bound of this call instead of the client's; a blocking command may wait its own time besides.
            keys: Keys whose node is asked, of a command that names none itself.
            options: Arguments of redis-py's response callback.

        Raises:
            StoreError: The reply is an error, or none came.
            ValueError: The command would change the connection for others, or block without end.
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
            # redis-py looks into replies as its own servers give them.
            raise StoreError(f"{self._address} does not answer {args[0]!r} as asked: {error!r}"[:_SAID]) from error

    async def pipe(self, commands: Sequence[Command], *, timeout_s: float | None = None) -> list[Any]:
        """Send commands in one write and return their raw replies, in order.

        Replies are bytes, int, None, lists of these, or a StoreError in place of the reply of a command that failed;
        the others are carried out all the same (without MULTI and EXEC among them it is not a transaction). The caller
        bounds the number of commands and the size of their replies. Nodes of a cluster get their parts side by side:
        the order holds for the commands of one node.

        Raises:
            StoreUnavailable: The replies did not all come, or of a cluster none; it is unknown which took effect.
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
        """Return the indexes of keys in parts, each of which one conversation may be about: of one node's keys.

        Raises:
            StoreError: The cluster did not say which keys are where.
        """
        return await self._servers.split(keys)

    async def subscribe(self, channels: Sequence[str]) -> Subscription:
        """Subscribe to channels over a connection of its own, which the caller closes; in a cluster, at any node.

        Raises:
            StoreDenied: The user may not listen to one of them.
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
        """Send batches over one connection, two of them under way at most, and have `reader` read the replies.

        For reads so large that replies are better understood from their bytes than taken as objects. The caller bounds
        a batch, and packs only commands that neither block nor change the connection, all about keys of the node of
        `key`. The timeout is a batch's.

        Raises:
            StoreUnavailable: The replies did not all come.
            StoreError: The replies are not of the shape that the reader takes.
        """
        await self._servers.converse(batches, reader, self._bound_s(timeout_s), key)

    def get_encoder(self) -> Encoder:
        """Return redis-py's encoder of arguments; its commands ask for it."""
        return ENCODER

    def get_connection_kwargs(self) -> dict[str, Any]:
        """Return the options redis-py's commands look at: replies are not decoded."""
        return {"decode_responses": False}

    def drop_connections(self) -> None:
        """Use no connection any more that is open now; commands under way are finished on theirs."""
        self._servers.renew()

    def _bound_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


async def each_apart(replies: Awaitable[list[Any]], count: int) -> list[Any]:
    """Return the replies of a pipeline; where all its keys were at a node that did not serve, its error `count` times.

    Raises:
        StoreUnavailable: No node could be asked.
    """
    try:
        return await replies
    except NodeUnavailable as error:
        return [error] * count


def all_served(replies: Iterable[Any]) -> list[Any]:
    """Return the replies of a pipeline; raise the first error among them.

    Raises:
        StoreError: The server refused a command; of a redis-py client it is redis-py's error.
    """
    served = list(replies)
    for reply in served:
        if isinstance(reply, Exception):
            raise reply
    return served


def _named(error: StoreError, command: Command) -> StoreError:
    """Return an error that says which key is of another type; the server does not."""
    if error.code != "WRONGTYPE":
        return error
    named = StoreRefused(f"{error}; asked of {', '.join(map(text_of, keys_of(command)))}", code=error.code)
    named.__cause__ = error.__cause__
    return named
