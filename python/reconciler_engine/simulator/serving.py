"""The HTTP server of a simulated exchange, on loopback only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from reconciler_engine.errors import ConfigError
from reconciler_engine.http_server import Bounds, HttpConnection, Request, Response, Server
from reconciler_engine.simulator.api_response import ApiRequest
from reconciler_engine.simulator.faults.delivery import send_answer
from reconciler_engine.simulator.rules.exchange import Exchange

_HOST = "127.0.0.1"
_BOUNDS = Bounds(
    connections=256,
    head_bytes=16 * 1024,
    body_bytes=64 * 1024,
    first_s=75.0,
    request_s=20.0,
    idle_s=75.0,
    send_s=30.0,
    linger_s=2.0,
)


async def serve_exchange(
    exchange: Exchange,
    *,
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an exchange until cancelled; `nursery.start` returns its base URL, such as `http://127.0.0.1:4711`.

    At most 256 connections are open; a further one replaces the connection that has been idle longest. A connection is
    closed after 75 s without a request, when a request takes over 20 s to arrive, when its head is over 16 KiB or its
    body over 64 KiB, and when an answer cannot be sent within 30 s. Cancelling closes the listener and all connections.

    Args:
        exchange: The exchange to serve.
        port: Port to listen at; 0 lets the system choose.
        task_status: Receives the base URL when the port is open.

    Raises:
        ConfigError: The port cannot be opened.
    """
    listeners = await _listen(port)
    port = listeners[0].socket.getsockname()[1]
    gate = _Port(exchange)
    server = Server(_BOUNDS, gate.answer, _refuse)
    async with trio.open_nursery() as connections:
        task_status.started(f"http://{_HOST}:{port}")
        while True:
            async with trio.open_nursery() as door:
                door.start_soon(
                    partial(trio.serve_listeners, server.serve_connection, listeners, handler_nursery=connections)
                )
                await gate.closing.wait()
                door.cancel_scope.cancel()
            # A fault closes the port for a time; open connections stay open.
            gate.closed.set()
            await trio.sleep(gate.closed_s)
            gate.closing, gate.closed = trio.Event(), trio.Event()
            listeners = await _listen(port)


@asynccontextmanager
async def open_exchange(exchange: Exchange, *, port: int = 0) -> AsyncIterator[str]:
    """Serve an exchange while the `async with` block runs; yields the base URL."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_exchange, exchange, port=port))
        nursery.cancel_scope.cancel()


async def _listen(port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=_HOST)
    except OSError as error:
        raise ConfigError([f"port {port} on {_HOST} cannot be opened: {error.strerror or error}"]) from error


class _Port:
    """Answers requests at the port, and lets a `refuse` fault close it for a time."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.closing = trio.Event()
        self.closed = trio.Event()
        self.closed_s = 0.0

    async def answer(self, connection: HttpConnection, request: Request) -> bool:
        """Answer one request; return whether the connection can serve another request."""
        reply = self._exchange.respond(ApiRequest.read(request))
        if reply.fault is not None and reply.fault.mode == "refuse":
            await self._close_port(reply.fault.number("seconds"))
        return await send_answer(connection, reply.answer, self._exchange.clock.now(), reply.fault)

    async def _close_port(self, seconds: float) -> None:
        """Ask for the port to be closed for a time, and return once it is closed; a second call does not extend it."""
        if not self.closing.is_set():
            self.closed_s = seconds
            self.closing.set()
        await self.closed.wait()


def _refuse(status: int) -> Response:
    return Response(status, closes=True)
