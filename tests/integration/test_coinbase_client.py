"""The client against servers that answer byte by byte, over real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from typing import Any

import pytest
import trio
from tests.integration.scripted_exchange import GOOD, ROW, Step, answer, close, exchange, fetch, hold

from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)


def unmeasured(body: bytes, *headers: str) -> bytes:
    """An answer without a Content-Length, which ends where the connection does."""
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def drip(stream: trio.SocketStream) -> None:
    """One byte at a time, always before the client takes the silence for too long."""
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.02)


async def flood(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"[" * 65_536)


async def test_a_page_and_the_request_for_it() -> None:
    async with exchange([answer()]) as (client, server):
        page = await fetch(client)
    assert [(candle.timestamp, candle.volume) for candle in page.candles] == [(1_767_225_600_000, 9.8)]
    request, *headers = server.heads[0].split("\r\n")
    assert request == (
        "GET /api/v3/brokerage/market/products/BTC-USD/candles"
        "?start=1767225600&end=1767226199&granularity=FIVE_MINUTE HTTP/1.1"
    )
    names = {line.partition(":")[0].lower(): line.partition(": ")[2] for line in headers if line}
    assert names.pop("host").startswith("127.0.0.1:")
    assert names.pop("user-agent").startswith("reconciler-engine/")
    assert names == {
        "accept": "application/json",
        "accept-encoding": "gzip",
        "cache-control": "no-cache",
        "connection": "keep-alive",
    }


async def test_the_clock() -> None:
    body = b'{"iso":"2026-01-01T00:00:00Z","epochSeconds":"1767225600","epochMillis":"1767225600123"}'
    async with exchange([answer(body)]) as (client, server):
        assert await client.fetch_time() == 1_767_225_600_123
    assert server.heads[0].startswith("GET /api/v3/brokerage/time HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([answer(GOOD, "200 OK", "Content-Type: text/html")], id="content type is not trusted"),
        pytest.param([answer(gzip.compress(GOOD), "200 OK", "Content-Encoding: gzip")], id="gzip"),
        pytest.param([unmeasured(GOOD), close], id="no length"),
        pytest.param(
            [unmeasured(b"", "Transfer-Encoding: chunked"), *(b"1\r\n%c\r\n" % byte for byte in GOOD), b"0\r\n\r\n"],
            id="chunks of a byte",
        ),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", answer()], id="informational first"),
        pytest.param([answer(b" \n" + GOOD + b"\n")], id="white space"),
    ],
)
async def test_answers_that_are_read(script: list[Step]) -> None:
    async with exchange(script) as (client, _):
        assert len((await fetch(client)).candles) == 1


HTML = b"<!DOCTYPE html><title>Just a moment...</title>"
BOMB = gzip.compress(b" " * 5_000_000)
CASES: list[tuple[str, list[Step], type[SourceError], str]] = [
    ("empty body", [answer(b"")], BadResponse, "empty body"),
    ("HTML with 200", [answer(HTML)], SourceUnavailable, "HTML page instead of JSON"),
    ("challenge with 403", [answer(HTML, "403 Forbidden")], SourceUnavailable, "HTTP 403 HTML page"),
    ("502 page", [answer(HTML, "502 Bad Gateway")], SourceUnavailable, "HTTP 502 HTML page"),
    ("500 JSON", [answer(b'{"error":"INTERNAL"}', "500 x")], SourceUnavailable, "HTTP 500 INTERNAL"),
    ("503 empty", [answer(b"", "503 x")], SourceUnavailable, "HTTP 503 no details"),
    ("400", [answer(b'{"error":"INVALID_ARGUMENT","message":"m "}', "400 x")], RequestRefused, "INVALID_ARGUMENT: m"),
    ("404", [answer(b'{"error":"NOT_FOUND"}', "404 x")], RequestRefused, "HTTP 404 NOT_FOUND"),
    ("401", [answer(b"Unauthorized", "401 x")], NotAuthorized, "HTTP 401 Unauthorized"),
    ("403 block", [answer(b"Too many errors", "403 x")], RateLimited, "HTTP 403"),
    ("429", [answer(b"", "429 x")], RateLimited, "HTTP 429"),
    ("429 seconds", [answer(b"", "429 x", "Retry-After: 7")], RateLimited, "asked to wait 7000 ms"),
    ("429 negative", [answer(b"", "429 x", "Retry-After: -7")], RateLimited, "HTTP 429"),
    ("429 huge", [answer(b"", "429 x", "Retry-After: 99999999")], RateLimited, "asked to wait 3600000 ms"),
    ("429 twice", [answer(b"", "429 x", "Retry-After: 7", "Retry-After: 9")], RateLimited, "HTTP 429"),
    (
        "429 date",
        [answer(b"", "429 x", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After: Sun, 06 Nov 1994 08:49:47 GMT")],
        RateLimited,
        "asked to wait 10000 ms",
    ),
    ("204", [b"HTTP/1.1 204 No Content\r\n\r\n"], BadResponse, "HTTP 204"),
    ("reset before headers", [reset], SourceUnavailable, "connection broken: ConnectionResetError"),
    ("reset mid-headers", [b"HTTP/1.1 200 OK\r\nContent-", reset], SourceUnavailable, "connection broken"),
    ("closed before headers", [close], SourceUnavailable, "disconnected without sending"),
    ("reset mid-body", [answer(GOOD[:20], length=len(GOOD)), reset], SourceUnavailable, "connection broken"),
    ("truncated, length too great", [answer(length=len(GOOD) + 9), close], SourceUnavailable, "not complete HTTP"),
    ("truncated, no length", [unmeasured(GOOD[:-9]), close], BadResponse, "no JSON in"),
    (
        "truncated chunks",
        [unmeasured(b"5\r\n{", "Transfer-Encoding: chunked"), close],
        SourceUnavailable,
        "not complete",
    ),
    ("length too small", [answer(length=len(GOOD) - 9)], BadResponse, "no JSON in"),
    ("length too small, forged rest", [answer(GOOD[:9] + answer(), length=9)], BadResponse, "no JSON in"),
    ("two lengths", [answer(GOOD, "200 OK", "Content-Length: 3")], SourceUnavailable, "not complete HTTP"),
    ("length no number", [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], SourceUnavailable, "not complete HTTP"),
    ("no HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], SourceUnavailable, "not complete HTTP"),
    ("TLS where HTTP was expected", [b"\x15\x03\x01\x00\x02\x02\x46", close], SourceUnavailable, "not complete HTTP"),
    ("slow headers", [b"HTTP/1.1 200 OK\r\n", hold], SourceUnavailable, "silence for too long"),
    ("silence", [hold], SourceUnavailable, "silence for too long"),
    ("slow body", [answer(GOOD[:20], length=len(GOOD)), hold], SourceUnavailable, "silence for too long"),
    ("dripping headers", [b"HTTP/1.1 200 OK\r\nX: ", drip], SourceUnavailable, "no complete answer within 2 s"),
    ("dripping body", [unmeasured(b"{"), drip], SourceUnavailable, "no complete answer within 2 s"),
    ("endless headers", [b"HTTP/1.1 200 OK\r\nX: ", flood], SourceUnavailable, "not complete HTTP"),
    ("endless body", [unmeasured(b"{"), flood], BadResponse, "more than 1000000 bytes"),
    ("body announced too large", [answer(b"{", length=10**12), flood], BadResponse, "more than 1000000 bytes"),
    ("endless error body", [b"HTTP/1.1 500 x\r\n\r\n", flood], BadResponse, "more than 1000000 bytes"),
    ("gzip bomb", [answer(BOMB, "200 OK", "Content-Encoding: gzip")], BadResponse, "bytes, decompressed"),
    ("invalid gzip", [answer(GOOD, "200 OK", "Content-Encoding: gzip")], BadResponse, "invalid gzip"),
    (
        "truncated gzip",
        [answer(gzip.compress(GOOD)[:-3], "200 OK", "Content-Encoding: gzip")],
        BadResponse,
        "gzip body truncated",
    ),
    ("unasked encoding", [answer(GOOD, "200 OK", "Content-Encoding: br")], BadResponse, "content encoding 'br'"),
    ("redirect", [answer(b"", "302 Found", "Location: /elsewhere")], BadResponse, "redirect to '/elsewhere', not"),
    ("redirect to a mad URL", [answer(b"", "302 x", "Location: http://[::1")], SourceError, "location"),
    ("redirect to no URL", [answer(b"", "302 x", "Location: http://x:99999/\x7f")], SourceError, ""),
    ("redirect by scheme", [answer(b"", "301 x", "Location: ftp://x/")], BadResponse, "redirect to 'ftp://x/', not"),
]


@pytest.mark.parametrize(("script", "kind", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_each_fault_is_one_error_after_one_request_and_harms_no_other(
    script: list[Step], kind: type[SourceError], said: str
) -> None:
    settings: dict[str, Any] = {"connections": 1}
    if "silence" in said or "within" in said:
        # Long enough that a busy machine is not taken for the fault.
        settings |= {"silence_timeout_ms": 1_000, "request_timeout_ms": 2_000}
    async with exchange(script, [answer()], **settings) as (client, server):
        with pytest.raises(kind) as refused:
            await fetch(client)
        assert said in str(refused.value)
        assert len(server.heads) == 1
        assert len((await fetch(client)).candles) == 1
        assert len(server.heads) == 2


async def test_connections_are_kept() -> None:
    async with exchange([answer()]) as (client, server):
        for _ in range(3):
            await fetch(client)
    assert (len(server.heads), server.connections) == (3, 1)


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced() -> None:
    closed = trio.Event()

    async def leave(stream: trio.SocketStream) -> None:
        await stream.aclose()
        closed.set()

    async with exchange([answer(), leave], [answer()]) as (client, server):
        await fetch(client)
        await closed.wait()
        await fetch(client)
    assert (len(server.heads), server.connections) == (2, 2)


async def test_a_kept_connection_closed_on_the_next_request_sends_no_second_request() -> None:
    async with exchange([answer()], [close], [answer()]) as (client, server):
        await fetch(client)
        with pytest.raises(SourceUnavailable, match="disconnected"):
            await fetch(client)
        assert len(server.heads) == 2
        await fetch(client)


async def test_a_connection_that_gave_a_wrong_answer_is_not_used_again() -> None:
    """The missing part of the answer may come later, and would then be taken for the next one."""
    async with exchange([answer(GOOD[:9], length=9)], [answer()], connections=1) as (client, server):
        with pytest.raises(BadResponse):
            await fetch(client)
        await fetch(client)
    assert server.connections == 2


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("apart", [False, True])
async def test_an_answer_nobody_asked_for_is_never_taken_for_the_next(chunked: bool, apart: bool) -> None:
    other = json.dumps({"candles": [{**ROW, "volume": "666"}]}).encode()
    twice = [answer(), answer(other)]
    if chunked:
        framed = [b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) for body in (GOOD, other)]
        twice = [unmeasured(body, "Transfer-Encoding: chunked") for body in framed]
    sent = trio.Event()

    async def tell(_: trio.SocketStream) -> None:
        sent.set()

    script: list[Step] = [*(twice if apart else [b"".join(twice)]), tell]
    async with exchange(script, [answer()], connections=1) as (client, server):
        volumes = [(await fetch(client)).candles[0].volume]
        await sent.wait()
        volumes += [(await fetch(client)).candles[0].volume for _ in range(2)]
    assert volumes == [9.8, 9.8, 9.8]
    assert (len(server.heads), server.connections) == (3, 2)
