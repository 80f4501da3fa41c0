"""Connections that are closed after unexpected bytes, so that each answer belongs to the last request."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import h11
import httpcore
import httpx

from reconciler_engine.coinbase.route import Proxy

# Longer than the pauses within a pass, shorter than the CDN's own limit.
_KEEPALIVE_S = 30.0


class WatchedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, with connections that are watched for unexpected bytes.

    httpx takes bytes that follow an answer for the next answer. If an exchange or a proxy answered one request twice,
    each later answer on that connection would belong to the request before it, and candles of one product would be
    stored as another's (seen with httpcore 1.0.9, 2026-11-23).
    """

    def __init__(self, ssl_context: ssl.SSLContext, connections: int, proxy: Proxy | None = None) -> None:
        """Create a transport with at most `connections` connections, in use or idle; none is opened yet."""
        super().__init__(verify=ssl_context, trust_env=False)
        # httpx has no setting for the network backend, so replace its pool. A test fails if this has no effect.
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
    """A connection that parses the answers it receives, and is not used again after unexpected bytes.

    The inner stream sends and receives; this class only inspects the bytes.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._answers = h11.Connection(h11.CLIENT)
        self._spoilt = False

    def spoil(self) -> None:
        """Have the connection closed after the present answer instead of being kept for the next request."""
        self._spoilt = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's name
        """Return the next bytes, empty at the end, and check them."""
        data = await self._inner.read(max_bytes, timeout)
        self._follow(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's name
        """Send a request, or the rest of one."""
        # Requests have no body, and httpcore writes a head in one call, so each call is a new request.
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
        """Return a connection with TLS over this one; the decrypted bytes are watched."""
        return WatchedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return the property of the connection that httpcore calls `info`."""
        # httpcore closes an idle connection that is readable, so report a spoilt connection as readable.
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
        """Mark the connection as spoilt if the bytes exceed the answer or are not HTTP; httpcore raises the error."""
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
