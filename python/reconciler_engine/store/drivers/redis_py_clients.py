"""redis-py's clients as conversations need them: calls of either kind, and the meaning of its errors."""

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
"""How long the word that a subscription stands is waited for."""

REPLY_ERRORS: Final = (ResponseError,)
DENIALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
LOST: Final = (RedisConnectionError, RedisTimeoutError, ClusterError, RedisClusterException, OSError)
"""Redis or its cluster does not serve at this moment."""


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; with the option NEVER_DECODE as bytes under any settings."""

    def pipeline(self, transaction: Any = ...) -> Any:
        """Return a queue of commands."""

    def pubsub(self, **options: Any) -> Any:
        """Return a subscription to come."""


class AwaitedRedis(Protocol):
    """A client that is awaited: `TrioRedis`, `redis.asyncio.Redis`, `redis.asyncio.RedisCluster`."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close its connections."""


def is_away(error: BaseException) -> bool:
    """Whether Redis may serve again in a moment, of any client."""
    return isinstance(error, (StoreUnavailable, *LOST)) and not isinstance(error, DENIALS)


def check_client(redis: object) -> bool:
    """Return whether a client of redis-py is asyncio's.

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
