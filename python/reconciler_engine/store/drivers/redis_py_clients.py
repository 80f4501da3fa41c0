"""redis-py's clients, synchronous and asynchronous, as conversations use them, and the meaning of their errors."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterError,
    NoPermissionError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from reconciler_engine.errors import StoreUnavailable

CONFIRMED_WITHIN_S: Final = 5.0
"""Longest wait for the confirmation of a subscription (s)."""

REPLY_ERRORS: Final = (ResponseError,)
DENIALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
LOST: Final = (RedisConnectionError, RedisTimeoutError, ClusterError, RedisClusterException, OSError)
"""Errors of a server or a cluster that does not serve at this moment. Some denials are among them; see `is_away`."""


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; with NEVER_DECODE, its texts are bytes whatever the settings are."""

    def pipeline(self, transaction: Any = ...) -> Any:
        """Return a pipeline, which queues commands."""

    def pubsub(self, **options: Any) -> Any:
        """Return an object that can subscribe to channels."""


class AwaitedRedis(Protocol):
    """An asynchronous client: `TrioRedis`, `redis.asyncio.Redis`, `redis.asyncio.RedisCluster`."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close its connections."""


def is_away(error: BaseException) -> bool:
    """Whether an error, of any kind of client, means that Redis does not serve now but may in a moment."""
    return isinstance(error, (StoreUnavailable, *LOST)) and not isinstance(error, DENIALS)


def check_client(redis: object) -> bool:
    """Return whether a client of redis-py is asynchronous.

    Raises:
        TypeError: It is not a client, or queues commands instead of sending them.
    """
    send = getattr(redis, "execute_command", None)
    if send is None or hasattr(redis, "command_stack"):
        raise TypeError(
            f"redis is {type(redis).__module__}.{type(redis).__qualname__}; allowed: reconciler_engine's TrioRedis, "
            "or a client of redis or redis.asyncio, of one server or of a cluster, that sends at once: no pipeline"
        )
    return inspect.iscoroutinefunction(send)


def by_node(keys: Sequence[str | bytes], node_of: Callable[[Any], Any] | None) -> list[list[int]]:
    """Return the keys' indexes grouped by the node that holds them; in one group without `node_of`."""
    parts = defaultdict[Any, list[int]](list)
    for index, key in enumerate(keys):
        parts[None if node_of is None else node_of(key).name].append(index)
    return [*parts.values()]
