"""HTTP/1.1 over trio sockets in front of a simulated exchange, on loopback only."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qs, unquote

import h11
import trio

from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.api_answer import ApiRequest
from reconciler_engine.simulator.faults.delivery import send_answer
from reconciler_engine.simulator.rules.exchange import Exchange

_HEAD_LIMIT = 16 * 1024
_BODY_LIMIT = 64 * 1024
_CONNECTIONS_LIMIT = 256
_IDLE_S = 75.0
_REQUEST_S = 20.0
_LINGER_S = 2.0
_LINGER_READS = 64
# The head's limit is looked at between chunks: a small one keeps it sharp.
_CHUNK = 4 * 1024


async def serve_exchange(
    exchange: Exchange,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an exchange until cancelled; `nursery.start` returns its base URL, such as `http://127.0.0.1:4711`.

    At most 256 connections are held, more are closed at once; a connection is closed after 75 s without a
    request, when a request takes over 20 s to arrive, its head over 16 KiB or its body over 64 KiB, and when an
    answer cannot be sent within 30 s. Cancelling closes the listener and all connections.

    Args:
        exchange: What to serve.
        host: A loopback address.
        port: Where to listen; 0 lets the system choose.
        task_status: Told the base URL when the port is open.

    Raises:
        ConfigError: The host is not loopback, or the port cannot be opened.
    """
    if not _is_loopback(host):
        raise ConfigError([f"host {host!r} is not loopback; the simulator serves 127.0.0.1 or ::1 only"])
    listeners = await _listen(host, port)
    port = listeners[0].socket.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    face = _Face(exchange)
    async with trio.open_nursery() as connections:
        task_status.started(f"http://{shown}:{port}")
        while True:
            async with trio.open_nursery() as door:
                door.start_soon(
                    partial(trio.serve_listeners, face.serve_connection, listeners, handler_nursery=connections)
                )
                await face.closing.wait()
                door.cancel_scope.cancel()
            # A fault closes the port for a while; connections that are open stay.
            face.closed.set()
            await trio.sleep(face.closed_s)
            face.closing, face.closed = trio.Event(), trio.Event()
            listeners = await _listen(host, port)


@asynccontextmanager
async def open_exchange(exchange: Exchange, *, port: int = 0) -> AsyncIterator[str]:
    """Serve an exchange for the length of a block; gives the base URL."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_exchange, exchange, port=port))
        nursery.cancel_scope.cancel()


async def run_exchange(exchange: Exchange, *, port: int = 0, announce: Callable[[str], None] = print) -> None:
    """Serve an exchange until cancelled, for the command line: announces `listening on http://127.0.0.1:PORT`."""
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(partial(serve_exchange, exchange, port=port))
        announce(f"listening on {base_url}")


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ConfigError([f"port {port} on {host} cannot be opened: {error.strerror or error}"]) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Face:
    """All connections of one listener."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open = 0
        self.closing = trio.Event()
        self.closed = trio.Event()
        self.closed_s = 0.0

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side ends it."""
        async with stream:
            if self._open >= _CONNECTIONS_LIMIT:
                return
            try:
                peer = stream.socket.getpeername()[0]
            except OSError:
                # Reset before it was looked at.
                return
            self._open += 1
            try:
                await self._serve_requests(stream, peer)
            except trio.BrokenResourceError:
                # The client went away; it is not owed anything.
                return
            finally:
                self._open -= 1

    async def _close_port(self, seconds: float) -> None:
        """Have the port closed for a time, and return when it is; a time under way is not made longer."""
        if not self.closing.is_set():
            self.closed_s = seconds
            self.closing.set()
        await self.closed.wait()

    async def _serve_requests(self, stream: trio.SocketStream, peer: str) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)
        while True:
            try:
                request = await _receive_request(connection, stream, peer)
            except h11.RemoteProtocolError as error:
                await _refuse(connection, stream, error.error_status_hint)
                return
            if request is None:
                return
            reply = self._exchange.respond(request)
            if reply.fault is not None and reply.fault.mode == "refuse":
                await self._close_port(reply.fault.number("seconds"))
            if not await send_answer(connection, stream, reply.answer, self._exchange.clock.now(), reply.fault):
                return
            connection.start_next_cycle()


async def _receive_request(connection: h11.Connection, stream: trio.SocketStream, peer: str) -> ApiRequest | None:
    """Return the next request; None when the client is done or too slow."""
    head: h11.Request | None = None
    begun = False
    body = bytearray()
    with trio.move_on_after(_IDLE_S) as patience:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(_CHUNK)
                connection.receive_data(data)
                if data and not begun:
                    begun = True
                    patience.deadline = min(patience.deadline, trio.current_time() + _REQUEST_S)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _BODY_LIMIT:
                    raise h11.RemoteProtocolError("body too long", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _read_request(head, peer, bytes(body))
            else:
                return None
    return None


def _read_request(head: h11.Request, peer: str, body: bytes) -> ApiRequest:
    target = head.target.decode("ascii")
    path, _, query = target.partition("?")
    return ApiRequest(
        method=head.method.decode("ascii"),
        target=target,
        path=unquote(path, errors="replace"),
        values=parse_qs(query, keep_blank_values=True, errors="replace"),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        peer=peer,
        body=body,
    )


async def _refuse(connection: h11.Connection, stream: trio.SocketStream, status: int) -> None:
    """Answer what is not HTTP, as far as that is still possible, before the connection is closed."""
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [("connection", "close"), ("content-length", "0")]
    data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    with trio.move_on_after(_LINGER_S):
        await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
        # Closing on unread bytes resets the connection, and the refusal with it.
        await stream.send_eof()
        for _ in range(_LINGER_READS):
            if not await stream.receive_some(_CHUNK):
                break
