"""HTTP/1.1 for the pages: h11 over trio's sockets, everything bounded."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

import h11
import trio

from reconciler_engine.observe.web.http import Answer, Request

CONNECTIONS = 64
"""Connections at a time; one more is closed at once."""

HEAD_BYTES = 8 * 1024
REQUEST_S = 5.0
"""How long a request may take to come in, the first one from the connection's beginning."""

IDLE_S = 75.0
"""How long a connection is kept for the next request: longer than scrapers usually pause."""

ANSWER_S = 10.0
"""How long finding the answer may take."""

SEND_S = 10.0
_LINGER_S = 1.0
_LINGER_READS = 64
_CHUNK = 2 * 1024
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_SAFE = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
"""What every answer says: nothing but our own style sheet is loaded, nothing guessed, framed, sent on or kept."""

_BODY = h11.RemoteProtocolError("a body is not taken", error_status_hint=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_logger = logging.getLogger(__name__)

_Stream = trio.abc.HalfCloseableStream
Respond = Callable[[Request], Awaitable[Answer]]


async def serve(listeners: list[trio.SocketListener], respond: Respond) -> None:
    """Answer requests until cancelled, then close everything.

    A connection is kept from one request to the next. It is closed when a request takes over 5 s to come in, its head
    is over 8 KiB, it has a body, there is none for 75 s, or its answer cannot be sent within 10 s. A `respond` that
    raises is logged and answered with 500, one that takes over 10 s with 503.
    """
    limit = trio.Semaphore(CONNECTIONS, max_value=CONNECTIONS)
    await trio.serve_listeners(partial(_serve_connection, respond, limit), listeners)


async def _serve_connection(respond: Respond, limit: trio.Semaphore, stream: _Stream) -> None:
    async with stream:
        try:
            limit.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            with suppress(*_GONE):
                await _serve_requests(respond, stream)
        finally:
            limit.release()


async def _serve_requests(respond: Respond, stream: _Stream) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    patience_s = REQUEST_S
    while True:
        try:
            request = await _receive(connection, stream, patience_s)
        except h11.RemoteProtocolError as error:
            await _part(connection, stream, Answer.refusal(HTTPStatus(error.error_status_hint), "bad request"))
            return
        if request is None:
            return
        answer = await _answer(respond, request)
        is_head = request.method == "HEAD"
        if answer.closes:
            await _part(connection, stream, answer, is_head=is_head)
            return
        if not await _send(connection, stream, answer, is_head=is_head):
            return
        connection.start_next_cycle()
        patience_s = IDLE_S


async def _receive(connection: h11.Connection, stream: _Stream, patience_s: float) -> Request | None:
    """Return the next request; None when the client is done or too slow."""
    head: h11.Request | None = None
    is_begun = False
    with trio.move_on_after(patience_s) as patience:
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    data = await stream.receive_some(_CHUNK)
                    connection.receive_data(bytes(data))
                    if data and not is_begun:
                        is_begun = True
                        patience.deadline = min(patience.deadline, trio.current_time() + REQUEST_S)
                case h11.Request() as head:
                    continue
                case h11.Data():
                    raise _BODY
                case h11.EndOfMessage() if head is not None:
                    return _read(head)
                case _:
                    return None
    return None


def _read(head: h11.Request) -> Request:
    path, _, _ = head.target.decode("ascii").partition("?")
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), path, headers)


async def _answer(respond: Respond, request: Request) -> Answer:
    with trio.move_on_after(ANSWER_S):
        try:
            return await respond(request)
        except Exception:
            _logger.exception("a page failed", extra={"path": request.path[:100]})
            return Answer.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed; the log says why")
    return Answer.refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no answer in time")


async def _send(connection: h11.Connection, stream: _Stream, answer: Answer, *, is_head: bool) -> bool:
    """Send an answer; return whether the connection can be used on."""
    closing = (("connection", "close"),) if answer.closes else ()
    fixed = (("content-type", answer.content_type), ("content-length", str(len(answer.body))))
    response = h11.Response(
        status_code=answer.status,
        reason=answer.status.phrase.encode(),
        headers=[*fixed, *_SAFE, *answer.headers, *closing],
    )
    parts = [connection.send(response), b"" if is_head else connection.send(h11.Data(data=answer.body))]
    parts.append(connection.send(h11.EndOfMessage()))
    with trio.move_on_after(SEND_S):
        await stream.send_all(b"".join(part or b"" for part in parts))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE
    return False


async def _part(connection: h11.Connection, stream: _Stream, answer: Answer, *, is_head: bool = False) -> None:
    """Send a last answer, as far as that is still possible, and have it read before the connection is closed."""
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    await _send(connection, stream, answer, is_head=is_head)
    # Closing on unread bytes would reset the connection, and the answer with it.
    with trio.move_on_after(_LINGER_S):
        await stream.send_eof()
        for _ in range(_LINGER_READS):
            if not await stream.receive_some(_CHUNK):
                break
