"""The exchange client: one request for each call, and a check of every answer."""

from __future__ import annotations

import logging
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

import httpx
import trio

from reconciler_engine.coinbase.base_url import COINBASE, BaseUrl
from reconciler_engine.coinbase.body import ACCEPT_ENCODING, BoundedBody
from reconciler_engine.coinbase.candles import CandlePage, parse_candles
from reconciler_engine.coinbase.connection_errors import mapped
from reconciler_engine.coinbase.identity import Identity
from reconciler_engine.coinbase.products import PRODUCTS_PATH, SPOT, Product, parse_products
from reconciler_engine.coinbase.refusals import refusal
from reconciler_engine.coinbase.route import DIRECT, Proxy, Route
from reconciler_engine.coinbase.watched_connection import WatchedStream, WatchedTransport
from reconciler_engine.coinbase.wire import TIME_PATH, candles_path, candles_query, parse_time
from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
    TokenRefused,
)
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import REQUEST_SECONDS, REQUESTS
from reconciler_engine.planning.backoff import http_date_ms

if TYPE_CHECKING:
    # Not imported at run time: `cryptography` is loaded only where there is a key.
    from reconciler_engine.coinbase.auth import Credentials

# 351 rows of six fields with 40 digits each are below 200 kB.
_PAGE_LIMIT_BYTES = 1_000_000
# The list seen, of about 950 products with 54 fields, is 2 MB.
_PRODUCTS_LIMIT_BYTES = 16_000_000

_ENDPOINTS = {TIME_PATH: "time", PRODUCTS_PATH: "products"}

_Answer = TypeVar("_Answer")


