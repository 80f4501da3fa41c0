"""Sends an answer over a connection, either whole or delayed, cut or reset by a fault."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from email.utils import formatdate

import trio

from reconciler_engine.http_server import HttpConnection, Response, Stream
from reconciler_engine.simulator.faults.rules import FaultRule

# A slow answer is sent in at most this many pieces, with at least this pause before each.
_PIECES = 50
_LEAST_PAUSE_S = 0.02


async def send_answer(connection: HttpConnection, answer: Response, now: int, fault: FaultRule | None) -> bool:
    """Send an answer, dated `now` (ms UTC), and return whether the connection can serve another request.

    Without a fault, the connection is given up if sending takes longer than `Bounds.send_s`.
    """
    dated = (("date", formatdate(now // 1000, usegmt=True)), ("server", "cloudflare"))
    answer = replace(answer, headers=dated + answer.headers)
    if fault is None:
        return await connection.send(answer)
    head, body = connection.write(answer)
    return await _SPOILT[fault.mode](connection.stream, head, body, fault) and connection.is_reusable


async def _stay_silent(stream: Stream, _head: bytes, _body: bytes, fault: FaultRule) -> bool:
    with trio.move_on_after(fault.number("seconds")):
        await _wait_gone(stream)
    return False


async def _reset_before(stream: Stream, _head: bytes, _body: bytes, _fault: FaultRule) -> bool:
    _reset(stream)
    await trio.lowlevel.checkpoint()
    return False


async def _reset_within(stream: Stream, head: bytes, body: bytes, _fault: FaultRule) -> bool:
    await stream.send_all(head + body[: len(body) // 2])
    _reset(stream)
    return False


async def _send_half(stream: Stream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await stream.send_all(_truncate(head, body, fault.text("length")))
    return False


async def _send_and_close(stream: Stream, head: bytes, body: bytes, _fault: FaultRule) -> bool:
    await stream.send_all(head + body)
    return False


async def _drip_head(stream: Stream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await _drip(stream, head, fault.number("seconds"))
    await stream.send_all(body)
    return True


async def _drip_body(stream: Stream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await stream.send_all(head)
    await _drip(stream, body, fault.number("seconds"))
    return True


# By mode: the function that sends the answer and returns whether the connection can serve another request.
_SPOILT: Mapping[str, Callable[[Stream, bytes, bytes, FaultRule], Awaitable[bool]]] = {
    "silence": _stay_silent,
    "reset": _reset_before,
    "refuse": _reset_before,
    "reset_body": _reset_within,
    "truncate": _send_half,
    "close": _send_and_close,
    "slow_head": _drip_head,
    "blocked": _drip_head,
    "slow_body": _drip_body,
}


def _truncate(head: bytes, body: bytes, length: str) -> bytes:
    """Return an answer with half its body; its Content-Length states the whole body, the half, or is left out."""
    half = body[: len(body) // 2]
    if length == "full":
        return head + half
    stated = f"content-length: {len(body)}\r\n".encode()
    other = b"connection: close\r\n" if length == "absent" else f"content-length: {len(half)}\r\n".encode()
    at = head.lower().index(stated)
    return head[:at] + other + head[at + len(stated) :] + half


async def _drip(stream: Stream, data: bytes, seconds: float) -> None:
    """Send data in pieces, spread evenly over `seconds`."""
    pieces = min(_PIECES, len(data), max(1, round(seconds / _LEAST_PAUSE_S)))
    for number in range(pieces):
        await trio.sleep(seconds / pieces)
        await stream.send_all(data[number * len(data) // pieces : (number + 1) * len(data) // pieces])


async def _wait_gone(stream: Stream) -> None:
    """Wait until the client closes its side; discard everything it sends before that."""
    while await stream.receive_some(1024):
        pass


def _reset(stream: Stream) -> None:
    """Set the stream to reset the connection (TCP RST) when it is closed."""
    if isinstance(stream, trio.SocketStream):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
