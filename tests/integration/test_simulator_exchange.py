"""The simulated exchange over real sockets: each rule of its specification."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from tests.integration.plain_http import open_http

from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.candle_endpoint import CandleRules
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.rate_refusal import ThrottleStyle
from reconciler_engine.simulator.rules.request_log import open_request_log
from reconciler_engine.simulator.serving import open_exchange, serve_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock

MIDNIGHT_S = 1_795_392_000
NOW_S = MIDNIGHT_S + 12 * 3600 + 150
PRODUCTS = (
    ListedProduct("BTC-USD", 65_000.0),
    ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
    ListedProduct("NEW-USD", 1.0, 4, listed=MIDNIGHT_S * 1000),
    ListedProduct("OLD-USD", 1.0, 4, delisted=MIDNIGHT_S * 1000),
    ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
)
MARKET = SeededMarket(3, PRODUCTS)
FREE = ExchangeRules(public_rate=0, private_rate=0, cache_s=0)
CANDLES = "/market/products/BTC-USD/candles"


class Stopwatch:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Door:
    """A running exchange and a client at its door."""

    def __init__(self, exchange: Exchange, client: httpx.AsyncClient, watch: Stopwatch) -> None:
        self.exchange = exchange
        self.client = client
        self.watch = watch

    async def ask(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> httpx.Response:
        params = {name: str(value) for name, value in query.items()}
        return await self.client.get(path, params=params, headers=headers)

    async def starts(self, **query: Any) -> list[int]:
        answer = await self.ask(CANDLES, **query)
        assert answer.status_code == 200, answer.text
        return [int(row["start"]) for row in answer.json()["candles"]]


@asynccontextmanager
async def open_door(rules: ExchangeRules = FREE, now_s: int = NOW_S) -> AsyncIterator[Door]:
    watch = Stopwatch()
    exchange = Exchange(MARKET, SimulatedClock(now_s * 1000, rate=0), rules, read_s=watch)
    with trio.fail_after(20):
        async with (
            open_exchange(exchange) as url,
            open_http(f"{url}/api/v3/brokerage") as client,
        ):
            yield Door(exchange, client, watch)


def refusal(error: str, details: str) -> dict[str, str]:
    return {"error": error, "error_details": details, "message": details}


SPAN = refusal(
    "INVALID_ARGUMENT", "start and end argument is invalid - number of candles requested should be less than 350 "
)


async def test_candles_are_strings_newest_first_and_aligned() -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, start=NOW_S - 3000, end=NOW_S, granularity="FIVE_MINUTE")
        assert answer.headers["content-type"].startswith("application/json")
        candles = answer.json()["candles"]
    starts = [int(candle["start"]) for candle in candles]
    assert starts == list(range(NOW_S - NOW_S % 300, NOW_S - 3000, -300))
    for candle in candles:
        assert set(candle) == {"start", "low", "high", "open", "close", "volume"}
        assert all(isinstance(value, str) for value in candle.values())
        assert float(candle["low"]) <= float(candle["open"]) <= float(candle["high"])


async def test_answer_holds_the_market_bars() -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, start=MIDNIGHT_S, end=MIDNIGHT_S + 3540, granularity="ONE_MINUTE")
    bars = MARKET.bars("BTC-USD", Timeframe.M1, Interval(MIDNIGHT_S * 1000, (MIDNIGHT_S + 3600) * 1000), NOW_S * 1000)
    served = [
        (int(c["start"]) * 1000, c["open"], c["high"], c["low"], c["close"], c["volume"])
        for c in answer.json()["candles"]
    ]
    assert served == [tuple(bar) for bar in reversed(bars)]


async def test_minutes_without_trades_are_absent() -> None:
    async with open_door() as door:
        answer = await door.ask(
            "/market/products/DASH-USD/candles", start=MIDNIGHT_S, end=MIDNIGHT_S + 299 * 60, granularity="ONE_MINUTE"
        )
    assert 150 < len(answer.json()["candles"]) < 290
    assert door.exchange.log.records[-1].rows == len(answer.json()["candles"])


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_every_granularity_is_served(timeframe: Timeframe) -> None:
    step = timeframe.step_ms // 1000
    async with open_door() as door:
        starts = await door.starts(start=NOW_S - 9 * step, end=NOW_S, granularity=timeframe.granularity)
    assert starts == [NOW_S - NOW_S % step - i * step for i in range(9)]


@pytest.mark.parametrize(
    ("rules", "slots", "passes"),
    [
        (FREE, 350, True),
        (FREE, 351, False),
        (replace(FREE, candles=CandleRules(span_limit=349)), 349, True),
        (replace(FREE, candles=CandleRules(span_limit=349)), 350, False),
    ],
)
async def test_span_is_refused_and_never_truncated(rules: ExchangeRules, slots: int, passes: bool) -> None:
    async with open_door(rules) as door:
        answer = await door.ask(CANDLES, start=MIDNIGHT_S, end=MIDNIGHT_S + (slots - 1) * 60, granularity="ONE_MINUTE")
    if passes:
        assert len(answer.json()["candles"]) == slots
    else:
        assert (answer.status_code, answer.json()) == (400, SPAN)


async def test_unaligned_window_of_350_buckets_passes_and_limit_does_not_lift_the_check() -> None:
    async with open_door() as door:
        assert len(await door.starts(start=NOW_S - 350 * 60, end=NOW_S, granularity="ONE_MINUTE")) == 350
        refused = await door.ask(CANDLES, start=NOW_S - 400 * 60, end=NOW_S, granularity="ONE_MINUTE", limit=10)
    assert refused.json() == SPAN


async def test_end_is_inclusive_or_not_by_rule() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 600, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 600, MIDNIGHT_S + 300, MIDNIGHT_S]
        # What the engine sends (stop - 1 s) reads the same under both rules.
        assert await door.starts(**{**window, "end": MIDNIGHT_S + 599}) == [MIDNIGHT_S + 300, MIDNIGHT_S]
    async with open_door(replace(FREE, candles=CandleRules(end_inclusive=False))) as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300, MIDNIGHT_S]
        assert await door.starts(**{**window, "end": MIDNIGHT_S + 599}) == [MIDNIGHT_S + 300, MIDNIGHT_S]


async def test_bucket_of_an_unaligned_start_comes_by_rule_only() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S + 1, "end": MIDNIGHT_S + 300, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300]
    async with open_door(replace(FREE, candles=CandleRules(covers_start=True))) as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300, MIDNIGHT_S]


async def test_limit_keeps_the_newest() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 3000, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window, limit=2) == [MIDNIGHT_S + 3000, MIDNIGHT_S + 2700]
        assert len(await door.starts(**window, limit=0)) == 11
        assert len(await door.starts(**window, limit=9999)) == 11


async def test_window_that_is_not_given_is_the_latest() -> None:
    async with open_door() as door:
        starts = await door.starts(granularity="ONE_MINUTE")
    assert starts == [NOW_S - NOW_S % 60 - i * 60 for i in range(350)]


async def test_open_bucket_is_served_by_rule() -> None:
    window: dict[str, Any] = {"start": NOW_S - 900, "end": NOW_S, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert (await door.starts(**window))[0] == NOW_S - NOW_S % 300
    async with open_door(replace(FREE, candles=CandleRules(forming=False))) as door:
        assert (await door.starts(**window))[0] == NOW_S - NOW_S % 300 - 300


async def test_open_bucket_follows_the_clock_that_time_tells() -> None:
    window: dict[str, Any] = {"start": NOW_S - 300, "end": NOW_S + 300, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        before = (await door.ask(CANDLES, **window)).json()["candles"][0]
        door.exchange.clock.set((NOW_S + 60) * 1000 + 7)
        after = (await door.ask(CANDLES, **window)).json()["candles"][0]
        told = (await door.ask("/time")).json()
    assert before["start"] == after["start"]
    assert float(before["volume"]) < float(after["volume"])
    assert told == {"iso": "2026-11-23T12:03:30Z", "epochSeconds": str(NOW_S + 60), "epochMillis": f"{NOW_S + 60}007"}


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        (
            {"granularity": "THREE_HOUR"},
            400,
            refusal("unknown", 'parsing field "granularity": "THREE_HOUR" is not a valid value'),
        ),
        ({"granularity": "300"}, 400, refusal("unknown", 'parsing field "granularity": "300" is not a valid value')),
        ({}, 400, refusal("INVALID_ARGUMENT", "granularity argument is invalid ")),
        ({"granularity": "UNKNOWN_GRANULARITY"}, 400, refusal("INVALID_ARGUMENT", "granularity argument is invalid ")),
        ({"granularity": "ONE_MINUTE", "start": "x"}, 400, refusal("INVALID_ARGUMENT", "start argument is invalid ")),
        (
            {"granularity": "ONE_MINUTE", "start": "200", "end": "100"},
            400,
            refusal("INVALID_ARGUMENT", "start and end argument is invalid "),
        ),
        (
            {"granularity": "ONE_MINUTE", "limit": "ten"},
            400,
            refusal("unknown", 'parsing field "limit": strconv.ParseInt: parsing "ten": invalid syntax'),
        ),
        # Parse errors come before arguments that are not allowed.
        (
            {"granularity": "NO", "start": "x"},
            400,
            refusal("unknown", 'parsing field "granularity": "NO" is not a valid value'),
        ),
        (
            {"start": "x", "limit": "ten"},
            400,
            refusal("unknown", 'parsing field "limit": strconv.ParseInt: parsing "ten": invalid syntax'),
        ),
    ],
)
async def test_refusals_have_the_recorded_bodies(query: dict[str, Any], status: int, body: object) -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, **query)
    assert (answer.status_code, answer.json()) == (status, body)


async def test_milliseconds_for_seconds_are_an_empty_future() -> None:
    async with open_door() as door:
        assert await door.starts(start=NOW_S * 1000 - 600, end=NOW_S * 1000, granularity="ONE_MINUTE") == []


@pytest.mark.parametrize("field", ["start", "end"])
async def test_an_instant_of_thousands_of_digits_is_refused_and_logged_as_it_is(field: str) -> None:
    digits = "9" * 5_000
    async with open_door() as door:
        query: dict[str, Any] = {field: digits, "granularity": "ONE_MINUTE"}
        answer = await door.ask(CANDLES, **query)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_ARGUMENT")
        (record,) = door.exchange.log.records
        assert getattr(record, field) == digits


async def test_unknown_product_is_not_found() -> None:
    async with open_door() as door:
        answer = await door.ask("/market/products/NOPE-USD/candles", granularity="ONE_MINUTE")
        assert (answer.status_code, answer.json()) == (404, refusal("NOT_FOUND", "valid product_id is required"))
        answer = await door.ask("/market/products/NOPE-USD")
        assert (answer.status_code, answer.json()) == (
            404,
            refusal("NOT_FOUND", "Product NOPE-USD not supported"),
        )


async def test_times_without_the_product_are_an_empty_list() -> None:
    async with open_door() as door:
        for product, start in (("NEW-USD", MIDNIGHT_S - 3600), ("OLD-USD", MIDNIGHT_S)):
            answer = await door.ask(
                f"/market/products/{product}/candles", start=start, end=start + 3599, granularity="ONE_MINUTE"
            )
            assert (answer.status_code, answer.json()) == (200, {"candles": []})


async def test_alias_gives_the_same_candles() -> None:
    async with open_door() as door:
        query: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 3000, "granularity": "FIVE_MINUTE"}
        alias = await door.ask("/market/products/BTC-USDC/candles", **query)
        book = await door.ask(CANDLES, **query)
    assert alias.json() == book.json()


async def test_products_are_listed_with_their_state() -> None:
    async with open_door() as door:
        answer = (await door.ask("/market/products", unheard_of="1")).json()
        products = {product["product_id"]: product for product in answer["products"]}
        assert (answer["num_products"], list(products)) == (5, [product.symbol for product in PRODUCTS])
        assert products["OLD-USD"]["status"] == "delisted"
        assert products["OLD-USD"]["trading_disabled"] is True
        assert products["BTC-USD"]["status"] == "online"
        assert products["BTC-USD"]["alias_to"] == ["BTC-USDC"]
        assert products["BTC-USDC"]["alias"] == "BTC-USD"
        assert (products["NEW-USD"]["new"], products["BTC-USD"]["new"]) == (True, False)
        assert float(products["BTC-USD"]["approximate_quote_24h_volume"]) > 0
        assert (await door.ask("/market/products/BTC-USD")).json() == products["BTC-USD"]

        page = (await door.ask("/market/products", limit=2, offset=1)).json()
        assert [product["product_id"] for product in page["products"]] == ["DASH-USD", "NEW-USD"]
        chosen = await door.client.get("/market/products?product_ids=BTC-USD&product_ids=OLD-USD")
        assert [product["product_id"] for product in chosen.json()["products"]] == ["BTC-USD", "OLD-USD"]
        assert (await door.ask("/market/products", product_type="FUTURE")).json()["products"] == []


async def test_private_paths_refuse_without_a_verifier() -> None:
    async with open_door() as door:
        for path in ("/products", "/products/BTC-USD", "/products/BTC-USD/candles?granularity=ONE_MINUTE"):
            answer = await door.ask(path)
            assert (answer.status_code, answer.text) == (401, "Unauthorized")
            assert answer.headers["content-type"].startswith("text/plain")


async def test_other_paths_and_methods_are_refused() -> None:
    async with open_door() as door:
        assert (await door.ask("/orders")).status_code == 404
        assert (await door.client.post("/time")).status_code == 405


async def test_body_of_a_get_is_ignored() -> None:
    async with open_door() as door:
        answer = await door.client.request("GET", "/time", json={})
        assert answer.status_code == 200
        assert (await door.ask("/time")).status_code == 200


async def test_rate_of_an_address_is_held() -> None:
    async with open_door(replace(FREE, public_rate=10, public_burst=3)) as door:
        statuses = [(await door.ask("/time")).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        door.watch.now_s += 0.1
        statuses = [(await door.ask("/time")).status_code for _ in range(2)]
        assert statuses == [200, 429]
        door.watch.now_s += 60
        statuses = [(await door.ask("/time")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


async def test_a_client_that_is_gone_before_it_is_served_harms_no_other() -> None:
    async with open_door() as door:
        url = door.client.base_url
        for _ in range(20):
            with socket.create_connection((url.host, url.port)) as gone:
                # Closed so, it is reset, and still waits to be accepted.
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert (await door.ask("/time")).status_code == 200


async def test_plain_429_has_no_body_and_no_hint() -> None:
    async with open_door(replace(FREE, public_rate=0.5, public_burst=1)) as door:
        await door.ask("/time")
        answer = await door.ask("/time")
    assert (answer.status_code, answer.content) == (429, b"")
    assert not [name for name in answer.headers if name == "retry-after" or name.startswith("x-")]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_429_says_when_to_come_back_by_rule(form: str) -> None:
    style = ThrottleStyle(retry_after="seconds" if form == "seconds" else "date", rate_headers=True, body=True)
    async with open_door(replace(FREE, public_rate=0.5, public_burst=1, throttled=style)) as door:
        await door.ask("/time")
        answer = await door.ask("/time")
    assert answer.json() == {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
    if form == "seconds":
        assert answer.headers["retry-after"] == "2"
    else:
        assert parsedate_to_datetime(answer.headers["retry-after"]).timestamp() == NOW_S + 2
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert answer.headers["x-ratelimit-limit"] == "0.5"


async def test_public_answers_are_repeated_for_a_second() -> None:
    window: dict[str, Any] = {"start": NOW_S - 300, "end": NOW_S, "granularity": "ONE_MINUTE"}
    async with open_door(replace(FREE, cache_s=1)) as door:
        first = await door.ask(CANDLES, **window)
        assert first.headers["cf-cache-status"] == "MISS"
        assert first.headers["cache-control"] == "public, max-age=14400"
        assert first.headers["cf-ray"]
        door.exchange.clock.set(NOW_S * 1000 + 20_000)
        door.watch.now_s += 0.9
        again = await door.ask(CANDLES, **window)
        assert (again.headers["cf-cache-status"], again.headers["age"]) == ("HIT", "0")
        assert again.content == first.content
        fresh = await door.ask(CANDLES, headers={"cache-control": "no-cache"}, **window)
        assert fresh.headers["cf-cache-status"] == "BYPASS"
        assert fresh.content != first.content
        door.watch.now_s += 1.0
        late = await door.ask(CANDLES, **window)
        assert late.content == fresh.content
        assert late.headers["cf-cache-status"] == "MISS"


async def test_errors_are_not_cached() -> None:
    async with open_door(replace(FREE, cache_s=60)) as door:
        for _ in range(2):
            answer = await door.ask("/market/products/NOPE-USD")
            assert "cf-cache-status" not in answer.headers


async def test_log_has_a_line_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    with open_request_log(path) as log:
        exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE, log=log)
        async with open_exchange(exchange) as url, open_http(url) as client:
            await client.get(f"/api/v3/brokerage{CANDLES}?start={NOW_S - 600}&end={NOW_S}&granularity=ONE_MINUTE")
            await client.get(f"/api/v3/brokerage{CANDLES}?start=soon&granularity=ONE_MINUTE")
            await client.get("/api/v3/brokerage/time")
            lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(line.pop("time_ms") > NOW_S for line in lines)
    full = f"/api/v3/brokerage{CANDLES}"
    common = {"key": None, "fault": None}
    assert lines == [
        {
            "path": full,
            "product": "BTC-USD",
            "granularity": "ONE_MINUTE",
            "start": NOW_S - 600,
            "end": NOW_S,
            "status": 200,
            "rows": 10,
            **common,
        },
        {
            "path": full,
            "product": "BTC-USD",
            "granularity": "ONE_MINUTE",
            "start": "soon",
            "end": None,
            "status": 400,
            "rows": None,
            **common,
        },
        {
            "path": "/api/v3/brokerage/time",
            "product": None,
            "granularity": None,
            "start": None,
            "end": None,
            "status": 200,
            "rows": None,
            **common,
        },
    ]


def test_log_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log .* cannot be opened"), open_request_log(tmp_path / "no" / "log"):
        pass


async def talk(url: str, data: bytes) -> bytes:
    """Send bytes, return everything that comes back until the exchange closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    async with stream:
        await stream.send_all(data)
        return b"".join([part async for part in stream])


