"""Choice of the driver by the kind of client: a conversation blocks, or its result is awaited."""

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
    """The answer of an asynchronous client; await it. It has no truth value: `if is_ready(...)` raises TypeError."""

    def __init__(self, ask: Callable[[], Awaitable[T]], name: str) -> None:
        self._ask = ask
        self._name = name

    def __await__(self) -> Generator[Any, Any, T]:
        return self._ask().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the answer of this client is to be awaited: `await {self._name}(...)`")


def needs_await(redis: object) -> bool:
    """Return whether a client is asynchronous. Raises: TypeError: as `check_client`."""
    return isinstance(redis, TrioRedis) or check_client(redis)


def ask(redis: AwaitedRedis | SyncRedis, name: str, steps: Callable[[], Steps[T]]) -> PendingAnswer[T] | T:
    """Have a conversation over a client of any kind: block and return the result, or return an awaitable.

    `name` is the function that was called, for the error message if its result is used without `await`.

    Raises:
        TypeError: As `check_client`.
    """
    if isinstance(redis, TrioRedis):
        return PendingAnswer(lambda: trio_driver.converse(redis, steps()), name)
    if needs_await(redis):
        return PendingAnswer(lambda: asyncio_driver.converse(redis, steps()), name)
    return blocking.converse(cast("SyncRedis", redis), steps())
