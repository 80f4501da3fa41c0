"""The client against servers that answer byte by byte, over real sockets."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.route import Proxy, Route
from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series

Step = bytes | Callable[[trio.SocketStream], Awaitable[None]]

SERIES = Series.parse("BTC-USD:5m")
PAGE = Interval(1_767_225_600_000, 1_767_226_200_000)
ROW = {"start": "1767225600", "low": "1", "high": "3", "open": "2", "close": "2", "volume": "9.8"}
GOOD = json.dumps({"candles": [ROW]}).encode()


def answer(body: bytes = GOOD, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def unmeasured(body: bytes, *headers: str) -> bytes:
    """An answer without a Content-Length, which ends where the connection does."""
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def close(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def hold(stream: trio.SocketStream) -> None:
    """Say nothing more; return when the client has left."""
    await stream.receive_some()


async def drip(stream: trio.SocketStream) -> None:
    """One byte at a time, always before the client takes the silence for too long."""
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.02)


async def flood(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"[" * 65_536)


class Exchange:
    """Plays a script a request, the last one for ever; keeps the head of each request and counts connections."""

    def __init__(self, scripts: Sequence[Sequence[Step]]) -> None:
        self.scripts = list(scripts)
        self.heads: list[str] = []
        self.connections = 0
        self.url = ""
        self.heard = trio.Event()

    async def serve(self, stream: Any, socket_stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while (head := await read_head(stream)) is not None:
                self.heads.append(head)
                self.heard.set()
                for step in self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]:
                    if callable(step):
                        await step(socket_stream)
                    else:
                        await stream.send_all(step)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def read_head(stream: Any) -> str | None:
    """The next request; a client sends its next one only after it was answered."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.receive_some()
        if not data:
            return None
        head += data
    return head.decode()


