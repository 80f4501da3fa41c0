"""Sending an answer over a connection, whole or spoilt on its way."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

import h11
import trio

from reconciler_engine.simulator.api_answer import ApiAnswer
from reconciler_engine.simulator.faults.rules import FaultRule

_SEND_S = 30.0
# A drip comes in so many pieces at most, and none is closer to the next than this.
_PIECES = 50
_LEAST_PAUSE_S = 0.02


async def send_answer(
    connection: h11.Connection, stream: trio.SocketStream, answer: ApiAnswer, now: int, fault: FaultRule | None
) -> bool:
    """Send an answer, dated `now` (ms UTC), and say whether the connection may serve another request.

    Gives up after 30 s if the client does not read; a fault that takes its time has its own.
    """
    head, body = _write(connection, answer, now)
    if fault is not None:
        keeps = await _SPOILT[fault.mode](stream, head, body, fault)
        return keeps and connection.our_state is h11.DONE
    with trio.move_on_after(_SEND_S) as patience:
        await stream.send_all(head + body)
    return not patience.cancelled_caught and connection.our_state is h11.DONE


async def _stay_silent(stream: trio.SocketStream, _head: bytes, _body: bytes, fault: FaultRule) -> bool:
    with trio.move_on_after(fault.number("seconds")):
        await _wait_gone(stream)
    return False


async def _reset_before(stream: trio.SocketStream, _head: bytes, _body: bytes, _fault: FaultRule) -> bool:
    _reset(stream)
    await trio.lowlevel.checkpoint()
    return False


async def _reset_within(stream: trio.SocketStream, head: bytes, body: bytes, _fault: FaultRule) -> bool:
    await stream.send_all(head + body[: len(body) // 2])
    _reset(stream)
    return False


async def _send_half(stream: trio.SocketStream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await stream.send_all(_truncate(head, body, fault.text("length")))
    return False


async def _send_and_close(stream: trio.SocketStream, head: bytes, body: bytes, _fault: FaultRule) -> bool:
    await stream.send_all(head + body)
    return False


async def _drip_head(stream: trio.SocketStream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await _drip(stream, head, fault.number("seconds"))
    await stream.send_all(body)
    return True


async def _drip_body(stream: trio.SocketStream, head: bytes, body: bytes, fault: FaultRule) -> bool:
    await stream.send_all(head)
    await _drip(stream, body, fault.number("seconds"))
    return True


# Each sends what it sends and says whether the connection can go on.
_SPOILT: Mapping[str, Callable[[trio.SocketStream, bytes, bytes, FaultRule], Awaitable[bool]]] = {
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


def _write(connection: h11.Connection, answer: ApiAnswer, now: int) -> tuple[bytes, bytes]:
    """Return head and body as they go over the wire."""
    headers = [
        ("date", formatdate(now // 1000, usegmt=True)),
        ("server", "cloudflare"),
        *answer.headers,
        ("content-length", str(len(answer.body))),
    ]
    reason = HTTPStatus(answer.status).phrase
    head = connection.send(h11.Response(status_code=answer.status, headers=headers, reason=reason)) or b""
    body = connection.send(h11.Data(data=answer.body)) or b""
    return head, body + (connection.send(h11.EndOfMessage()) or b"")


def _truncate(head: bytes, body: bytes, length: str) -> bytes:
    """Return an answer with half its body, whose length is said for the whole, for the half, or not at all."""
    half = body[: len(body) // 2]
    if length == "full":
        return head + half
    stated = f"content-length: {len(body)}\r\n".encode()
    other = b"connection: close\r\n" if length == "absent" else f"content-length: {len(half)}\r\n".encode()
    return _replace_header(head, stated, other) + half


def _replace_header(head: bytes, stated: bytes, other: bytes) -> bytes:
    at = head.lower().index(stated)
    return head[:at] + other + head[at + len(stated) :]


async def _drip(stream: trio.SocketStream, data: bytes, seconds: float) -> None:
    """Send data evenly over a time."""
    pieces = min(_PIECES, len(data), max(1, round(seconds / _LEAST_PAUSE_S)))
    for number in range(pieces):
        await trio.sleep(seconds / pieces)
        await stream.send_all(data[number * len(data) // pieces : (number + 1) * len(data) // pieces])


async def _wait_gone(stream: trio.SocketStream) -> None:
    """Wait until the client ends its side; what it still says is not heard."""
    while await stream.receive_some(1024):
        pass


def _reset(stream: trio.SocketStream) -> None:
    """Let closing the stream reset the connection instead of ending it."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
