"""rediss://: a real server behind TLS on loopback."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import StoreError, StoreUnavailable
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.trio_redis import TrioRedis

TLS = Path(__file__).with_name("tls")
AUTHORITY = f"ssl_ca_certs={TLS / 'authority.pem'}"


@asynccontextmanager
async def tls_door(
    redis_url: str, *, certificate: str = "server.pem", asks_certificate: bool = False
) -> AsyncIterator[int]:
    """Yield the port of a TLS server that passes everything on to the Redis at a URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(TLS / "authority.pem"))
    context.load_cert_chain(TLS / certificate)
    if asks_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    address = Address.parse(redis_url)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        # A client that refuses our certificate, or hangs up, is what some of the tests are about.
        try:
            async with await connect(address) as server, stream, trio.open_nursery() as nursery:
                nursery.start_soon(copy, server, stream)
                await copy(stream, server)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        secure = trio.SSLListener(plain, context, https_compatible=True)
        nursery.start_soon(functools.partial(trio.serve_listeners, serve, [secure]))
        yield plain.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def connect(address: Address) -> trio.SocketStream:
    if address.path is None:
        return await trio.open_tcp_stream(address.host, address.port)
    return await trio.open_unix_socket(address.path)


async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
    while data := await source.receive_some(65536):
        await sink.send_all(data)


async def test_commands_and_long_replies_go_over_tls(redis_url: str) -> None:
    async with tls_door(redis_url) as port, TrioRedis.from_url(f"rediss://localhost:{port}?{AUTHORITY}") as client:
        await client.set("k", "v" * 1_000_000)
        for _ in range(3):
            assert await client.get("k") == b"v" * 1_000_000
        with trio.move_on_after(0.05):
            await client.blpop("list", timeout=30)
        assert await client.pipe([("STRLEN", "k")] * 100) == [1_000_000] * 100


async def test_an_unknown_authority_is_refused(redis_url: str) -> None:
    async with tls_door(redis_url) as port, TrioRedis.from_url(f"rediss://localhost:{port}") as client:
        with pytest.raises(StoreError, match=r"TLS with rediss://localhost:\d+/0 failed: .*verify failed") as caught:
            await client.ping()
    assert not caught.value.retryable


async def test_a_certificate_for_another_name_is_refused(redis_url: str) -> None:
    door = tls_door(redis_url, certificate="elsewhere.pem")
    async with door as port, TrioRedis.from_url(f"rediss://localhost:{port}?{AUTHORITY}") as client:
        with pytest.raises(StoreError, match=r"TLS with .*(Hostname mismatch|not valid for)"):
            await client.ping()


async def test_a_client_certificate_is_shown_where_the_server_asks(redis_url: str) -> None:
    server = TLS / "server.pem"
    async with tls_door(redis_url, asks_certificate=True) as port:
        url = f"rediss://localhost:{port}?{AUTHORITY}"
        async with TrioRedis.from_url(f"{url}&ssl_certfile={server}&ssl_keyfile={server}") as client:
            assert await client.ping()
        async with TrioRedis.from_url(url) as client:
            with pytest.raises(StoreError):
                await client.ping()


async def test_plain_speech_to_a_tls_server_and_tls_to_a_plain_one_fail_clearly(redis_url: str) -> None:
    async with tls_door(redis_url) as port, TrioRedis.from_url(f"redis://localhost:{port}", timeout_s=5) as client:
        with pytest.raises(StoreError, match=r"protocol|closed|broke"):
            await client.ping()

    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"-ERR unknown command\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(functools.partial(trio.serve_listeners, plain, listeners))
        port = listeners[0].socket.getsockname()[1]
        async with TrioRedis.from_url(f"rediss://127.0.0.1:{port}?{AUTHORITY}", timeout_s=5) as client:
            with pytest.raises(StoreError, match="TLS with") as caught:
                await client.ping()
        assert not isinstance(caught.value, StoreUnavailable)
        nursery.cancel_scope.cancel()


async def test_a_private_authority_is_a_setting_and_a_failure_names_it(redis_url: str) -> None:
    async with tls_door(redis_url) as port:
        url = f"rediss://localhost:{port}"
        settings = {"redis_url": url, "redis_ca_file": str(TLS / "authority.pem")}
        for url_set in (ReconciliationConfig.check(settings).cache_url, url):
            assert url_set is not None
            async with TrioRedis.from_url(url_set) as client:
                if url_set == url:
                    with pytest.raises(StoreError, match="if its authority is a private one, set redis_ca_file"):
                        await client.ping()
                else:
                    assert await client.ping()
