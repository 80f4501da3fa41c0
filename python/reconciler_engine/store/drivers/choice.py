"""Choice of the driver: the client decides whether a conversation blocks or is awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, NoReturn, TypeVar, cast

from reconciler_engine.steps import Steps
from reconciler_engine.store.client import trio_driver
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.drivers import asyncio_driver, blocking
from reconciler_engine.store.drivers.redis_py_clients import AwaitedRedis, SyncRedis, check_client

T = TypeVar("T")


class PendingAnswer(Generic[T]):
    """The answer of a client that is awaited, once. It has no truth of its own: `if is_ready(...)` raises."""

    def __init__(self, ask: Callable[[], Awaitable[T]], name: str) -> None:
        self._ask = ask
        self._name = name

    def __await__(self) -> Generator[Any, Any, T]:
        return self._ask().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the answer of this client is to be awaited: `await {self._name}(...)`")


def needs_await(redis: object) -> bool:
    """Return whether a client is awaited. Raises: TypeError: It is none."""
    return isinstance(redis, TrioRedis) or check_client(redis)


def ask(redis: AwaitedRedis | SyncRedis, name: str, steps: Callable[[], Steps[T]]) -> PendingAnswer[T] | T:
    """Have a conversation in the way of the client: block for its result, or return an awaitable.

    `name` is the function that was called, for the message to those who forget to await.

    Raises:
        TypeError: The client is none.
    """
    if isinstance(redis, TrioRedis):
        return PendingAnswer(lambda: trio_driver.converse(redis, steps()), name)
    if needs_await(redis):
        return PendingAnswer(lambda: asyncio_driver.converse(redis, steps()), name)
    return blocking.converse(cast("SyncRedis", redis), steps())
