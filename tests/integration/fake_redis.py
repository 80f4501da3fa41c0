"""Servers that answer anything, for tests of the Redis client."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from reconciler_engine.errors import StoreUnavailable

Handler = Callable[[trio.SocketStream], Awaitable[None]]
GREETING = b"+OK\r\n"


@asynccontextmanager
async def fake_server(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback that does as `handler` says with each connection; yields its URL."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(functools.partial(trio.serve_listeners, handler, listeners))
        yield f"redis://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def answering(*answers: bytes) -> Handler:
    """Give one answer to each thing received, the last one for ever."""
    left = list(answers)

    async def handler(stream: trio.SocketStream) -> None:
        async for _ in stream:
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return handler


async def expect_unavailable(call: Awaitable[object]) -> None:
    with pytest.raises(StoreUnavailable):
        await call


PING = b"*1\r\n$4\r\nPING\r\n"