async def test_connection_is_kept_and_closed_on_request() -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    ask = b"GET /api/v3/brokerage/time HTTP/1.1\r\nHost: x\r\n%s\r\n"
    async with open_exchange(exchange) as url:
        with trio.fail_after(10):
            # Two requests at once, then the client asks to close.
            said = await talk(url, ask % b"" + ask % b"Connection: close\r\n")
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"z" * 70_000, b"413"),
    ],
    ids=["nonsense", "long head", "long body"],
)
async def test_bad_http_is_refused_and_closed(data: bytes, status: bytes) -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    async with open_exchange(exchange) as url:
        with trio.fail_after(10):
            assert (await talk(url, data)).split(b" ")[1] == status
            assert (await talk(url, b"GET /api/v3/brokerage/time HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_client_that_leaves_early_harms_nobody() -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    async with open_exchange(exchange) as url:
        with trio.fail_after(10):
            for data in (b"", b"GET /api", b"GET /api/v3/brokerage/time HTTP/1.1\r\nHost: x\r\n\r\n"):
                stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
                await stream.send_all(data)
                await stream.aclose()
            assert (await talk(url, b"GET /api/v3/brokerage/time HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_cancelling_closes_the_port_and_open_connections() -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_exchange, exchange)
            port = int(url.rpartition(":")[2])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await talk(url, b"GET /api/v3/brokerage/time HTTP/1.0\r\n\r\n")
            nursery.cancel_scope.cancel()
        async with stream:
            assert await stream.receive_some(1) == b""
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", ""])
async def test_only_loopback_is_served(host: str) -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    with pytest.raises(ConfigError, match="is not loopback"):
        await serve_exchange(exchange, host=host)


async def test_port_in_use_is_named() -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    async with open_exchange(exchange) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 cannot be opened"):
            await serve_exchange(exchange, port=port)
