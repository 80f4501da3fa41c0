"""The exchange client: one request a call, every answer checked."""

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
    # Cryptography is loaded where there is a key, not by every worker.
    from reconciler_engine.coinbase.auth import Credentials

# 351 rows of six fields, each of 40 digits, stay below 200 kB.
_PAGE_LIMIT_BYTES = 1_000_000
# Some 950 products of 54 fields (seen) are 2 MB.
_PRODUCTS_LIMIT_BYTES = 16_000_000

_ENDPOINTS = {TIME_PATH: "time", PRODUCTS_PATH: "products"}

_Answer = TypeVar("_Answer")


class CoinbaseClient:
    """Asks the exchange, one HTTP request a call and never a second one by itself.

    So a caller that takes a permit a call holds the budget: nothing is retried, no redirect is followed, and nothing is
    cached (the exchange marks live candles as cacheable for hours). Retries are the caller's, see `retryable` of the
    errors. Proxies, netrc and certificate settings of the environment are ignored, and cookies are refused.

    Use it as `async with CoinbaseClient(...) as client`; leaving the block closes all connections. Several tasks may
    call at once, up to `connections` of them are served at a time. A call that is cancelled closes its connection.
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
        """Check the settings; nothing is opened before the first call.

        Args:
            base_url: Where the exchange is, see `BaseUrl`.
            credentials: Sign requests for candles with them; None asks the public endpoint. They go to this host only,
                over https unless it is this machine.
            route: By which proxy and authorities it is reached; an exchange on this machine is reached directly.
            silence_timeout_ms: Longest wait for a connection, and for any next bytes of an answer.
            request_timeout_ms: Longest whole call, from connecting to the answer's last byte, waiting for a free
                connection included: an answer that drips ends here.
            connections: Most connections, open or idle.
            ssl_context: Authorities that certificates are checked against; None for the public ones httpx ships.
            now: This machine's clock (ms UTC).

        Raises:
            ValueError: A setting is not allowed; the message names it, its value and the allowed ones.
            ConfigError: The route's file of authorities cannot be used.
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
        """Ask for the candles of a page, an interval of at most 300 slots on the series' grid.

        Raises:
            ValueError: The interval is not a page; nothing was sent.
            RateLimited: Refused for rate.
            SourceUnavailable: No answer, or one of a server in trouble.
            BadResponse: An answer is not of the documented form; none of it is used.
            RequestRefused: The exchange will not serve this request, whenever it is asked.
            TokenRefused: A token was not accepted; the next call sends a fresh one.
            NotAuthorized: The exchange does not let this client ask.
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
        """Ask for the exchange's clock (ms UTC); never signed, since a wrong clock is why tokens are refused.

        Raises:
            SourceError: As `fetch_candles`.
        """
        now, _ = await self._get(TIME_PATH, {}, parse_time)
        return now

    async def fetch_products(self, kind: str = SPOT) -> tuple[Product, ...]:
        """Ask for the products of a kind, from the public endpoint; those that no longer trade are among them.

        Raises:
            SourceError: As `fetch_candles`.
        """
        parse = partial(parse_products, may_be_empty=kind != SPOT)
        products, _ = await self._get(PRODUCTS_PATH, {"product_type": kind}, parse, limit_bytes=_PRODUCTS_LIMIT_BYTES)
        return products

    @property
    def identity(self) -> Identity | None:
        """Under which requests for candles are signed; None where they are not."""
        return None if self._credentials is None else self._credentials.identity

    def _sign(self, path: str) -> dict[str, str]:
        """Return the headers of one GET request, with a token of its own where there is a key."""
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
        """Return an answer's content and its instant by the exchange's own clock (ms UTC)."""
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
                        # Bytes of a wrong answer may be left that would pass for the next one.
                        cast("WatchedStream", answer.extensions["network_stream"]).spoil()
                        raise
            raise SourceUnavailable(f"no complete answer within {self._request_timeout_s:g} s")


async def _read(answer: httpx.Response, limit_bytes: int) -> bytes:
    body = BoundedBody(answer.headers.get("content-encoding", ""), limit_bytes)
    # Not by aiter_bytes, which decompresses without a bound, nor by aiter_raw, which hands the connection on to the
    # next request before this answer is judged.
    refused: BadResponse | None = None
    with trio.CancelScope() as reading:
        async for chunk in cast("httpx.AsyncByteStream", answer.stream):
            try:
                if refused is None:
                    body.feed(chunk)
            except BadResponse as error:
                # Leaving the loop would abandon the generators that httpx is made of; cancelled, they end in order.
                refused = error
                reading.cancel()
    if refused is not None:
        raise refused
    return body.finish()


def _http(
    base: BaseUrl, silence_timeout_s: float, connections: int, ssl_context: ssl.SSLContext | None, proxy: Proxy | None
) -> httpx.AsyncClient:
    # httpx reports every URL with its query at INFO; a host that has set a level of its own keeps it.
    logger = logging.getLogger("httpx")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    if ssl_context is None:
        # Over plain http it is never used: one that trusts nobody spares loading the authorities.
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
            # Passes the exchange's own cache of a second (documented: Advanced Trade REST API Endpoints).
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
"""Those told apart; of the rest the class is told, so that no server can make up labels without end."""


@dataclass(slots=True)
class Asked:
    """A request under way; `status` is the answer's, None before there is one."""

    status: int | None = None

    @property
    def label(self) -> str:
        """The status as a label."""
        if self.status is None:
            return "none"
        return str(self.status) if self.status in _STATUSES else f"{self.status // 100}xx"


@contextmanager
def counted(endpoint: str) -> Iterator[Asked]:
    """Count the request that the block sends, by the error that ends the block, if any."""
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