class CoinbaseClient:
    """Sends requests to the exchange, exactly one HTTP request for each call.

    Therefore a caller that takes one permit for each call stays within the budget: the client does not retry, follow
    redirects or cache (the exchange marks live candles as cacheable for hours). The caller retries; see `retryable` of
    the errors. The client ignores the environment's proxies, netrc and certificate settings, and refuses cookies.

    Use it as `async with CoinbaseClient(...) as client`; leaving the block closes all connections. Several tasks may
    call it at once; up to `connections` calls run at a time. A cancelled call closes its connection.
    """

    def __init__(
        self,
        base_url: str = COINBASE,
        *,
        credentials: Credentials | None = None,
        route: Route = DIRECT,
        silence_timeout_ms: int = 10_000,
        request_timeout_ms: int = 20_000,
        connections: int = 8,
        ssl_context: ssl.SSLContext | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Check the settings; the first connection is opened by the first call.

        Args:
            base_url: URL of the exchange, see `BaseUrl`.
            credentials: Key that signs candle requests; None to use the public endpoint. Tokens are sent only to this
                host, over https unless it is this machine.
            route: Proxy and certificate authorities; an exchange on this machine is reached without the proxy.
            silence_timeout_ms: Longest wait for a connection, and between two parts of an answer.
            request_timeout_ms: Longest duration of a whole call, including the wait for a free connection, until the
                last byte of the answer.
            connections: Most connections, in use or idle.
            ssl_context: TLS context; None for the route's authorities, or else the public authorities of httpx.
            now: This machine's clock (ms UTC).

        Raises:
            ValueError: A setting is not allowed; the message names the setting, its value and the allowed values.
            ConfigError: The route's file of authorities is unusable.
        """
        bounds = {
            "silence_timeout_ms": silence_timeout_ms,
            "request_timeout_ms": request_timeout_ms,
            "connections": connections,
        }
        for field, value in bounds.items():
            if value < 1:
                raise ValueError(f"{field} {value} is not allowed; allowed: 1 and more")
        self._base = BaseUrl.parse(base_url, signed=credentials is not None)
        self._request_timeout_s = request_timeout_ms / 1_000
        self._now = now
        self._credentials = credentials
        proxy = None if self._base.loopback else route.proxy
        self._http = _http(self._base, silence_timeout_ms / 1_000, connections, ssl_context or route.tls(), proxy)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def fetch_candles(self, series: Series, interval: Interval) -> CandlePage:
        """Request the candles of a page, an interval of at most 300 slots on the series' grid.

        Raises:
            ValueError: The interval is not a page; no request was sent.
            RateLimited: The exchange refused the request because of its rate limit.
            SourceUnavailable: There was no complete answer, or the exchange answered with a server error.
            BadResponse: The answer does not have the documented form, or belongs to another request.
            RequestRefused: The exchange refuses this request, and would refuse it again.
            TokenRefused: The exchange did not accept the token; the next call sends a new one.
            NotAuthorized: The exchange does not allow this client to send the request.
        """
        query = candles_query(series.timeframe, interval)
        path = candles_path(series.symbol, authenticated=self._credentials is not None)
        try:
            page, served_at = await self._get(
                path, query, lambda body: parse_candles(body, series, interval), headers=self._sign(path)
            )
        except NotAuthorized as error:
            if self._credentials is None:
                raise
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise TokenRefused from error
            error.signed = True
            raise
        return replace(page, served_at=served_at)

    async def fetch_time(self) -> int:
        """Request the exchange's time (ms UTC); unsigned, because a wrong clock makes tokens invalid.

        Raises:
            SourceError: As in `fetch_candles`.
        """
        now, _ = await self._get(TIME_PATH, {}, parse_time)
        return now

    async def fetch_products(self, kind: str = SPOT) -> tuple[Product, ...]:
        """Request the products of a kind from the public endpoint, including delisted products.

        Raises:
            SourceError: As in `fetch_candles`.
        """
        parse = partial(parse_products, may_be_empty=kind != SPOT)
        products, _ = await self._get(PRODUCTS_PATH, {"product_type": kind}, parse, limit_bytes=_PRODUCTS_LIMIT_BYTES)
        return products

    @property
    def identity(self) -> Identity | None:
        """Identity of the key that signs candle requests; None if they are unsigned."""
        return None if self._credentials is None else self._credentials.identity

    def _sign(self, path: str) -> dict[str, str]:
        """Return the headers of one GET request, with a new token if there is a key."""
        if self._credentials is None:
            return {}
        nonce = secrets.token_hex(16)
        token = self._credentials.token("GET", self._base.authority, path, now=self._now(), nonce=nonce)
        return {"authorization": f"Bearer {token}"}

    async def _get(
        self,
        path: str,
        query: dict[str, str],
        parse: Callable[[bytes], _Answer],
        *,
        headers: dict[str, str] | None = None,
        limit_bytes: int = _PAGE_LIMIT_BYTES,
    ) -> tuple[_Answer, int | None]:
        """Return the parsed answer, and its time by the exchange's clock (ms UTC; None if it has no date)."""
        with counted(_ENDPOINTS.get(path, "candles")) as asked:
            with trio.move_on_after(self._request_timeout_s), mapped():
                async with self._http.stream("GET", path, params=query, headers=headers) as answer:
                    asked.status = answer.status_code
                    try:
                        body = await _read(answer, limit_bytes)
                        if answer.status_code != HTTPStatus.OK:
                            raise refusal(answer.status_code, answer.headers, body, self._now())
                        return parse(body), http_date_ms(answer.headers.get("date", ""))
                    except BadResponse:
                        # Close the connection: unread bytes of a wrong answer would be taken for the next answer.
                        cast("WatchedStream", answer.extensions["network_stream"]).spoil()
                        raise
            raise SourceUnavailable(f"no complete answer within {self._request_timeout_s:g} s")


async def _read(answer: httpx.Response, limit_bytes: int) -> bytes:
    body = BoundedBody(answer.headers.get("content-encoding", ""), limit_bytes)
    # Do not use aiter_bytes, which decompresses without a limit, or aiter_raw, which frees the connection for the next
    # request before this answer is checked.
    refused: BadResponse | None = None
    with trio.CancelScope() as reading:
        async for chunk in cast("httpx.AsyncByteStream", answer.stream):
            try:
                if refused is None:
                    body.feed(chunk)
            except BadResponse as error:
                # Cancel instead of leaving the loop, so that httpx's generators end in order.
                refused = error
                reading.cancel()
    if refused is not None:
        raise refused
    return body.finish()


def _http(
    base: BaseUrl, silence_timeout_s: float, connections: int, ssl_context: ssl.SSLContext | None, proxy: Proxy | None
) -> httpx.AsyncClient:
    # httpx logs every URL with its query at INFO. Raise its level, unless the host program has set one.
    logger = logging.getLogger("httpx")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    if ssl_context is None:
        # Plain http never uses the context, so create one without loading authorities.
        plain = base.scheme == "http" and (proxy is None or proxy.url.startswith("http:"))
        ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context(trust_env=False)
    return httpx.AsyncClient(
        base_url=str(base),
        timeout=httpx.Timeout(silence_timeout_s),
        transport=WatchedTransport(ssl_context, connections, proxy),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={
            "accept": "application/json",
            "accept-encoding": ACCEPT_ENCODING,
            # Bypasses the exchange's cache of one second (documented: Advanced Trade REST API Endpoints).
            "cache-control": "no-cache",
            "user-agent": f"reconciler-engine/{version('reconciler-engine')}",
        },
    )


_OUTCOMES = {
    RateLimited: "rate_limited",
    SourceUnavailable: "unavailable",
    BadResponse: "bad_response",
    RequestRefused: "refused",
    NotAuthorized: "not_authorized",
}

_STATUSES = frozenset({200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504})
"""Statuses that are metric labels; others become a class such as `4xx`, so that the number of labels is bounded."""


@dataclass(slots=True)
class Asked:
    """A request that was sent; `status` is that of its answer, None until there is an answer."""

    status: int | None = None

    @property
    def label(self) -> str:
        """Metric label of the status."""
        if self.status is None:
            return "none"
        return str(self.status) if self.status in _STATUSES else f"{self.status // 100}xx"


@contextmanager
def counted(endpoint: str) -> Iterator[Asked]:
    """Count and time the request that the block sends; its outcome is the error that ends the block, or `ok`."""
    asked = Asked()
    began = trio.current_time()
    outcome = "cancelled"
    try:
        yield asked
        outcome = "ok"
    except SourceError as error:
        outcome = _OUTCOMES.get(type(error), "other")
        raise
    finally:
        REQUESTS.add(1, endpoint, outcome, asked.label)
        REQUEST_SECONDS.observe(trio.current_time() - began, endpoint)
