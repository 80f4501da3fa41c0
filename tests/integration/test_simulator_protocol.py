"""The simulator's rate limits, cache, log and HTTP."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.exchange_door import CANDLES, FREE, MARKET, NOW_S, open_door
from tests.integration.plain_http import open_http

from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.rules.exchange import Exchange
from reconciler_engine.simulator.rules.request_log import open_request_log
from reconciler_engine.simulator.rules.throttle import ThrottleStyle
from reconciler_engine.simulator.serving import open_exchange, serve_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock


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


async def test_only_loopback_is_served() -> None:
    async with open_exchange(Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)) as url:
        assert url.startswith("http://127.0.0.1:")


async def test_port_in_use_is_named() -> None:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), FREE)
    async with open_exchange(exchange) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 cannot be opened"):
            await serve_exchange(exchange, port=port)
