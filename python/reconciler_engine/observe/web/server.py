"""The HTTP server of the pages: its limits, the headers of every response, and errors of pages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus

import trio

from reconciler_engine.http_server import Bounds, HttpConnection, Request, Response, Server
from reconciler_engine.observe.web.http import refuse

BOUNDS = Bounds(
    connections=64,
    head_bytes=8 * 1024,
    body_bytes=0,
    first_s=5.0,
    request_s=5.0,
    # Longer than the usual interval of scrapers.
    idle_s=75.0,
    send_s=10.0,
    linger_s=1.0,
)
ANSWER_S = 10.0
"""Time limit of `respond` (s)."""

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_SAFE = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
"""Headers of every response: the browser loads only our own style sheet, guesses no content type, shows no page in a
frame, sends no referrer, keeps no copy, and submits forms to this server only."""

_logger = logging.getLogger(__name__)

Respond = Callable[[Request], Awaitable[Response]]


async def serve(listeners: list[trio.SocketListener], respond: Respond) -> None:
    """Answer requests until cancelled, then close everything.

    A connection stays open for further requests. If there are more than 64, the one whose client has kept the server
    waiting longest is closed. A connection is closed, too, if a request takes over 5 s to arrive, has a head over 8 KiB
    or has a body; if no request arrives for 75 s; or if a response cannot be sent within 10 s. If `respond` raises, the
    error is logged and the response is 500; if it takes over 10 s, the response is 503.
    """
    await trio.serve_listeners(make_server(respond).serve_connection, listeners)


def make_server(respond: Respond) -> Server:
    """Return the server of the pages, without a listener."""
    return Server(BOUNDS, partial(_handle, respond), _refuse)


async def _handle(respond: Respond, connection: HttpConnection, request: Request) -> bool:
    answer = _safe(await _answer(respond, request))
    if answer.closes:
        await connection.part(answer)
        return False
    return await connection.send(answer)


async def _answer(respond: Respond, request: Request) -> Response:
    with trio.move_on_after(ANSWER_S):
        try:
            return await respond(request)
        except Exception:
            _logger.exception("a page failed", extra={"path": request.path[:100]})
            return refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed; the log says why")
    return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "no answer in time")


def _refuse(status: int) -> Response:
    return _safe(refuse(HTTPStatus(status), "bad request"))


def _safe(answer: Response) -> Response:
    return replace(answer, headers=(*_SAFE, *answer.headers))
