"""Connections of the exchange client: redirects, environment, limits, TLS, proxies."""

from __future__ import annotations

import logging
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.scripted_exchange import (
    GOOD,
    PAGE,
    SERIES,
    Step,
    answer,
    certificate,
    exchange,
    fetch,
    hold,
    read_head,
)

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.route import Proxy, Route
from reconciler_engine.errors import (
    BadResponse,
    SourceUnavailable,
)
from reconciler_engine.market.interval import Interval


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
