"""The clients a reader of the cache may have, and a cancellation at each of their awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import Any

import redis.asyncio
import trio
from tests.conftest import plain_client, server_urls

from reconciler_engine.store.client.trio_redis import TrioRedis

KINDS = ("sync", "asyncio", "asyncio text", "asyncio resp3", "trio")
OPTIONS: dict[str, dict[str, Any]] = {
    "asyncio text": {"decode_responses": True},
    "asyncio resp3": {"protocol": 3},
}


def asyncio_client(redis_url: str, **options: Any) -> Any:
    """A client of redis.asyncio, of a server or of a cluster."""
    kind = redis.asyncio.RedisCluster if "+cluster" in redis_url else redis.asyncio.Redis
    return kind.from_url(server_urls(redis_url)[0], **options)


def have(kind: str, redis_url: str, call: Callable[[Any], Any]) -> Any:
    """Make a client of this kind, and return the result of a call with it, awaited where the client wants that."""
    if kind == "sync":
        with closing(plain_client(redis_url)) as client:
            return call(client)
    if kind == "trio":
        return trio.run(_await_with, lambda: TrioRedis.from_url(redis_url), call)
    return asyncio.run(_await_with(lambda: asyncio_client(redis_url, **OPTIONS.get(kind, {})), call))


async def _await_with(make: Callable[[], Any], call: Callable[[Any], Awaitable[Any]]) -> Any:
    async with aclosing(make()) as client:
        return await call(client)


class _Counted:
    """An awaitable that acts as its `number`th wait begins."""

    def __init__(self, awaited: Awaitable[Any], number: int, act: Callable[[], object]) -> None:
        self._awaited, self._left, self._act = awaited, number, act

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._awaited.__await__()
        result, error = None, None
        while True:
            try:
                waits_for = inner.send(result) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            self._left -= 1
            if self._left == 0:
                self._act()
            result = error = None
            try:
                result = yield waits_for
            except BaseException as raised:  # noqa: BLE001  it is the inner one's to judge
                error = raised


async def cancelled_at(number: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Make a call and cancel it at its `number`th wait, under asyncio or trio; False if it ended before."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with trio.CancelScope() as scope:
            await _Counted(call(), number, scope.cancel)
        return scope.cancelled_caught

    async def run() -> None:
        await _Counted(call(), number, task.cancel)

    task = asyncio.ensure_future(run())
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
