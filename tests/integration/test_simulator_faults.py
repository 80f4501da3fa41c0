"""Every fault mode over real sockets, as a client meets it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from tests.integration.plain_http import open_http

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange

NOW_S = 1_795_435_350
MARKET = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0)])
FREE = ExchangeRules(public_rate=0, cache_s=0)
CANDLES = "/api/v3/brokerage/market/products/BTC-USD/candles"
TIME = "/api/v3/brokerage/time"
WINDOW: dict[str, str | int] = {"start": NOW_S - 1500, "end": NOW_S, "granularity": "FIVE_MINUTE"}


class Door:
    """A running exchange with faults, and a client."""

    def __init__(self, exchange: Exchange, client: httpx.AsyncClient) -> None:
        self.exchange = exchange
        self.client = client
        self.now_s = 0.0

    async def ask(self, path: str = CANDLES) -> httpx.Response:
        return await self.client.get(path, params=WINDOW if path == CANDLES else None)

    async def rows(self) -> list[dict[str, Any]]:
        answer = await self.ask()
        assert answer.status_code == 200
        rows: list[dict[str, Any]] = answer.json()["candles"]
        return rows

    @property
    def statuses(self) -> list[int]:
        return [record.status for record in self.exchange.log.records]


@asynccontextmanager
async def open_door(*tables: dict[str, Any], rules: ExchangeRules = FREE) -> AsyncIterator[Door]:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), rules, read_s=lambda: door.now_s)
    with trio.fail_after(20):
        async with open_exchange(exchange) as url, open_http(url) as client:
            door = Door(exchange, client)
            right = await door.ask()
            assert len(right.json()["candles"]) == 5
            exchange.faults.set(parse_faults({"fault": list(tables)}))
            exchange.log.records.clear()
            yield door


RIGHT = [
    {
        "start": str(bar.start // 1000),
        "low": bar.low,
        "high": bar.high,
        "open": bar.open,
        "close": bar.close,
        "volume": bar.volume,
    }
    for bar in reversed(
        MARKET.bars("BTC-USD", Timeframe.M5, Interval((NOW_S - 1500) * 1000, NOW_S * 1000), NOW_S * 1000)
    )
]


async def test_no_rule_no_fault() -> None:
    async with open_door({"mode": "reset", "product": "ETH-USD"}) as door:
        assert await door.rows() == RIGHT
        assert door.exchange.log.records[-1].fault is None


async def test_throttle_is_played_and_logged() -> None:
    async with open_door({"name": "busy", "mode": "throttle", "count": 1}) as door:
        answer = await door.ask()
        assert (answer.status_code, answer.content) == (429, b"")
        assert "retry-after" not in answer.headers
        assert (await door.ask()).status_code == 200
        assert [record.fault for record in door.exchange.log.records] == ["busy", None]
        assert door.statuses == [429, 200]


async def test_throttle_may_say_when_to_come_back() -> None:
    settings = {"mode": "throttle", "wait_s": 7, "rate_headers": True, "body": True}
    async with open_door(
        {**settings, "name": "a", "retry_after": "seconds", "count": 1}, {**settings, "retry_after": "date"}
    ) as door:
        first, second = await door.ask(), await door.ask()
    assert (first.headers["retry-after"], first.headers["x-ratelimit-reset"]) == ("7", "7")
    assert first.json()["errors"][0]["id"] == "rate_limit_exceeded"
    assert parsedate_to_datetime(second.headers["retry-after"]).timestamp() == NOW_S + 7


async def test_throttle_escalates_to_a_block_of_everything() -> None:
    async with open_door({"mode": "throttle", "path": "*/candles", "escalate_after": 2, "block_s": 30}) as door:
        assert [(await door.ask()).status_code for _ in range(2)] == [429, 429]
        blocked = await door.ask(TIME)
        assert (blocked.status_code, blocked.text) == (403, "Too many errors")
        door.now_s += 29.9
        assert (await door.ask()).status_code == 403
        door.now_s += 0.1
        assert (await door.ask(TIME)).status_code == 200
        assert [(await door.ask()).status_code for _ in range(3)] == [429, 429, 403]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", ["json", "empty", "html"])
async def test_server_in_trouble(status: int, body: str) -> None:
    async with open_door({"mode": "status", "status": status, "body": body}) as door:
        answer = await door.ask()
    assert answer.status_code == status
    if body == "json":
        assert answer.json()["error"] == "INTERNAL"
    elif body == "empty":
        assert answer.content == b""
    else:
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("status", [200, 403, 503])
async def test_page_of_the_content_network(status: int) -> None:
    async with open_door({"mode": "challenge", "status": status}) as door:
        answer = await door.ask()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


async def test_bare_refusals() -> None:
    async with open_door({"name": "a", "mode": "unauthorized", "count": 1}, {"mode": "blocked", "count": 1}) as door:
        assert [(answer.status_code, answer.text) for answer in (await door.ask(), await door.ask())] == [
            (401, "Unauthorized"),
            (403, "Too many errors"),
        ]
        assert (await door.ask()).status_code == 200


async def test_clock_is_off() -> None:
    async with open_door({"mode": "skew", "seconds": -300}) as door:
        assert (await door.ask(TIME)).json()["epochSeconds"] == str(NOW_S - 300)
        # The bar that is open by the right clock is not there by the wrong one, the one before is open.
        rows = await door.rows()
    assert [row["start"] for row in rows] == [row["start"] for row in RIGHT[1:]]
    assert float(rows[0]["volume"]) < float(RIGHT[1]["volume"])


async def test_refused_connection_comes_back_on_the_same_port(mock_clock: trio.testing.MockClock) -> None:
    async with open_door({"mode": "refuse", "seconds": 0.3, "count": 1}) as door:
        # The connection of the first request, kept by the client, is the one that is reset.
        with pytest.raises(httpx.ReadError):
            await door.ask()
        assert door.statuses == [0]
        with pytest.raises(httpx.ConnectError):
            await door.ask()
        mock_clock.jump(0.3)
        while True:
            try:
                answer = await door.ask()
                break
            except httpx.ConnectError:
                await trio.lowlevel.checkpoint()
        assert answer.status_code == 200


async def test_silence_lasts_until_the_client_has_enough() -> None:
    async with open_door({"mode": "silence", "count": 1}) as door:
        with pytest.raises(httpx.ReadTimeout):
            await door.client.get(CANDLES, params=WINDOW, timeout=httpx.Timeout(30, read=0.2))
        assert await door.rows() == RIGHT
        assert door.statuses == [0, 200]


async def test_silence_ends_after_its_time_without_an_answer() -> None:
    async with open_door({"mode": "silence", "seconds": 0.05}) as door:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await door.ask()


@pytest.mark.parametrize("mode", ["slow_head", "slow_body"])
async def test_slow_answer_arrives_whole_or_times_out(mode: str) -> None:
    async with open_door({"mode": mode, "seconds": 0.1}) as door:
        assert await door.rows() == RIGHT
        door.exchange.faults.set(parse_faults({"fault": [{"mode": mode, "seconds": 3_600}]}))
        with trio.move_on_after(0.1) as impatient:
            await door.ask()
        assert impatient.cancelled_caught


async def test_slow_body_has_its_head_at_once() -> None:
    async with (
        open_door({"mode": "slow_body", "seconds": 3_600}) as door,
        door.client.stream("GET", CANDLES, params=WINDOW) as answer,
    ):
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize("mode", ["reset", "reset_body"])
async def test_reset(mode: str) -> None:
    async with open_door({"mode": mode, "count": 1}) as door:
        with pytest.raises(httpx.ReadError):
            await door.ask()
        assert await door.rows() == RIGHT
        assert door.statuses == [0 if mode == "reset" else 200, 200]


async def test_truncated_body_whose_length_says_the_whole() -> None:
    async with open_door({"mode": "truncate", "length": "full"}) as door:
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection without sending complete"):
            await door.ask()


@pytest.mark.parametrize("length", ["short", "absent"])
async def test_truncated_body_that_looks_whole(length: str) -> None:
    async with open_door({"mode": "truncate", "length": length}) as door:
        answer = await door.ask()
    assert ("content-length" in answer.headers) is (length == "short")
    assert len(answer.content) > 100
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_connection_closed_without_a_word() -> None:
    async with open_door({"mode": "close"}) as door:
        for _ in range(3):
            answer = await door.ask()
            assert answer.json()["candles"] == RIGHT
            assert answer.headers.get("connection") is None


async def test_invalid_gzip() -> None:
    # Read raw: httpx leaves half-read generators behind when decoding fails.
    async with open_door({"mode": "gzip"}) as door, door.client.stream("GET", CANDLES, params=WINDOW) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(body)


@pytest.mark.parametrize(("shape", "content"), [("object", {}), ("null", {"candles": None}), ("list", [])])
async def test_other_documents(shape: str, content: object) -> None:
    async with open_door({"mode": "shape", "shape": shape}) as door:
        assert (await door.ask()).json() == content


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ("missing_field", {"close": ...}),
        ("null_field", {"close": None}),
        ("number", {"open": float(RIGHT[2]["open"])}),
        ("empty_text", {"high": ""}),
        ("nan", {"low": "NaN"}),
        ("infinity", {"high": "Infinity"}),
        ("long_digits", {"high": "9" * 60 + RIGHT[2]["high"]}),
        ("zero_price", {"low": "0"}),
        ("low_above_open", {"open": str(Decimal(RIGHT[2]["low"]) / 2)}),
        ("close_above_high", {"close": str(Decimal(RIGHT[2]["high"]) * 2)}),
        ("negative_volume", {"volume": f"-{RIGHT[2]['volume']}"}),
        ("unaligned", {"start": str(int(RIGHT[2]["start"]) + 1)}),
        ("unreadable_start", {"start": "soon"}),
    ],
)
async def test_wrong_field_in_one_row(shape: str, changes: dict[str, object]) -> None:
    wrong = {key: value for key, value in {**RIGHT[2], **changes}.items() if value is not ...}
    async with open_door({"mode": "shape", "shape": shape}) as door:
        assert await door.rows() == [*RIGHT[:2], wrong, *RIGHT[3:]]


async def test_high_below_low() -> None:
    async with open_door({"mode": "shape", "shape": "inverted"}) as door:
        row = (await door.rows())[2]
    assert float(row["high"]) < float(row["low"])


async def test_two_rows_of_one_slot() -> None:
    async with open_door({"mode": "shape", "shape": "twins"}) as door:
        rows = await door.rows()
        assert door.exchange.log.records[-1].rows == 6
    assert [*rows[:3], *rows[4:]] == RIGHT
    assert rows[3]["start"] == rows[2]["start"]
    assert rows[3] != rows[2]


@pytest.mark.parametrize(
    ("settings", "spoilt"),
    [
        ({}, [2]),
        ({"rows": 2}, [2, 3]),
        ({"rows": 9}, [0, 1, 2, 3, 4]),
        ({"nth": 2, "rows": 9}, [0, 2, 4]),
        ({"nth": 2, "rows": 2}, [0, 2]),
        ({"nth": 1_000_000}, []),
    ],
)
async def test_as_many_rows_are_spoilt_as_it_says(settings: dict[str, Any], spoilt: list[int]) -> None:
    async with open_door({"mode": "shape", "shape": "null_field", **settings}) as door:
        rows = await door.rows()
    assert [number for number, row in enumerate(rows) if row["close"] is None] == spoilt


def starts(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["start"]) for row in rows]


async def test_wrong_rows() -> None:
    newest = int(RIGHT[0]["start"])

    async def served(data: str, **settings: object) -> list[dict[str, Any]]:
        door.exchange.faults.set(parse_faults({"fault": [{"mode": "data", "data": data, **settings}]}))
        rows = await door.rows()
        assert door.exchange.log.records[-1].rows == len(rows)
        return rows

    async with open_door() as door:
        assert await served("empty") == []
        assert await served("duplicate") == [RIGHT[0], *RIGHT]
        conflict = await served("conflict")
        assert conflict[1:] == RIGHT
        assert conflict[0]["start"] == RIGHT[0]["start"]
        assert conflict[0] != RIGHT[0]
        shuffled = await served("shuffled")
        assert shuffled != RIGHT
        assert sorted(starts(shuffled), reverse=True) == starts(RIGHT)
        assert starts(await served("outside", rows=2)) == [*starts(RIGHT), newest - 1500, newest - 1800]
        assert len(await served("surplus")) == 400
        stale = await served("stale", seconds=60)
        assert stale[1:] == RIGHT[1:]
        assert float(stale[0]["volume"]) < float(RIGHT[0]["volume"])
        assert await served("stale", seconds=200) == RIGHT[1:]
        revised = await served("revised", rows=1)
        assert [row for row in revised if row not in RIGHT] == [revised[1]]
        assert revised[1]["start"] == RIGHT[1]["start"]
        # The open bar began 150 s ago: the one before it closed then.
        assert await served("late", seconds=150) == RIGHT[1:]
        assert await served("late", seconds=151) == RIGHT[2:]
        assert await served("thinned", nth=2) == [row for row in RIGHT if int(row["start"]) // 300 % 2]
        assert await served("thinned", nth=1) == []
        past = await served("past", seconds=300)
        assert past[1:] == RIGHT[2:]
        assert past[0]["start"] == RIGHT[1]["start"]
        assert float(past[0]["volume"]) < float(RIGHT[1]["volume"])
        assert all(start % 900 == 0 for start in starts(await served("granularity")))
        other = await served("product")
        assert starts(other) == starts(RIGHT)
        assert all(float(row["open"]) < 30_000 < float(right["open"]) for row, right in zip(other, RIGHT, strict=True))
        door.exchange.faults.set([])
        assert await door.rows() == RIGHT


@pytest.mark.parametrize("data", ["empty", "late", "thinned"])
async def test_withholding_may_be_of_one_product_and_one_timeframe(data: str) -> None:
    rule = {"mode": "data", "data": data, "seconds": 600, "product": "BTC-*", "granularity": "FIVE_MINUTE"}

    async def count(product: str, granularity: str) -> int:
        path = f"/api/v3/brokerage/market/products/{product}/candles"
        return len((await door.client.get(path, params={**WINDOW, "granularity": granularity})).json()["candles"])

    async with open_door(rule) as door:
        assert await count("BTC-USD", "FIVE_MINUTE") < 5
        assert [await count("ETH-USD", "FIVE_MINUTE"), await count("BTC-USD", "ONE_MINUTE")] == [5, 25]


async def test_data_faults_leave_refusals_alone() -> None:
    async with open_door({"mode": "data"}, {"name": "b", "mode": "gzip"}) as door:
        answer = await door.client.get(CANDLES, params={"granularity": "NO"})
        assert answer.status_code == 400
        assert answer.json()["error"] == "unknown"


async def test_outage_is_a_window_and_the_bars_are_there_afterwards() -> None:
    table = {"mode": "status", "status": 503, "from": (NOW_S - 10) * 1000, "until": (NOW_S + 10) * 1000}
    async with open_door(table) as door:
        assert (await door.ask()).status_code == 503
        door.exchange.clock.set((NOW_S + 10) * 1000)
        assert starts(await door.rows()) == starts(RIGHT)


async def test_running_simulator_is_set_over_http() -> None:
    async with open_door() as door:
        table = {"name": "x", "mode": "status", "path": "*/candles", "count": 1}
        answer = await door.client.put("/simulator/faults", json={"fault": [table]})
        assert answer.json() == {"fault": [{"name": "x", "mode": "status", "matched": 0, "played": 0}]}
        assert [(await door.ask()).status_code for _ in range(2)] == [500, 200]
        answer = await door.client.get("/simulator/faults")
        assert answer.json() == {"fault": [{"name": "x", "mode": "status", "matched": 2, "played": 1}]}

        answer = await door.client.put("/simulator/faults", json={"fault": [{"mode": "no"}]})
        assert answer.status_code == 400
        assert "mode 'no' is none of" in answer.json()["faults"][0]
        assert (await door.client.put("/simulator/faults", content=b"{")).status_code == 400

        assert (await door.client.put("/simulator/clock", json={"now_ms": 5_000})).json() == {"now_ms": 5_000}
        assert (await door.client.get("/simulator/clock")).json() == {"now_ms": 5_000}
        wrongs: list[object] = [{"now_ms": -1}, {"now_ms": True}, [], {}]
        for wrong in wrongs:
            assert (await door.client.put("/simulator/clock", json=wrong)).status_code == 400
        assert (await door.client.delete("/simulator/clock")).status_code == 405
        assert (await door.client.get("/simulator/other")).status_code == 404
        # The simulator's own paths are no requests to the exchange.
        assert door.statuses == [500, 200]


async def test_faults_file_is_looked_at_before_each_request(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text("")
    exchange = build_exchange(SimulatorSettings(faults=path, rules=FREE))
    with trio.fail_after(20):
        async with open_exchange(exchange) as url, open_http(url) as client:
            assert (await client.get(TIME)).status_code == 200
            path.write_text('[[fault]]\nmode = "status"\nstatus = 502\n')
            assert (await client.get(TIME)).status_code == 502
