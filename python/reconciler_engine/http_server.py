"""An HTTP/1.1 server over trio's sockets, with bounded memory and times; for the pages and the simulated exchange."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from operator import itemgetter

import h11
import trio

_LINGER_READS = 64
# The limit of the head is only checked between chunks, so small chunks make it more exact.
_CHUNK = 2 * 1024
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
_logger = logging.getLogger(__name__)
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

Stream = trio.abc.HalfCloseableStream


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a server; lengths in bytes, times in seconds.

    Attributes:
        connections: Most concurrent connections. A further one replaces the one whose client lets the server wait
            longest.
        head_bytes: Longest head of a request.
        body_bytes: Longest body of a request.
        first_s: Time from the start of a connection to the first byte of its first request.
        request_s: Time from the first byte of a request to its last byte.
        idle_s: Time that a connection may wait for its next request.
        send_s: Time that a client may take to read an answer.
        linger_s: Time that a client may take to read the last answer before the connection is closed.
    """

    connections: int
    head_bytes: int
    body_bytes: int
    first_s: float
    request_s: float
    idle_s: float
    send_s: float
    linger_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request.

    Attributes:
        method: Method as sent, such as `GET`.
        target: Path and query as sent. If an absolute URL was sent, its host has replaced the `host` header.
        headers: Header values by lower-case name. HTTP/1.0 requests may lack `host`.
        peer: IP address of the client; empty if the client has disconnected.
        body: Body, at most `Bounds.body_bytes`.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    peer: str = ""
    body: bytes = b""

    @property
    def path(self) -> str:
        """Path as sent, without the query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP status.
        body: Body; only its length is sent in answer to HEAD.
        headers: Headers besides `content-length` and `connection`.
        closes: Whether the connection is closed after it.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False


class HttpConnection:
    """One connection: receives requests and sends answers."""

    def __init__(self, stream: Stream, bounds: Bounds) -> None:
        """Use a stream. The caller must close it."""
        self.stream = stream
        self._bounds = bounds
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=bounds.head_bytes)
        self._patience_s = bounds.first_s
        self._is_head = False
        self.waits_since: float | None = None
        """Instant since which the server waits for the client to send a request or to read the last answer, or None."""
        self.sends_since: float | None = None
        """Instant since which the server has been sending an answer, or None."""

    async def receive(self) -> Request | None:
        """Return the next request; None if the client has finished or is too slow.

        Raises:
            h11.RemoteProtocolError: The request is invalid; `error_status_hint` is the status for the answer.
        """
        head: h11.Request | None = None
        self._is_head = False
        body = bytearray()
        self.waits_since = trio.current_time()
        # Bytes that came after the previous request are the beginning of this one.
        is_begun = bool(self._h11.trailing_data[0])
        with trio.move_on_after(self._bounds.request_s if is_begun else self._patience_s) as patience:
            while True:
                match self._h11.next_event():
                    case h11.NEED_DATA:
                        data = await self.stream.receive_some(_CHUNK)
                        self._h11.receive_data(bytes(data))
                        if data and not is_begun:
                            is_begun = True
                            deadline = trio.current_time() + self._bounds.request_s
                            patience.deadline = min(patience.deadline, deadline)
                    case h11.Request() as head:
                        self._is_head = head.method == b"HEAD"
                    case h11.Data(data=data):
                        body += data
                        if len(body) > self._bounds.body_bytes:
                            raise h11.RemoteProtocolError("body too long", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    case h11.EndOfMessage() if head is not None:
                        self.waits_since = None
                        return _read(head, self._peer(), bytes(body))
                    case _:
                        return None
        return None

    def begin_next(self) -> None:
        """Prepare for the next request, which may take `idle_s` to begin."""
        self._h11.start_next_cycle()
        self._patience_s = self._bounds.idle_s

    def write(self, answer: Response) -> tuple[bytes, bytes]:
        """Return the bytes of an answer's head and body; the caller sends them."""
        fixed = [("content-length", str(len(answer.body))), *[("connection", "close")] * answer.closes]
        head = h11.Response(
            status_code=answer.status,
            reason=HTTPStatus(answer.status).phrase.encode(),
            headers=[*answer.headers, *fixed],
        )
        parts = [self._h11.send(head), self._h11.send(h11.Data(data=b"" if self._is_head else answer.body))]
        parts.append(self._h11.send(h11.EndOfMessage()))
        first, *others = (part or b"" for part in parts)
        return first, b"".join(others)

    @property
    def is_reusable(self) -> bool:
        """Whether the request is complete on both sides, and both sides want to keep the connection."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def send(self, answer: Response) -> bool:
        """Send an answer; return whether the connection can serve another request."""
        data = b"".join(self.write(answer))
        self.sends_since = trio.current_time()
        with trio.move_on_after(self._bounds.send_s):
            await self.stream.send_all(data)
            self.sends_since = None
            return self.is_reusable
        return False

    async def part(self, answer: Response) -> None:
        """Send a last answer if that is still possible, and give the client time to read it before the close."""
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        await self.send(answer)
        self.waits_since = trio.current_time()
        # Closing while received bytes are unread would reset the connection, and the client would lose the answer.
        with trio.move_on_after(self._bounds.linger_s):
            await self.stream.send_eof()
            for _ in range(_LINGER_READS):
                if not await self.stream.receive_some(_CHUNK):
                    break

    def _peer(self) -> str:
        if not isinstance(self.stream, trio.SocketStream):
            return ""
        try:
            return str(self.stream.socket.getpeername()[0])
        except OSError:
            return ""


Handle = Callable[[HttpConnection, Request], Awaitable[bool]]
"""Answers a request over its connection; returns whether the connection can serve another one."""

Refuse = Callable[[int], Response]
"""Makes the answer to an invalid request, with the given status."""


class Server:
    """The connections of one server.

    If the limit of connections is reached, a new connection replaces the one whose client has let the server wait
    longest. So silent and slow clients cannot lock out others. A connection whose request is being handled is not
    replaced.
    """

    def __init__(self, bounds: Bounds, handle: Handle, refuse: Refuse) -> None:
        self._bounds = bounds
        self._handle = handle
        self._refuse = refuse
        self._places: dict[HttpConnection, trio.CancelScope] = {}

    async def serve_connection(self, stream: Stream) -> None:
        """Serve one connection until either side ends it, and close it. Its errors are logged and not raised."""
        connection = HttpConnection(stream, self._bounds)
        async with stream:
            if len(self._places) >= self._bounds.connections and not self._make_room():
                return
            with trio.CancelScope() as scope:
                self._places[connection] = scope
                try:
                    await self._serve(connection)
                except _GONE:
                    # The client disconnected, which is not an error.
                    return
                except Exception:
                    _logger.exception("a connection failed")
                finally:
                    self._places.pop(connection, None)

    def _make_room(self) -> bool:
        """Close the connection whose client has let the server wait longest; return whether there is one."""
        waiting = [(one.waits_since, one) for one in self._places if one.waits_since is not None]
        # If there is none, close the one whose client has been reading its answer for longest.
        waiting = waiting or [(one.sends_since, one) for one in self._places if one.sends_since is not None]
        if not waiting:
            return False
        _, oldest = min(waiting, key=itemgetter(0))
        self._places.pop(oldest).cancel()
        return True

    async def _serve(self, connection: HttpConnection) -> None:
        while True:
            try:
                request = await connection.receive()
            except h11.RemoteProtocolError as error:
                await connection.part(self._refuse(error.error_status_hint))
                return
            if request is None or not await self._handle(connection, request):
                return
            connection.begin_next()


def _read(head: h11.Request, peer: str, body: bytes) -> Request:
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    target = head.target.decode("ascii")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # RFC 9112 3.2.2: the host in an absolute target overrides the header.
        headers["host"], target = absolute[1], absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    return Request(head.method.decode("ascii"), target, headers, peer, body)