@asynccontextmanager
async def exchange(
    *scripts: Sequence[Step], tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[tuple[CoinbaseClient, Exchange]]:
    server = Exchange(scripts)

    async def serve(stream: trio.SocketStream) -> None:
        shown = stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        await server.serve(shown, stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        with trio.fail_after(10):
            async with CoinbaseClient(server.url, **settings) as client:
                yield client, server
        nursery.cancel_scope.cancel()


async def fetch(client: CoinbaseClient) -> CandlePage:
    return await client.fetch_candles(SERIES, PAGE)


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
    ("truncated, length too great", [answer(length=len(GOOD) + 9), close], SourceUnavailable, "no complete HTTP"),
    ("truncated, no length", [unmeasured(GOOD[:-9]), close], BadResponse, "no JSON in"),
    (
        "truncated chunks",
        [unmeasured(b"5\r\n{", "Transfer-Encoding: chunked"), close],
        SourceUnavailable,
        "no complete",
    ),
    ("length too small", [answer(length=len(GOOD) - 9)], BadResponse, "no JSON in"),
    ("length too small, forged rest", [answer(GOOD[:9] + answer(), length=9)], BadResponse, "no JSON in"),
    ("two lengths", [answer(GOOD, "200 OK", "Content-Length: 3")], SourceUnavailable, "no complete HTTP"),
    ("length no number", [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], SourceUnavailable, "no complete HTTP"),
    ("no HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], SourceUnavailable, "no complete HTTP"),
    ("TLS where HTTP was expected", [b"\x15\x03\x01\x00\x02\x02\x46", close], SourceUnavailable, "no complete HTTP"),
    ("slow headers", [b"HTTP/1.1 200 OK\r\n", hold], SourceUnavailable, "silence for too long"),
    ("silence", [hold], SourceUnavailable, "silence for too long"),
    ("slow body", [answer(GOOD[:20], length=len(GOOD)), hold], SourceUnavailable, "silence for too long"),
    ("dripping headers", [b"HTTP/1.1 200 OK\r\nX: ", drip], SourceUnavailable, "no complete answer within 2 s"),
    ("dripping body", [unmeasured(b"{"), drip], SourceUnavailable, "no complete answer within 2 s"),
    ("endless headers", [b"HTTP/1.1 200 OK\r\nX: ", flood], SourceUnavailable, "no complete HTTP"),
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


async def test_a_kept_connection_closed_on_the_next_request_is_an_error_and_no_second_request() -> None:
    async with exchange([answer()], [close], [answer()]) as (client, server):
        await fetch(client)
        with pytest.raises(SourceUnavailable, match="disconnected"):
            await fetch(client)
        assert len(server.heads) == 2
        await fetch(client)


async def test_a_connection_that_gave_a_wrong_answer_is_not_used_again() -> None:
    """What is missing of the answer may come later, and would then be taken for the next one."""
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


async def test_nothing_is_cached_and_cookies_are_not_kept() -> None:
    kept = ["Cache-Control: public, max-age=14400", "ETag: x", "Set-Cookie: __cf_bm=1; Path=/", "Age: 5"]
    async with exchange([answer(GOOD, "200 OK", *kept)]) as (client, server):
        await fetch(client)
        await fetch(client)
    assert len(server.heads) == 2
    assert "cookie" not in server.heads[1].lower()
    assert "if-none-match" not in server.heads[1].lower()


async def test_a_redirect_elsewhere_reaches_nobody() -> None:
    async with exchange([answer()]) as (_, elsewhere), exchange([answer()]) as (client, server):
        server.scripts = [[answer(b"", "307 x", f"Location: {elsewhere.url}/")]]
        with pytest.raises(BadResponse, match="not followed"):
            await fetch(client)
        assert elsewhere.connections == 0


async def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\n")
    netrc.chmod(0o600)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NETRC", str(netrc))
    async with exchange([answer()]) as (client, server):
        await fetch(client)
    assert "authorization" not in server.heads[0].lower()


async def test_urls_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with exchange([answer()]) as (client, _):
        await fetch(client)
    assert "granularity" not in caplog.text


async def test_nothing_is_sent_for_what_is_no_page() -> None:
    async with exchange([answer()]) as (client, server):
        with pytest.raises(ValueError, match="allowed: 1 to 300"):
            await client.fetch_candles(SERIES, Interval(PAGE.start, PAGE.start + 301 * 300_000))
    assert server.connections == 0


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with CoinbaseClient(f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            with pytest.raises(SourceUnavailable, match="no connection") as refused:
                await fetch(client)
    assert "refused" in str(refused.value)


class NoNames(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


async def test_a_name_that_does_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with CoinbaseClient("https://exchange.invalid", ssl_context=ssl.create_default_context()) as client:
        with pytest.raises(SourceUnavailable, match="no connection: gaierror: Name or service not known"):
            await fetch(client)


@pytest.mark.parametrize("step", [[hold], [b"HTTP/1.1 200 OK\r\n", hold], [answer(GOOD[:20], length=len(GOOD)), hold]])
async def test_a_cancelled_call_leaves_nothing_half_used(step: list[Step]) -> None:
    async with exchange(step, [answer()], connections=1) as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, client)
            await server.heard.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len((await fetch(client)).candles) == 1
    assert server.connections == 2


async def test_a_call_cancelled_while_it_waits_for_a_connection_takes_none() -> None:
    async with exchange([hold], [answer()], connections=1, silence_timeout_ms=60_000) as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, client)
            await server.heard.wait()
            with trio.move_on_after(0.02) as waiting:
                await fetch(client)
            assert waiting.cancelled_caught
            nursery.cancel_scope.cancel()
        assert len((await fetch(client)).candles) == 1


async def test_connections_are_limited() -> None:
    async with exchange([answer()], connections=2) as (client, server), trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(fetch, client)
    assert len(server.heads) == 10
    assert server.connections <= 2


@pytest.mark.parametrize("field", ["silence_timeout_ms", "request_timeout_ms", "connections"])
def test_a_setting_that_is_not_allowed_is_named(field: str) -> None:
    settings: dict[str, Any] = {field: 0}
    with pytest.raises(ValueError, match=f"{field} 0 is not allowed; allowed: 1 and more"):
        CoinbaseClient("http://127.0.0.1:1", **settings)


def test_a_base_url_that_is_not_allowed_is_named() -> None:
    with pytest.raises(ValueError, match=r"base_url .https://api\.coinbase\.com/v3. is not allowed"):
        CoinbaseClient("https://api.coinbase.com/v3")


def certificate(folder: Path, *addresses: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for `addresses`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.IPAddress(ip_address(address)) if address[0].isdigit() else x509.DNSName(address)
            for address in addresses
        ]
    )
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    file = folder / "server.pem"
    file.write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls(tmp_path: Path) -> None:
    tls, trust = certificate(tmp_path, "127.0.0.1")
    async with exchange([answer()], tls=tls, ssl_context=trust) as (client, _):
        assert len((await fetch(client)).candles) == 1


async def test_authorities_of_ones_own(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path, "127.0.0.1")
    async with exchange([answer()], tls=tls, route=Route(tmp_path / "server.pem")) as (client, _):
        assert len((await fetch(client)).candles) == 1


class TunnelProxy:
    """An HTTP proxy that opens every tunnel to one port of this machine; keeps what it was asked for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.heads: list[str] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        head = await read_head(stream)
        if head is None:
            return
        self.heads.append(head)
        if "authorization: basic" not in head.lower():
            await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as behind:
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pour, stream, behind)
                nursery.start_soon(pour, behind, stream)


async def pour(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        async for data in source:
            await target.send_all(data)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


@pytest.mark.parametrize("login", ["user:p%40ss@", ""])
async def test_a_proxy_leads_to_the_exchange_and_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    tls, _ = certificate(tmp_path, "exchange.invalid")
    async with exchange([answer()], tls=tls) as (_, server), trio.open_nursery() as nursery:
        proxy = TunnelProxy(int(server.url.rpartition(":")[2]))
        (listener,) = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        route = Route(tmp_path / "server.pem", Proxy.parse(f"http://{login}127.0.0.1:{port}"))
        # A name that this machine cannot find: the proxy looks it up.
        async with CoinbaseClient("https://exchange.invalid", route=route) as client:
            if login:
                for _ in range(3):
                    assert len((await fetch(client)).candles) == 1
            else:
                with pytest.raises(SourceUnavailable, match="connection unfit: 407"):
                    await fetch(client)
        nursery.cancel_scope.cancel()
    assert [head.splitlines()[0] for head in proxy.heads] == ["CONNECT exchange.invalid:443 HTTP/1.1"]
    assert len(server.heads) == (3 if login else 0)


async def test_an_exchange_on_this_machine_is_reached_without_the_proxy() -> None:
    async with exchange([answer()], route=Route(proxy=Proxy("http://127.0.0.1:1"))) as (client, _):
        assert len((await fetch(client)).candles) == 1


async def test_a_certificate_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, _ = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    async with exchange([answer()], tls=tls) as (client, server):
        with pytest.raises(SourceUnavailable, match="SSLCertVerificationError: self-signed certificate"):
            await fetch(client)
        assert server.heads == []


async def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    tls, trust = certificate(tmp_path, "127.0.0.2")
    async with exchange([answer()], tls=tls, ssl_context=trust) as (client, server):
        with pytest.raises(SourceUnavailable, match="IP address mismatch"):
            await fetch(client)
        assert server.heads == []


async def test_a_handshake_that_never_ends() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, hold_for_ever, 0, host="127.0.0.1"))
        url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with trio.fail_after(10):
            async with CoinbaseClient(url, silence_timeout_ms=100, connections=1) as client:
                for _ in range(2):
                    with pytest.raises(SourceUnavailable, match="no connection in time"):
                        await fetch(client)
        nursery.cancel_scope.cancel()


async def hold_for_ever(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass
