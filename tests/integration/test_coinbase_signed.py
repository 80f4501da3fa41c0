"""Signed requests against a server that checks their tokens, over real sockets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.limiter_model.memory_bucket import MemoryBucket

from reconciler_engine.coinbase.auth import Credentials
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import BadResponse, IdentityStopped, NotAuthorized, SourceError, TokenRefused
from reconciler_engine.limiting.breaker import DENIALS, Fate
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series

KEY = Ed25519PrivateKey.generate()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
CREDENTIALS = Credentials("organizations/x/apiKeys/y", PEM)
NOW = 1_767_225_600_000
PAGE = Interval(NOW, NOW + 600_000)
SERIES = Series.parse("BTC-USD:5m")
PRODUCTS = {"products": [{"product_id": "BTC-USD", "status": "online"}]}

Reply = Callable[[], tuple[int, bytes]]


def unauthorized() -> tuple[int, bytes]:
    return 401, b"Unauthorized"


class Exchange:
    """Answers as it was last told to; with nothing told, checks each token as the exchange does."""

    def __init__(self) -> None:
        self.told: list[Reply] = []
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.url = ""

    def answer(self, head: str) -> tuple[int, bytes]:
        path = head.split(" ")[1].partition("?")[0]
        self.requests.append(path)
        bearer = re.search(r"^authorization: Bearer (\S+)\r$", head, re.MULTILINE | re.IGNORECASE)
        if bearer:
            self.tokens.append(bearer[1])
        if self.told:
            return self.told.pop(0)()
        if path.endswith("/market/products"):
            return 200, json.dumps(PRODUCTS).encode()
        if path.endswith("/time"):
            return 200, b'{"epochSeconds":"1767225600","epochMillis":"1767225600123"}'
        if bearer is None:
            return unauthorized()
        claims = jwt.decode(
            bearer[1], KEY.public_key(), algorithms=["EdDSA"], options={"verify_exp": False, "verify_nbf": False}
        )
        assert claims["uri"] == f"GET {self.url.removeprefix('http://')}{path}"
        assert (claims["nbf"], claims["exp"]) == (NOW // 1_000, NOW // 1_000 + 120)
        return 200, b'{"candles":[]}'

    async def serve(self, stream: trio.SocketStream) -> None:
        buffer = b""
        while data := await stream.receive_some():
            buffer += data
            while b"\r\n\r\n" in buffer:
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                status, body = self.answer(f"{head.decode()}\r\n")
                await stream.send_all(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


@asynccontextmanager
async def exchange(credentials: Credentials | None = CREDENTIALS) -> AsyncIterator[tuple[CoinbaseClient, Exchange]]:
    server = Exchange()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with trio.fail_after(10):
            async with CoinbaseClient(server.url, credentials=credentials, now=lambda: NOW) as client:
                yield client, server
        nursery.cancel_scope.cancel()


async def refused(client: CoinbaseClient) -> SourceError:
    with pytest.raises(SourceError) as error:
        await client.fetch_candles(SERIES, PAGE)
    return error.value


async def test_candles_are_asked_with_a_fresh_token_each() -> None:
    async with exchange() as (client, server):
        for _ in range(3):
            await client.fetch_candles(SERIES, PAGE)
    assert server.requests == ["/api/v3/brokerage/products/BTC-USD/candles"] * 3
    assert len(set(server.tokens)) == 3


async def test_without_credentials_nothing_is_signed() -> None:
    async with exchange(None) as (client, server):
        error = await refused(client)
        assert type(error) is NotAuthorized
        assert not error.signed
    assert server.requests == ["/api/v3/brokerage/market/products/BTC-USD/candles"]
    assert server.tokens == []


async def test_the_clock_and_the_products_are_asked_in_public() -> None:
    async with exchange() as (client, server):
        assert await client.fetch_time() == 1_767_225_600_123
        assert [product.symbol for product in await client.fetch_products()] == ["BTC-USD"]
    assert server.requests == ["/api/v3/brokerage/time", "/api/v3/brokerage/market/products"]
    assert server.tokens == []


async def test_a_long_list_of_products_is_read_and_an_endless_one_is_not() -> None:
    padding = "x" * 2_000
    rows = [{"product_id": f"A{number}-USD", "status": "online", "note": padding} for number in range(1_500)]
    async with exchange() as (client, server):
        server.told = [lambda: (200, json.dumps({"products": rows}).encode()), lambda: (200, b" " * 16_000_001)]
        assert len(await client.fetch_products()) == 1_500
        with pytest.raises(BadResponse, match="more than 16000000 bytes"):
            await client.fetch_products()


async def test_a_401_is_retryable_and_the_next_call_sends_a_fresh_token() -> None:
    async with exchange() as (client, server):
        server.told = [unauthorized]
        error = await refused(client)
        assert type(error) is TokenRefused
        assert error.retryable
        await client.fetch_candles(SERIES, PAGE)
    assert len(set(server.tokens)) == len(server.requests) == 2


async def test_after_a_few_401_no_process_sends_any_more() -> None:
    memory = MemoryBucket(lambda: NOW * 1_000 + round(trio.current_time() * 1_000_000))
    # As of two workers: one budget, one breaker.
    buckets = [TokenBucket(memory, "bucket", Budget(burst=50, period_ms=50)) for _ in range(2)]

    async def ask(bucket: TokenBucket) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await send(bucket, await bucket.wait_permit(), client.fetch_candles, SERIES, PAGE)
        return caught.value

    async with exchange() as (client, server):
        server.told = [unauthorized] * 100
        kinds = [type(await ask(buckets[number % 2])) for number in range(DENIALS + 5)]
        assert kinds == [TokenRefused] * (DENIALS - 1) + [IdentityStopped] * 6
        assert len(server.requests) == DENIALS
        assert (await buckets[0].statistics()).granted == DENIALS
        error = await ask(buckets[1])
    assert not error.retryable
    for cause in ("clock", "name", "view permission", "addresses", "legacy"):
        assert cause in str(error)


async def test_what_is_asked_in_public_says_nothing_for_a_key() -> None:
    memory = MemoryBucket(lambda: NOW * 1_000 + round(trio.current_time() * 1_000_000))
    bucket = TokenBucket(memory, "bucket", Budget(burst=50, period_ms=50), breaker="key")
    async with exchange() as (client, server):
        refusals = []
        for _ in range(DENIALS):
            for request in (client.fetch_time, client.fetch_products):
                await send(bucket, await bucket.wait_permit(), request, signed=False)
            server.told = [unauthorized]
            with pytest.raises(SourceError) as caught:
                await send(bucket, await bucket.wait_permit(), client.fetch_candles, SERIES, PAGE)
            refusals.append(type(caught.value))
        assert refusals == [TokenRefused] * (DENIALS - 1) + [IdentityStopped]
        with pytest.raises(IdentityStopped):
            await bucket.wait_permit()


async def test_without_a_key_whatever_is_served_ends_the_trouble() -> None:
    memory = MemoryBucket(lambda: NOW * 1_000 + round(trio.current_time() * 1_000_000))
    bucket = TokenBucket(memory, "bucket", Budget(burst=50, period_ms=50))
    async with exchange(None) as (client, _):
        await bucket.converse(bucket.steps.report(await bucket.wait_permit(), Fate.BLOCKED))
        assert (await bucket.statistics()).state == "probing"
        await send(bucket, await bucket.wait_permit(), client.fetch_time, signed=False)
        assert (await bucket.statistics()).state == "closed"


async def test_a_missing_scope_is_final() -> None:
    body = (
        b'{"error":"PERMISSION_DENIED","error_details":"Missing required scopes","message":"Missing required scopes"}'
    )
    async with exchange() as (client, server):
        server.told = [lambda: (403, body)]
        error = await refused(client)
    assert type(error) is NotAuthorized
    assert error.signed
    assert "Missing required scopes" in str(error)


async def test_neither_key_nor_token_reaches_logs_errors_or_reprs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with exchange() as (client, server):
        server.told = [lambda: (500, f"you sent {server.tokens[-1]}".encode()), unauthorized]
        shown = [repr(await refused(client)), repr(await refused(client)), repr(client), caplog.text]
    assert "you sent [token]" in shown[0]
    secret = PEM.split("\n")[1]
    for text in shown:
        assert secret not in text
        assert not [token for token in server.tokens if token in text or token.rpartition(".")[2] in text]


def test_credentials_need_https_to_another_machine() -> None:
    with pytest.raises(ValueError, match="base_url 'http://exchange:8080': credentials need https"):
        CoinbaseClient("http://exchange:8080", credentials=CREDENTIALS)
    CoinbaseClient("http://exchange:8080")
    CoinbaseClient("https://exchange:8080", credentials=CREDENTIALS)
