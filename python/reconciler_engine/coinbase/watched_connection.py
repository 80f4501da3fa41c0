"""Connections on which an answer can only be the one to the last request."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import h11
import httpcore
import httpx

from reconciler_engine.coinbase.route import Proxy

# Outlives the pauses of a running pass; the CDN's own limit is longer.
_KEEPALIVE_S = 30.0


class WatchedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over connections that are watched for bytes nobody asked for.

    httpx takes bytes left in its buffer after an answer for the next one: had an exchange or a proxy answered twice
    once, then every later answer of that connection would be another request's, and one product's candles would be
    written as another's (seen with httpcore 1.0.9, 2026-11-23).
    """

    def __init__(self, ssl_context: ssl.SSLContext, connections: int, proxy: Proxy | None = None) -> None:
        """Open nothing yet; at most `connections` connections exist at a time, open or idle."""
        super().__init__(verify=ssl_context, trust_env=False)
        # httpx has no setting for the backend; a test of unasked answers fails where this has no effect.
        settings: dict[str, Any] = {
            "ssl_context": ssl_context,
            "max_connections": connections,
            "max_keepalive_connections": connections,
            "keepalive_expiry": _KEEPALIVE_S,
            "network_backend": _WatchedBackend(),
        }
        if proxy is None:
            self._pool = httpcore.AsyncConnectionPool(**settings)
        else:
            tls = ssl_context if proxy.url.startswith("https:") else None
            self._pool = httpcore.AsyncHTTPProxy(proxy.url, proxy.login, proxy_ssl_context=tls, **settings)


class WatchedStream(httpcore.AsyncNetworkStream):
    """A connection that follows its own answers, and is not used again after bytes beyond one.

    The stream inside sends and receives; this one only looks at the bytes.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._answers = h11.Connection(h11.CLIENT)
        self._spoilt = False

    def spoil(self) -> None:
        """Let the connection be closed, not kept, when the answer in hand is done with."""
        self._spoilt = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's name
        """Return the next bytes, empty at the end, and follow them."""
        data = await self._inner.read(max_bytes, timeout)
        self._follow(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's name
        """Send a request, or the rest of one."""
        # A request is a head without a body, and httpcore writes it at once.
        if buffer and not self._spoilt:
            self._expect()
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
    ) -> httpcore.AsyncNetworkStream:
        """Return the connection with TLS on it, watched inside."""
        return WatchedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return a fact about the connection by httpcore's name for it."""
        # An idle connection with something to read is one httpcore closes: nothing was asked on it.
        return (info == "is_readable" and self._spoilt) or self._inner.get_extra_info(info)

    def _expect(self) -> None:
        try:
            if self._answers.their_state is h11.DONE:
                self._answers.start_next_cycle()
            self._answers.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
            self._answers.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            self._spoilt = True

    def _follow(self, data: bytes) -> None:
        """Spoil the connection if there is more than the answer, or no answer; httpcore names the fault."""
        if self._spoilt:
            return
        try:
            self._answers.receive_data(data)
            while (event := self._answers.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.ConnectionClosed):
                    return
            self._spoilt = event is h11.PAUSED
        except h11.RemoteProtocolError:
            self._spoilt = True


class _WatchedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._trio = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a watched connection."""
        return WatchedStream(await self._trio.connect_tcp(host, port, timeout, local_address, socket_options))
